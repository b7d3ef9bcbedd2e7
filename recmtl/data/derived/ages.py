"""Ages of the events of a history: how long before the row each happened, on a scale of logarithms.

An age is a category: bucket b holds ages from 2^(b/2) - 1 to 2^((b+1)/2) - 1, so that each bucket
is about 1.4 times as long ago as the one before. The unit is a second for dates and times, and for
plain numbers their own; a larger unit only moves the buckets.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.columns.canonical import AnyArray, kind_of, missing_rows
from recmtl.data.columns.keys import as_lists
from recmtl.data.columns.logical_type import value_type_name
from recmtl.data.statistics.periods import UNITS, time_kind
from recmtl.errors import SourceLocation

__all__ = ["AFTER_ROW", "age_buckets", "event_ages", "refuse_other_kind", "seconds"]

AFTER_ROW = -1
"""The bucket of events later than their row."""
CLOCKS = {
    "number": "plain numbers",
    "instant": "times with a zone",
    "local": "times without a zone",
}
Floats = npt.NDArray[np.float64]


def event_ages(
    events: AnyArray, rows: AnyArray, columns: tuple[str, ...], place: SourceLocation
) -> AnyArray:
    """The age bucket of each event, lists as long as those of its times; null where unknown.

    Args:
        events: a canonical column of lists of times.
        rows: the canonical column of the rows' times.
        columns: the names of both.
        place: where they come from.

    Raises:
        DataError: a column holds no times, or the two hold different kinds of time.

    >>> events = pa.array([[60, None, 99], None, [100]])
    >>> names = ("times", "now")
    >>> event_ages(events, pa.array([99, 99, None]), names, SourceLocation()).to_pylist()
    [[10, None, 0], [], [None]]
    """
    lists = as_lists(events, columns[0], place)
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    values = lists.flatten()
    happened, now = (
        seconds(array, name, place) for array, name in zip((values, rows), columns, strict=True)
    )
    refuse_other_kind(values, rows, columns, place)
    ages = np.repeat(now, lengths) - happened
    missing = np.isnan(ages)
    buckets = pa.array(age_buckets(np.where(missing, 0, ages)), mask=missing)
    offsets = np.append(0, np.cumsum(lengths, dtype=np.int64))
    return pa.LargeListArray.from_arrays(pa.array(offsets), buckets)


def age_buckets(ages: Floats) -> npt.NDArray[np.int64]:
    """The bucket of each age, see the head of this module.

    >>> age_buckets(np.array([-1.0, 0.0, 1.0, 3.0, 86_400.0])).tolist()
    [-1, 0, 2, 4, 32]
    """
    buckets = np.floor(2.0 * np.log2(1.0 + np.maximum(ages, 0.0)))
    return np.where(ages < 0, AFTER_ROW, buckets).astype(np.int64)


def seconds(times: AnyArray, column: str, place: SourceLocation) -> Floats:
    """Times in seconds, plain numbers as they are; NaN where missing."""
    kind = kind_of(times)
    if kind == "null":
        return np.full(len(times), np.nan)
    if kind in ("integer", "float"):
        numbers, unit = times.cast(pa.float64()), 1.0
    elif kind == "date":
        numbers, unit = times.cast(pa.timestamp("s")).cast(pa.int64()), 1.0
    elif kind == "timestamp":
        numbers, unit = times.cast(pa.int64()), UNITS[times.type.unit]
    else:
        fault = f"holds {value_type_name(times.type)}, which is no time"
        raise place.error(fault, "store numbers, dates or timestamps", column=column)
    values: npt.NDArray[Any] = numbers.fill_null(0).to_numpy(zero_copy_only=False)
    return np.where(missing_rows(times), np.nan, values.astype(np.float64) / unit)


def refuse_other_kind(
    events: AnyArray, rows: AnyArray, columns: tuple[str, ...], place: SourceLocation
) -> None:
    """Raise a `DataError` unless both are plain numbers, both have a zone, or neither has one."""
    of_events, of_rows = (
        time_kind(array, name, place) for array, name in zip((events, rows), columns, strict=True)
    )
    if of_events and of_rows and of_events != of_rows:
        fault = f"holds {CLOCKS[of_events]}, and {columns[1]!r} {CLOCKS[of_rows]}"
        raise place.error(fault, "store both alike, or drop times", column=columns[0])
