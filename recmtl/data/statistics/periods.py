"""Times -> numbers of periods: whole days of a time zone, hours, or steps of a plain number."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.columns.canonical import AnyArray, kind_of, missing_rows
from recmtl.data.columns.logical_type import value_type_name
from recmtl.errors import SourceLocation
from recmtl.schema import PastStatistics

__all__ = ["UNITS", "TimeKind", "numbers_a_day", "periods", "time_kind"]

TimeKind = Literal["number", "instant", "local"]
"""Plain numbers, times with a zone, and dates or times as some clock showed them."""
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Of a time in Arrow, in a second."""
DAYS = {
    (5 * 10**8, 10**10): 86_400,
    (10**11, 10**13): 86_400_000,
    (10**14, 10**16): 86_400_000_000,
}
"""A day in seconds, milliseconds and microseconds, where times look like those since 1970."""
Ints = npt.NDArray[np.int64]


def time_kind(times: AnyArray, column: str, place: SourceLocation) -> TimeKind | None:
    """What a canonical column of times holds; None where it holds only nulls.

    Raises:
        DataError: it holds no times.
    """
    kind = kind_of(times)
    if kind == "null":
        return None
    if kind in ("integer", "float"):
        return "number"
    if kind == "date":
        return "local"
    if kind == "timestamp":
        return "local" if times.type.tz is None else "instant"
    fault = f"holds {value_type_name(times.type)}, which has no periods"
    raise place.error(fault, "store a number, a date or a timestamp", column=column)


def periods(
    times: AnyArray, entry: PastStatistics, column: str, place: SourceLocation, *, missing: int
) -> Ints:
    """The period of each time, int64 [rows], counted from 1970 or from the number 0.

    Args:
        times: the canonical column.
        entry: says how long a period is, and whose days count.
        column: its name.
        place: where it comes from.
        missing: the period of a missing time.

    Raises:
        DataError: it holds no times, or the grain is not of its kind.

    >>> entry = PastStatistics("past", "user", grain=7, values=("count",))
    >>> periods(pa.array([0, 6, 7, None]), entry, "day", SourceLocation(), missing=9).tolist()
    [0, 0, 1, 9]
    """
    kind = time_kind(times, column, place)
    if kind is None:
        return np.full(len(times), missing)
    if (kind == "number") != entry.counts_numbers:
        unit = "a whole number, such as 1" if kind == "number" else "with a unit, such as 1d"
        fault = f"holds {value_type_name(times.type)}, which grain {entry.grain} does not divide"
        raise place.error(fault, f"write the grain of {entry.name} {unit}", column=column)
    gaps = missing_rows(times) if times.null_count or kind_of(times) == "float" else None
    if kind == "number":
        number = _whole_numbers(times, gaps) // entry.grain_length
    elif kind_of(times) == "date":
        number = _date_seconds(times) // entry.grain_length
    else:
        number = _clock(times, entry) // (entry.grain_length * UNITS[times.type.unit])
    return number if gaps is None else np.where(gaps, missing, number)


def numbers_a_day(latest: float) -> int:
    """How long a day is in the unit of a column of numbers, by its latest time.

    Numbers that look like seconds, milliseconds or microseconds since 1970 are taken for these, all
    others for days: of a calendar (20220425), or counted from some day.

    >>> numbers_a_day(20220425), numbers_a_day(1_650_844_800), numbers_a_day(1_650_844_800_000)
    (1, 86400, 86400000)
    """
    return next((day for (low, high), day in DAYS.items() if low <= abs(latest) < high), 1)


def _whole_numbers(times: AnyArray, gaps: npt.NDArray[np.bool_] | None) -> Ints:
    """Numbers rounded down, 0 where missing."""
    if pa.types.is_integer(times.type):
        return _int64(times)
    values: npt.NDArray[Any] = times.cast(pa.float64()).to_numpy(zero_copy_only=False)
    whole = np.floor(values if gaps is None else np.where(gaps, 0, values))
    clipped: Ints = np.clip(whole, -(2.0**62), 2.0**62).astype(np.int64)
    return clipped


def _date_seconds(dates: AnyArray) -> Ints:
    if dates.type == pa.date32():
        return _int64(dates.cast(pa.int32())) * 86_400
    return _int64(dates.cast(pa.int64())) // 1000


def _clock(times: AnyArray, entry: PastStatistics) -> Ints:
    """What the clock of the entry's zone shows, in the unit of the column."""
    unit = times.type.unit
    if times.type.tz is not None and entry.time_zone != "UTC":
        # Arrow counts every zone's times in UTC, so that another zone's name moves none of them.
        times = pc.local_timestamp(times.cast(pa.timestamp(unit, entry.time_zone)))
    return _int64(times.cast(pa.int64()))


def _int64(whole: AnyArray) -> Ints:
    whole = whole.fill_null(0) if whole.null_count else whole
    values: Ints = whole.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    return values
