"""What a layout costs in parameters and multiply-adds an example: counted, not measured.

One multiply and one add count as one; biases, activations, normalisation and the embedding lookup
do not count. `layout_cost` is exact; `expected_multiply_adds` is its differentiable form under
relaxed decisions, which a search pays for. `matched` scales a wiring to a given cost.

>>> from recmtl.grid import shared_bottom
>>> layout_cost(shared_bottom(2, widths=(4,)), input_width=3)
Cost(parameters=16, multiply_adds=12)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from recmtl.errors import ConfigError
from recmtl.grid.gates import INSTANCE_HIDDEN
from recmtl.grid.layout import INPUT, Layer, Layout, Pixels, lane_pixels, lane_widths
from recmtl.grid.routes import Decision, full_decision

__all__ = [
    "Cost",
    "expected_multiply_adds",
    "full_multiply_adds",
    "layout_cost",
    "matched",
    "scaled",
]

SMALLEST, LARGEST = 1.0 / 16.0, 16.0
"""Factors between which `matched` scales the widths of a layout."""


@dataclass(frozen=True)
class Cost:
    """Parameters, and multiply-adds of one example's forward pass."""

    parameters: int
    multiply_adds: int

    def __add__(self, other: "Cost") -> "Cost":
        """The cost of two parts of a network."""
        return Cost(self.parameters + other.parameters, self.multiply_adds + other.multiply_adds)


def layout_cost(layout: Layout, *, input_width: int, pixels: Pixels = (1, 1)) -> Cost:
    """The exact cost of a network of this layout with every edge kept.

    If examples decide for themselves whether a lane runs, its experts count with the layer's
    target rate.

    Args:
        layout: the wiring.
        input_width: features (channels) of an input lane.
        pixels: height and width of an input lane, one pixel for tables.
    """
    total, sizes = Cost(0, 0), lane_pixels(layout, pixels)
    for depth, (layer, width) in enumerate(
        zip(layout.layers, lane_widths(layout, input_width), strict=False)
    ):
        total += _expert_cost(layer, width, sizes[depth])
        total += _projection_cost(layer, width, sizes[depth])
        query_widths = input_width * layout.input_lanes, width
        total += _gate_cost(layer, *query_widths, area=math.prod(sizes[depth + 1]))
        total += _instance_cost(layer, width)
        of_lane = _feature_gate_cost(layer, layer.width or width, layout, input_width)
        total += Cost(layer.num_lanes * of_lane.parameters, layer.num_lanes * of_lane.multiply_adds)
    for interaction in layout.interactions:
        weights, products = interaction.weights(input_width), interaction.multiply_adds(input_width)
        total += Cost(weights, products)
    return total


def _expert_cost(layer: Layer, width: int, pixels: Pixels) -> Cost:
    products = _expert_products(layer, width, pixels)
    weights = products
    # Biases (of convolutions unless they are residual) and normalisation's two numbers a channel.
    extra = 0 if layer.experts in ("carry", "linear") else sum(layer.expert_widths(width)[1:])
    if layer.convolution is not None:
        weights = layer.convolution.weights(layer.expert_widths(width), pixels)
        extra *= 3 if layer.experts == "conv" else 2
    shares = [_application_share(layer, a) for a in range(len(layer.applications))]
    return Cost(layer.num_experts * (weights + extra), round(products * sum(shares)))


def _projection_cost(layer: Layer, width: int, pixels: Pixels) -> Cost:
    """Down-sampling shortcuts, which run for every example."""
    count = len({projection for projection, _ in layer.projection_applications})
    parameters = count * (width + 2) * layer.width
    return Cost(
        parameters, len(layer.projection_applications) * _projection_products(layer, width, pixels)
    )


def _projection_products(layer: Layer, width: int, pixels: Pixels) -> int:
    if not layer.has_projection or layer.convolution is None:
        return 0
    return width * layer.width * math.prod(layer.convolution.inner(pixels))


def _application_share(layer: Layer, application: int) -> float:
    """Share of examples that compute an application: the rate, if all its readers may skip."""
    readers = [lane for lane, edges in enumerate(layer.edges) if application in edges]
    always = any(layer.shortcut[lane] is None for lane in readers)
    return 1.0 if always or not readers else layer.rate


def _gate_cost(layer: Layer, input_width: int, width: int, *, area: int) -> Cost:
    """Gates, and weighted sums over `area` pixels; a lane with one edge copies it."""
    total, out = Cost(0, 0), (layer.width or width) * area
    rows = zip(layer.edges, layer.queries, layer.residual_edges, strict=True)
    for edges, sources, residual in rows:
        if layer.gate == "scalar":
            total += Cost(len(layer.applications), 0)
        if layer.gate == "softmax" and len(edges) > 1:
            sizes = [input_width if q == INPUT else width for q in sources]
            total += Cost(len(edges) * (sum(sizes) + len(sizes)), len(edges) * sum(sizes))
        if layer.selection is not None:
            outputs = layer.selection.outputs
            weighing = layer.selection.codes * (layer.selection.count + len(layer.applications))
            total += Cost(outputs * (input_width + 1), outputs * input_width + weighing)
        if layer.gate == "scalar" or len(edges) > 1:
            total += Cost(0, len(edges) * out)
        if any(layer.residual_edges):
            total += Cost(len(layer.applications), len(residual) * out)
    return total


def _instance_cost(layer: Layer, width: int) -> Cost:
    lanes = sum(source is not None for source in layer.shortcut)
    if layer.rate == 1.0 or not lanes:
        return Cost(0, 0)
    products = width * INSTANCE_HIDDEN + INSTANCE_HIDDEN
    return Cost(products + 3 * INSTANCE_HIDDEN + 1, lanes * products)


def _feature_gate_cost(layer: Layer, width: int, layout: Layout, input_width: int) -> Cost:
    """The feature gate of one lane of a width."""
    gates = layer.feature_gates
    if gates is None:
        return Cost(0, 0)
    source, prior = input_width * layout.input_lanes, len(layout.prior_columns(input_width))
    products = gates.hidden * (gates.query_width(prior=prior, source=source) + width)
    return Cost(products + gates.hidden + width, products)


def expected_multiply_adds(
    layout: Layout,
    decisions: Sequence[Decision],
    *,
    input_width: int,
    pixels: Pixels = (1, 1),
) -> Tensor:
    """Expected multiply-adds of a grid under relaxed decisions, differentiable.

    Reads keep and run as independent probabilities. An application costs something if any live
    lane keeps it. A lane is live if a live lane above listens to it, looks at it or, when skipped,
    passes it on. Hard decisions give the cost of the pruned network, except that lanes which
    pruning merges count one by one.

    Args:
        layout: the wiring.
        decisions: one for each layer.
        input_width: features (channels) of an input lane.
        pixels: height and width of an input lane, one pixel for tables.
    """
    widths, areas = lane_widths(layout, input_width), lane_pixels(layout, pixels)
    live = torch.zeros(layout.layers[-1].num_lanes)
    live[list(set(layout.readout))] = 1.0
    total = torch.zeros(())
    for depth in reversed(range(len(layout.layers))):
        layer, decision = layout.layers[depth], decisions[depth]
        lanes = layout.layers[depth - 1].num_lanes if depth else layout.input_lanes
        skips = torch.tensor([s is not None for s in layer.shortcut])
        run = torch.where(skips, decision.run.mean(0) * layer.rate, 1.0)
        kept = (live * run).unsqueeze(-1) * decision.keep
        used = 1.0 - torch.prod(1.0 - kept, 0)
        # A lane with one edge copies it: nothing to gate, nothing to add up.
        several = (decision.keep.sum(-1) - 1.0).clamp(0.0, 1.0)
        looking = several if layer.gate == "softmax" else torch.zeros_like(several)
        mixes, gated = several * live * run, looking * live * run
        query_widths = _query_widths(layer, widths[depth], input_width * layout.input_lanes)
        out = widths[depth + 1] * math.prod(areas[depth + 1])
        per_edge = mixes * out + gated * (decision.query * query_widths).sum(-1)
        total = total + used.sum() * _expert_products(layer, widths[depth], areas[depth])
        projected = _live_projections(layer, used, live * (1.0 - run))
        total = total + projected * _projection_products(layer, widths[depth], areas[depth])
        total = total + (decision.keep.sum(-1) * per_edge).sum()
        residual = _marked(layer, layer.residual_edges) * decision.keep
        total = total + (residual.sum(-1) * live * run).sum() * out
        total = total + _instance_cost(layer, widths[depth]).multiply_adds
        gate = _feature_gate_cost(layer, widths[depth + 1], layout, input_width)
        total = total + live.sum() * gate.multiply_adds
        if layer.selection is not None:
            products = layer.selection.outputs * input_width * layout.input_lanes
            weighing = layer.selection.codes * (layer.selection.count + used.sum())
            total = total + (live * run).sum() * (products + weighing)
        looks = looking.unsqueeze(-1) * decision.query
        live = _live_below(layer, decision.keep, looks, live=live, run=run, lanes=lanes)
    for lane, interaction in enumerate(layout.interactions, layout.embedding_lanes):
        total = total + live[lane] * interaction.multiply_adds(input_width)
    return total


def _live_projections(layer: Layer, used: Tensor, passed: Tensor) -> Tensor:
    """Expected number of projected lanes that an expert adds to or a skipped lane passes on."""
    needed = torch.zeros(())
    for pair in layer.projection_applications:
        experts = [a for a, application in enumerate(layer.applications) if application == pair]
        skips = [
            k for k, s in enumerate(layer.shortcut) if (layer.shortcut_projection[k], s) == pair
        ]
        # A lane either runs or skips, so that the probabilities add up.
        needed = needed + torch.cat([used[experts], passed[skips]]).sum().clamp_max(1.0)
    return needed


def _marked(layer: Layer, marked: Sequence[tuple[int, ...]]) -> Tensor:
    """`[K, A]`, 1 where an application is among a lane's marked ones."""
    table = torch.zeros(layer.num_lanes, len(layer.applications))
    for lane, applications in enumerate(marked):
        table[lane, list(applications)] = 1.0
    return table


def _query_widths(layer: Layer, lane_width: int, input_width: int) -> Tensor:
    """Width `[K, Q]` of each lane's query sources."""
    query_widths = torch.zeros(layer.num_lanes, max(map(len, layer.queries)))
    for lane, sources in enumerate(layer.queries):
        for number, source in enumerate(sources):
            query_widths[lane, number] = input_width if source == INPUT else lane_width
    return query_widths


def _live_below(
    layer: Layer, keep: Tensor, looks: Tensor, *, live: Tensor, run: Tensor, lanes: int
) -> Tensor:
    """Probability `[lanes]` that something in this layer needs a lane of the layer below.

    A live lane either runs, and needs the lanes that its edges read and its gate looks at, or is
    skipped, and needs the lane that it passes on. It never does both: a lane that is read and
    would be passed on is needed for certain.
    """
    alive = []
    for number in range(lanes):
        readers = [a for a, read in enumerate(layer.reads) if read == number]
        is_source = torch.zeros_like(looks)
        for lane, sources in enumerate(layer.queries):
            is_source[lane, : len(sources)] = torch.tensor([s == number for s in sources])
        unread = torch.prod(1.0 - keep[:, readers], -1) * torch.prod(1.0 - looks * is_source, -1)
        passed = torch.tensor([float(shortcut == number) for shortcut in layer.shortcut])
        needed = run * (1.0 - unread) + (1.0 - run) * passed
        alive.append(1.0 - torch.prod(1.0 - live * needed))
    return torch.stack(alive)


def _expert_products(layer: Layer, width: int, pixels: Pixels) -> int:
    if layer.only_mixes:
        return 0
    if layer.convolution is not None:
        return layer.convolution.products(layer.expert_widths(width), pixels)
    return sum(a * b for a, b in pairwise(layer.expert_widths(width)))


def full_multiply_adds(layout: Layout, *, input_width: int, pixels: Pixels = (1, 1)) -> float:
    """`expected_multiply_adds` of the full grid: the reference of a relative budget."""
    full = [full_decision(layer) for layer in layout.layers]
    return float(expected_multiply_adds(layout, full, input_width=input_width, pixels=pixels))


def scaled(layout: Layout, factor: float) -> Layout:
    """The layout with every width and hidden width times `factor`, rounded and at least 1."""

    def sized(layer: Layer) -> Layer:
        hidden = tuple(max(1, round(width * factor)) for width in layer.hidden)
        width = 0 if layer.only_mixes else max(1, round(layer.width * factor))
        gates = layer.feature_gates
        if gates is not None:
            gates = replace(gates, hidden=max(1, round(gates.hidden * factor)))
        return replace(layer, hidden=hidden, width=width, feature_gates=gates)

    return replace(layout, layers=tuple(sized(layer) for layer in layout.layers))


def same_wiring(one: Layout, other: Layout) -> bool:
    """Whether two layouts differ in nothing but widths and names.

    >>> from recmtl.grid import mmoe, omoe
    >>> narrow, wide = (mmoe(2, experts=3, widths=(width,)) for width in (4, 8))
    >>> same_wiring(narrow, wide), same_wiring(narrow, omoe(2, experts=3, widths=(4,)))
    (True, False)
    """
    first, second = scaled(one, 0.0), scaled(other, 0.0)
    return replace(first, name=second.name, source=second.source) == second


def matched(
    layout: Layout, target: float, cost_of: Callable[[Layout], float], *, tolerance: float = 0.05
) -> Layout:
    """The scaled layout whose cost comes nearest to `target`.

    Args:
        layout: the wiring.
        target: cost that the result should have.
        cost_of: parameters or multiply-adds of a layout; they must grow with its widths.
        tolerance: largest distance from the target, as a share of it.

    Raises:
        ConfigError: no factor from 1/16 to 16 comes within the tolerance.
    """
    low, high = SMALLEST, LARGEST
    for _ in range(40):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if cost_of(scaled(layout, middle)) < target else (low, middle)
    # Widths are whole numbers, so that the cost jumps: try both sides of the jump.
    sides = scaled(layout, low), scaled(layout, high)
    best = min(sides, key=lambda side: abs(cost_of(side) - target))
    if abs(cost_of(best) - target) > tolerance * target:
        raise ConfigError(
            f"{layout.name}: the nearest cost to {target:,.0f} is {cost_of(best):,.0f}; "
            "ask for more, or for narrower heads and embeddings"
        )
    return best
