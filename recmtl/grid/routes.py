"""Which edges stay, what each gate looks at, who is skipped: relaxed decisions and frozen routes.

A policy hands a `Decision` about each layer to the network. `Routes` is what a search leaves: hard
decisions as data, with a JSON form (`routes.json`).

>>> from recmtl.grid import mmoe
>>> layout = mmoe(2, experts=3, widths=(4,))
>>> Routes.full(layout).layers[0].edges
((0, 1, 2), (0, 1, 2))
>>> Routes.of(layout, Routes.full(layout).decisions(layout)) == Routes.full(layout)
True
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import and_
from typing import Any

import torch
from torch import Tensor

from recmtl.grid.layout import Layer, Layout

__all__ = ["Decision", "LayerRoutes", "Routes", "conjunction", "full_decision"]


@dataclass(frozen=True)
class Decision:
    """What a policy decides about one layer, relaxed or hard; every entry lies in 0..1.

    Attributes:
        keep: `[K, A]`, which edges stay; 0 where the layout has no edge.
        query: `[K, Q]`, which of its query sources a lane's gate looks at: a single 1 for each
            lane, or only ones from a policy that leaves the query to others.
        run: `[1 or B, K]`, whether a lane runs; ignored for lanes without a shortcut.
    """

    keep: Tensor
    query: Tensor
    run: Tensor

    def __and__(self, other: "Decision") -> "Decision":
        """Both policies at once: their keeps, queries and runs are multiplied."""
        return Decision(self.keep * other.keep, self.query * other.query, self.run * other.run)

    def to(self, device: torch.device) -> "Decision":
        """The same decision on another device."""
        if self.keep.device == device:
            return self
        return Decision(self.keep.to(device), self.query.to(device), self.run.to(device))


@dataclass(frozen=True)
class LayerRoutes:
    """One layer of a route: for each lane its kept edges, its query source, and run or skip."""

    edges: tuple[tuple[int, ...], ...]
    queries: tuple[int, ...]
    run: tuple[bool, ...]


@dataclass(frozen=True)
class Routes:
    """A frozen route through a layout: one `LayerRoutes` for each layer."""

    layers: tuple[LayerRoutes, ...]

    @classmethod
    def full(cls, layout: Layout) -> "Routes":
        """Keep every edge, run every lane that has one, look at each lane's first query source."""
        return cls(
            tuple(
                LayerRoutes(
                    layer.edges,
                    tuple(sources[0] for sources in layer.queries),
                    tuple(bool(edges) for edges in layer.edges),
                )
                for layer in layout.layers
            )
        )

    @classmethod
    def of(cls, layout: Layout, decisions: Sequence[Decision]) -> "Routes":
        """The route that hard decisions describe; entries above 1/2 count as 1."""
        layers = []
        for layer, decision in zip(layout.layers, decisions, strict=True):
            run = (decision.run[0] > 0.5).tolist()
            keep = decision.keep > 0.5
            edges = [tuple(a for a in e if keep[k, a]) for k, e in enumerate(layer.edges)]
            chosen = decision.query.argmax(-1).tolist()
            queries = [sources[q] for sources, q in zip(layer.queries, chosen, strict=True)]
            layers.append(LayerRoutes(tuple(edges), tuple(queries), tuple(run)))
        return cls(tuple(layers))

    def decisions(self, layout: Layout) -> list[Decision]:
        """The hard `Decision` about each layer of the layout."""
        decisions = []
        for layer, routes in zip(layout.layers, self.layers, strict=True):
            full = full_decision(layer)
            keep = torch.zeros_like(full.keep)
            query = torch.zeros_like(full.query)
            for lane, edges in enumerate(routes.edges):
                keep[lane, list(edges)] = 1.0
                query[lane, layer.queries[lane].index(routes.queries[lane])] = 1.0
            run = torch.tensor([routes.run], dtype=torch.float32)
            decisions.append(Decision(keep, query, run))
        return decisions

    def to_json(self) -> dict[str, Any]:
        """The route as JSON data; `from_json` rebuilds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Routes":
        """Rebuild a route from `to_json` data."""
        return cls(
            tuple(
                LayerRoutes(
                    tuple(tuple(edges) for edges in layer["edges"]),
                    tuple(layer["queries"]),
                    tuple(layer["run"]),
                )
                for layer in data["layers"]
            )
        )


def full_decision(layer: Layer) -> Decision:
    """Keep every edge, run every lane that has one, look at each lane's first query source."""
    keep = torch.zeros(layer.num_lanes, len(layer.applications))
    for lane, edges in enumerate(layer.edges):
        keep[lane, list(edges)] = 1.0
    query = torch.zeros(layer.num_lanes, max(map(len, layer.queries)))
    query[:, 0] = 1.0
    run = torch.tensor([[float(bool(edges)) for edges in layer.edges]])
    return Decision(keep, query, run)


def conjunction(policies: Sequence[Sequence[Decision]]) -> list[Decision]:
    """The decisions of several policies at once, multiplied layer by layer."""
    return [reduce(and_, layer) for layer in zip(*policies, strict=True)]
