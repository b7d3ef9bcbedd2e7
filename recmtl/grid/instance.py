"""Whether each example runs a lane or skips it: DynaShare's instance gates."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recmtl.grid.experts import seen

__all__ = ["HIDDEN", "InstancePolicy"]

HIDDEN = 16
"""Features between a gate's two products."""


class InstancePolicy(nn.Module):
    """Lanes `[B, S, *F]` to run or skip `[B, K]`, 0 or 1, for the lanes that may skip.

    DynaShare (CVPR-W ECV 2023): one gate a layer, shared by its lanes, looks at the features that
    the lane would pass on, averaged over an image's pixels: product to 16 features, normalisation,
    ReLU, product to the log odds of running. In training logistic noise is added (two-class
    Gumbel) and the gradient is that of the sigmoid (straight-through); in evaluation the sign
    decides. Our reading: one logit in place of two, whose difference is all that counts, and
    layer normalisation in place of batch normalisation, so that an example's gate never depends
    on the examples beside it. The rate is that of evaluation, without noise: the published code
    draws there too, and holds the mean of draws to the rate; with odds of log(rate / (1 - rate))
    for all examples it does, and the sign then runs all or none of them. It lives in the network,
    as it stays when the routes are frozen.

    While a gate is held open every example runs. DynaShare trains so before the policy does; a gate
    that learns from the first step on decides by what an untrained block happens to do, and the
    block then only ever learns the examples that it was given.

    Args:
        width: features of a lane (channels of an image).
        reads: for each lane that may skip the input lane that it would pass on.
        rate: target share of examples that run.
    """

    def __init__(self, width: int, reads: Sequence[int], *, rate: float) -> None:
        super().__init__()
        self.reads, self.rate = list(reads), rate
        self.first = nn.Linear(width, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN)
        self.last = nn.Linear(HIDDEN, 1)
        nn.init.constant_(self.last.bias, math.log(rate / (1.0 - rate)))
        self.mean_run: Tensor | None = None
        self.held = False

    def forward(self, lanes: Tensor) -> Tensor:
        """Run `[B, K]`; in training it carries a gradient, and `penalty` knows the odds' signs."""
        if self.held:
            self.mean_run = None
            return lanes.new_ones(len(lanes), len(self.reads))
        hidden = self.first(seen(lanes[:, self.reads]))
        odds: Tensor = self.last(torch.relu(self.norm(hidden))).squeeze(-1)
        if not self.training:
            return (odds > 0).to(odds.dtype)
        self.mean_run = _straight_through(odds).mean(0)
        uniform = torch.rand_like(odds).clamp_(1e-7, 1.0 - 1e-7)
        return _straight_through(odds + torch.logit(uniform))

    def penalty(self) -> Tensor:
        """`sum_k (rate - mean_b run[b, k])^2` of the last batch in training; 0 at the target.

        `run` is as in evaluation.
        """
        if self.mean_run is None:
            return self.last.bias.new_zeros(())
        return (self.rate - self.mean_run).square().sum()


def _straight_through(odds: Tensor) -> Tensor:
    """Whether odds are above 0, exactly 0 or 1, with the gradient of the sigmoid."""
    soft = torch.sigmoid(odds)
    return (odds > 0).to(odds.dtype) + (soft - soft.detach())
