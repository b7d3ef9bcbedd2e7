"""Which edges each lane keeps and what its gate looks at: our reading of MTNAS."""

from itertools import combinations
from typing import Literal, cast

import torch
from torch import Tensor, nn

from recmtl.grid.layout import Layer, Layout
from recmtl.grid.routes import Decision
from recmtl.policies.policy import Choice, Draw, HardConcreteGates, Policy

__all__ = ["Estimator", "RoutePolicy"]

Estimator = Literal["straight_through", "reinforce", "hard_concrete"]


class RoutePolicy(Policy):
    """Multinomials over local routes, one for each lane of every searched layer.

    A local route is a non-empty subset of the lane's edges together with one of its query sources.

    Source: MTNAS, "Boosting Share Routing for Multi-task Learning" (arXiv 2009.00387): a block is a
    sub-space of local routes, and candidates are sampled from multinomials over architecture
    parameters. Our reading: the subset and the query are drawn independently.

    Args:
        layout: the search space.
        max_edges: largest number of edges of a subset.
        estimator: how the architecture parameters learn. `straight_through`: Gumbel-softmax draws
            with the gradient of the softmax. `reinforce`: draws without a gradient, to be used
            with `log_probability` (MTNAS). `hard_concrete`: no subsets but a gate for each edge
            (SNR); queries are drawn straight-through.
        anchor: initial logit of the subset that holds the lane's own edge alone, so that experts
            specialise before routes spread; all other logits start at 0. Hard concrete gates start
            with the probabilities that these subsets give to their edges.
        edge_price: `penalty` is the expected share of kept edges times this. Only the hard concrete
            estimator has it.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        max_edges: int,
        estimator: Estimator = "straight_through",
        anchor: float = 0.0,
        edge_price: float = 1.0,
    ) -> None:
        super().__init__(layout)
        self.max_edges, self.edge_price = max_edges, edge_price
        self.keeps, self.queries = nn.ModuleDict(), nn.ModuleDict()
        draw: Draw = "reinforce" if estimator == "reinforce" else "straight_through"
        for depth, layer in enumerate(layout.layers):
            if not layer.searched:
                continue
            subsets = _Subsets(layer, max_edges, anchor=anchor, draw=draw)
            edges = estimator == "hard_concrete"
            start = subsets.probabilities().detach()
            self.keeps[str(depth)] = HardConcreteGates(start, most=max_edges) if edges else subsets
            if max(map(len, layer.queries)) > 1:
                self.queries[str(depth)] = _queries(layer, draw)

    def decide(self, depth: int, temperature: float | None) -> Decision:
        """The decision of one layer; a layer that is not searched keeps everything."""
        full = super().decide(depth, temperature)
        name = str(depth)
        keep = self.keeps[name](temperature) if name in self.keeps else full.keep
        query = self.queries[name](temperature) if name in self.queries else full.query
        return Decision(keep, query, full.run)

    def penalty(self) -> Tensor:
        """`edge_price` times the expected share of kept edges; 0 where subsets are drawn."""
        gates = [keep for keep in self.keeps.values() if isinstance(keep, HardConcreteGates)]
        if not gates:
            return super().penalty()
        return self.edge_price * torch.stack([gate.expected_share() for gate in gates]).mean()

    def keep_probability(self, depth: int) -> Tensor:
        """Probability `[K, A]` that a lane of a searched layer keeps an edge."""
        return self._keeps(depth).probabilities()

    @torch.no_grad()
    def near(self, depth: int, lane: int, keep: Tensor, *, step: int) -> Tensor:
        """The subsets `[n, A]` of a lane that differ from `keep` `[A]` in 1 to `step` edges."""
        subsets = _candidates(self.layout.layers[depth], self.max_edges)[lane]
        apart = (subsets - keep).abs().sum(-1)
        return subsets[(subsets.sum(-1) > 0) & (apart > 0) & (apart <= step)]

    def _keeps(self, depth: int) -> "_Subsets | HardConcreteGates":
        return cast(
            _Subsets | HardConcreteGates, self.keeps[str(depth)]
        )  # a ModuleDict forgets the type


class _Subsets(nn.Module):
    """A choice among the subsets of its edges for each lane."""

    def __init__(self, layer: Layer, max_edges: int, *, anchor: float, draw: Draw) -> None:
        super().__init__()
        candidates = _candidates(layer, max_edges)
        self.register_buffer("candidates", candidates, persistent=False)
        start = anchor * _is_own(layer, candidates)
        allowed = candidates.sum(-1) > 0
        allowed[:, 0] = True  # a lane without edges takes the empty subset
        self.choice = Choice(start, allowed, draw=draw)

    def forward(self, temperature: float | None) -> Tensor:
        """Keep `[K, A]`."""
        return self._kept(self.choice(temperature))

    def probabilities(self) -> Tensor:
        """Probability `[K, A]` that an edge is kept."""
        return self._kept(self.choice.probabilities())

    def _kept(self, subsets: Tensor) -> Tensor:
        return torch.einsum("kc,kca->ka", subsets, self.get_buffer("candidates"))


def _queries(layer: Layer, draw: Draw) -> Choice:
    """A choice `[K, Q]` among its query sources for each lane."""
    count = torch.tensor([len(sources) for sources in layer.queries])
    allowed = torch.arange(int(count.max())) < count.unsqueeze(-1)
    return Choice(torch.zeros(allowed.shape), allowed, draw=draw)


def _candidates(layer: Layer, max_edges: int) -> Tensor:
    """Subsets `[K, C, A]` as 0/1 rows; lanes with fewer subsets are padded with empty rows."""
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
    """1 where a candidate `[K, C]` holds the lane's own edge alone.

    The own edge of lane k is number k of its edges, modulo their number.
    """
    own_edges = torch.tensor(
        [edges[k % len(edges)] if edges else 0 for k, edges in enumerate(layer.edges)]
    )
    index = own_edges.view(-1, 1, 1).expand(-1, candidates.shape[1], 1)
    return candidates.gather(2, index).squeeze(2) * (candidates.sum(-1) == 1)
