"""The exact k-th smallest of a stream that does not fit in memory: counting in ever finer bins."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["kth_smallest"]

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
