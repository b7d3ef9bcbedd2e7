"""Models of watch time, spend and other labels that are 0 or long-tailed: ZILN and CREAD."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from recmtl.model.heads.labels import LabelModel, Numbers, exp_of_label, log_odds

__all__ = ["Cread", "ZeroInflatedLogNormal", "normal_quantile"]

LOG_OF_ROOT_OF_TWO_PI = 0.5 * math.log(2.0 * math.pi)
UNIT_SPREAD = math.log(math.e - 1.0)
"""Of which softplus is 1."""
LEAST_SPREAD = 1e-3
"""Lower bound of the spread, in the deviation of the logs, so that no row's density explodes."""
SMALLEST_REST = 0.01
"""Of the rows above 0, the share below which a quantile falls to 0 along a straight line."""


class ZeroInflatedLogNormal(LabelModel):
    """0, or a log-normal number: ZILN (Wang, Liu and Miao 2019).

    Three logits: the log odds that the label is above 0, and mean and spread of its logarithm,
    both in the deviation of the logarithms of train rows. The loss is the negative log likelihood,
    in which that deviation and the label itself, on which nothing depends, are left out.

    Args:
        numbers: `above`, the share of train rows above 0; `mean` and `std` of their logarithms.
        quantiles: that are scored beside the mean.
    """

    scale = "log of the mean"

    def __init__(self, numbers: Numbers, quantiles: Sequence[float]) -> None:
        super().__init__()
        (above,), (self.mean,), (self.std,) = (numbers[k] for k in ("above", "mean", "std"))
        self.quantiles = tuple(quantiles)
        self.start = (log_odds(above), 0.0, UNIT_SPREAD)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy of being above 0, and where it is, the log-normal part."""
        is_above = label > 0
        log = torch.log(torch.where(is_above, label, 1.0))
        spread = self._spread(logits)
        gap = ((log - self.mean) / self.std - logits[:, 1]) / spread
        density = LOG_OF_ROOT_OF_TWO_PI + spread.log() + 0.5 * gap.square()
        happened = functional.binary_cross_entropy_with_logits(
            logits[:, 0], is_above.to(logits.dtype), reduction="none"
        )
        return happened + torch.where(is_above, density, 0.0)

    def scores(self, logits: Tensor) -> list[Tensor]:
        """The mean, then the quantiles."""
        return [
            exp_of_label(self.explained(logits, logits)),
            *(self._quantile(logits, share) for share in self.quantiles),
        ]

    def explained(self, logits: Tensor, chosen: Tensor) -> Tensor:
        """The log of the mean, `log p + mu + sigma^2 / 2`."""
        spread = self._spread(logits) * self.std
        return functional.logsigmoid(logits[:, 0]) + self._log(logits) + 0.5 * spread.square()

    def _quantile(self, logits: Tensor, share: float) -> Tensor:
        above = torch.sigmoid(logits[:, 0])
        rest = 1.0 - (1.0 - share) / above.clamp_min(1e-12)  # share of the rows above 0
        deviations = normal_quantile(rest.clamp(SMALLEST_REST, 1.0 - 1e-6))
        value = exp_of_label(self._log(logits) + self._spread(logits) * self.std * deviations)
        # A straight line from 0: the quantile itself turns rounding of `rest` into its own size.
        return value * (rest / SMALLEST_REST).clamp(0.0, 1.0)

    def _log(self, logits: Tensor) -> Tensor:
        return logits[:, 1] * self.std + self.mean

    def _spread(self, logits: Tensor) -> Tensor:
        return functional.softplus(logits[:, 2]).clamp_min(LEAST_SPREAD)


class Cread(LabelModel):
    """A number by whether it exceeds each of several thresholds: CREAD (Sun et al., AAAI 2024).

    Each logit is that of `p(label > t_m)`. The value is restored from all of them,
    `mu_0 + sum_m p_m (mu_m+1 - mu_m)`. The loss is the mean cross-entropy of the thresholds, the
    Huber loss of the restored value in the label's deviation, and the mean of
    `max(p_m+1 - p_m, 0)`, which keeps probabilities in order.

    Our readings: mu_m is the mean label of train rows between two thresholds, in place of the
    threshold itself, so that the shares of all rows restore their mean; the three parts have equal
    weights.

    Args:
        numbers: `thresholds` t `[M]`, ascending; `means` mu `[M + 1]`; `above`, the shares of train
            rows beyond the thresholds `[M]`; and `std` of the label.
    """

    steps: Tensor
    thresholds: Tensor

    def __init__(self, numbers: Numbers) -> None:
        super().__init__()
        means, (self.std,) = torch.tensor(numbers["means"]), numbers["std"]
        self.lowest = numbers["means"][0]
        self.start = tuple(map(log_odds, numbers["above"]))
        # Numbers of the network, not weights of it: network.json holds them.
        self.register_buffer("steps", means.diff(), persistent=False)
        self.register_buffer("thresholds", torch.tensor(numbers["thresholds"]), persistent=False)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Classification, restoration and order."""
        beyond = (label.unsqueeze(1) > self.thresholds).to(logits.dtype)
        entropy = functional.binary_cross_entropy_with_logits(logits, beyond, reduction="none")
        restored, standard = self._restored(logits) / self.std, label / self.std
        error = functional.huber_loss(restored, standard, reduction="none")
        loss = entropy.mean(1) + error
        if logits.shape[1] == 1:
            return loss
        return loss + functional.relu(torch.sigmoid(logits).diff(dim=1)).mean(1)

    def scores(self, logits: Tensor) -> list[Tensor]:
        """The restored value."""
        return [self._restored(logits)]

    def _restored(self, logits: Tensor) -> Tensor:
        return self.lowest + (torch.sigmoid(logits) * self.steps).sum(1)


CENTRE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
    -0.0076224613, 0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip


def normal_quantile(share: Tensor) -> Tensor:
    """Quantiles of the standard normal, of shares strictly between 0 and 1.

    The polynomials of Giles ("Approximating the erfinv function", 2010), right to the rounding of
    float32: unlike `torch.special.ndtri` they consist of operations that ONNX has.
    """
    depth = -torch.log(4.0 * share * (1.0 - share))
    centre = _horner(CENTRE, depth.clamp_max(5.0) - 2.5)
    tail = _horner(TAIL, torch.sqrt(depth.clamp_min(5.0)) - 3.0)
    return math.sqrt(2.0) * torch.where(depth < 5.0, centre, tail) * (2.0 * share - 1.0)


def _horner(coefficients: Sequence[float], x: Tensor) -> Tensor:
    value = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value
