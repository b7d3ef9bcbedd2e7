"""Sharing without gates, and the two kinds of level that most published models are stacks of.

`apart` and `mixed` build levels for the whole catalog: experts that each write a lane, and experts
that every lane may listen to. The models here share by hard-wired experts (`single_task`,
`shared_bottom`), nothing but embeddings or experts (`towers_apart`, `embeddings_apart`), nothing at
all (`all_apart`), by free scalars (`cross_stitch`) or along a tree (`branched`).
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

from recmtl.errors import ConfigError
from recmtl.grid.layout import GateKind, Layer, Layout

__all__ = [
    "Level",
    "all_apart",
    "apart",
    "branched",
    "column",
    "cross_features",
    "cross_stitch",
    "embeddings_apart",
    "mixed",
    "shared_bottom",
    "single_task",
    "towers_apart",
    "wired",
]

Level = Sequence[int] | Sequence[Layer]
"""The experts of a level: one stack of products, by its widths, or several blocks one above the
other, each a layer of one expert whose wiring does not matter."""


def wired(
    block: Layer,
    applications: Sequence[tuple[int, int]],
    edges: Sequence[Sequence[int]],
    **changes: Any,
) -> Layer:
    """A layer whose experts are like that of `block`; `changes` set further fields of the layer."""
    fresh: dict[str, Any] = dict.fromkeys(
        ("queries", "shortcut", "residual_edges", "detached_edges", "shortcut_projection"), ()
    )
    lanes = tuple(map(tuple, edges))
    return replace(block, applications=tuple(applications), edges=lanes, **(fresh | changes))


def apart(reads: Sequence[int], widths: Sequence[int] | Layer) -> Layer:
    """One expert and one lane for each entry of `reads`, the lane that the expert reads.

    Nothing is mixed. Experts have the given widths, or are like that of the given block.
    """
    numbers = range(len(reads))
    block = widths if isinstance(widths, Layer) else _products(widths)
    return wired(block, tuple(zip(numbers, reads, strict=True)), [(n,) for n in numbers])


def column(reads: Sequence[int], level: Level) -> list[Layer]:
    """A level of `apart` experts, each a column of the level's blocks; `reads` as for `apart`."""
    if all(isinstance(width, int) for width in level):
        return [apart(reads, cast(Sequence[int], level))]
    first, *rest = cast(Sequence[Layer], level)
    return [apart(reads, first), *(apart(range(len(reads)), block) for block in rest)]


def mixed(
    num_tasks: int,
    *,
    experts: int,
    levels: Sequence[Level],
    gate: GateKind = "softmax",
    searched: bool = False,
) -> tuple[Layer, ...]:
    """Levels of experts in which every lane may listen to every expert of its level.

    Experts of the first level read the input. A level writes one lane for each expert of the next
    level, the last level one lane for each task. Softmax gates look at the input.
    """
    everyone, layers = tuple(range(experts)), list[Layer]()
    for depth, level in enumerate(levels):
        lanes = experts if depth + 1 < len(levels) else num_tasks
        *below, last = column(everyone if depth else (0,) * experts, level)
        edges = (everyone,) * lanes
        layers += [
            *below,
            wired(last, last.applications, edges, gate=gate, searched=searched),
        ]
    return tuple(layers)


def _products(widths: Sequence[int]) -> Layer:
    hidden = tuple(widths[:-1])
    return Layer(widths[-1], ((0, 0),), ((0,),), hidden=hidden, gate="one")


def single_task(num_tasks: int, *, widths: Level) -> Layout:
    """One tower of experts a task, `y_t = h_t(f_t(x))`: tasks share only the encoder."""
    layers = tuple(column((0,) * num_tasks, widths))
    source = "no paper; towers apart, the encoder shared"
    return Layout("single task", layers, tuple(range(num_tasks)), source)


def towers_apart(num_tasks: int, *, levels: Sequence[Level]) -> Layout:
    """One column of experts a task, all on the encoder's one lane: tasks share the embeddings.

    `y_t = h_t(f_t(x))`; `f_t` has an expert for each of the levels.
    """
    source = "no paper; one embedding of the row, which every task trains"
    layers = _columns((0,) * num_tasks, levels)
    return Layout("towers apart", layers, tuple(range(num_tasks)), source)


def embeddings_apart(num_tasks: int, *, levels: Sequence[Level]) -> Layout:
    """One embedding of the row a task, and one column of experts that is applied to each.

    `y_t = h_t(f(x_t))`; `f` has an expert for each of the levels.
    """
    tasks = tuple(range(num_tasks))
    edges = tuple((task,) for task in tasks)
    layers = [
        wired(block, tuple((0, task) for task in tasks), edges)
        for level in levels
        for block in column((0,), level)
    ]
    source = "no paper; an embedding a task, and experts that all tasks train"
    return Layout("embeddings apart", tuple(layers), tasks, source, input_lanes=num_tasks)


def all_apart(num_tasks: int, *, levels: Sequence[Level]) -> Layout:
    """One embedding of the row and one column of experts a task: tasks share nothing.

    `y_t = h_t(f_t(x_t))`: networks of single tasks that are trained side by side.
    """
    tasks = tuple(range(num_tasks))
    source = "no paper; single-task networks trained as one, with one early stop"
    layers = _columns(tasks, levels)
    return Layout("all apart", layers, tasks, source, input_lanes=num_tasks)


def _columns(reads: Sequence[int], levels: Sequence[Level]) -> tuple[Layer, ...]:
    """A column of experts for each entry of `reads`, the lane that its first expert reads."""
    layers, lanes = list[Layer](), tuple(reads)
    for level in levels:
        layers += column(lanes, level)
        lanes = tuple(range(len(reads)))
    return tuple(layers)


def cross_features(layout: Layout) -> Layout:
    """The layout with cross features (DCN-V2) in place of the perceptrons that read the input.

    They are two crossings whose rank is a quarter of the expert's width, and cost about as much.
    The wiring stays. Experts of other kinds stay, too: the first layer with perceptrons is changed.

    Raises:
        ConfigError: the layout has no perceptrons.
    """
    first = next((n for n, layer in enumerate(layout.layers) if layer.experts == "mlp"), None)
    if first is None:
        raise ConfigError(f"{layout.name}: has no perceptrons that cross features could replace")
    layer, layers = layout.layers[first], list(layout.layers)
    rank = max(1, layer.width // 4)
    layers[first] = replace(layer, experts="cross", hidden=(rank, rank))
    return replace(layout, layers=tuple(layers))


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
        ConfigError: the numbers of partitions and levels differ, a partition has another number of
            tasks than the first, or branches meet again.

    >>> layout = branched([[0, 0, 0], [0, 0, 1]], levels=[(4,), (4,)])
    >>> [layer.num_experts for layer in layout.layers], layout.readout
    ([1, 2], (0, 0, 1))
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
    branches = list(dict.fromkeys(partition))
    return tuple(branches.index(branch) for branch in partition)


def _parents(above: Sequence[int], below: Sequence[int]) -> list[int]:
    """For each branch below the lane above that it reads."""
    pairs = set(zip(_lanes(below), _lanes(above), strict=True))
    if len(pairs) > len(set(below)):
        raise ConfigError("branched tree: tasks that part at one depth share a branch below it")
    return [parent for _, parent in sorted(pairs)]
