"""Windows of late labels: which are closed, what the log knows of those that are open.

The event of a late label counts if it happens within a window after the row (`Label`). The log
knows of events up to some time. A row whose window ends later is open: its label is unknown even if
the event was seen, since among open rows only those whose event came early would be known.

Times are float64: microseconds since 1970, or plain numbers, both exact up to 2^53.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.canonical import AnyArray, missing_rows
from recmtl.data.columns.logical_type import value_type_name
from recmtl.data.statistics.periods import UNITS, time_kind
from recmtl.errors import SourceLocation
from recmtl.schema import Label, Schema, TaskSpec
from recmtl.schema.condition import seconds_of

__all__ = ["LateRows", "late_facts", "late_rows", "late_tasks", "with_known_times"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
MICROSECONDS = 1_000_000
DAY = 86_400 * MICROSECONDS


@dataclass(frozen=True)
class LateRows:
    """What a log knows of a late label, row by row; NaN where the task is not defined.

    Attributes:
        label: 0 or 1; NaN where the window is open.
        open: where it is.
        waited: share of the window that the log has seen, 1 where it is closed.
        delay: after which share of the window the event happened; NaN where it has not been seen.
    """

    label: Floats
    open: Bools
    waited: Floats
    delay: Floats


def late_tasks(schema: Schema) -> tuple[TaskSpec, ...]:
    """The tasks whose labels are late, in the order of the schema."""
    return tuple(task for task in schema.tasks if task.label.is_late)


def late_facts(schema: Schema) -> dict[str, Any]:
    """What a manifest says of late labels; nothing of a log without."""
    labels = {task.name: task.label for task in late_tasks(schema)}
    facts = {n: {"window": x.window, "known_until": x.known_until} for n, x in labels.items()}
    return {"late_labels": facts} if facts else {}


def with_known_times(
    schema: Schema, batches: Callable[[list[str]], Iterator[Any]], place: SourceLocation
) -> Schema:
    """The schema with the time up to which the log knows of the events of each late label.

    Args:
        schema: may leave the time open: it is then the latest one of a row or of an event.
        batches: starts a stream of the columns that are named; it is not read if no time is left
            open.
        place: what to call the whole log.

    Raises:
        DataError: a column holds no times, or no row has one.
    """
    open_ends = [task.label for task in late_tasks(schema) if task.label.known_until is None]
    if not open_ends:
        return schema
    columns = list(dict.fromkeys([_row_time(schema), *(str(label.time) for label in open_ends)]))
    latest, forms = dict.fromkeys(columns, -math.inf), dict[str, pa.DataType]()
    for batch in batches(columns):
        for name in columns:
            times = batch.columns.column(name)
            moments = _moments(times, name, batch.place)
            latest[name] = max(latest[name], float(np.nanmax(moments, initial=-math.inf)))
            forms[name] = times.type

    def resolved(task: TaskSpec) -> TaskSpec:
        label = task.label
        if not label.is_late or label.known_until is not None:
            return task
        end = max(latest[_row_time(schema)], latest[str(label.time)])
        if end == -math.inf:
            raise place.error("holds no time", "fill it", column=_row_time(schema))
        return replace(task, label=replace(label, known_until=_written(end, forms)))

    return replace(schema, tasks=tuple(map(resolved, schema.tasks)))


def _written(moment: float, forms: dict[str, pa.DataType]) -> float | str:
    """A moment as `known_until` of a schema holds it."""
    types = [form for form in forms.values() if not pa.types.is_null(form)]
    if not any(map(pa.types.is_temporal, types)):
        return int(moment) if moment.is_integer() else moment
    zone = next((form.tz for form in types if pa.types.is_timestamp(form) and form.tz), None)
    text = np.datetime_as_string(np.datetime64(int(moment), "us"))
    return f"{text}Z" if zone else str(text)


def late_rows(
    task: TaskSpec, schema: Schema, columns: pa.RecordBatch, label: Floats, place: SourceLocation
) -> LateRows:
    """What the log knows of a task's late label.

    Args:
        task: its label has `known_until`, see `with_known_times`.
        schema: names the time of the rows.
        columns: a record batch with the columns of the times.
        label: 1 where the log has the event, 0 where it has not; NaN where it is not defined.
        place: where the rows come from.

    Raises:
        DataError: a time is missing, of another kind, or the event is before its row.
    """
    name = str(task.label.time)
    rows = columns.column(_row_time(schema))
    start = _moments(rows, _row_time(schema), place)
    event = _moments(columns.column(name), name, place)
    _refuse_two_kinds(rows, columns.column(name), name, place)
    defined, happened = ~np.isnan(label), label == 1
    _refuse_gaps(defined & np.isnan(start), _row_time(schema), "rows", place)
    if task.missing == "ignore":
        defined &= ~(happened & np.isnan(event))
        happened &= defined
    _refuse_gaps(happened & np.isnan(event), name, f"rows with an event of {task.name!r}", place)
    early = happened & (event < start)
    if early.any():
        fault = f"{int(early.sum())} events of task {task.name!r} lie before their rows"
        raise place.error(fault, "correct the times, or the label", column=name)
    length = _length(task.label, rows, place)
    horizon = _known_until(task.label, rows, place)
    is_open = defined & (start + length > horizon)
    waited = np.clip((horizon - start) / length, 0.0, 1.0)
    waited = np.where(defined, np.where(is_open, np.minimum(waited, _BELOW_1), 1.0), np.nan)
    counts = happened & (event <= np.minimum(start + length, horizon))
    delay = np.where(counts, (event - start) / length, np.nan)
    closed = np.where(is_open | ~defined, np.nan, counts.astype(np.float64))
    return LateRows(closed, is_open, waited, delay)


_BELOW_1 = float(np.nextafter(np.float32(1), np.float32(0)))
"""A window that float32 would round to closed stays open."""


def _row_time(schema: Schema) -> str:
    return str(schema.roles.time)


def _refuse_gaps(gaps: Bools, column: str, of: str, place: SourceLocation) -> None:
    if gaps.any():
        fault = f"is missing on {int(gaps.sum())} {of}, whose window nobody knows"
        raise place.error(fault, "fill it, drop those rows, or say missing: ignore", column=column)


def _refuse_two_kinds(rows: AnyArray, events: AnyArray, column: str, place: SourceLocation) -> None:
    kinds = [time_kind(times, column, place) for times in (rows, events)]
    if None not in kinds and kinds[0] != kinds[1]:
        holds = [value_type_name(times.type) for times in (events, rows)]
        fault = (
            f"holds {holds[0]} and the time of the rows {holds[1]}: none is later than the other"
        )
        raise place.error(fault, "store both alike, with a zone or without", column=column)


def _moments(times: AnyArray, column: str, place: SourceLocation) -> Floats:
    """Microseconds since 1970 or plain numbers, NaN where missing; raises `DataError`."""
    kind = time_kind(times, column, place)
    if kind is None:
        return np.full(len(times), np.nan)
    missing = missing_rows(times)
    if kind == "number":
        values = times.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False)
    elif pa.types.is_date32(times.type):
        values = _whole(times.cast(pa.int32())) * DAY
    else:
        unit = UNITS[times.type.unit] if pa.types.is_timestamp(times.type) else UNITS["ms"]
        # Nanoseconds fit no float64: they are cut to microseconds as whole numbers.
        whole = _whole(times)
        values = (
            whole // (unit // MICROSECONDS)
            if unit > MICROSECONDS
            else (whole * (MICROSECONDS // unit))
        )
    return np.where(missing, np.nan, values.astype(np.float64))


def _whole(times: AnyArray) -> npt.NDArray[np.int64]:
    values: npt.NDArray[np.int64] = (
        times.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    return values


def _length(label: Label, rows: AnyArray, place: SourceLocation) -> float:
    """The window in the unit of `_moments`."""
    is_number = time_kind(rows, "", place) == "number"
    if isinstance(label.window, int) == is_number:
        window = label.window if isinstance(label.window, int) else seconds_of(str(label.window))
        return float(window if is_number else window * MICROSECONDS)
    unit = "a whole number, in the unit of roles.time" if is_number else "with a unit, such as 7d"
    fault = f"holds {value_type_name(rows.type)}, which the window {label.window} does not measure"
    raise place.error(fault, f"write the window of the label {unit}", column=label.column)


def _known_until(label: Label, rows: AnyArray, place: SourceLocation) -> float:
    """`known_until` in the unit of `_moments`, read as the times of the rows are."""
    value, kind = label.known_until, time_kind(rows, "", place)
    if kind == "number" and isinstance(value, int | float):
        return float(value)
    form = (
        pa.timestamp("us", rows.type.tz)
        if pa.types.is_timestamp(rows.type)
        else (pa.timestamp("us"))
    )
    try:
        if kind == "number" or not isinstance(value, str):
            raise pa.ArrowInvalid("is of another kind")
        return float(_moments(pa.array([value]).cast(form), "", place)[0])
    except pa.ArrowException:
        offset = "; write it with its offset from UTC, as 2024-05-31T18:00:00Z"
        remedy = "write it as roles.time is written" + (offset if kind == "instant" else "")
        fault = f"is known until {value!r}, which is no {value_type_name(rows.type)}"
        raise place.error(fault, remedy, column=label.column) from None
