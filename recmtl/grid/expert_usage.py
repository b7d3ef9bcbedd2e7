"""Which experts a task can reach, and how much of each it uses.

`live_lanes`, `reachable_experts` and `shared_experts` read a layout alone. `row_use` and
`expert_use` follow gate shares down through a network, for reports, explanations and
`recmtl.grid.expert_health`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recmtl.grid.experts import pooled_features
from recmtl.grid.layout import Layout
from recmtl.grid.network import SharingGrid

__all__ = [
    "ExpertUsage",
    "expert_names",
    "expert_use",
    "live_lanes",
    "reachable_experts",
    "row_use",
    "shared_experts",
]

Expert = tuple[int, int]


def reachable_experts(layout: Layout) -> list[set[Expert]]:
    """For each task the experts (layer, number) that its head depends on.

    >>> from recmtl.grid import cgc
    >>> [sorted(experts) for experts in reachable_experts(cgc(2, own=1, shared=1, widths=(4,)))]
    [[(0, 0), (0, 2)], [(0, 1), (0, 2)]]
    """
    return [_reachable(layout, task) for task in range(layout.num_tasks)]


def _reachable(layout: Layout, task: int) -> set[Expert]:
    by_layer = zip(layout.layers, live_lanes(layout, task), strict=True)
    return {
        (depth, layer.applications[a][0])
        for depth, (layer, lanes) in enumerate(by_layer)
        for lane in lanes
        for a in layer.edges[lane]
        if not layer.only_mixes
    }


def live_lanes(layout: Layout, task: int) -> list[set[int]]:
    """For each layer the output lanes that a task's head depends on."""
    lanes = {layout.readout[task]}
    live = [lanes]
    for layer in reversed(layout.layers[1:]):
        read = {layer.applications[a][1] for lane in lanes for a in layer.edges[lane]}
        # A lane with edges and a shortcut runs, unless examples decide for themselves.
        may_skip = [lane for lane in lanes if not layer.edges[lane] or layer.rate < 1.0]
        passed = {layer.shortcut[lane] for lane in may_skip}
        lanes = read | {lane for lane in passed if lane is not None}
        live.insert(0, lanes)
    return live


def shared_experts(layout: Layout) -> Tensor:
    """Overlap `[T, T]` of the tasks' experts: shared ones by those of either task (Jaccard)."""
    reached = reachable_experts(layout)
    return torch.tensor([[len(a & b) / max(1, len(a | b)) for b in reached] for a in reached])


def expert_names(layout: Layout) -> list[str]:
    """Names of the experts in the order of `expert_use`: `1.0` is expert 0 of the first layer."""
    return [
        f"{depth + 1}.{expert}"
        for depth, layer in enumerate(layout.layers)
        for expert in range(layer.num_experts)
    ]


@dataclass(frozen=True)
class ExpertUsage:
    """How much each task uses of each expert and skip, for each row.

    Gate shares, followed down from a task's head. In a layer with softmax gates a task's shares of
    the experts and of what it skips (passes on unchanged) sum to 1.

    Attributes:
        experts: `[B, T, E]`, in the order of `expert_names`.
        skipped: `[B, T, L]`, one entry for each layer.
    """

    experts: Tensor
    skipped: Tensor


@torch.no_grad()
def row_use(grid: SharingGrid, lanes: Tensor) -> ExpertUsage:
    """How much each task uses of each expert and skip, for each row of `lanes` `[B, S, D]`."""
    inputs, source = [lanes], pooled_features(lanes).flatten(1)
    for layer in grid.layers:
        inputs.append(layer(inputs[-1], source, None))
    share = torch.eye(inputs[-1].shape[1]).to(lanes)[list(grid.layout.readout)].unsqueeze(0)
    experts: list[Tensor] = []
    skipped: list[Tensor] = []
    for depth in reversed(range(len(grid.layers))):
        layer, wiring, below = grid.layer(depth), grid.layout.layers[depth], inputs[depth]
        run = layer.running(below)
        used = (share * run.unsqueeze(1)) @ layer.weights(below, source)
        passed = share * (1.0 - run).unsqueeze(1)
        numbers = [expert for expert, _ in wiring.applications]
        experts.insert(0, used @ _onto(numbers, wiring.num_experts).to(lanes))
        skipped.insert(0, passed.sum(-1))
        shortcut = [0 if lane is None else lane for lane in wiring.shortcut]
        num_lanes = below.shape[1]
        share = used @ _onto(wiring.reads, num_lanes).to(lanes)
        share = share + passed @ _onto(shortcut, num_lanes).to(lanes)
    rows = len(lanes)
    return ExpertUsage(
        torch.cat([part.expand(rows, -1, -1) for part in experts], 2),
        torch.stack([part.expand(rows, -1) for part in skipped], 2),
    )


def expert_use(grid: SharingGrid, lanes: Tensor) -> Tensor:
    """Mean gate share `[T, E]` with which each task uses each expert, over all rows."""
    return row_use(grid, lanes).experts.mean(0)


def _onto(targets: Sequence[int], count: int) -> Tensor:
    """A matrix `[N, count]`: multiplied by it, column n is added to column `targets[n]`."""
    matrix = torch.zeros(len(targets), count)
    if count:
        matrix[range(len(targets)), list(targets)] = 1.0
    return matrix
