"""Which inputs a lane listens to and what its gate looks at: our reading of MTNAS."""

from itertools import combinations

import torch
from torch import Tensor, nn

from recmtl.grid.layout import Layer, Layout
from recmtl.grid.routes import Decision, full_decision
from recmtl.policies.relaxation import choose

__all__ = ["RoutePolicy"]


class RoutePolicy(nn.Module):
    """Multinomials over local routes, one a lane of every searched layer.

    A local route is one non-empty subset of the lane's edges and one of its query sources
    ("Boosting Share Routing for Multi-task Learning", arXiv 2009.00387: a block is a sub-space of
    local routes, candidates are sampled from multinomials over architecture parameters; our
    reading: subset and query are drawn independently). The architecture parameters are this
    module's `parameters()`.

    Args:
        layout: the search space.
        max_edges: the largest subset that a lane may choose.
        anchor: initial logit of a lane's own edge alone, so that experts specialise before routes
            spread; all other logits start at 0.
    """

    def __init__(self, layout: Layout, *, max_edges: int, anchor: float = 0.0) -> None:
        super().__init__()
        self.layout = layout
        self.subsets = nn.ParameterDict()
        self.queries = nn.ParameterDict()
        for depth, layer in enumerate(layout.layers):
            if not layer.searched:
                continue
            candidates = _candidates(layer, max_edges)
            self.register_buffer(f"candidates_{depth}", candidates, persistent=False)
            start = anchor * _is_own(layer, candidates)
            self.subsets[str(depth)] = nn.Parameter(start)
            if max(map(len, layer.queries)) > 1:
                sources = max(map(len, layer.queries))
                self.queries[str(depth)] = nn.Parameter(torch.zeros(layer.num_lanes, sources))

    def forward(self, temperature: float | None) -> list[Decision]:
        """Decisions of every layer: drawn at a temperature, or the most probable (None)."""
        return [self._decide(depth, temperature) for depth in range(len(self.layout.layers))]

    def entropy(self) -> Tensor:
        """Mean entropy of the subset choices as a share of the largest, 1 at the start."""
        shares = []
        for depth in self.subsets:
            log_p = self._subset_logits(int(depth)).log_softmax(-1)
            count = torch.isfinite(log_p).sum(-1)
            entropy = -(log_p.exp() * log_p.nan_to_num(neginf=0.0)).sum(-1)
            shares.append(entropy / count.clamp_min(2).log())
        return torch.cat(shares).mean()

    def keep_probability(self, depth: int) -> Tensor:
        """Probability `[K, A]` that a lane of a searched layer keeps an edge."""
        candidates = self.get_buffer(f"candidates_{depth}")
        return torch.einsum("kc,kca->ka", self._subset_logits(depth).softmax(-1), candidates)

    def _subset_logits(self, depth: int) -> Tensor:
        candidates = self.get_buffer(f"candidates_{depth}")
        logits: Tensor = self.subsets[str(depth)]
        return logits.masked_fill(candidates.sum(-1) == 0, -torch.inf)

    def _decide(self, depth: int, temperature: float | None) -> Decision:
        full = full_decision(self.layout.layers[depth])
        if str(depth) not in self.subsets:
            return full
        picked = choose(self._subset_logits(depth), temperature)
        keep = torch.einsum("kc,kca->ka", picked, self.get_buffer(f"candidates_{depth}"))
        query = full.query
        if str(depth) in self.queries:
            sources = [len(sources) for sources in self.layout.layers[depth].queries]
            absent = torch.arange(full.query.shape[1]) >= torch.tensor(sources).unsqueeze(-1)
            logits: Tensor = self.queries[str(depth)]
            query = choose(logits.masked_fill(absent, -torch.inf), temperature)
        return Decision(keep, query, full.run)


def _candidates(layer: Layer, max_edges: int) -> Tensor:
    """Subsets `[K, C, A]` as 0/1 rows; lanes with fewer candidates are padded with empty rows."""
    subsets = [
        [subset for size in range(1, max_edges + 1) for subset in combinations(edges, size)]
        for edges in layer.edges
    ]
    table = torch.zeros(layer.num_lanes, max(map(len, subsets)), len(layer.applications))
    for lane, rows in enumerate(subsets):
        for number, subset in enumerate(rows):
            table[lane, number, list(subset)] = 1.0
    return table


def _is_own(layer: Layer, candidates: Tensor) -> Tensor:
    """1 where a candidate `[K, C]` is its lane's own edge alone: number k of lane k, modulo."""
    own = torch.tensor([edges[k % len(edges)] for k, edges in enumerate(layer.edges)])
    holds = candidates.gather(2, own.view(-1, 1, 1).expand(-1, candidates.shape[1], 1)).squeeze(2)
    return holds * (candidates.sum(-1) == 1)
