"""Columns of times -> parts of the calendar, holidays, and ages at another time.

A time is first an instant or what some clock showed: plain numbers count from 1970 in UTC, and
texts are read as ISO 8601 without a zone. Its parts are those that the clock of the feature's time
zone shows.
"""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.columns.canonical import AnyArray, kind_of
from recmtl.data.columns.logical_type import value_type_name
from recmtl.data.derived.ages import refuse_other_kind, seconds
from recmtl.data.statistics.periods import UNITS
from recmtl.errors import SourceLocation
from recmtl.schema import Datetime

__all__ = ["parts_of_times"]

DAY = 86_400
BOUNDS = tuple((date(year, 1, 1) - date(1970, 1, 1)).days * DAY for year in (1, 9999))
"""Seconds from 1970 between which times lie: what is beyond is counted in another unit."""
PARTS: dict[str, Callable[[Any], Any]] = {
    "hour": pc.hour,
    "weekday": pc.day_of_week,
    "day": pc.day,
    "week": pc.iso_week,
    "month": pc.month,
}
PERIODS = {"hour": "day", "weekday": "week", "day": "month", "week": "year", "month": "year"}
"""Of what a cyclic part tells how much is over."""


def parts_of_times(
    times: Datetime, columns: Mapping[str, AnyArray], place: SourceLocation
) -> dict[str, AnyArray]:
    """The parts of the times in canonical columns by name, one value a row; null where missing.

    Args:
        times: the feature that says which parts.
        columns: canonical columns by name.
        place: where they come from.

    Raises:
        DataError: a column holds no times, plain numbers without a unit, or times beyond the years
            1 to 9998; the two times of an age are not of one kind.

    >>> seen = Datetime("seen", parts=("hour", "month"), unit="s")
    >>> parts = parts_of_times(seen, {"seen": pa.array([0, 7 * 3600, None])}, SourceLocation())
    >>> {name: part.to_pylist() for name, part in parts.items()}
    {'seen.hour': [0, 7, None], 'seen.month': [1, 1, None]}
    """
    instants = _as_times(columns[times.column], times, times.column, place)
    parts = dict[str, AnyArray]()
    has_parts = bool(times.parts or times.holidays)
    clock = _clock(instants, times.time_zone) if has_parts else instants
    for part in times.parts:
        name = f"{times.name}.{part}"
        if times.cyclic:
            angles = 2.0 * np.pi * _share_over(clock, PERIODS[part])
            parts[f"{name}.sin"] = pa.array(np.sin(angles), from_pandas=True)
            parts[f"{name}.cos"] = pa.array(np.cos(angles), from_pandas=True)
        else:
            parts[name] = PARTS[part](clock)
    if times.holidays:
        parts[f"{times.name}.holiday"] = _are_holidays(clock, times.holidays)
    if times.until is not None:
        until = _as_times(columns[times.until], times, times.until, place)
        parts[f"{times.name}.age"] = _ages(instants, until, times.columns, place)
    return parts


def _as_times(array: AnyArray, times: Datetime, name: str, place: SourceLocation) -> AnyArray:
    """A canonical column as timestamps, with a zone if they are instants.

    Raises:
        DataError: see `parts_of_times`.
    """
    kind = kind_of(array)
    if kind in ("integer", "float"):
        array = _counted(array, times.unit, name, place)
    elif kind == "text":
        array = _written(array, name, place)
    elif kind in ("null", "date"):
        array = array.cast(
            pa.timestamp("s" if kind == "null" or array.type.bit_width == 32 else "ms")
        )
    elif kind != "timestamp":
        fault = f"holds {value_type_name(array.type)}, which is no time"
        raise place.error(fault, "store dates, timestamps or numbers", column=name)
    _refuse_other_years(array, name, place)
    return array


def _counted(array: AnyArray, unit: str | None, name: str, place: SourceLocation) -> AnyArray:
    """Plain numbers as instants; fractions are kept to the microsecond."""
    if unit is None:
        remedy = "write unit: s, ms, us or ns, in which they count from 1970"
        raise place.error("holds plain numbers", remedy, column=name)
    if kind_of(array) == "float":
        scale = UNITS["us"] / UNITS[unit]
        micros = pc.floor(pc.multiply(array.cast(pa.float64()), scale))
        micros = pc.if_else(pc.is_nan(micros), None, micros)
        unit, array = "us", pc.if_else(pc.less(pc.abs(micros), 2.0**62), micros, 2.0**62)
    return array.cast(pa.int64()).cast(pa.timestamp(unit, "UTC"))


def _written(array: AnyArray, name: str, place: SourceLocation) -> AnyArray:
    """Texts as what some clock showed."""
    texts = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    try:
        return texts.cast(pa.timestamp("us"))
    except pa.ArrowInvalid as fault:
        reason = " ".join(str(fault).split())[:100]
        remedy = "write 2024-05-31 or 2024-05-31 18:00:00, or store timestamps"
        raise place.error(f"holds text that is no time ({reason})", remedy, column=name) from fault


def _refuse_other_years(array: AnyArray, name: str, place: SourceLocation) -> None:
    """Raise a `DataError` for times before the year 1 or after the year 9998."""
    present = array.drop_null() if array.null_count else array
    if not len(present):
        return
    counts = present.cast(pa.int64()).to_numpy(zero_copy_only=False)
    least, most = int(counts.min()), int(counts.max())
    low, high = (bound * UNITS[array.type.unit] for bound in BOUNDS)
    if not low <= least <= most < high:
        fault = f"holds {least} {array.type.unit} to {most} {array.type.unit} from 1970"
        remedy = "times lie in the years 1 to 9998; correct unit, or make what is none null"
        raise place.error(fault, remedy, column=name)


def _clock(times: AnyArray, time_zone: str) -> AnyArray:
    """What the clock of a zone shows at instants; other times as they stand."""
    if times.type.tz is None:
        return times
    return pc.local_timestamp(times.cast(pa.timestamp(times.type.unit, time_zone)))


def _are_holidays(clock: AnyArray, holidays: tuple[str, ...]) -> AnyArray:
    """1 on a holiday, 0 on other days: int64 [rows]."""
    days = clock.cast(pa.date32(), safe=False)
    dates = pa.array([date.fromisoformat(day) for day in holidays if len(day) > 5], pa.date32())
    every_year = [(int(day[:2]) * 100 + int(day[3:])) for day in holidays if len(day) == 5]
    in_year = pc.add(pc.multiply(pc.month(days), 100), pc.day(days))
    is_one = pc.or_(
        pc.is_in(days, value_set=dates),
        pc.is_in(in_year, value_set=pa.array(every_year, pa.int64())),
    )
    return pc.if_else(pc.is_valid(days), is_one.cast(pa.int64()), None)


def _share_over(clock: AnyArray, period: str) -> npt.NDArray[np.float64]:
    """How much of its day, week, month or year is over at a time: [rows] in [0, 1), NaN if missing.

    Weeks begin on Monday.
    """
    if period in LENGTHS:
        length, begin = LENGTHS[period]
        over: npt.NDArray[np.float64] = np.mod(_float_seconds(clock) - begin, length) / length
        return over
    starts = pc.floor_temporal(clock, unit=period)
    ends = pc.floor_temporal(pc.add(starts, LONGER[period]), unit=period)
    now, start, end = (_float_seconds(array) for array in (clock, starts, ends))
    share: npt.NDArray[np.float64] = (now - start) / (end - start)
    return share


LENGTHS = {"day": (DAY, 0), "week": (7 * DAY, 4 * DAY)}
"""Seconds of a period that is always as long, and when one began: a Monday, 1970-01-05."""
LONGER = {
    name: pa.scalar(days * DAY, pa.duration("s")) for name, days in (("month", 31), ("year", 366))
}
"""So long after the start of a period the next one has begun."""


def _float_seconds(times: AnyArray) -> npt.NDArray[np.float64]:
    return seconds(times, "", SourceLocation())


def _ages(
    then: AnyArray, until: AnyArray, columns: tuple[str, ...], place: SourceLocation
) -> AnyArray:
    """Seconds from one time until another, float64 [rows]."""
    refuse_other_kind(then, until, (columns[0], columns[1]), place)
    ages = seconds(until, columns[1], place) - seconds(then, columns[0], place)
    return pa.array(ages, from_pandas=True)
