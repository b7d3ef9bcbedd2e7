"""Which rows are train, validation and test: a function of each row, the same in every pass.

By time the boundaries are exact row quantiles, found in bounded memory; by group and at random a
stable hash decides, so that the answer does not depend on the machine or on the order of files.

The exact k-th smallest of a stream that does not fit in memory: counting in ever finer bins.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.keys import AnyArray, category_keys, missing_rows, plain_array, stable_hash
from recmtl.data.reader import Log, LogBatch
from recmtl.errors import SourceLocation
from recmtl.schema import Schema, SplitRule

__all__ = ["PARTS", "Assign", "kth_smallest", "plan_split"]

PARTS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)
Parts = npt.NDArray[np.uint8]
Assign = Callable[[LogBatch], Parts]


def plan_split(schema: Schema, log: Log) -> Assign:
    """The function that gives each row of a batch its part, uint8 [rows] indexing `PARTS`.

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
    keys = category_keys(batch.columns.column(column), column, batch.place)
    # Rows without a group form one group: hash 0 is as good as any.
    return np.append(stable_hash(keys.values, seed), np.uint64(0))[keys.codes]


def _by_column(column: str, batch: LogBatch) -> Parts:
    keys = category_keys(batch.columns.column(column), column, batch.place)
    values = keys.values.to_pylist()
    wrong = [value for value in values if value not in PARTS]
    if wrong or (keys.codes < 0).any():
        fault = f"holds {wrong[0]!r}" if wrong else "has missing values"
        raise batch.place.error(fault, f"write one of {', '.join(PARTS)}", column=column)
    return np.array([PARTS.index(value) for value in values], np.uint8)[keys.codes]


def _by_time(split: SplitRule, column: str, log: Log) -> Assign:
    def scan() -> Iterator[npt.NDArray[np.int64]]:
        for batch in log.batches([column]):
            yield ordered(batch.columns.column(column), column, batch.place)

    rows, first = log.rows, next(iter(log.batches([column], rows=1)))
    kind = plain_array(first.columns.column(column)).type
    fixed = [_boundary(b, kind, column, log) for b in (split.validation_from, split.test_from)]
    test_from = fixed[1]
    if test_from is None:
        test_from = kth_smallest(scan, rows - max(1, round(split.test * rows)))
    validation_from = fixed[0]
    if validation_from is None:
        before = sum(int(np.count_nonzero(times < test_from)) for times in scan())
        wanted = before - max(1, round(split.validation * rows))
        validation_from = kth_smallest(scan, wanted) if wanted >= 0 else -(2**63)

    def assign(batch: LogBatch) -> Parts:
        times = ordered(batch.columns.column(column), column, batch.place)
        return _parts((times >= validation_from) & (times < test_from), times >= test_from)

    return assign


def _boundary(value: int | float | str | None, kind: Any, column: str, log: Log) -> int | None:
    if value is None:
        return None
    place = SourceLocation(log.data)
    try:
        scalar = pa.array([value]).cast(kind) if not pa.types.is_dictionary(kind) else None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        scalar = None
    if scalar is None:
        remedy = "write validation_from / test_from as a value of that type"
        raise place.error(f"holds {kind}, which {value!r} is not", remedy, column=column)
    return int(ordered(scalar, column, place)[0])


def ordered(times: AnyArray, column: str, place: SourceLocation) -> npt.NDArray[np.int64]:
    """Times as int64 [rows] in the same order, whatever they are counted in.

    Raises:
        DataError: a time is missing, or the column is text or otherwise without an order.
    """
    array = plain_array(times)
    missing = int(np.count_nonzero(missing_rows(array)))
    if missing:
        remedy = "drop those rows, or split in another way"
        raise place.error(f"has {missing} missing times", remedy, column=column)
    if pa.types.is_floating(array.type):
        bits = array.cast(pa.float64()).to_numpy().view(np.int64)
        # Negative floats sort backwards by their bits; flipping all but the sign mends that.
        return np.asarray(bits ^ ((bits >> 63) & np.int64(2**63 - 1)))
    if not (pa.types.is_integer(array.type) or pa.types.is_temporal(array.type)):
        remedy = "store a number, a date or a timestamp"
        raise place.error(f"holds {array.type}, which is no time", remedy, column=column)
    return _whole(array)


def _whole(array: AnyArray) -> npt.NDArray[np.int64]:
    if pa.types.is_date32(array.type) or pa.types.is_time32(array.type):
        array = array.cast(pa.int32())
    elif pa.types.is_timestamp(array.type):
        # One unit, because files of one log may differ in theirs.
        array = array.cast(pa.timestamp("us", array.type.tz), safe=False)
    return np.asarray(array.cast(pa.int64(), safe=False).to_numpy(zero_copy_only=False))


Ints = npt.NDArray[np.int64]
BIN_BITS = 20


def kth_smallest(scan: Callable[[], Iterator[Ints]], k: int) -> int:
    """The value at position `k` (from 0) of all int64 values of the stream in sorted order.

    Args:
        scan: starts the stream anew; it is read up to five times.
        k: a position below the number of values.
    """
    low, high = _range(scan)
    below = 0
    while low < high:
        # Bins of 2^shift values, at most 2^20 of them, over [low, high].
        shift = max((high - low).bit_length() - BIN_BITS, 0)
        counts = _counts(scan, low, high, shift)
        position = np.cumsum(counts)
        chosen = int(np.searchsorted(position, k - below, side="right"))
        below += int(position[chosen - 1]) if chosen else 0
        low = low + (chosen << shift)
        high = min(high, low + (1 << shift) - 1)
    return low


def _range(scan: Callable[[], Iterator[Ints]]) -> tuple[int, int]:
    low, high = 2**63 - 1, -(2**63)
    for values in scan():
        if len(values):
            low, high = min(low, int(values.min())), max(high, int(values.max()))
    return low, high


def _counts(scan: Callable[[], Iterator[Ints]], low: int, high: int, shift: int) -> Ints:
    counts = np.zeros(((high - low) >> shift) + 1, np.int64)
    for values in scan():
        inside = values[(values >= low) & (values <= high)]
        # Differences of int64 fit in uint64, where the subtraction cannot overflow.
        distance = inside.view(np.uint64) - np.uint64(low % 2**64)
        bins = (distance >> np.uint64(shift)).astype(np.int64)
        counts += np.bincount(bins, minlength=len(counts))
    return counts
