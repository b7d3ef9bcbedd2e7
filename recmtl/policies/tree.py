"""A branched network as data: which tasks share a branch at each depth, and what the tree costs.

A tree has a cost (how unlike the tasks are that share, from the affinities of `affinity.py`) and a
size (the blocks of its branches). `best_tree.py` finds the tree of least cost within a size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recmtl.errors import ConfigError

__all__ = ["Tree", "all_trees", "tree_cost", "tree_parameters"]

Clusters = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Tree:
    """A partition of the tasks for each depth; each refines the one before it.

    Attributes:
        clusters: `clusters[d]` are the branches at depth d, from the encoder upward. A branch is
            the tasks that take it, in ascending order; branches are ordered by their first task.

    >>> tree = Tree.of([(0, 0, 0), (0, 1, 0)])
    >>> tree.clusters
    (((0, 1, 2),), ((0, 2), (1,)))
    >>> tree.counts
    (1, 2)
    """

    clusters: tuple[Clusters, ...]

    def __post_init__(self) -> None:
        """Refuse what is not a tree: missing or repeated tasks, branches that rejoin."""
        if not self.clusters or not self.clusters[0]:
            raise ConfigError("tree: it needs at least one depth and one task")
        everyone = list(range(self.num_tasks))
        for depth, clusters in enumerate(self.clusters):
            if sorted(task for cluster in clusters for task in cluster) != everyone:
                raise ConfigError(f"tree: depth {depth} must hold each task once")
            if list(clusters) != sorted(tuple(sorted(cluster)) for cluster in clusters):
                raise ConfigError(f"tree: depth {depth} is not in order; build it with Tree.of")
        partitions = self.partitions()
        for depth in range(1, len(partitions)):
            steps = set(zip(partitions[depth], partitions[depth - 1], strict=True))
            if len(steps) > len(self.clusters[depth]):
                raise ConfigError(f"tree: branches that split below rejoin at depth {depth}")

    @classmethod
    def of(cls, partitions: Sequence[Sequence[int]]) -> "Tree":
        """The tree in which task t takes branch `partitions[d][t]` at depth d, in any numbering."""
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
        """For each depth the branch number of each task; `of` is the inverse."""
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
    """How unlike the sharing tasks are; the best tree has the least cost.

    It is the sum over depths d of the mean over branches of the largest `1 - affinity[d, i, j]`
    among the branch's tasks, 0 for a task alone (arXiv 1904.02920, section 3). As a mean over
    branches it favours one large branch beside many single tasks, as in the authors' CelebA tree.

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
    """The size of the branches: the sum over depths of their number times the size of one.

    Sizes `[D]` may be parameters or multiply-adds of a block; whole numbers give a whole number.
    """
    return sum(count * size for count, size in zip(tree.counts, sizes, strict=True))


def all_trees(num_tasks: int, num_depths: int) -> Iterator[Tree]:
    """Every tree; only for few tasks: 4 tasks have 60 of two depths, 5 have 358 (OEIS A000258)."""
    for partitions in _chains([(0,)] * num_depths, num_tasks - 1):
        yield Tree.of(partitions)


def _chains(chain: list[tuple[int, ...]], missing: int) -> Iterator[list[tuple[int, ...]]]:
    """Extend a chain of partitions, one a depth, by `missing` more tasks in every way.

    A new task joins an existing branch up to some depth, at which it splits off for good.
    """
    if not missing:
        yield chain
        return
    for branches in _joins(chain):
        longer = [(*old, branch) for old, branch in zip(chain, branches, strict=True)]
        yield from _chains(longer, missing - 1)


def _joins(chain: list[tuple[int, ...]]) -> Iterator[list[int]]:
    """The branches that a new task may take at each depth; a new number where it is alone."""
    alone = [max(old) + 1 for old in chain]
    yield alone
    for depth, old in enumerate(chain):
        for branch in sorted(set(old)):
            member = old.index(branch)
            yield [level[member] for level in chain[: depth + 1]] + alone[depth + 1 :]
