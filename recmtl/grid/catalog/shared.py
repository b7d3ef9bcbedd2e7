"""Sharing without gates: by hard-wired experts, by free scalars, along a tree."""

from collections.abc import Sequence
from itertools import pairwise

from recmtl.errors import ConfigError
from recmtl.grid.catalog.levels import Level, column, mixed
from recmtl.grid.layout import Layout

__all__ = ["branched", "cross_stitch", "shared_bottom", "single_task"]


def single_task(num_tasks: int, *, widths: Level) -> Layout:
    """One tower of experts a task, `y_t = h_t(f_t(x))`: nothing shared above the encoder."""
    layers = tuple(column((0,) * num_tasks, widths))
    source = "no paper; towers apart, the encoder shared"
    return Layout("single task", layers, tuple(range(num_tasks)), source)


def shared_bottom(num_tasks: int, *, widths: Level) -> Layout:
    """One expert for all tasks: `y_t = h_t(f(x))` (Caruana 1997)."""
    source = "Caruana, Machine Learning 1997; one bottom for all tasks"
    return Layout("shared bottom", tuple(column((0,), widths)), (0,) * num_tasks, source)


def cross_stitch(num_tasks: int, *, levels: Sequence[Level]) -> Layout:
    """One expert a task and level, mixed by free scalars (Misra et al., CVPR 2016).

    `lane'_t = sum_s alpha_ts f_s(lane_s)`. Reading: one scalar a pair of tasks, not one a channel,
    and all levels trained from the start; the paper starts from trained single-task networks.
    """
    layers = mixed(num_tasks, experts=num_tasks, levels=levels, gate="scalar")
    source = "Misra et al., CVPR 2016; one scalar a pair of tasks, trained from the start"
    return Layout("cross-stitch", layers, tuple(range(num_tasks)), source)


def balanced(num_tasks: int, depths: int) -> list[list[int]]:
    """Partitions of a binary tree: 1, 2, 4, ... branches, each halved at the next depth."""
    branches = [min(num_tasks, 2**depth) for depth in range(depths)]
    return [[task * count // num_tasks for task in range(num_tasks)] for count in branches]


def branched(partitions: Sequence[Sequence[int]], *, levels: Sequence[Level]) -> Layout:
    """A tree: one expert a branch, reading its parent (Vandenhende et al., BMVC 2020, section 3).

    Args:
        partitions: `partitions[d][t]` names the branch of task t at depth d, by any number. Tasks
            that part never meet again.
        levels: each depth's expert widths, or its blocks.

    Raises:
        ConfigError: other depths than levels, other tasks than at the first depth, or branches
            that meet again.
    """
    if not partitions or len(partitions) != len(levels):
        raise ConfigError(f"branched tree: {len(partitions)} partitions for {len(levels)} levels")
    if len({len(partition) for partition in partitions}) > 1:
        raise ConfigError("branched tree: every partition must name a branch for each task")
    layers = column((0,) * len(set(partitions[0])), levels[0])
    for (above, below), level in zip(pairwise(partitions), levels[1:], strict=True):
        layers += column(_parents(above, below), level)
    source = "Vandenhende et al., BMVC 2020; any tree, whatever criterion chose it"
    return Layout("branched tree", tuple(layers), _lanes(partitions[-1]), source)


def _lanes(partition: Sequence[int]) -> tuple[int, ...]:
    """The branches of a partition, numbered as they first occur."""
    found = list(dict.fromkeys(partition))
    return tuple(found.index(branch) for branch in partition)


def _parents(above: Sequence[int], below: Sequence[int]) -> list[int]:
    """For each branch below the lane above that it reads."""
    pairs = set(zip(_lanes(below), _lanes(above), strict=True))
    if len(pairs) > len(set(below)):
        raise ConfigError("branched tree: tasks that part at one depth share a branch below it")
    return [parent for _, parent in sorted(pairs)]
