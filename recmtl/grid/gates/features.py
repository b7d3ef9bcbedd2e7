"""Which features of a lane count for an example: factors that multiply them, outside the one rule.

The sum over experts never touches a lane's features; these gates do, after it:
`lane'[b,k] <- factor[b,k] * lane'[b,k]`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recmtl.grid.parts import FeatureGates

__all__ = ["FeatureGate"]


class FeatureGate(nn.Module):
    """The factors of a layer's lanes, see `FeatureGates`; a gate for each lane, in two products.

    Args:
        gates: what they look at, and how wide they are.
        lanes: number K of output lanes.
        width: features of an output lane.
        source_width: features of the grid's input.
        prior: columns of the grid's input at which the gates look.

    Attributes:
        detaches: whether gradients stop at the input; false in a copy that is to be explained.
    """

    def __init__(
        self,
        gates: FeatureGates,
        *,
        lanes: int,
        width: int,
        source_width: int,
        prior: Sequence[int],
    ) -> None:
        super().__init__()
        self.gates, self.prior = gates, list(prior)
        query = gates.query_width(prior=len(prior), source=source_width)
        bound = math.sqrt(6.0 / query)
        self.first = nn.Parameter(torch.empty(lanes, query, gates.hidden).uniform_(-bound, bound))
        self.last = nn.Parameter(torch.zeros(lanes, gates.hidden, width))
        self.first_bias = nn.Parameter(torch.zeros(lanes, 1, gates.hidden))
        self.last_bias = nn.Parameter(torch.zeros(lanes, 1, width))
        self.detaches = gates.reads == "prior_and_input"

    def forward(self, lanes: Tensor, source: Tensor) -> Tensor:
        """Lanes `[B, K, D]` times their factors, for the grid's input `[B, D_in]`."""
        query = source[:, self.prior] if len(self.prior) < source.shape[1] else source
        if self.gates.reads == "prior_and_input":
            query = torch.cat([query, source.detach() if self.detaches else source], 1)
        queries = query.expand(len(self.first), *query.shape)
        hidden = torch.baddbmm(self.first_bias, queries, self.first).relu()
        logits = torch.baddbmm(self.last_bias, hidden, self.last)
        return lanes * (2.0 * torch.sigmoid(logits).transpose(0, 1))
