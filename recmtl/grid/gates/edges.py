"""How much each kept edge weighs.

A gate maps lanes to the weights of its layer's edges: a softmax of a query (`SoftmaxGate`), a free
scalar (`ScalarGate`) or 1 (`ConstantGate`), and beside any of them a second weight for residual
edges (`ResidualGate`). The mask of kept edges stands inside the softmax, so that a pruned network
computes exactly what the masked network computed: dropping an edge renormalises the survivors.
"""

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from recmtl.grid.experts import pooled_features
from recmtl.grid.gates.selection import SelectionGate
from recmtl.grid.layout import INPUT, Layer
from recmtl.grid.routes import Decision

__all__ = ["ConstantGate", "ResidualGate", "ScalarGate", "SoftmaxGate", "make_gate"]


def make_gate(layer: Layer, *, lane_width: int, input_width: int) -> nn.Module:
    """The gate that a layer asks for by its `gate` and `residual_edges`."""
    gate: nn.Module = ConstantGate()
    if layer.gate == "softmax":
        gate = SoftmaxGate(layer, lane_width=lane_width, input_width=input_width)
    if layer.gate == "scalar":
        gate = ScalarGate(layer)
    if layer.gate == "dselect":
        gate = SelectionGate(layer, input_width=input_width)
    return ResidualGate(layer, gate) if any(layer.residual_edges) else gate


class SoftmaxGate(nn.Module):
    """`gate[b,k,:] = softmax(z[b,k,:] + log keep[k,:])`, z a linear map of the lane's query.

    A lane with one edge needs no weights: its gate is 1. Logits exist only for edges of the
    layout; each query source is one product for all lanes that may look at it.

    Attributes:
        is_plain: whether every lane has edges and one query source, so that `dense_weights` serves.
        is_dense: whether the products write every logit, in the order in which they are used.
    """

    def __init__(self, layer: Layer, *, lane_width: int, input_width: int) -> None:
        super().__init__()
        self.num_lanes, self.num_applications = layer.num_lanes, len(layer.applications)
        num_queries = max(map(len, layer.queries))
        slots: dict[int, list[tuple[int, int, int]]] = {}
        for lane, (edges, sources) in enumerate(zip(layer.edges, layer.queries, strict=True)):
            for number, source in enumerate(sources if len(edges) > 1 else ()):
                slots.setdefault(source, []).extend((number, lane, a) for a in edges)
        self.slots = slots
        self.sources = sorted(slots)
        self.linears = nn.ModuleList()
        # Position 0 of the concatenated logits is a constant zero, for edges without a logit.
        where = torch.zeros(num_queries, self.num_lanes, self.num_applications, dtype=torch.long)
        position = 1
        for source in self.sources:
            linear = nn.Linear(input_width if source == INPUT else lane_width, len(slots[source]))
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
            self.linears.append(linear)
            for slot in slots[source]:
                where[slot] = position
                position += 1
        self.register_buffer("where", where, persistent=False)
        closed = torch.full((self.num_lanes, self.num_applications), -torch.inf)
        for lane, edges in enumerate(layer.edges):
            closed[lane, list(edges)] = 0.0
        self.register_buffer("closed", closed, persistent=False)
        self.is_plain = bool(self.sources) and num_queries == 1 and all(layer.edges)
        # Read off the slots and not off the tensor, which has no values where networks are costed.
        order = [slot for source in self.sources for slot in slots[source]]
        cells = product(*map(range, where.shape))
        self.is_dense = bool(order) and order == list(cells)

    def forward(self, lanes: Tensor, source: Tensor, decision: Decision) -> Tensor:
        """Weights `[B or 1, K, A]` of lanes `[B, S, *F]` and the grid's input `[B, D_in]`."""
        keep = decision.keep
        if not self.sources:
            return (keep / keep.sum(-1, keepdim=True).clamp_min(1e-12)).unsqueeze(0)
        z = (self._logits(lanes, source) * decision.query.t().unsqueeze(-1)).sum(1)
        peak = z.masked_fill(keep == 0, -torch.inf).amax(-1, keepdim=True).detach()
        # keep * exp(z) / sum is softmax(z + log keep) with a finite gradient where keep is 0.
        weights = keep * torch.exp((z - peak.clamp_min(-1e30)).clamp_max(40.0))
        return weights / weights.sum(-1, keepdim=True).clamp_min(1e-30)

    def dense_weights(self, lanes: Tensor, source: Tensor, product: Tensor | None = None) -> Tensor:
        """Weights `[B, K, A]` with every edge kept, in fewer steps, of a gate that `is_plain`.

        `product` `[B, L]` is what the gate's only linear map makes of its source, if it is known.
        """
        z = self._logits(lanes, source, product)[:, 0]
        z = z if self.is_dense else z + self.get_buffer("closed")
        # Edges come first: a softmax over a last axis of a few numbers takes ten times as long.
        return torch.softmax(z.permute(2, 0, 1).contiguous(), 0).permute(1, 2, 0)

    def _logits(self, lanes: Tensor, source: Tensor, product: Tensor | None = None) -> Tensor:
        """The logits `[B, queries, K, A]`, 0 where there is none."""
        where: Tensor = self.get_buffer("where")
        logits = self._products(lanes, source) if product is None else [product]
        if self.is_dense and len(logits) == 1:
            return logits[0].view(-1, *where.shape)
        logits.insert(0, source.new_zeros(len(source), 1))
        flat = torch.cat(logits, 1).index_select(1, where.flatten())
        return flat.view(len(source), *where.shape)

    def _products(self, lanes: Tensor, source: Tensor) -> list[Tensor]:
        """What each linear map makes of its query source."""
        return [
            linear(source if name == INPUT else pooled_features(lanes[:, name : name + 1])[:, 0])
            for name, linear in zip(self.sources, self.linears, strict=True)
        ]

    def logit(self, source: int, lane: int, application: int) -> tuple[Tensor, Tensor]:
        """Weights and bias of the logit of (lane, application); views into the parameters."""
        number = [slot[1:] for slot in self.slots[source]].index((lane, application))
        linear = self.get_submodule(f"linears.{self.sources.index(source)}")
        return linear.get_parameter("weight")[number], linear.get_parameter("bias")[number]


class ScalarGate(nn.Module):
    """`gate[k,a] = keep[k,a] * scalar[k,a]`: cross-stitch and SNR, with free scalars.

    The scalars start at one over the number of edges of their lane.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        scalar = torch.zeros(layer.num_lanes, len(layer.applications))
        for lane, edges in enumerate(layer.edges):
            scalar[lane, list(edges)] = 1.0 / max(1, len(edges))
        self.scalar = nn.Parameter(scalar)

    def forward(self, lanes: Tensor, source: Tensor, decision: Decision) -> Tensor:
        """Weights `[1, K, A]`, whatever the lanes and the input."""
        return (decision.keep * self.scalar).unsqueeze(0)


class ConstantGate(nn.Module):
    """`gate[k,a] = keep[k,a]`: single task, shared bottom, trees, AdaShare."""

    def forward(self, lanes: Tensor, source: Tensor, decision: Decision) -> Tensor:
        """Weights `[1, K, A]`, whatever the lanes and the input."""
        return decision.keep.unsqueeze(0)


class ResidualGate(nn.Module):
    """A gate, and beside it a free scalar on each of a lane's residual edges.

    AdaTT (KDD 2023): `f_t = G_t E + v_t E_t`. The scalars start at one over the lane's number of
    residual edges, so that a single one starts as the plain residual of AdaTT's code.
    """

    def __init__(self, layer: Layer, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate
        mask = torch.zeros(layer.num_lanes, len(layer.applications))
        for lane, edges in enumerate(layer.residual_edges):
            mask[lane, list(edges)] = 1.0
        self.scalar = nn.Parameter(mask / mask.sum(-1, keepdim=True).clamp_min(1.0))
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, lanes: Tensor, source: Tensor, decision: Decision) -> Tensor:
        """Weights `[B or 1, K, A]`: those of the gate, plus a scalar on residual edges."""
        weights: Tensor = self.gate(lanes, source, decision)
        return weights + decision.keep * self.get_buffer("mask") * self.scalar

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *rest: Any, **more: Any
    ) -> None:
        """Earlier versions called the scalars `again`; their files stay readable."""
        if f"{prefix}again" in state_dict:
            state_dict[f"{prefix}scalar"] = state_dict.pop(f"{prefix}again")
        super()._load_from_state_dict(state_dict, prefix, *rest, **more)
