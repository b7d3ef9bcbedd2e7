"""The one rule of the grid, as a module: lanes in, one lane for each task out."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from recmtl.grid.experts import Carry, StackedExperts
from recmtl.grid.gates import make_gate
from recmtl.grid.layout import Layer, Layout
from recmtl.grid.routes import Decision, full_decision

__all__ = ["GridLayer", "SharingGrid", "mix"]


def mix(weights: Tensor, outputs: Tensor) -> Tensor:
    """Sum the applications into lanes: weights `[B or 1, K, A]`, outputs `[B, A, *F]`.

    Returns `[B, K, *F]`. The sum never touches `*F`, so one function serves tables and images.
    """
    flat = outputs.flatten(2)
    shared = weights.shape[0] == 1
    mixed = torch.matmul(weights[0], flat) if shared else torch.bmm(weights, flat)
    return mixed.view(len(outputs), weights.shape[1], *outputs.shape[2:])


class GridLayer(nn.Module):
    """`lane'[b,k] = run * sum_a gate * expert_a(lane[read_a]) + (1 - run) * shortcut(lane)`.

    Args:
        layer: the wiring.
        experts: maps lanes `[B, S, *F]` to the applications' outputs `[B, A, *F']`.
        lane_width: features of an input lane, flattened; what a gate sees of a lane.
        input_width: features of the grid's whole input, flattened.
    """

    def __init__(
        self, layer: Layer, experts: nn.Module, *, lane_width: int, input_width: int
    ) -> None:
        super().__init__()
        self.layer = layer
        self.experts = experts
        self.gate = make_gate(layer, lane_width=lane_width, input_width=input_width)
        self.skippable = [k for k, lane in enumerate(layer.shortcut) if lane is not None]
        self.shortcut = [lane for lane in layer.shortcut if lane is not None]
        full = full_decision(layer)
        self.register_buffer("keep", full.keep, persistent=False)
        self.register_buffer("query", full.query, persistent=False)
        self.register_buffer("run", full.run, persistent=False)
        # A lane that always copies one application needs no weighted sum.
        single = layer.gate != "scalar" and all(len(edges) == 1 for edges in layer.edges)
        self.copies = [edges[0] for edges in layer.edges] if single else None

    def forward(self, lanes: Tensor, source: Tensor, decision: Decision | None) -> Tensor:
        """Lanes `[B, S, *F]` and the grid's input `[B, D]` to lanes `[B, K, *F']`."""
        outputs: Tensor = self.experts(lanes)
        if decision is None and self.copies is not None:
            return outputs[:, self.copies]
        decision = decision or self._full()
        mixed = mix(self.gate(lanes, source, decision), outputs)
        return self._skip(mixed, lanes, decision.run) if self.skippable else mixed

    def weights(self, lanes: Tensor, source: Tensor) -> Tensor:
        """Gate weights `[B or 1, K, A]` with every edge kept."""
        weights: Tensor = self.gate(lanes, source, self._full())
        return weights

    def _full(self) -> Decision:
        return Decision(*(self.get_buffer(name) for name in ("keep", "query", "run")))

    def _skip(self, mixed: Tensor, lanes: Tensor, run: Tensor) -> Tensor:
        share = run[:, self.skippable].view(run.shape[0], -1, *(1,) * (mixed.dim() - 2))
        blended = share * mixed[:, self.skippable] + (1 - share) * lanes[:, self.shortcut]
        if len(self.skippable) == mixed.shape[1]:
            return blended
        return mixed.index_copy(1, torch.tensor(self.skippable, device=mixed.device), blended)


class SharingGrid(nn.Module):
    """A layout with weights: the encoder's lanes `[B, S, D]` to task lanes `[B, T, D']`."""

    def __init__(self, layout: Layout, *, input_width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layout, self.input_width, self.dropout = layout, input_width, dropout
        self.layers = nn.ModuleList()
        width = input_width
        for layer in layout.layers:
            experts: nn.Module = Carry(layer.applications)
            if not layer.carries:
                widths = (width, *layer.hidden, layer.width)
                experts = StackedExperts(widths, layer.applications, dropout=dropout)
            total = input_width * layout.input_lanes
            self.layers.append(GridLayer(layer, experts, lane_width=width, input_width=total))
            width = layer.width
        self.output_width = width

    def layer(self, depth: int) -> GridLayer:
        """The layer at a depth, the first is 0."""
        return cast(GridLayer, self.layers[depth])  # a ModuleList forgets what it holds

    def forward(self, lanes: Tensor, decisions: Sequence[Decision] | None = None) -> Tensor:
        """Task lanes `[B, T, D']`; without decisions every edge is kept and every lane runs."""
        source = lanes.flatten(1)
        chosen = decisions if decisions is not None else [None] * len(self.layers)
        for layer, decision in zip(self.layers, chosen, strict=True):
            lanes = layer(lanes, source, decision)
        return lanes[:, list(self.layout.readout)]
