"""The one rule of the grid, as a module: lanes in, one lane for each task out."""

from collections.abc import Callable, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from recmtl.grid import fused
from recmtl.grid.convolution_experts import ConvolutionExperts, convolution_experts, projections
from recmtl.grid.experts import Carry, StackedExperts, pooled_features, select_lanes
from recmtl.grid.gates import InstancePolicy, SoftmaxGate, make_gate
from recmtl.grid.layout import INPUT, Layer, Layout, Pixels, lane_pixels, lane_widths
from recmtl.grid.routes import Decision, full_decision

__all__ = ["GridLayer", "SharingGrid", "mix"]


def mix(weights: Tensor, outputs: Tensor) -> Tensor:
    """Sum the applications into lanes: weights `[B or 1, K, A]`, outputs `[B, A, *F]`.

    Returns `[B, K, *F]`. The sum never touches `*F`, so one function serves tables and images.
    """
    flat = outputs.flatten(2)
    if weights.shape[0] == 1:
        mixed = torch.matmul(weights[0], flat)
    else:
        mixed = (fused.mixed if fused.is_supported(flat) else torch.bmm)(weights, flat)
    return mixed.view(len(outputs), weights.shape[1], *outputs.shape[2:])


class Experts(Protocol):
    """What a layer applies to its lanes: a module, for tables or for images."""

    def __call__(self, lanes: Tensor, passed: Tensor | None = None) -> Tensor:
        """Map lanes `[B, S, *F]` to the applications' outputs `[B, A, *F']`.

        `passed` `[B, A, *F']` is what residual experts for images add to.
        """

    def some(self, lanes: Tensor, needed: Tensor, passed: Tensor | None = None) -> Tensor:
        """As a call, but only where `needed` `[B, A]` is true; for layers whose rows may skip."""


Path = Callable[["GridLayer", Tensor, Tensor, Tensor], Tensor]
DecidedPath = Callable[["GridLayer", Tensor, Tensor, Tensor, Decision], Tensor]


class GridLayer(nn.Module):
    """`lane'[b,k] = run * sum_a gate * expert_a(lane[read_a]) + (1 - run) * shortcut(lane)`.

    Args:
        layer: the wiring.
        experts: maps lanes `[B, S, *F]` to the applications' outputs `[B, A, *F']`.
        lane_width: features (channels) of an input lane; what a gate sees of a lane.
        input_width: features of all lanes of the grid's input.
        projection: maps lanes to what the layer's `passes` make of them.
        is_first: its only lane is the grid's input.
    """

    def __init__(
        self,
        layer: Layer,
        experts: Experts,
        *,
        lane_width: int,
        input_width: int,
        projection: ConvolutionExperts | None = None,
        is_first: bool = False,
    ) -> None:
        super().__init__()
        self.layer, self.experts, self.projection = layer, experts, projection
        self.gate = make_gate(layer, lane_width=lane_width, input_width=input_width)
        self.skippable = [k for k, lane in enumerate(layer.shortcut) if lane is not None]
        skipped = [lane for lane in layer.shortcut if lane is not None]
        self.instance = None
        if layer.rate < 1.0 and skipped:
            self.instance = InstancePolicy(lane_width, skipped, rate=layer.rate)
        full = full_decision(layer)
        self.register_buffer("keep", full.keep, persistent=False)
        self.register_buffer("query", full.query, persistent=False)
        self.register_buffer("run", full.run, persistent=False)
        flows = torch.ones_like(full.keep)
        for lane, stopped in enumerate(layer.detached_edges):
            flows[lane, list(stopped)] = 0.0
        self.register_buffer("flows", flows, persistent=False)
        self.detaches = any(layer.detached_edges)

        # Where the projected lanes stand that skipped lanes and residual experts take.
        self.shortcut_inputs, self.residual_inputs = (
            skipped,
            [lane for _, lane in layer.applications],
        )
        if projection is not None:
            pairs = [(layer.shortcut_projection[k], layer.shortcut[k]) for k in self.skippable]
            self.shortcut_inputs = [layer.projection_applications.index(pair) for pair in pairs]
            self.residual_inputs = [
                layer.projection_applications.index(pair) for pair in layer.applications
            ]
        self._choose_path(is_first=is_first)

    def _choose_path(self, *, is_first: bool) -> None:
        """Decide once what a forward pass computes; functions, since methods would refer back."""
        layer, gate, experts = self.layer, self.gate, self.experts
        self._adds = layer.experts == "basic"
        self._decided: DecidedPath = GridLayer._mix_decided
        self._undecided: Path = GridLayer._mix_every_edge
        plain = not any(layer.residual_edges) and not self.detaches and self.instance is None
        single = layer.gate != "scalar" and all(len(edges) == 1 for edges in layer.edges)
        self.copied = [edges[0] for edges in layer.edges] if single and plain else []
        if not layer.applications:
            self._undecided, self._decided = GridLayer._skip_all, GridLayer._skip_all_decided
        elif self.copied:
            self._undecided = GridLayer._copy_outputs
        elif (
            isinstance(gate, SoftmaxGate) and gate.is_plain and isinstance(experts, StackedExperts)
        ):
            sources = [0 if is_first and source == INPUT else source for source in gate.sources]
            if experts.takes_linear_map and sources == experts.reads[:1]:
                self._undecided = GridLayer._mix_every_edge_fused

    def forward(self, lanes: Tensor, source: Tensor, decision: Decision | None) -> Tensor:
        """Lanes `[B, S, *F]` and what gates see of the input `[B, D]` to lanes `[B, K, *F']`.

        Without a decision every edge is kept and every lane runs.
        """
        passed = self._passed(lanes)
        if decision is None:
            return self._undecided(self, lanes, passed, source)
        return self._decided(self, lanes, passed, source, decision.to(lanes.device))

    def mix_outputs(
        self, outputs: Tensor, lanes: Tensor, source: Tensor, decision: Decision
    ) -> Tensor:
        """As `forward` where the experts' outputs `[B, A, *F']` on these lanes are known.

        Trying several decisions on the same lanes computes the experts only once.
        """
        decision = decision.to(lanes.device)
        run = self._running(lanes, decision.run) if self.skippable else None
        weights = self.gate(lanes, source, decision)
        return self._blended(weights, outputs, decision.keep, self._passed(lanes), run)

    def outputs(self, lanes: Tensor) -> Tensor:
        """What every application makes of lanes `[B, S, *F]`: `[B, A, *F']`."""
        return self._outputs(lanes, self._passed(lanes))

    def weights(self, lanes: Tensor, source: Tensor) -> Tensor:
        """Gate weights `[B or 1, K, A]` with every edge kept."""
        gate = self.gate
        if isinstance(gate, SoftmaxGate) and gate.is_plain:
            return gate.dense_weights(lanes, source)
        weights: Tensor = gate(lanes, source, self._full())
        return weights

    def running(self, lanes: Tensor) -> Tensor:
        """Share `[B or 1, K]` with which each output lane runs; the rest is its shortcut."""
        full = self._full().run
        if not self.skippable:
            return torch.ones_like(full)
        run = self._running(lanes, full)
        return full.new_ones(len(run), full.shape[1]).index_copy(
            1, torch.tensor(self.skippable, device=full.device), run.to(full.dtype)
        )

    def _passed(self, lanes: Tensor) -> Tensor:
        """What shortcuts and residual experts take: the lanes, or their projections."""
        return lanes if self.projection is None else self.projection(lanes)

    def _skip_all(self, lanes: Tensor, passed: Tensor, source: Tensor) -> Tensor:
        return passed[:, self.shortcut_inputs]

    def _skip_all_decided(
        self, lanes: Tensor, passed: Tensor, source: Tensor, decision: Decision
    ) -> Tensor:
        return passed[:, self.shortcut_inputs]

    def _copy_outputs(self, lanes: Tensor, passed: Tensor, source: Tensor) -> Tensor:
        """A lane that always copies one application needs no weighted sum."""
        return select_lanes(self._outputs(lanes, passed), self.copied)

    def _mix_every_edge(self, lanes: Tensor, passed: Tensor, source: Tensor) -> Tensor:
        full = self._full()
        run = self._running(lanes, full.run) if self.skippable else None
        outputs = self._needed_outputs(lanes, passed, keep=full.keep, run=run)
        return self._blended(self.weights(lanes, source), outputs, full.keep, passed, run)

    def _mix_every_edge_fused(self, lanes: Tensor, passed: Tensor, source: Tensor) -> Tensor:
        """Gate and experts read the same lane and no other: their first products are one."""
        experts, gate = self.experts, self.gate
        assert isinstance(experts, StackedExperts) and isinstance(gate, SoftmaxGate)
        if not fused.is_supported(lanes):
            return self._mix_every_edge(lanes, passed, source)
        outputs, logits = experts.with_linear_map(lanes, gate.linears[0])
        weights, full = gate.dense_weights(lanes, source, logits), self._full()
        run = self._running(lanes, full.run) if self.skippable else None
        return self._blended(weights, outputs, full.keep, passed, run)

    def _mix_decided(
        self, lanes: Tensor, passed: Tensor, source: Tensor, decision: Decision
    ) -> Tensor:
        run = self._running(lanes, decision.run) if self.skippable else None
        outputs = self._needed_outputs(lanes, passed, keep=decision.keep, run=run)
        weights = self.gate(lanes, source, decision)
        return self._blended(weights, outputs, decision.keep, passed, run)

    def _full(self) -> Decision:
        return Decision(*(self.get_buffer(name) for name in ("keep", "query", "run")))

    def _running(self, lanes: Tensor, run: Tensor) -> Tensor:
        """Run `[B or 1, skippable]`: what the policies say times what the instance gate says."""
        decided = run[:, self.skippable]
        return decided if self.instance is None else decided * self.instance(lanes)

    def _outputs(self, lanes: Tensor, passed: Tensor) -> Tensor:
        if not self._adds:
            return self.experts(lanes)
        return self.experts(lanes, select_lanes(passed, self.residual_inputs))

    def _needed_outputs(
        self, lanes: Tensor, passed: Tensor, *, keep: Tensor, run: Tensor | None
    ) -> Tensor:
        """The applications' outputs; without a gradient rows that skip are not computed."""
        if self.instance is None or run is None or self.training or torch.is_grad_enabled():
            return self._outputs(lanes, passed)
        runs = torch.ones(len(lanes), len(keep), dtype=keep.dtype, device=keep.device)
        runs[:, self.skippable] = run.to(keep.dtype)
        needed = runs @ (keep > 0).to(keep.dtype) > 0
        if not self._adds:
            return self.experts.some(lanes, needed)
        return self.experts.some(lanes, needed, select_lanes(passed, self.residual_inputs))

    def _blended(
        self, weights: Tensor, outputs: Tensor, keep: Tensor, passed: Tensor, run: Tensor | None
    ) -> Tensor:
        """The weighted sums, and what a lane passes on in so far as it skips."""
        mixed = self._mixed(weights, outputs, keep)
        return mixed if run is None else self._skip(mixed, passed, run)

    def _mixed(self, weights: Tensor, outputs: Tensor, keep: Tensor) -> Tensor:
        """The weighted sums; a lane left with nothing that it trains trains what it hears."""
        if not (self.detaches and torch.is_grad_enabled()):
            return mix(weights, outputs)
        flows = self.get_buffer("flows")
        alone = ((keep.detach() * flows).sum(-1, keepdim=True) == 0).to(flows)
        flows = torch.maximum(flows, alone)
        return mix(weights * flows, outputs) + mix(weights * (1.0 - flows), outputs.detach())

    def _skip(self, mixed: Tensor, passed: Tensor, run: Tensor) -> Tensor:
        share = run.view(run.shape[0], -1, *(1,) * (mixed.dim() - 2)).to(mixed.dtype)
        skipped, ran = (
            select_lanes(passed, self.shortcut_inputs),
            select_lanes(mixed, self.skippable),
        )
        # Mixed precision leaves a normalised lane in another format than a sum of products.
        blended = torch.lerp(skipped.to(ran.dtype), ran, share)
        if len(self.skippable) == mixed.shape[1]:
            return blended
        return mixed.index_copy(1, torch.tensor(self.skippable, device=mixed.device), blended)


class SharingGrid(nn.Module):
    """A layout with weights: the encoder's lanes `[B, S, *F]` to task lanes `[B, T, *F']`.

    Args:
        layout: the wiring.
        input_width: features (channels) of an input lane.
        dropout: share of the activations of experts for tables that is dropped in training.
        pixels: height and width of an input lane, one pixel for tables.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        input_width: int,
        dropout: float = 0.0,
        pixels: Pixels = (1, 1),
    ) -> None:
        super().__init__()
        self.layout, self.input_width, self.dropout = layout, input_width, dropout
        self.pixels = pixels
        self.layers = nn.ModuleList()
        widths, sizes = lane_widths(layout, input_width), lane_pixels(layout, pixels)
        for layer, width, size in zip(layout.layers, widths, sizes, strict=False):
            experts: Experts = Carry(layer.applications)
            if layer.convolution is not None:
                experts = convolution_experts(layer, width, size)
            elif not layer.only_mixes:
                chain, reads = layer.expert_widths(width), layer.applications
                experts = StackedExperts(chain, reads, kind=layer.experts, dropout=dropout)
            projection = projections(layer, width, size) if layer.has_projection else None
            self.layers.append(
                GridLayer(
                    layer,
                    experts,
                    lane_width=width,
                    input_width=input_width * layout.input_lanes,
                    projection=projection,
                    is_first=not self.layers and layout.input_lanes == 1,
                )
            )
        self.output_width, self.output_pixels = widths[-1], sizes[-1]

    def layer(self, depth: int) -> GridLayer:
        """The layer at a depth, the first is 0."""
        return cast(GridLayer, self.layers[depth])  # a ModuleList forgets what it holds

    def forward(self, lanes: Tensor, decisions: Sequence[Decision] | None = None) -> Tensor:
        """Task lanes `[B, T, *F']`; without decisions every edge is kept and every lane runs."""
        source = pooled_features(lanes).flatten(1)
        chosen = decisions if decisions is not None else [None] * len(self.layers)
        for layer, decision in zip(self.layers, chosen, strict=True):
            lanes = layer(lanes, source, decision)
        return select_lanes(lanes, list(self.layout.readout))

    def hold_open(self, held: bool) -> bool:
        """Let every row run where an instance gate would decide, or let gates decide again.

        Returns whether there is a gate that is held now.
        """
        gates = self._instance_gates()
        for gate in gates:
            gate.held = held
        return held and bool(gates)

    def rate_penalty(self) -> Tensor | None:
        """DynaShare's target-rate loss of the last batch, or None where no layer has a gate.

        `sum_k (1/L) sum_l (rate_l - mean_b run[b, l, k])^2` over the L layers that may skip.
        """
        gates = self._instance_gates()
        if not gates:
            return None
        skippable = sum(bool(layer.skippable) for layer in self._layers())
        return torch.stack([gate.penalty() for gate in gates]).sum() / skippable

    def _instance_gates(self) -> list[InstancePolicy]:
        return [layer.instance for layer in self._layers() if layer.instance is not None]

    def _layers(self) -> list[GridLayer]:
        return [self.layer(depth) for depth in range(len(self.layers))]
