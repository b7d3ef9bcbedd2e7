"""The full grid's network under the decisions of a policy: its losses on rows, and their value.

The policies that a search space asks for, read off its layout.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from recmtl.data.batches import Batch, Rows
from recmtl.grid import (
    Decision,
    Layout,
    Routes,
    expected_multiply_adds,
    full_multiply_adds,
    layout_cost,
    prune,
)
from recmtl.grid.experts import pooled_features
from recmtl.train.config import Config
from recmtl.train.problem import Problem

__all__ = ["Supernet"]


class Supernet:
    """One set of weights for all routes of a search space.

    Args:
        layout: the search space.
        problem: what it is trained on.
        config: sizes and task balance.

    Attributes:
        full: multiply-adds of the grid if everything is kept and runs, each lane for itself.
    """

    def __init__(self, layout: Layout, *, problem: Problem, config: Config) -> None:
        self.layout = layout
        self.model = problem.network(layout, config.sizes)
        self._scale = self.model.heads.loss_scale(config.search.balance)
        grid = self.model.grid
        self._width, self._pixels = grid.input_width, grid.pixels
        self.full = full_multiply_adds(layout, input_width=grid.input_width, pixels=grid.pixels)

    def losses(self, batch: Batch, decisions: Sequence[Decision]) -> Tensor:
        """Mean loss `[T]` of each task over the rows of a batch."""
        logits = self.model(*batch.inputs, decisions=decisions)
        return self.model.heads.losses(logits, batch.labels, batch.weight)

    def normalised(self, losses: Tensor) -> Tensor:
        """Mean over the tasks of scaled losses `[..., T]`: 1 is the best constant prediction's."""
        return (losses * self._scale.to(losses.device)).mean(-1)

    def multiply_adds(self, decisions: Sequence[Decision]) -> Tensor:
        """Expected multiply-adds of the grid, a scalar that carries gradients."""
        return expected_multiply_adds(
            self.layout, decisions, input_width=self._width, pixels=self._pixels
        )

    def share(self, decisions: Sequence[Decision]) -> Tensor:
        """The same as a share of the full grid's."""
        return self.multiply_adds(decisions) / self.full

    def pruned_multiply_adds(self, routes: Routes) -> float:
        """Multiply-adds of the grid that is left of a route; lanes that coincide count once."""
        layout = prune(self.layout, routes).layout
        cost = layout_cost(layout, input_width=self._width, pixels=self._pixels)
        return float(cost.multiply_adds)

    @torch.no_grad()
    def compare(self, split: Rows, candidates: Sequence[Sequence[Decision]]) -> Tensor:
        """Mean losses `[candidates, T]` on a whole split, in evaluation mode.

        Encoder and lowest layers are computed once as far as all candidates decide alike there.
        """
        self.model.eval()
        common, total = _common_layers(candidates), torch.zeros(())
        for batch in split.batches(batch_size=split.largest_batch, seed=None):
            encoded = self.model.encoder(*batch.inputs)
            lanes = self.climb(encoded, encoded, candidates[0][:common])
            logits = [self.logits_above(lanes, encoded, d[common:]) for d in candidates]
            losses = [self.model.heads.losses(one, batch.labels, batch.weight) for one in logits]
            total = total + torch.stack(losses).cpu() * (len(batch) / len(split))
        return total

    def climb(
        self, lanes: Tensor, encoded: Tensor, decisions: Sequence[Decision], *, first: int = 0
    ) -> Tensor:
        """Lanes `[B, S, D]` below layer `first` to those above the last layer decided upon."""
        for depth, decision in enumerate(decisions, start=first):
            lanes = self.model.grid.layer(depth)(
                lanes, pooled_features(encoded).flatten(1), decision
            )
        return lanes

    def logits_above(
        self, lanes: Tensor, encoded: Tensor, decisions: Sequence[Decision]
    ) -> list[Tensor]:
        """Logits of the tasks from lanes below the layers that `decisions` are about, the last."""
        first = len(self.layout.layers) - len(decisions)
        top = self.climb(lanes, encoded, decisions, first=first)
        logits: list[Tensor] = self.model.heads(top[:, list(self.layout.readout)])
        return logits


def _common_layers(candidates: Sequence[Sequence[Decision]]) -> int:
    """Number of lowest layers about which all candidates say the same."""
    for depth, layer in enumerate(zip(*candidates, strict=True)):
        for decision in layer[1:]:
            pairs = [(getattr(layer[0], n), getattr(decision, n)) for n in ("keep", "query", "run")]
            if not all(torch.equal(one, other) for one, other in pairs):
                return depth
    return len(candidates[0])
