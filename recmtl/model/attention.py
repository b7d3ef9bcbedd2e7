"""Target attention: the events of a history, weighed by what they have to do with the candidate.

DIN (Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, section
4.3): a small network, the activation unit, maps an event, the candidate and the product of the two
to one weight, and the weighted events are summed. The weights go through no softmax, so that a
history of which much fits the candidate gives more than one of which little does.

Of the readings of the unit, this is [event, candidate, event * candidate] -> ReLU -> weight. The
difference of the two, a fourth input in the authors' code, is a linear combination of the first two
and adds no function. Their Dice, which depends on the other rows of a batch, is ReLU here. Three
things are our own, so that a match is found on logs of some ten thousand rows:

- embeddings enter the unit at length 1, so that a product sums to their cosine, however small
  embeddings are at first and however large they become;
- one hidden feature a target starts as "nearly the same value", 2 relu(cosine - 1/2);
- the sum of the weights enters the first list's vector by a learned direction: how much of the
  history fits is then a linear feature, whatever direction the events themselves have.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recmtl.model import fused_attention
from recmtl.model.fused_attention import SMALLEST

__all__ = ["HIDDEN", "TargetAttention"]

HIDDEN = 32
"""Units of the activation unit."""


class TargetAttention(nn.Module):
    """Pools K aligned lists of events by weights that T of their targets decide.

    An event is its K embeddings side by side. Those of the first T lists have a target each, in the
    same table. The products with the target are folded into the unit's first matrix, one a
    candidate: `event @ A + (event * target) @ P = event @ (A + diag(target) P)`. Every lane weighs
    by its own embeddings, with a unit of its own.

    Args:
        lists: number K of aligned lists.
        targets: number T of lists with a target, from 1 to K.
        length: events of a history.
        size: width of an embedding in one lane.
        lanes: number of lanes.
    """

    def __init__(self, lists: int, targets: int, *, length: int, size: int, lanes: int) -> None:
        super().__init__()
        self.lists, self.targets, self.length = lists, targets, length
        self.size, self.lanes = size, lanes
        # The last dimension of each parameter is that of the lanes, side by side.
        self.of_events = nn.Parameter(torch.empty(lists * size, lanes * HIDDEN))
        self.of_targets = nn.Parameter(torch.empty(targets * size, lanes * HIDDEN))
        self.of_products = nn.Parameter(torch.empty(targets * size, lanes * HIDDEN))
        self.bias = nn.Parameter(torch.zeros(lanes * HIDDEN))
        self.out = nn.Parameter(torch.empty(lanes * HIDDEN))
        self.out_bias = nn.Parameter(torch.zeros(lanes))
        self.of_sum = nn.Parameter(torch.randn(lanes * size) * 0.2)
        self._reset()

    @torch.no_grad()
    def _reset(self) -> None:
        """Draw the weights; the first features tell for each target whether an event equals it."""
        bound = 1.0 / math.sqrt((self.lists + 2 * self.targets) * self.size)
        for weight in (self.of_events, self.of_targets, self.of_products):
            nn.init.uniform_(weight, -bound, bound)
        nn.init.uniform_(self.out, -0.1 / math.sqrt(HIDDEN), 0.1 / math.sqrt(HIDDEN))
        equal = min(self.targets, HIDDEN)
        for matrix in (self.of_events, self.of_targets, self.of_products):
            matrix.view(-1, self.lanes, HIDDEN)[:, :, :equal] = 0.0
        products = self.of_products.view(self.targets, self.size, self.lanes, HIDDEN)
        for target in range(equal):
            products[target, :, :, target] = 2.0
        self.bias.view(self.lanes, HIDDEN)[:, :equal] = -1.0
        self.out.view(self.lanes, HIDDEN)[:, :equal] = 1.0

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds an example."""
        event, target = self.lists * self.size, self.targets * self.size
        lengths = self.length * 2 * event + 2 * target
        weights = 2 * target * HIDDEN + self.length * (event * HIDDEN + HIDDEN)
        return self.lanes * (lengths + weights + self.length * event + self.size)

    def forward(self, events: Sequence[Tensor], targets: Sequence[Tensor], real: Tensor) -> Tensor:
        """Pooled lists `[B, K, lanes * size]`; zeros of an empty history.

        Args:
            events: of each list the embeddings of its values `[B or 1, length, lanes * size]`.
            targets: of each list with a target that of the candidate, `[B, lanes * size]`.
            real: bool `[B or 1, length]`; False where a list is padded. One history may have many
                candidates: what does not depend on them is then computed once.
        """
        weights = self.weights(events, targets, real)
        pooled = [torch.matmul(weights.unsqueeze(2), self._by_lane(list_)) for list_ in events]
        return self._joined(torch.cat(pooled, 2), weights.sum(2))

    def train_on(
        self, table: nn.Embedding, ids: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> Tensor:
        """As `forward`, of lists that are rows `[B, length]` of a table; faster with gradients.

        Only where `recmtl.grid.fused.is_supported` says that it can be computed so.
        """
        target = self._unit_vectors(targets)
        of_events, of_targets, of_products = self._matrices()
        of_candidate = torch.baddbmm(self.bias.view(self.lanes, 1, HIDDEN), target, of_targets)
        weights = (of_events, of_products, self.out.view(self.lanes, HIDDEN), self.out_bias)
        rows = torch.stack(list(ids), 2)
        pooled, totals = fused_attention.read(
            table.weight, rows, target, of_candidate, weights, sparse=table.sparse
        )
        return self._joined(pooled.view(*pooled.shape[:2], self.lists, self.size), totals)

    def _joined(self, pooled: Tensor, totals: Tensor) -> Tensor:
        """Sums `[lanes, B, K, size]`, and those of the weights `[lanes, B]`, as `forward` says."""
        direction = self.of_sum.view(self.lanes, 1, 1, self.size)
        first = pooled[:, :, :1] + totals[:, :, None, None] * direction
        return torch.cat([first, pooled[:, :, 1:]], 2).permute(1, 2, 0, 3).flatten(2)

    def weights(self, events: Sequence[Tensor], targets: Sequence[Tensor], real: Tensor) -> Tensor:
        """The weight of each event, `[lanes, B, length]`; 0 of padding. Arguments as `forward`."""
        with_target = self._unit_vectors(events[: self.targets])
        target = self._unit_vectors(targets)
        of_events, of_targets, of_products = self._matrices()
        width = self.targets * self.size
        matrices = of_events[:, None, :width] + target.unsqueeze(3) * of_products.unsqueeze(1)
        hidden = torch.matmul(with_target, matrices)
        if self.lists > self.targets:
            others = self._unit_vectors(events[self.targets :])
            hidden = hidden + torch.matmul(others, of_events[:, None, width:])
        of_candidate = torch.baddbmm(self.bias.view(self.lanes, 1, HIDDEN), target, of_targets)
        hidden = (hidden + of_candidate.unsqueeze(2)).relu()
        out = self.out.view(self.lanes, HIDDEN, 1)
        weights = torch.bmm(hidden.flatten(1, 2), out).view(hidden.shape[:3])
        return (weights + self.out_bias.view(-1, 1, 1)).masked_fill(~real, 0.0)

    def _matrices(self) -> list[Tensor]:
        """Weights of events, targets and products, `[lanes, inputs, HIDDEN]` each."""
        weights = (self.of_events, self.of_targets, self.of_products)
        return [weight.view(-1, self.lanes, HIDDEN).transpose(0, 1) for weight in weights]

    def _unit_vectors(self, vectors: Sequence[Tensor]) -> Tensor:
        """Embeddings `[*, lanes * size]` of some lists at length 1, `[lanes, *, lists * size]`."""
        unit = []
        for list_ in vectors:
            by_lane = self._by_lane(list_)
            squares = by_lane.square().sum(-1, keepdim=True)
            unit.append(by_lane * squares.clamp_min(SMALLEST).rsqrt())
        return torch.cat(unit, -1)

    def _by_lane(self, vectors: Tensor) -> Tensor:
        """Vectors `[*, lanes * size]` as `[lanes, *, size]`."""
        return vectors.view(*vectors.shape[:-1], self.lanes, self.size).movedim(-2, 0)
