"""The one rule of the grid as a module: lanes in, one lane for each task out.

    lane'[b,k] = run[b,k] * sum_a gate[b,k,a] * expert_a(lane[b, read_a])
               + (1 - run[b,k]) * shortcut(lane[b,k])

A `SharingGrid` builds one `GridLayer` for each layer of a layout. A layer chooses its path through
the rule when it is built: layers that copy, skip or mix compute no more than that.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from recmtl.grid import fused
from recmtl.grid.convolution_experts import ConvolutionExperts, convolution_experts, projections
from recmtl.grid.experts import Carry, StackedExperts, pooled_features, select_lanes
from recmtl.grid.gates import (
    FeatureGate,
    InstancePolicy,
    SelectionGate,
    SoftmaxGate,
    make_gate,
)
from recmtl.grid.layout import INPUT, Layer, Layout, Pixels, lane_pixels, lane_widths
from recmtl.grid.routes import Decision, full_decision

__all__ = ["GridLayer", "SharingGrid", "mix"]


def mix(weights: Tensor, outputs: Tensor) -> Tensor:
    """Sum the applications into lanes: weights `[B or 1, K, A]`, outputs `[B, A, *F]`.

    Returns `[B, K, *F]`. The sum never touches `*F`, so one function serves tables and images.

    >>> mix(torch.tensor([[[1.0, 0.0], [0.5, 0.5]]]), torch.tensor([[[2.0], [4.0]]])).flatten()
    tensor([2., 3.])
    """
    flat = outputs.flatten(2)
    if weights.shape[0] == 1:
        mixed = torch.matmul(weights[0], flat)
    else:
        trains = torch.is_grad_enabled() and fused.is_supported(flat)
        mixed = (fused.mixed if trains else torch.bmm)(weights, flat)
    return mixed.view(len(outputs), weights.shape[1], *outputs.shape[2:])


class Experts(Protocol):
    """What a layer applies to its lanes: a module, for tables or for images."""

    def __call__(self, lanes: Tensor, passed: Tensor | None = None) -> Tensor:
        """Map lanes `[B, S, *F]` to the applications' outputs `[B, A, *F']`.

        Residual experts for images add to `passed` `[B, A, *F']`.
        """

    def needed_outputs(self, lanes: Tensor, needed: Tensor, passed: Tensor | None = None) -> Tensor:
        """As a call, but only where `needed` `[B, A]` is true; elsewhere anything finite."""


Path = Callable[["GridLayer", Tensor, Tensor, Tensor], Tensor]
DecidedPath = Callable[["GridLayer", Tensor, Tensor, Tensor, Decision], Tensor]


class GridLayer(nn.Module):
    """`lane'[b,k] = run * sum_a gate * expert_a(lane[read_a]) + (1 - run) * shortcut(lane)`.

    Args:
        layer: the wiring.
        experts: maps lanes `[B, S, *F]` to the applications' outputs `[B, A, *F']`.
        lane_width: features (channels) of an input lane, which gates look at.
        input_width: features of all lanes of the grid's input together.
        projection: maps lanes to the layer's `projection_applications`.
        is_first: whether the layer's only input lane is the grid's input.
        feature_gate: what multiplies the features of the output lanes.

    Attributes:
        detaches: whether detached edges stop gradients; false in a copy that is to be explained.
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
        feature_gate: FeatureGate | None = None,
    ) -> None:
        super().__init__()
        self.layer, self.feature_gate = layer, feature_gate
        self.experts: Experts = experts
        self.projection = projection
        self.gate = make_gate(layer, lane_width=lane_width, input_width=input_width)
        self.skippable = [k for k, lane in enumerate(layer.shortcut) if lane is not None]
        skipped_to = [lane for lane in layer.shortcut if lane is not None]
        self.instance = None
        if layer.rate < 1.0 and skipped_to:
            self.instance = InstancePolicy(lane_width, skipped_to, rate=layer.rate)
        full = full_decision(layer)
        self.register_buffer("keep", full.keep, persistent=False)
        self.register_buffer("query", full.query, persistent=False)
        self.register_buffer("run", full.run, persistent=False)
        trains = torch.ones_like(full.keep)
        for lane, detached in enumerate(layer.detached_edges):
            trains[lane, list(detached)] = 0.0
        self.register_buffer("trains", trains, persistent=False)
        self.detaches = any(layer.detached_edges)

        # Positions, among the lanes or their projections, of what a shortcut passes on and of what
        # a residual expert adds to.
        self.shortcut_inputs, self.residual_inputs = skipped_to, list(layer.reads)
        if projection is not None:
            position = layer.projection_applications.index
            shortcuts = [(layer.shortcut_projection[k], layer.shortcut[k]) for k in self.skippable]
            self.shortcut_inputs = [position(pair) for pair in shortcuts]
            self.residual_inputs = [position(pair) for pair in layer.applications]
        self._choose_path(is_first=is_first)

    def _choose_path(self, *, is_first: bool) -> None:
        """Decide once what `forward` computes.

        Paths are plain functions: bound methods would make a cycle that keeps the weights alive.
        """
        layer, gate, experts = self.layer, self.gate, self.experts
        self._adds_to_lanes = layer.experts == "basic"
        self._without_decision: Path = GridLayer._mix_every_edge
        self._with_decision: DecidedPath = GridLayer._mix_kept_edges
        has_extras = any(layer.residual_edges) or self.detaches or self.instance is not None
        single = layer.gate != "scalar" and all(len(edges) == 1 for edges in layer.edges)
        self.copied = [edges[0] for edges in layer.edges] if single and not has_extras else []
        if not layer.applications:
            self._without_decision = self._with_decision = GridLayer._pass_on
        elif self.copied:
            self._without_decision = GridLayer._copy_outputs
        elif isinstance(gate, SoftmaxGate) and isinstance(experts, StackedExperts):
            sources = [0 if is_first and source == INPUT else source for source in gate.sources]
            reads_same_lane = experts.takes_linear_map and sources == experts.reads[:1]
            if gate.is_plain and reads_same_lane:
                self._without_decision = GridLayer._mix_every_edge_fused

    def forward(self, lanes: Tensor, source: Tensor, decision: Decision | None) -> Tensor:
        """Map lanes `[B, S, *F]` to `[B, K, *F']`; gates see `source` `[B, D]` of the input.

        Without a decision every edge is kept and every lane runs.
        """
        passed = self._passed(lanes)
        if decision is None:
            written = self._without_decision(self, lanes, passed, source)
        else:
            written = self._with_decision(self, lanes, passed, source, decision.to(lanes.device))
        return written if self.feature_gate is None else self.feature_gate(written, source)

    def mix_outputs(
        self, outputs: Tensor, lanes: Tensor, source: Tensor, decision: Decision
    ) -> Tensor:
        """As `forward` for lanes on which the experts' outputs `[B, A, *F']` are known.

        Trying several decisions on the same lanes so computes the experts only once.
        """
        decision = decision.to(lanes.device)
        run = self._running(lanes, decision.run)
        weights = self.gate(lanes, source, decision)
        written = self._blend(weights, outputs, decision.keep, self._passed(lanes), run)
        return written if self.feature_gate is None else self.feature_gate(written, source)

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
        run = self._running(lanes, full)
        if run is None:
            return torch.ones_like(full)
        return full.new_ones(len(run), full.shape[1]).index_copy(
            1, torch.tensor(self.skippable, device=full.device), run.to(full.dtype)
        )

    def _passed(self, lanes: Tensor) -> Tensor:
        """The lanes, or their projections, that shortcuts pass on and residual experts add to."""
        return lanes if self.projection is None else self.projection(lanes)

    def _pass_on(
        self, lanes: Tensor, passed: Tensor, source: Tensor, decision: Decision | None = None
    ) -> Tensor:
        """Without experts every lane is its shortcut."""
        return passed[:, self.shortcut_inputs]

    def _copy_outputs(self, lanes: Tensor, passed: Tensor, source: Tensor) -> Tensor:
        """Lanes that have one edge with the weight 1 copy it: no gate, no sum."""
        return select_lanes(self._outputs(lanes, passed), self.copied)

    def _mix_every_edge(self, lanes: Tensor, passed: Tensor, source: Tensor) -> Tensor:
        full = self._full()
        run = self._running(lanes, full.run)
        outputs = self._needed_outputs(lanes, passed, full.keep, run)
        return self._blend(self.weights(lanes, source), outputs, full.keep, passed, run)

    def _mix_every_edge_fused(self, lanes: Tensor, passed: Tensor, source: Tensor) -> Tensor:
        """Gate and experts read the same single lane: one product serves both."""
        if not (torch.is_grad_enabled() and fused.is_supported(lanes)):
            return self._mix_every_edge(lanes, passed, source)
        experts, gate = cast(StackedExperts, self.experts), cast(SoftmaxGate, self.gate)
        outputs, product = experts.with_linear_map(lanes, gate.linears[0])
        weights, full = gate.dense_weights(lanes, source, product), self._full()
        run = self._running(lanes, full.run)
        return self._blend(weights, outputs, full.keep, passed, run)

    def _mix_kept_edges(
        self, lanes: Tensor, passed: Tensor, source: Tensor, decision: Decision
    ) -> Tensor:
        run = self._running(lanes, decision.run)
        outputs = self._needed_outputs(lanes, passed, decision.keep, run)
        weights = self.gate(lanes, source, decision)
        return self._blend(weights, outputs, decision.keep, passed, run)

    def _full(self) -> Decision:
        return Decision(*(self.get_buffer(name) for name in ("keep", "query", "run")))

    def _running(self, lanes: Tensor, run: Tensor) -> Tensor | None:
        """Run `[B or 1, skippable]`, policies' times instance gate's; None if no lane may skip."""
        if not self.skippable:
            return None
        decided = run[:, self.skippable]
        return decided if self.instance is None else decided * self.instance(lanes)

    def _outputs(self, lanes: Tensor, passed: Tensor) -> Tensor:
        if not self._adds_to_lanes:
            return self.experts(lanes)
        return self.experts(lanes, select_lanes(passed, self.residual_inputs))

    def _needed_outputs(
        self, lanes: Tensor, passed: Tensor, keep: Tensor, run: Tensor | None
    ) -> Tensor:
        """The applications' outputs; without gradients only on rows that do not skip them."""
        if self.instance is None or run is None or self.training or torch.is_grad_enabled():
            return self._outputs(lanes, passed)
        runs = torch.ones(len(lanes), len(keep), dtype=keep.dtype, device=keep.device)
        runs[:, self.skippable] = run.to(keep.dtype)
        needed = runs @ (keep > 0).to(keep.dtype) > 0
        if not self._adds_to_lanes:
            return self.experts.needed_outputs(lanes, needed)
        residual = select_lanes(passed, self.residual_inputs)
        return self.experts.needed_outputs(lanes, needed, residual)

    def _blend(
        self, weights: Tensor, outputs: Tensor, keep: Tensor, passed: Tensor, run: Tensor | None
    ) -> Tensor:
        """The weighted sums of the outputs, blended with the shortcuts of lanes that skip."""
        mixed = self._mixed(weights, outputs, keep)
        return mixed if run is None else self._skip(mixed, passed, run)

    def _mixed(self, weights: Tensor, outputs: Tensor, keep: Tensor) -> Tensor:
        """The weighted sums.

        If every edge that a lane would train has been pruned, the lane trains the edges it only
        listened to.
        """
        if not (self.detaches and torch.is_grad_enabled()):
            return mix(weights, outputs)
        trains = self.get_buffer("trains")
        trains_nothing = ((keep.detach() * trains).sum(-1, keepdim=True) == 0).to(trains)
        trains = torch.maximum(trains, trains_nothing)
        return mix(weights * trains, outputs) + mix(weights * (1.0 - trains), outputs.detach())

    def _skip(self, mixed: Tensor, passed: Tensor, run: Tensor) -> Tensor:
        share = run.view(run.shape[0], -1, *(1,) * (mixed.dim() - 2)).to(mixed.dtype)
        skipped = select_lanes(passed, self.shortcut_inputs)
        ran = select_lanes(mixed, self.skippable)
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
        dropout: share of hidden activations that experts for tables drop in training.
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
                inner, reads = layer.expert_widths(width), layer.applications
                experts = StackedExperts(inner, reads, kind=layer.experts, dropout=dropout)
            projection = projections(layer, width, size) if layer.has_projection else None
            self.layers.append(
                GridLayer(
                    layer,
                    experts,
                    lane_width=width,
                    input_width=input_width * layout.input_lanes,
                    projection=projection,
                    is_first=not self.layers and layout.input_lanes == 1,
                    feature_gate=self._feature_gate(layer, layer.width or width),
                )
            )
        self.output_width, self.output_pixels = widths[-1], sizes[-1]

    def _feature_gate(self, layer: Layer, width: int) -> FeatureGate | None:
        """What multiplies the features of a layer's lanes of a width."""
        if layer.feature_gates is None:
            return None
        layout, first = self.layout, self.input_width * (self.layout.embedding_lanes - 1)
        return FeatureGate(
            layer.feature_gates,
            lanes=layer.num_lanes,
            width=width,
            source_width=self.input_width * layout.input_lanes,
            prior=[first + column for column in layout.prior_columns(self.input_width)],
        )

    def layer(self, depth: int) -> GridLayer:
        """The layer at a depth; the first is 0."""
        return cast(GridLayer, self.layers[depth])  # a ModuleList forgets the type of its modules

    def forward(self, lanes: Tensor, decisions: Sequence[Decision] | None = None) -> Tensor:
        """Task lanes `[B, T, *F']`; without decisions every edge is kept and every lane runs."""
        source = pooled_features(lanes).flatten(1)
        by_layer = decisions if decisions is not None else [None] * len(self.layers)
        for layer, decision in zip(self.layers, by_layer, strict=True):
            lanes = layer(lanes, source, decision)
        return select_lanes(lanes, list(self.layout.readout))

    def hold_open(self, held: bool) -> bool:
        """Let every row run where an instance gate would decide, or let the gates decide again.

        Returns whether any gate is held open now.
        """
        gates = self._instance_gates()
        for gate in gates:
            gate.held = held
        return held and bool(gates)

    def rate_penalty(self) -> Tensor | None:
        """DynaShare's target-rate loss of the last batch, or None if no layer has an instance gate.

        `sum_k (1/L) sum_l (rate_l - mean_b run[b, l, k])^2` over the L layers that may skip.
        """
        gates = self._instance_gates()
        if not gates:
            return None
        skippable = sum(bool(layer.skippable) for layer in self._layers())
        return torch.stack([gate.penalty() for gate in gates]).sum() / skippable

    def selection_penalty(self) -> Tensor | None:
        """Entropy of the selectors of `dselect` gates over the last batch, or None without any."""
        gates = [
            g for g in (layer.gate for layer in self._layers()) if isinstance(g, SelectionGate)
        ]
        return torch.stack([gate.penalty() for gate in gates]).sum() if gates else None

    def _instance_gates(self) -> list[InstancePolicy]:
        return [layer.instance for layer in self._layers() if layer.instance is not None]

    def _layers(self) -> list[GridLayer]:
        return [self.layer(depth) for depth in range(len(self.layers))]
