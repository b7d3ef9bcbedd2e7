"""Which rows are train, validation and test: a function of each row, the same in every pass.

By time the boundaries are exact quantiles of the rows, found in bounded memory by counting in ever
finer bins. By group and at random a stable hash decides, so that the answer does not depend on the
machine or on the order of the files.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.columns.canonical import AnyArray, kind_of, missing_rows, normalised
from recmtl.data.columns.keys import category_keys, group_keys, stable_hash
from recmtl.data.columns.logical_type import LogicalType, arrow_form, value_type_name
from recmtl.data.counted_log import CountedLog
from recmtl.data.reader import LogBatch
from recmtl.engines.folds import FoldT
from recmtl.errors import DataError, SourceLocation
from recmtl.schema import Schema, SplitRule

__all__ = ["PARTS", "Assign", "kth_smallest", "plan_split"]

PARTS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)
BIN_BITS = 20
Ints = npt.NDArray[np.int64]
Parts = npt.NDArray[np.uint8]
ORDERED = ("integer", "timestamp", "date", "time of day", "duration")
TEXT_TIME = LogicalType("timestamp", "us")
"""What text is read as where it is a time."""
Assign = Callable[[LogBatch], Parts]


def plan_split(schema: Schema, log: CountedLog) -> Assign:
    """The function that gives each row of a batch its part, uint8 [rows] indexing `PARTS`.

    Fractions are those of the rows that count, and rows are numbered among those.

    Raises:
        DataError: the time column cannot be ordered, has gaps, or an explicit boundary is not of
            its type.
    """
    split = schema.split
    if split.by == "time":
        return _by_time(split, str(schema.roles.time), log)
    if split.by == "column":
        return lambda batch: _by_column(str(split.column), batch)
    if split.by == "group":
        column = str(split.column or schema.roles.group)
        return lambda batch: _by_share(split, _group_hash(column, split.seed, batch))
    return lambda batch: _by_share(split, _row_hash(split.seed, batch))


def _by_share(split: SplitRule, hashed: npt.NDArray[np.uint64]) -> Parts:
    share = (hashed >> np.uint64(11)).astype(np.float64) / 2.0**53
    test = share >= 1 - split.test
    validation = ~test & (share >= 1 - split.test - split.validation)
    return _parts(validation, test)


def _parts(validation: npt.NDArray[np.bool_], test: npt.NDArray[np.bool_]) -> Parts:
    return (validation * VALIDATION + test * TEST).astype(np.uint8)


def _row_hash(seed: int, batch: LogBatch) -> npt.NDArray[np.uint64]:
    return stable_hash(pa.array(np.arange(batch.first, batch.first + batch.rows)), seed)


def _group_hash(column: str, seed: int, batch: LogBatch) -> npt.NDArray[np.uint64]:
    keys = group_keys(batch.columns.column(column), column, batch.place)
    if not (keys.codes < 0).any():
        return stable_hash(keys.values, seed)[keys.codes]
    hashed = np.append(stable_hash(keys.values, seed), np.uint64(0))[keys.codes]
    # A row without a group has nothing in common with the others: it is placed alone.
    return np.where(keys.codes < 0, _row_hash(seed, batch), hashed)


def _by_column(column: str, batch: LogBatch) -> Parts:
    keys = category_keys(batch.columns.column(column), column, batch.place)
    values = keys.values.to_pylist()
    wrong = [value for value in values if value not in PARTS]
    if wrong or (keys.codes < 0).any():
        fault = f"holds {wrong[0]!r}" if wrong else "has missing values"
        raise batch.place.error(fault, f"write one of {', '.join(PARTS)}", column=column)
    return np.array([PARTS.index(value) for value in values], np.uint8)[keys.codes]


def _by_time(split: SplitRule, column: str, log: CountedLog) -> Assign:
    time_type = log.logical_types([column])[column]

    def times_of(batch: LogBatch) -> tuple[Ints]:
        return (_times(batch, column, time_type),)

    def fold(result: FoldT) -> FoldT:
        return log.fold(result, [column], times_of)

    place = SourceLocation(log.data)
    test_from = _boundary(split.test_from, time_type, column, place)
    if test_from is None:
        test_from = kth_smallest(fold, log.rows - max(1, round(split.test * log.rows)))
    validation_from = _boundary(split.validation_from, time_type, column, place)
    if validation_from is None:
        before = fold(_Below(test_from)).count
        wanted = before - max(1, round(split.validation * log.rows))
        validation_from = kth_smallest(fold, wanted) if wanted >= 0 else -(2**63)

    def assign(batch: LogBatch) -> Parts:
        times = _times(batch, column, time_type)
        return _parts((times >= validation_from) & (times < test_from), times >= test_from)

    return assign


def _times(batch: LogBatch, column: str, time_type: LogicalType) -> Ints:
    """The times of a batch as `ordered` gives them."""
    times = batch.columns.column(column)
    if time_type.kind == "float" and kind_of(times) == "integer":
        fault = "holds integers beyond 2^53, and other files hold floats, which round them"
        raise batch.place.error(fault, "store int64 in all files", column=column)
    return ordered(times, column, batch.place)


def _boundary(
    value: int | float | str | None, time_type: LogicalType, column: str, place: SourceLocation
) -> int | None:
    """The first time of a part, ordered as the column's times are."""
    if value is None:
        return None
    ordered_type = _time_as_ordered(time_type)
    try:
        # A number has no unit of time, and a truth value is no number.
        if isinstance(value, bool) or (ordered_type.is_time and not isinstance(value, str)):
            raise pa.ArrowInvalid("is a number")
        first = pa.array([value]).cast(arrow_form(ordered_type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        remedy = "write validation_from / test_from as a value of that type"
        if time_type.kind in ("timestamp", "text"):
            offset = "with its offset from UTC" if time_type.zone else "without an offset"
            remedy = f"write it {offset}, as 2024-05-31T18:00:00{'+00:00' * bool(time_type.zone)}"
        holds = time_type if time_type.kind in ("other", "text") else arrow_form(time_type)
        raise place.error(f"holds {holds}, which {value!r} is not", remedy, column=column) from None
    return int(ordered(first, column, place)[0])


def ordered(times: AnyArray, column: str, place: SourceLocation) -> Ints:
    """The times of a canonical column as int64 [rows] in the same order.

    Times of any unit are counted in microseconds: such as differ by less are equal to a split.
    Text is read as ISO 8601 says (`2024-05-01`, `2024-05-01 18:30`).

    Raises:
        DataError: a time is missing, or the column is otherwise without an order.
    """
    missing = int(np.count_nonzero(missing_rows(times)))
    if missing:
        remedy = "drop those rows, or split in another way"
        raise place.error(f"has {missing} missing times", remedy, column=column)
    kind = kind_of(times)
    if kind == "float":
        bits = times.cast(pa.float64()).to_numpy().view(np.int64)
        # Negative floats sort backwards by their bits; flipping all but the sign mends that.
        return np.asarray(bits ^ ((bits >> 63) & np.int64(2**63 - 1)))
    if kind == "text":
        times = _as_timestamps(times, column, place)
    elif kind not in ORDERED:
        fault = f"holds {value_type_name(times.type)}, which is no time"
        raise place.error(fault, "store a number, a date or a timestamp", column=column)
    try:
        return _whole(times)
    except pa.ArrowInvalid as fault:
        message = f"holds times beyond 64 bits ({fault})"
        raise place.error(message, "store them as int64", column=column) from fault


def _as_timestamps(texts: AnyArray, column: str, place: SourceLocation) -> AnyArray:
    try:
        return normalised(texts, TEXT_TIME, column, place)
    except DataError as fault:
        text = next(text for text in texts.to_pylist() if not _is_time(text))
        message = f"holds text such as {text!r}, which is no time without a zone"
        remedy = "store a number, a date or a timestamp, or write as 2024-05-31 or 2024-05-31T18:00"
        raise place.error(message, remedy, column=column) from fault


def _is_time(text: str) -> bool:
    try:
        return bool(pa.array([text]).cast(arrow_form(TEXT_TIME)))
    except pa.ArrowInvalid:
        return False


def _time_as_ordered(time_type: LogicalType) -> LogicalType:
    """The type in which a boundary of a column with this type is read."""
    if time_type.kind == "text":
        return TEXT_TIME
    units = {"timestamp": "us", "date": "day"}
    return replace(time_type, detail=units.get(time_type.kind, time_type.detail))


def _whole(times: AnyArray) -> Ints:
    if pa.types.is_date64(times.type):
        times = times.cast(pa.date32())
    if times.type in (pa.date32(), pa.time32("s"), pa.time32("ms")):
        times = times.cast(pa.int32())
    elif pa.types.is_timestamp(times.type):
        form = pa.timestamp("us", times.type.tz)
        times = times.cast(options=pc.CastOptions(form, allow_time_truncate=True))
    return np.asarray(times.cast(pa.int64()).to_numpy(zero_copy_only=False))


class FoldOfValues(Protocol):
    """Adds all values to a fold, batch by batch."""

    def __call__(self, result: FoldT, /) -> FoldT:
        """The fold with all values, int64 [rows] at a time."""


def kth_smallest(fold: FoldOfValues, k: int) -> int:
    """The value at position `k` (from 0) of all int64 values in sorted order.

    Args:
        fold: adds all values to what it gets; it is called up to five times.
        k: a position below the number of values.
    """
    spread = fold(_Range())
    low, high, below = spread.low, spread.high, 0
    while low < high:
        # Bins of 2^shift values, at most 2^20 of them, over [low, high].
        shift = max((high - low).bit_length() - BIN_BITS, 0)
        position = np.cumsum(fold(_Bins(low, high, shift=shift)).counts())
        chosen = int(np.searchsorted(position, k - below, side="right"))
        below += int(position[chosen - 1]) if chosen else 0
        low = low + (chosen << shift)
        high = min(high, low + (1 << shift) - 1)
    return low


class _Range:
    """The smallest and the largest of some values."""

    def __init__(self) -> None:
        self.low, self.high = 2**63 - 1, -(2**63)

    def add(self, values: Ints) -> None:
        if len(values):
            self.low = min(self.low, int(values.min()))
            self.high = max(self.high, int(values.max()))

    def merge(self, later: "_Range") -> None:
        self.low, self.high = min(self.low, later.low), max(self.high, later.high)


class _Below:
    """How many values lie below a limit."""

    def __init__(self, limit: int) -> None:
        self.limit, self.count = limit, 0

    def add(self, values: Ints) -> None:
        self.count += int(np.count_nonzero(values < self.limit))

    def merge(self, later: "_Below") -> None:
        self.count += later.count


class _Bins:
    """How many values from `low` to `high` lie in each bin of 2^shift values."""

    def __init__(self, low: int, high: int, *, shift: int) -> None:
        self._low, self._high, self._shift = low, high, shift
        self._counts = np.zeros(((high - low) >> shift) + 1, np.int64)

    def add(self, values: Ints) -> None:
        inside = values[(values >= self._low) & (values <= self._high)]
        # Differences of int64 fit in uint64, where the subtraction cannot overflow.
        distance = inside.view(np.uint64) - np.uint64(self._low % 2**64)
        bins = (distance >> np.uint64(self._shift)).astype(np.int64)
        self._counts += np.bincount(bins, minlength=len(self._counts))

    def merge(self, later: "_Bins") -> None:
        self._counts += later._counts

    def counts(self) -> Ints:
        return self._counts
