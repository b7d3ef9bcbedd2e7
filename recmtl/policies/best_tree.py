"""The branched tree of least cost within a budget: exact for few tasks, a beam search for many.

`branch_tree` goes through the depths from the last to the first. For each partition of the tasks it
keeps the Pareto front of the trees that start with this partition: those of which no other is both
smaller and cheaper. `tree.py` says what size and cost are.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recmtl.errors import ConfigError
from recmtl.policies.tree import Tree

__all__ = ["branch_tree"]

EXACT_TASKS = 7
"""Number of tasks up to which every partition is kept by default."""
BEAM = 25
SHARES = np.linspace(0.0, 1.0, 16)
"""Where a beam ranks, between the least and the most that the deeper layers may spend."""
TIE = 1e-9
"""Weight of the mean dissimilarity of all pairs, which settles ties of the largest one."""

Partition = tuple[int, ...]
"""The branch of each task `[T]`; branches are numbered as they first occur."""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def branch_tree(
    affinity: NDArray[np.floating[Any]],
    sizes: Sequence[float],
    *,
    budget: float,
    beam: int | None = None,
) -> Tree:
    """The tree with the least `tree_cost` among those with `tree_parameters` within the budget.

    The search goes from the deepest layer to the first. At each depth it coarsens every partition
    that can still be reached by merging two branches at a time, and keeps the best trade-offs
    between the size and the cost of the trees above it; so it spreads the budget over all depths
    at once. Without a beam the tree is exact. A beam keeps, for each number of branches, the
    partitions that rank first at any of 16 limits on the size of the deeper layers.

    Source: Branched Multi-Task Networks (arXiv 1904.02920, section 3), which also uses a beam, but
    over groupings by spectral clustering. Merging by the cost itself is our choice.

    Equal costs go to the tree whose sharing pairs are more alike, then to the smaller tree.

    >>> import numpy as np
    >>> alike = np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.1], [0.1, 0.1, 1.0]])
    >>> branch_tree(np.stack([alike, alike]), [10, 10], budget=50).partitions()
    ((0, 0, 1), (0, 1, 2))

    Args:
        affinity: `[D, T, T]`, as `rsa_affinity` returns it.
        sizes: `[D]`, what one block of each depth costs, in parameters or multiply-adds.
        budget: the most that all blocks together may cost, in the same unit.
        beam: partitions kept for each number of branches. None keeps all of them up to 7 tasks, and
            25 beyond. With 25 the tree of five tasks is exact: five tasks have at most 25
            partitions of any number of branches.

    Raises:
        ConfigError: the budget is below the cost of one block a depth, or affinity and sizes do not
            fit together.
    """
    unlike = 1.0 - _checked(affinity, sizes)
    if budget < sum(sizes):
        least = f"sharing everything costs {sum(sizes):,}; allow at least that"
        raise ConfigError(f"branch_tree: no tree fits a budget of {budget:,}: {least}")
    tasks = unlike.shape[1]
    if beam is None and tasks > EXACT_TASKS:
        beam = BEAM
    budget *= 1.0 + 1e-12  # sums of sizes round
    trail, fronts = _Trail(), {tuple(range(tasks)): _Front.start()}
    for depth in reversed(range(len(sizes))):
        layer = _DepthSearch(unlike[depth], sizes, depth=depth, budget=budget, beam=beam)
        fronts = {tree: trail.record(tree, front) for tree, front in layer.under(fronts)}
    best = _Fronts(fronts).over((0,) * tasks)
    return Tree.of(trail.path(int(best.steps[-1])))


def _checked(affinity: NDArray[np.floating[Any]], sizes: Sequence[float]) -> FloatArray:
    values = np.asarray(affinity, np.float64)
    depths = len(sizes)
    if values.ndim != 3 or values.shape[1] != values.shape[2] or len(values) != depths:
        shape = list(values.shape)
        raise ConfigError(
            f"branch_tree: affinity {shape} is not [depths, tasks, tasks] for {depths} sizes; "
            "give one matrix of the tasks for each size"
        )
    diagonal = values.diagonal(axis1=1, axis2=2)
    if not (np.allclose(values, values.transpose(0, 2, 1)) and (diagonal == 1.0).all()):
        raise ConfigError("branch_tree: affinity must be finite, symmetric and 1 on its diagonal")
    return values


@dataclass(frozen=True)
class _Front:
    """A Pareto front of trees: sizes `[N]` ascend, costs `[N]` descend.

    `steps` `[N]` are the numbers by which a `_Trail` identifies the trees.
    """

    sizes: FloatArray
    costs: FloatArray
    steps: IntArray

    @classmethod
    def start(cls) -> "_Front":
        """The one tree without layers."""
        return cls(np.zeros(1), np.zeros(1), np.full(1, -1))

    def __len__(self) -> int:
        """Number of trees."""
        return len(self.sizes)

    def within(self, limit: float, *, unbound: float) -> "_Front":
        """Drop the trees that are too large, and small ones that cannot be part of the best tree.

        Of the trees that meet the budget whatever lies below them, only the cheapest can be.

        Args:
            limit: largest size with which the budget can still be met.
            unbound: largest size with which the budget is met whatever lies below.
        """
        first = max(int(np.searchsorted(self.sizes, unbound, "right")) - 1, 0)
        kept = slice(first, int(np.searchsorted(self.sizes, limit, "right")))
        return _Front(self.sizes[kept], self.costs[kept], self.steps[kept])

    def least(self, limits: FloatArray) -> FloatArray:
        """Least cost within each size limit, infinite where nothing fits."""
        fitting = np.searchsorted(self.sizes, limits, "right") - 1
        return np.where(fitting < 0, np.inf, self.costs[fitting])


class _Fronts:
    """The fronts of one depth by partition, and the front over any coarser partition."""

    def __init__(self, fronts: Mapping[Partition, _Front]) -> None:
        first = [[partition.index(branch) for branch in partition] for partition in fronts]
        self.first = np.array(first)
        owner = np.repeat(np.arange(len(fronts)), list(map(len, fronts.values())))
        sizes = np.concatenate([front.sizes for front in fronts.values()])
        costs = np.concatenate([front.costs for front in fronts.values()])
        order = np.lexsort((costs, sizes))
        self.owner, self.sizes, self.costs = owner[order], sizes[order], costs[order]
        self.steps = np.concatenate([front.steps for front in fronts.values()])[order]

    def over(self, partition: Partition) -> _Front:
        """The best trees whose first partition refines this one."""
        branches = np.array(partition)
        # One refines another if each task is where the first task of its branch is.
        refines = (branches[self.first] == branches).all(1)
        fitting = np.flatnonzero(refines[self.owner])
        costs = self.costs[fitting]
        better = costs[1:] < np.minimum.accumulate(costs)[:-1]
        chosen = fitting[np.r_[True, better]]
        return _Front(self.sizes[chosen], self.costs[chosen], self.steps[chosen])


class _Trail:
    """Remembers for every tree of every front its first partition and the tree above that."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.partitions: list[Partition] = []
        self.before: list[IntArray] = []
        self.length = 0

    def record(self, partition: Partition, front: _Front) -> _Front:
        """Number the trees of a front that `partition` has just been put under."""
        self.starts.append(self.length)
        self.partitions.append(partition)
        self.before.append(front.steps)
        first, self.length = self.length, self.length + len(front)
        return _Front(front.sizes, front.costs, np.arange(first, self.length))

    def path(self, step: int) -> list[Partition]:
        """The partitions of a tree, from the layer recorded last to the one recorded first."""
        partitions = []
        while step >= 0:
            chunk = bisect_right(self.starts, step) - 1
            partitions.append(self.partitions[chunk])
            step = int(self.before[chunk][step - self.starts[chunk]])
        return partitions


class _DepthSearch:
    """The search at one depth: which partitions may lie under the trees of the deeper layers.

    Args:
        unlike: dissimilarities `[T, T]` at this depth.
        sizes: of a block, at all depths.
        depth: this depth.
        budget: of the whole tree.
        beam: partitions kept for each number of branches, or None for all.
    """

    def __init__(
        self,
        unlike: FloatArray,
        sizes: Sequence[float],
        *,
        depth: int,
        budget: float,
        beam: int | None,
    ) -> None:
        self.unlike, self.budget, self.beam = unlike, budget, beam
        self.size, self.tasks = sizes[depth], len(unlike)
        self.shallower, self.deeper = sum(sizes[:depth]), sum(sizes[depth + 1 :])

    def under(self, fronts: Mapping[Partition, _Front]) -> Iterator[tuple[Partition, _Front]]:
        """Put this depth under the trees of the deeper ones; yield partitions and their fronts."""
        deeper, merges = _Fronts(fronts), self._merges()
        waiting = [_Candidates() for _ in range(self.tasks + 1)]
        for partition, front in fronts.items():
            branches = len({*partition})
            waiting[branches].add(partition, merges(partition).cost + self._least(front, branches))
        for branches in range(self.tasks, 0, -1):
            for partition in waiting[branches].best(self.beam):
                over = deeper.over(partition)
                front = self._longer(over, branches, merges(partition).cost)
                if len(front):
                    yield partition, front
                least = self._least(over, branches - 1)
                for cost, merged in merges(partition).best(self.beam):
                    waiting[branches - 1].add(merged, cost + least)

    def _merges(self) -> Callable[[Partition], "_Merges"]:
        return cache(lambda partition: _Merges(partition, self.unlike))

    def _longer(self, over: _Front, branches: int, cost: float) -> _Front:
        longer = _Front(over.sizes + branches * self.size, over.costs + cost, over.steps)
        unbound = self.budget - branches * self.shallower
        return longer.within(self.budget - self.shallower, unbound=unbound)

    def _least(self, over: _Front, branches: int) -> FloatArray:
        """Least costs `[16]` of the deeper layers within what they may spend, low to high."""
        most = min(self.budget - self.shallower - self.size, self.tasks * self.deeper)
        low = branches * self.deeper
        return over.least(low + SHARES * (most - low))


class _Candidates:
    """Partitions with one number of branches, and the least costs that they attain."""

    def __init__(self) -> None:
        self.costs: dict[Partition, FloatArray] = {}

    def add(self, partition: Partition, costs: FloatArray) -> None:
        """Add one more way to a partition, with its cost at each limit."""
        self.costs[partition] = np.minimum(costs, self.costs.get(partition, costs))

    def best(self, number: int | None) -> list[Partition]:
        """The `number` partitions (None: all) that rank first at any limit."""
        partitions = list(self.costs)
        if number is None or len(partitions) <= number:
            return partitions
        costs = np.stack(list(self.costs.values()))
        ranks = np.where(np.isinf(costs), np.inf, costs.argsort(0).argsort(0))
        return [partitions[n] for n in np.lexsort((costs.min(1), ranks.min(1)))[:number]]


class _Merges:
    """The cost of a partition at one depth, and of every partition that one merge makes of it.

    The largest dissimilarity inside the branches leaves many ties; 1e-9 times the mean over pairs
    settles them independently of the order of the tasks.

    Args:
        partition: of the tasks.
        unlike: dissimilarities `[T, T]` with a zero diagonal.

    Attributes:
        cost: mean over the branches of the largest dissimilarity inside.
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
        """The `number` cheapest partitions (None: all) after one merge, with their costs."""
        first, second = _pairs(len(self.largest))
        inside = self.largest.diagonal()
        joined = np.maximum(self.largest[first, second], np.maximum(inside[first], inside[second]))
        worst = inside.sum() - inside[first] - inside[second] + joined
        pairs = self.sums.trace() + 2.0 * self.sums[first, second]
        costs = (worst + self.tie * pairs) / max(len(inside) - 1, 1)
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
    """Merge each branch `second` `[N]` into its `first`, the lower number; the numbers close up."""
    old, into, gone = np.asarray(partition), first[:, None], second[:, None]
    return list(map(tuple, np.where(old == gone, into, old - (old > gone)).tolist()))
