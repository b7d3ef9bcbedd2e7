"""What a layout costs: parameters and multiply-adds an example, counted, not measured.

One multiply and one add count as one; biases, activations, normalisation and the embedding
lookup are not counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from recmtl.grid.layout import INPUT, Layer, Layout
from recmtl.grid.routes import Decision, full_decision

__all__ = ["Cost", "expected_multiply_adds", "layout_cost"]


@dataclass(frozen=True)
class Cost:
    """Parameters, and multiply-adds of one example's forward pass."""

    parameters: int
    multiply_adds: int

    def __add__(self, other: "Cost") -> "Cost":
        """Two parts of a network together."""
        return Cost(self.parameters + other.parameters, self.multiply_adds + other.multiply_adds)


def layout_cost(layout: Layout, *, input_width: int) -> Cost:
    """The exact cost of a network of this layout with every edge kept."""
    total, width = Cost(0, 0), input_width
    for layer in layout.layers:
        products = _expert_products(layer, width)
        biases = 0 if layer.carries else sum(layer.hidden) + layer.width
        total += Cost(layer.num_experts * (products + biases), 0)
        total += Cost(0, len(layer.applications) * products)
        for edges, sources in zip(layer.edges, layer.queries, strict=True):
            if layer.gate == "scalar":
                total += Cost(len(layer.applications), 0)
            if layer.gate == "softmax" and len(edges) > 1:
                sizes = [input_width * layout.input_lanes if q == INPUT else width for q in sources]
                total += Cost(len(edges) * (sum(sizes) + len(sizes)), len(edges) * sum(sizes))
            if layer.gate == "scalar" or len(edges) > 1:
                total += Cost(0, len(edges) * layer.width)
        width = layer.width
    return total


def expected_multiply_adds(
    layout: Layout, decisions: Sequence[Decision], *, input_width: int
) -> Tensor:
    """Expected multiply-adds of a grid under relaxed decisions, differentiable.

    Reads keep and run as independent probabilities: an application costs something if any live
    lane keeps it; a lane is live if a live application or gate reads it or a skip passes it on.
    Hard decisions give the cost of the pruned network, up to lanes that pruning merges.
    """
    widths = [input_width, *(layer.width for layer in layout.layers)]
    live = torch.zeros(layout.layers[-1].num_lanes)
    live[list(set(layout.readout))] = 1.0
    total = torch.zeros(())
    for depth in reversed(range(len(layout.layers))):
        layer, decision = layout.layers[depth], decisions[depth]
        lanes = layout.layers[depth - 1].num_lanes if depth else layout.input_lanes
        skips = torch.tensor([s is not None for s in layer.shortcut])
        run = torch.where(skips, decision.run.mean(0), 1.0)
        kept = (live * run).unsqueeze(-1) * decision.keep
        used = 1.0 - torch.prod(1.0 - kept, 0)
        # A lane with one edge copies it: nothing to gate, nothing to add up.
        mixes = (decision.keep.sum(-1) - 1.0).clamp(0.0, 1.0) * live * run
        gated = mixes if layer.gate == "softmax" else torch.zeros_like(mixes)
        sizes = _query_sizes(layer, widths[depth], input_width * layout.input_lanes)
        per_edge = mixes * layer.width + gated * (decision.query * sizes).sum(-1)
        total = total + used.sum() * _expert_products(layer, widths[depth])
        total = total + (decision.keep.sum(-1) * per_edge).sum()
        looks = gated.unsqueeze(-1) * decision.query
        live = _live_below(layer, used, live * (1.0 - run), looks, lanes)
    return total


def _query_sizes(layer: Layer, lane_width: int, input_width: int) -> Tensor:
    """Width `[K, Q]` of what each lane's query sources show."""
    sizes = torch.zeros(layer.num_lanes, max(map(len, layer.queries)))
    for lane, sources in enumerate(layer.queries):
        for number, source in enumerate(sources):
            sizes[lane, number] = input_width if source == INPUT else lane_width
    return sizes


def _live_below(layer: Layer, used: Tensor, passed: Tensor, looks: Tensor, lanes: int) -> Tensor:
    """Probability `[lanes]` that something in this layer needs a lane of the layer below."""
    dead = [torch.ones(()) for _ in range(lanes)]
    for application, read in enumerate(layer.reads):
        dead[read] = dead[read] * (1.0 - used[application])
    for lane, (shortcut, sources) in enumerate(zip(layer.shortcut, layer.queries, strict=True)):
        if shortcut is not None:
            dead[shortcut] = dead[shortcut] * (1.0 - passed[lane])
        for number, source in enumerate(sources):
            if source != INPUT:
                dead[source] = dead[source] * (1.0 - looks[lane, number])
    return 1.0 - torch.stack(dead)


def _expert_products(layer: Layer, width: int) -> int:
    if layer.carries:
        return 0
    sizes = (width, *layer.hidden, layer.width)
    return sum(a * b for a, b in pairwise(sizes))


def full_multiply_adds(layout: Layout, *, input_width: int) -> float:
    """`expected_multiply_adds` of the full grid: the reference of a relative budget."""
    full = [full_decision(layer) for layer in layout.layers]
    return float(expected_multiply_adds(layout, full, input_width=input_width))
