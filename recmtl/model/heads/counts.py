"""Models of counts: Poisson, and the negative binomial for counts that spread more."""

import math

import torch
from torch import Tensor

from recmtl.model.heads.labels import LARGEST_LOG_LABEL, LabelModel, exp_of_label

__all__ = ["NegativeBinomial", "Poisson"]

SMALLEST = 1e-12
"""Means and sizes below it start there, since their logs are needed."""
SMALLEST_SIZE, LARGEST_SIZE = -10.0, 15.0
"""Bounds of log r: beyond the upper one a negative binomial is a Poisson in float32."""


class Poisson(LabelModel):
    """A count by the log of its mean.

    The loss is half the deviance, `mu - y - y log(mu / y)`: the negative log likelihood less that
    of the best possible mean, so that it is 0 at best.

    Args:
        mean: of the counts on train rows, at which the head starts.
    """

    scale = "log of the mean"

    def __init__(self, mean: float) -> None:
        super().__init__()
        self.log_mean, self.start = math.log(max(mean, SMALLEST)), (0.0,)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Half the deviance."""
        log_mean = self.explained(logits, label)
        return exp_of_label(log_mean) - label - label * log_mean + torch.xlogy(label, label)

    def scores(self, logits: Tensor) -> list[Tensor]:
        """The mean."""
        return [exp_of_label(self.explained(logits, logits))]

    def explained(self, logits: Tensor, chosen: Tensor) -> Tensor:
        """The log of the mean."""
        return (logits[:, 0] + self.log_mean).clamp(-LARGEST_LOG_LABEL, LARGEST_LOG_LABEL)


class NegativeBinomial(Poisson):
    """A count by the logs of its mean and of its size r: the variance is `mu + mu^2 / r`.

    This is NB2 (Cameron and Trivedi 1986); the loss is the negative log likelihood.

    Args:
        mean: of the counts on train rows.
        std: of the same; r starts at what both say.
    """

    def __init__(self, mean: float, std: float) -> None:
        super().__init__(mean)
        self.start = (0.0, 0.0)
        excess = std * std - mean
        size = math.log(max(mean * mean / excess, SMALLEST)) if excess > 0 else LARGEST_SIZE / 2
        self.log_size = min(max(size, SMALLEST_SIZE / 2), LARGEST_SIZE / 2)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Negative log likelihood."""
        log_mean = self.explained(logits, label)
        log_size = (logits[:, 1] + self.log_size).clamp(SMALLEST_SIZE, LARGEST_SIZE)
        size, log_both = log_size.exp(), torch.logaddexp(log_mean, log_size)
        ways = torch.lgamma(label + size) - torch.lgamma(size) - torch.lgamma(label + 1.0)
        return -ways - size * (log_size - log_both) - label * (log_mean - log_both)
