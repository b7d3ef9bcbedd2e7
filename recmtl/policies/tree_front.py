"""What a partition costs at one depth, and what merging two of its branches would cost.

The best trade-offs between two prices, and the way that led to each.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["FloatArray", "Front", "Fronts", "Merges", "Partition", "Trail"]

Partition = tuple[int, ...]
"""The branch of each task `[T]`; branches are numbered as they first occur."""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

TIE = 1e-9


class Merges:
    """A partition of tasks under dissimilarities `[T, T]` with a zero diagonal.

    The largest dissimilarity inside branches leaves many ties; one part in 10^9 of the mean over
    pairs settles them without regard to the order of the tasks.

    Attributes:
        cost: mean over branches of the largest dissimilarity inside.
    """

    def __init__(self, partition: Partition, unlike: FloatArray) -> None:
        self.partition = partition
        order = np.argsort(partition, kind="stable")
        branches = np.asarray(partition)[order]
        starts = np.flatnonzero(np.r_[True, branches[1:] != branches[:-1]])
        blocks = unlike[order][:, order]
        self.largest = _between(np.maximum, blocks, starts)
        self.sums = _between(np.add, blocks, starts)
        self.tie = TIE / unlike.size
        self.cost = float(self.largest.trace() + self.tie * self.sums.trace()) / len(starts)

    def best(self, number: int | None) -> Iterator[tuple[float, Partition]]:
        """So many of the cheapest partitions after one merge (None: all), with their costs."""
        first, second = _pairs(len(self.largest))
        own = self.largest.diagonal()
        together = np.maximum(self.largest[first, second], np.maximum(own[first], own[second]))
        worst = own.sum() - own[first] - own[second] + together
        pairs = self.sums.trace() + 2.0 * self.sums[first, second]
        costs = (worst + self.tie * pairs) / max(len(own) - 1, 1)
        chosen = np.argsort(costs, kind="stable")[:number]
        merged = _merged(self.partition, first[chosen], second[chosen])
        yield from zip(costs[chosen].tolist(), merged, strict=True)


@cache
def _pairs(count: int) -> tuple[IntArray, IntArray]:
    first, second = np.triu_indices(count, 1)
    return first, second


def _between(combine: np.ufunc, blocks: FloatArray, starts: IntArray) -> FloatArray:
    """Combine the entries `[T, T]` of each pair of branches into `[k, k]`."""
    rows = combine.reduceat(blocks, starts, axis=0)
    pairs: FloatArray = combine.reduceat(rows, starts, axis=1)
    return pairs


def _merged(partition: Partition, first: IntArray, second: IntArray) -> list[Partition]:
    """Each branch `second` `[N]` joins its `first`, which is less; the numbers close up."""
    old, into, gone = np.asarray(partition), first[:, None], second[:, None]
    return list(map(tuple, np.where(old == gone, into, old - (old > gone)).tolist()))


@dataclass(frozen=True)
class Front:
    """Trees of which none is better in both: sizes `[N]` ascend, costs `[N]` descend.

    `steps` `[N]` are the numbers under which a `Trail` knows their last layers.
    """

    sizes: FloatArray
    costs: FloatArray
    steps: NDArray[np.int64]

    @classmethod
    def start(cls) -> "Front":
        """The one tree without layers."""
        return cls(np.zeros(1), np.zeros(1), np.full(1, -1))

    def __len__(self) -> int:
        """Number of trees."""
        return len(self.sizes)

    def part(self, chosen: slice | NDArray[np.int64]) -> "Front":
        """Some of the trees, in order."""
        return Front(self.sizes[chosen], self.costs[chosen], self.steps[chosen])

    def within(self, limit: float, *, unbound: float) -> "Front":
        """Trees up to a limit; of those that can never exceed the budget only the last, the best.

        Args:
            limit: largest size from which the budget can still be met.
            unbound: largest size from which the budget is met whatever the layers to come are.
        """
        first = int(np.searchsorted(self.sizes, unbound, "right")) - 1
        return self.part(slice(max(first, 0), int(np.searchsorted(self.sizes, limit, "right"))))

    def least(self, limits: FloatArray) -> FloatArray:
        """Least cost within each size limit, infinite where nothing fits."""
        fitting = np.searchsorted(self.sizes, limits, "right") - 1
        return np.where(fitting < 0, np.inf, self.costs[fitting])


class Fronts:
    """The fronts of one depth by partition, and the front over any coarser partition."""

    def __init__(self, fronts: Mapping[Partition, Front]) -> None:
        first = [[partition.index(branch) for branch in partition] for partition in fronts]
        self.first = np.array(first)
        owner = np.repeat(np.arange(len(fronts)), list(map(len, fronts.values())))
        sizes = np.concatenate([front.sizes for front in fronts.values()])
        costs = np.concatenate([front.costs for front in fronts.values()])
        order = np.lexsort((costs, sizes))
        self.owner, self.sizes, self.costs = owner[order], sizes[order], costs[order]
        self.steps = np.concatenate([front.steps for front in fronts.values()])[order]

    def over(self, partition: Partition) -> Front:
        """The best trees whose last partition refines this one."""
        branches = np.array(partition)
        # One refines another if each task is where the first task of its branch is.
        refines = (branches[self.first] == branches).all(1)
        fitting = np.flatnonzero(refines[self.owner])
        costs = self.costs[fitting]
        better = costs[1:] < np.minimum.accumulate(costs)[:-1]
        chosen = fitting[np.r_[True, better]]
        return Front(self.sizes[chosen], self.costs[chosen], self.steps[chosen])


class Trail:
    """Remembers for every tree of every front its last partition and the tree before it."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.partitions: list[Partition] = []
        self.before: list[NDArray[np.int64]] = []
        self.length = 0

    def record(self, partition: Partition, front: Front) -> Front:
        """The front with numbers of its own, after one more layer that is `partition`."""
        self.starts.append(self.length)
        self.partitions.append(partition)
        self.before.append(front.steps)
        first, self.length = self.length, self.length + len(front)
        return Front(front.sizes, front.costs, np.arange(first, self.length))

    def path(self, step: int) -> list[Partition]:
        """The partitions of a tree, from the layer recorded last to the first."""
        partitions = []
        while step >= 0:
            chunk = bisect_right(self.starts, step) - 1
            partitions.append(self.partitions[chunk])
            step = int(self.before[chunk][step - self.starts[chunk]])
        return partitions
