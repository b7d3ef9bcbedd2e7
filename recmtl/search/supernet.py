"""The supernet: one set of weights for all routes of a search space, under a policy's decisions."""

from collections.abc import Sequence

import torch
from torch import Tensor

from recmtl.data.batches import Batch, Rows, total_weight
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
from recmtl.model.rank_steps import measure
from recmtl.ranks import computing, ranks
from recmtl.train.config import Config
from recmtl.train.problem import Problem

__all__ = ["Supernet", "mean_by_weight"]


class Supernet:
    """The full grid's network; decisions select the route that it computes.

    Args:
        layout: the search space.
        problem: what it is trained on.
        config: sizes of the network and balance of the tasks.

    Attributes:
        full: multiply-adds of the grid for one example if everything is kept and runs; lanes that
            coincide count apart.
    """

    def __init__(self, layout: Layout, *, problem: Problem, config: Config) -> None:
        self.layout = layout
        self.model = problem.network(layout, config.sizes)
        self._scale = self.model.heads.loss_scale(config.search.balance)
        grid = self.model.grid
        self._width, self._pixels = grid.input_width, grid.pixels
        self.full = full_multiply_adds(layout, input_width=grid.input_width, pixels=grid.pixels)

    def losses(self, batch: Batch, decisions: Sequence[Decision]) -> Tensor:
        """Mean loss `[T]` of each task over the rows of a batch, or a rank's part of it."""
        heads = self.model.heads
        with computing(batch.part):
            logits = self.model(*batch.inputs, decisions=decisions)
            losses = heads.losses(logits, batch.labels, batch.weight)
        (of_batch,) = measure(heads, [batch])
        return of_batch.of_whole(losses)

    def normalised(self, losses: Tensor) -> Tensor:
        """Mean over the tasks of scaled losses `[..., T]`.

        At `search.balance` 1, the default, each task's best constant prediction counts as its
        weight; a lower exponent scales less.
        """
        return (losses * self._scale.to(losses.device)).mean(-1)

    def multiply_adds(self, decisions: Sequence[Decision]) -> Tensor:
        """Expected multiply-adds of the grid for one example, a scalar with a gradient."""
        return expected_multiply_adds(
            self.layout, decisions, input_width=self._width, pixels=self._pixels
        )

    def cost_share(self, decisions: Sequence[Decision]) -> Tensor:
        """Expected multiply-adds as a share of the full grid's, a scalar with a gradient."""
        return self.multiply_adds(decisions) / self.full

    def pruned_multiply_adds(self, routes: Routes) -> float:
        """Multiply-adds of a route's pruned grid for one example; equal lanes count once."""
        layout = prune(self.layout, routes).layout
        cost = layout_cost(layout, input_width=self._width, pixels=self._pixels)
        return float(cost.multiply_adds)

    @torch.no_grad()
    def compare(self, split: Rows, candidates: Sequence[Sequence[Decision]]) -> Tensor:
        """Mean losses `[candidates, T]` on a whole split, in evaluation mode.

        The encoder, and the lowest layers on which all candidates agree, are computed once.
        """
        self.model.eval()
        common = _common_layers(candidates)

        def losses_of(batch: Batch) -> tuple[Tensor, float]:
            encoded = self.model.encoder(*batch.inputs)
            lanes = self.apply_layers(encoded, encoded, candidates[0][:common])
            losses = []
            for decisions in candidates:
                logits = self.logits_above(lanes, encoded, decisions[common:], batch)
                losses.append(self.model.heads.losses(logits, batch.labels, batch.weight))
            return torch.stack(losses).cpu(), total_weight(batch)

        batches = split.batches(batch_size=split.largest_batch, seed=None)
        return mean_by_weight(ranks().map(losses_of, batches))

    def apply_layers(
        self, lanes: Tensor, encoded: Tensor, decisions: Sequence[Decision], *, first: int = 0
    ) -> Tensor:
        """Apply as many layers as there are decisions, from `first` on, to lanes `[B, S, *F]`.

        Args:
            lanes: input lanes of layer `first`.
            encoded: the encoder's lanes, on which gates with an input query look.
            decisions: one for each layer.
            first: number of the lowest of these layers.
        """
        for depth, decision in enumerate(decisions, start=first):
            source = pooled_features(encoded).flatten(1)
            lanes = self.model.grid.layer(depth)(lanes, source, decision)
        return lanes

    def logits_above(
        self, lanes: Tensor, encoded: Tensor, decisions: Sequence[Decision], batch: Batch
    ) -> list[Tensor]:
        """Logits of a batch from the input lanes of the last layers, one decision for each."""
        first = len(self.layout.layers) - len(decisions)
        top = self.apply_layers(lanes, encoded, decisions, first=first)
        return self.model.outputs(top[:, list(self.layout.readout)], batch.inputs)


def mean_by_weight(by_batch: Sequence[tuple[Tensor, float]]) -> Tensor:
    """The mean of losses `[...]` of batches, each of which counts with its rows' total weight."""
    whole, mean = sum(weight for _, weight in by_batch), torch.zeros(())
    for losses, weight in by_batch:
        mean = mean + losses * (weight / whole)
    return mean


def _common_layers(candidates: Sequence[Sequence[Decision]]) -> int:
    """Number of lowest layers on which all candidates decide alike."""
    for depth, layer in enumerate(zip(*candidates, strict=True)):
        if not all(_same_decision(layer[0], decision) for decision in layer[1:]):
            return depth
    return len(candidates[0])


def _same_decision(first: Decision, second: Decision) -> bool:
    return (
        torch.equal(first.keep, second.keep)
        and torch.equal(first.query, second.query)
        and torch.equal(first.run, second.run)
    )
