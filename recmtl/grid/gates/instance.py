"""Whether an example runs a lane or skips it: the gates of DynaShare."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recmtl.grid.experts import pooled_features
from recmtl.ranks import batch_mean, draw

__all__ = ["INSTANCE_HIDDEN", "InstancePolicy"]

INSTANCE_HIDDEN = 16
"""Features between the two products of an instance gate."""


class InstancePolicy(nn.Module):
    """Whether each example runs a lane: lanes `[B, S, *F]` to 0 or 1 `[B, K]`.

    K counts the lanes that have a shortcut. DynaShare (CVPR-W ECV 2023): one gate a layer, shared
    by its lanes, looks at the features that the lane would pass on, averaged over an image's
    pixels: product to 16 features, normalisation, ReLU, product to the log odds of running. In
    training logistic noise is added (two-class Gumbel), and the gradient is that of the sigmoid
    (straight-through); in evaluation the sign decides.

    Our reading: one logit in place of two, of which only the difference counts, and layer
    normalisation in place of batch normalisation, so that an example's gate never depends on the
    rest of its batch. The rate is that of evaluation, without noise. The published code draws in
    evaluation too and holds the mean of the draws to the rate; odds of log(rate / (1 - rate)) for
    every example satisfy that, but their sign runs all examples or none. The gate is part of the
    network, since it stays when the routes are frozen.

    While a gate is held open every example runs. DynaShare starts its training so. A gate that
    learns from the first step on decides by what an untrained block happens to compute, and the
    block then learns only from the examples that the gate lets through.

    Args:
        width: features of a lane (channels of an image).
        reads: for each lane with a shortcut the input lane that it would pass on.
        rate: target share of examples that run.
    """

    def __init__(self, width: int, reads: Sequence[int], *, rate: float) -> None:
        super().__init__()
        self.reads, self.rate = list(reads), rate
        self.first = nn.Linear(width, INSTANCE_HIDDEN)
        self.norm = nn.LayerNorm(INSTANCE_HIDDEN)
        self.last = nn.Linear(INSTANCE_HIDDEN, 1)
        nn.init.constant_(self.last.bias, math.log(rate / (1.0 - rate)))
        self.mean_run: Tensor | None = None
        self.held = False

    def forward(self, lanes: Tensor) -> Tensor:
        """Run `[B, K]`; in training it carries a gradient, and `penalty` is that of this batch."""
        if self.held:
            self.mean_run = None
            return lanes.new_ones(len(lanes), len(self.reads))
        hidden = self.first(pooled_features(lanes[:, self.reads]))
        odds: Tensor = self.last(torch.relu(self.norm(hidden))).squeeze(-1)
        if not self.training:
            return (odds > 0).to(odds.dtype)
        self.mean_run = batch_mean(_straight_through(odds))
        kind: dict[str, Any] = {"dtype": odds.dtype, "device": odds.device}
        uniform = draw(odds.shape, 0, lambda shape: torch.rand(shape, **kind))
        return _straight_through(odds + torch.logit(uniform.clamp(1e-7, 1.0 - 1e-7)))

    def penalty(self) -> Tensor:
        """`sum_k (rate - mean_b run[b, k])^2` of the last training batch, `run` as in evaluation.

        0 at the target rate, before the first batch, and while the gate is held open.
        """
        if self.mean_run is None:
            return self.last.bias.new_zeros(())
        return (self.rate - self.mean_run).square().sum()


def _straight_through(odds: Tensor) -> Tensor:
    """1 where odds are above 0 and 0 elsewhere, with the gradient of the sigmoid."""
    soft = torch.sigmoid(odds)
    return (odds > 0).to(odds.dtype) + (soft - soft.detach())
