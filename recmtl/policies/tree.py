"""A branched network as data: which tasks still share a branch at each depth, and what it costs.

The tree of least cost within a budget: exact for few tasks, a beam for many.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recmtl.errors import ConfigError
from recmtl.policies.tree_front import FloatArray, Front, Fronts, Merges, Partition, Trail

__all__ = ["Tree", "all_trees", "branch_tree", "tree_cost", "tree_parameters"]

Clusters = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Tree:
    """A partition of the tasks for each depth; each refines the one before it.

    Attributes:
        clusters: `clusters[d]` are the branches at depth d, from the encoder upward; a branch is
            the tasks that take it, in ascending order, and branches are ordered by their first.
    """

    clusters: tuple[Clusters, ...]

    def __post_init__(self) -> None:
        """Refuse what is no tree: tasks twice or missing, branches that meet again."""
        if not self.clusters or not self.clusters[0]:
            raise ConfigError("tree: it needs at least one depth and one task")
        everyone = list(range(self.num_tasks))
        for depth, clusters in enumerate(self.clusters):
            if sorted(task for cluster in clusters for task in cluster) != everyone:
                raise ConfigError(f"tree: depth {depth} must hold each of its tasks once")
            if list(clusters) != sorted(tuple(sorted(cluster)) for cluster in clusters):
                raise ConfigError(f"tree: depth {depth} is not in order; build it with Tree.of")
        partitions = self.partitions()
        for depth in range(1, len(partitions)):
            steps = set(zip(partitions[depth], partitions[depth - 1], strict=True))
            if len(steps) > len(self.clusters[depth]):
                raise ConfigError(f"tree: branches that parted meet again at depth {depth}")

    @classmethod
    def of(cls, partitions: Sequence[Sequence[int]]) -> "Tree":
        """The tree in which task t takes branch `partitions[d][t]` at depth d; any numbers do."""
        depths = []
        for branches in partitions:
            tasks = {
                branch: tuple(t for t, b in enumerate(branches) if b == branch)
                for branch in branches
            }
            depths.append(tuple(tasks.values()))
        return cls(tuple(depths))

    @property
    def num_tasks(self) -> int:
        """Number T of tasks."""
        return sum(map(len, self.clusters[0]))

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of branches at each depth."""
        return tuple(map(len, self.clusters))

    def partitions(self) -> tuple[tuple[int, ...], ...]:
        """For each depth the number of the branch that each task takes; `of` is the inverse."""
        numbered = []
        for clusters in self.clusters:
            branch = {task: number for number, tasks in enumerate(clusters) for task in tasks}
            numbered.append(tuple(branch[task] for task in range(self.num_tasks)))
        return tuple(numbered)

    def to_json(self) -> dict[str, Any]:
        """The tree as JSON data; `from_json` is its inverse."""
        return {"clusters": [[list(tasks) for tasks in clusters] for clusters in self.clusters]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Tree":
        """Rebuild a tree from `to_json` data."""
        return cls(tuple(tuple(map(tuple, clusters)) for clusters in data["clusters"]))


def tree_cost(tree: Tree, affinity: NDArray[np.floating[Any]]) -> float:
    """How unlike the tasks are that share: the least is the best tree.

    The sum over depths d of the mean over branches of the largest `1 - affinity[d, i, j]` among
    the branch's tasks, 0 for a task alone (arXiv 1904.02920, section 3). As a mean over branches
    it favours one large branch beside many lone tasks, as in the authors' own CelebA tree.

    Args:
        tree: D depths of T tasks.
        affinity: `[D, T, T]`.
    """
    dissimilarity = 1.0 - np.asarray(affinity, np.float64)
    total = 0.0
    for clusters, unlike in zip(tree.clusters, dissimilarity, strict=True):
        worst = [unlike[np.ix_(c, c)].max() if len(c) > 1 else 0.0 for c in clusters]
        total += float(np.mean(worst))
    return total


def tree_parameters(tree: Tree, sizes: Sequence[float]) -> float:
    """What the branches cost: the sum over depths of their number times the size of one.

    Sizes `[D]` may be parameters or multiply-adds of a block; whole numbers give a whole number.
    """
    return sum(count * size for count, size in zip(tree.counts, sizes, strict=True))


def all_trees(num_tasks: int, num_depths: int) -> Iterator[Tree]:
    """Every tree, for few tasks: 4 tasks have 60 of two depths, 5 have 358 (OEIS A000258)."""
    for partitions in _chains([(0,)] * num_depths, num_tasks - 1):
        yield Tree.of(partitions)


def _chains(chain: list[tuple[int, ...]], missing: int) -> Iterator[list[tuple[int, ...]]]:
    """Chains of partitions that go on from `chain` when so many more tasks join, one by one.

    A task joins an old branch down to some depth, at which it parts and stays alone.
    """
    if not missing:
        yield chain
        return
    for branches in _joins(chain):
        longer = [(*old, branch) for old, branch in zip(chain, branches, strict=True)]
        yield from _chains(longer, missing - 1)


def _joins(chain: list[tuple[int, ...]]) -> Iterator[list[int]]:
    """Branches that a new task may take, depth by depth; a new number where it is alone."""
    alone = [max(old) + 1 for old in chain]
    yield alone
    for depth, old in enumerate(chain):
        for branch in sorted(set(old)):
            member = old.index(branch)
            yield [level[member] for level in chain[: depth + 1]] + alone[depth + 1 :]


EXACT_TASKS = 7
BEAM = 25
SHARES = np.linspace(0.0, 1.0, 16)


def branch_tree(
    affinity: NDArray[np.floating[Any]],
    sizes: Sequence[float],
    *,
    budget: float,
    beam: int | None = None,
) -> Tree:
    """The tree with the least `tree_cost` among those with `tree_parameters` within the budget.

    Goes from the deepest layer to the first. At each depth every partition that can still be
    reached is coarsened by merging two branches at a time, and keeps the best trade-offs between
    size and cost of the trees over it; so the budget is spread over all depths at once. Without a
    beam the tree is exact. A beam keeps, for each number of branches, the partitions that rank
    first at any of 16 limits of what the deeper layers may spend (arXiv 1904.02920, section 3,
    searches by beam as well, over groupings by spectral clustering; merging by the cost itself is
    our choice).

    Equal costs go to the tree whose pairs are more alike, then to the smaller one.

    Args:
        affinity: `[D, T, T]`, as `rsa_affinity` gives it.
        sizes: `[D]`, what one block of each depth costs, in parameters or multiply-adds.
        budget: the most that all blocks together may cost, in the same unit.
        beam: partitions kept for each number of branches; None keeps all of them up to 7 tasks, and
            25 beyond. With 25 five tasks are exact: none of their numbers of branches has more.

    Raises:
        ConfigError: the budget is below what one block a depth costs, or affinity and sizes do not
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
    trail, fronts = Trail(), {tuple(range(tasks)): Front.start()}
    for depth in reversed(range(len(sizes))):
        layer = _Layer(unlike[depth], sizes, depth=depth, budget=budget, beam=beam)
        fronts = {tree: trail.record(tree, front) for tree, front in layer.under(fronts)}
    best = Fronts(fronts).over((0,) * tasks)
    return Tree.of(trail.path(int(best.steps[-1])))


class _Layer:
    """One depth of the search.

    Args:
        unlike: dissimilarities `[T, T]`.
        sizes: of a block, at all depths.
        depth: this one.
        budget: of the whole tree.
        beam: partitions kept for each number of branches, or None.
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

    def under(self, fronts: Mapping[Partition, Front]) -> Iterator[tuple[Partition, Front]]:
        """Put this layer under the trees of the deeper ones: partitions and their fronts."""
        deeper, merges = Fronts(fronts), cache(lambda partition: Merges(partition, self.unlike))
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

    def _longer(self, over: Front, branches: int, cost: float) -> Front:
        longer = Front(over.sizes + branches * self.size, over.costs + cost, over.steps)
        unbound = self.budget - branches * self.shallower
        return longer.within(self.budget - self.shallower, unbound=unbound)

    def _least(self, over: Front, branches: int) -> FloatArray:
        """Least costs `[16]` of the deeper layers within what they may spend, low to high."""
        most = min(self.budget - self.shallower - self.size, self.tasks * self.deeper)
        low = branches * self.deeper
        return over.least(low + SHARES * (most - low))


class _Candidates:
    """Partitions with one number of branches, and the least costs that they attain."""

    def __init__(self) -> None:
        self.costs: dict[Partition, FloatArray] = {}

    def add(self, partition: Partition, costs: FloatArray) -> None:
        """One more way to a partition, with its cost at each limit."""
        self.costs[partition] = np.minimum(costs, self.costs.get(partition, costs))

    def best(self, number: int | None) -> list[Partition]:
        """So many partitions (None: all): those that rank first at any limit."""
        found = list(self.costs)
        if number is None or len(found) <= number:
            return found
        costs = np.stack(list(self.costs.values()))
        ranks = np.where(np.isinf(costs), np.inf, costs.argsort(0).argsort(0))
        return [found[n] for n in np.lexsort((costs.min(1), ranks.min(1)))[:number]]


def _checked(affinity: NDArray[np.floating[Any]], sizes: Sequence[float]) -> FloatArray:
    values = np.asarray(affinity, np.float64)
    depths = len(sizes)
    if values.ndim != 3 or values.shape[1] != values.shape[2] or len(values) != depths:
        shape = list(values.shape)
        raise ConfigError(f"branch_tree: affinity {shape} is not [depths, tasks, tasks]: {depths}")
    diagonal = values.diagonal(axis1=1, axis2=2)
    if not (np.allclose(values, values.transpose(0, 2, 1)) and (diagonal == 1.0).all()):
        raise ConfigError("branch_tree: affinity must be finite, symmetric and 1 on its diagonal")
    return values
