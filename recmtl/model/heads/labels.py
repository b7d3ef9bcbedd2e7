"""Models of a label: what a head's logits say of it, what they cost, and what is scored.

`Classes` and `Value` are those of a multiclass and of a regression task without more; a schema may
name another one as the task's `head`. Binary tasks are those of `recmtl.model.heads.funnel`.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmtl.data.labelled.reading import LARGEST_LABEL

__all__ = [
    "LARGEST_LOG_LABEL",
    "Classes",
    "LabelModel",
    "Numbers",
    "Ordinal",
    "Score",
    "Value",
    "exp_of_label",
    "log_odds",
]

LARGEST_LOG_LABEL = math.log1p(LARGEST_LABEL)
LEAST_SHARE = 1e-6
"""Shares of rows from which a head starts are kept so far away from 0 and 1."""
Numbers = Mapping[str, tuple[float, ...]]
"""What was fitted on labels of train rows, by name; it is stored with the network."""


class LabelModel(nn.Module):
    """A model of one task's label.

    Attributes:
        start: what the biases of the head's last product start at, `products` numbers.
        scale: what `explained` gives, in words: a difference on a scale with `log of` before a
            number is a factor of that number.
    """

    start: tuple[float, ...]
    scale: str = "value"

    def logits(self, products: Tensor) -> Tensor:
        """The head's products `[B, products]` as logits `[B, size]`, of which averages make sense.

        They are the same unless a model says otherwise.
        """
        return products

    @abstractmethod
    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Loss `[B]` of logits `[B, size]` where the label is `label` `[B]`."""

    @abstractmethod
    def scores(self, logits: Tensor) -> list[Tensor]:
        """The scored columns `[B]` of logits `[B, size]`."""

    def explained(self, logits: Tensor, chosen: Tensor) -> Tensor:
        """The prediction `[B]` on the scale on which contributions of features add up.

        Args:
            logits: `[B, size]`.
            chosen: `[B]`, the scored column that is explained.
        """
        return self.scores(logits)[0]


class Classes(LabelModel):
    """A class of several: softmax.

    Args:
        size: number of classes.
        label_smoothing: share of a label that the loss spreads evenly over all classes.
    """

    scale = "log odds"

    def __init__(self, size: int, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.start, self.label_smoothing = (0.0,) * size, label_smoothing

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy; labels are indices of classes."""
        return functional.cross_entropy(
            logits, label.long(), reduction="none", label_smoothing=self.label_smoothing
        )

    def scores(self, logits: Tensor) -> list[Tensor]:
        """The probability of each class."""
        return list(logits.softmax(-1).unbind(1))

    def explained(self, logits: Tensor, chosen: Tensor) -> Tensor:
        """The log odds of the chosen class against all others."""
        winner = chosen.unsqueeze(1)
        others = logits.scatter(1, winner, -torch.inf).logsumexp(1)
        return logits.gather(1, winner)[:, 0] - others


class Ordinal(Classes):
    """A class of several in order: cumulative logits (proportional odds, McCullagh 1980).

    With f the head's only product and thresholds t that ascend by construction,
    `p(class <= k) = sigmoid(t_k - f)`. The logits that are handed on are the logarithms of the
    classes' probabilities, of which a softmax gives these probabilities again, so that an ordinal
    head is measured, calibrated, blended and explained as any head of classes.

    Args:
        size: number of classes, at least 2.
        numbers: `shares` of the classes on train rows, at which the thresholds start.
        label_smoothing: as of `Classes`.
    """

    def __init__(self, size: int, numbers: Numbers, *, label_smoothing: float = 0.0) -> None:
        super().__init__(size, label_smoothing=label_smoothing)
        self.start = (0.0,)
        shares = torch.tensor(numbers.get("shares", (1.0,) * size)).clamp_min(LEAST_SHARE)
        below = (shares / shares.sum()).cumsum(0)[:-1].clamp(LEAST_SHARE, 1.0 - LEAST_SHARE)
        thresholds = torch.logit(below)
        self.first = nn.Parameter(thresholds[:1].clone())
        gaps = thresholds.diff().clamp_min(1e-4)
        self.gaps = nn.Parameter(torch.log(torch.expm1(gaps)))  # softplus gives the gaps again

    @property
    def thresholds(self) -> Tensor:
        """The thresholds `[size - 1]`, ascending."""
        return torch.cat([self.first, self.first + functional.softplus(self.gaps).cumsum(0)])

    def logits(self, products: Tensor) -> Tensor:
        """Log probabilities `[B, size]` of the classes, of products `[B, 1]`."""
        cumulative = self.thresholds - products
        below, above = functional.logsigmoid(cumulative), functional.logsigmoid(-cumulative)
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b))
        gaps = torch.log(-torch.expm1(-functional.softplus(self.gaps).clamp_min(1e-6)))
        between = below[:, 1:] + above[:, :-1] + gaps
        return torch.cat([below[:, :1], between, above[:, -1:]], 1)


class Value(LabelModel):
    """A number by squared error: the mean, of a logarithm under `log1p`.

    Args:
        mean: of the transformed label.
        std: of the same; the loss is measured in it.
        transform: `none` or `log1p`.
    """

    def __init__(self, mean: float, std: float, *, transform: str) -> None:
        super().__init__()
        self.mean, self.std, self.is_logged = mean, std, transform == "log1p"
        self.scale = "log of 1 + value" if self.is_logged else "value"
        self.start = (0.0,)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Squared error of the standardised label."""
        raw = torch.log1p(label) if self.is_logged else label
        return (logits[:, 0] - (raw - self.mean) / self.std).square()

    def scores(self, logits: Tensor) -> list[Tensor]:
        """The value, in the label's own unit."""
        value = logits[:, 0] * self.std + self.mean
        # No label is larger, and the exponential of a stray 90 would leave float32.
        return [torch.expm1(value.clamp_max(LARGEST_LOG_LABEL)) if self.is_logged else value]

    def explained(self, logits: Tensor, chosen: Tensor) -> Tensor:
        """The value on the scale on which it was trained."""
        return logits[:, 0] * self.std + self.mean


class Score(LabelModel):
    """A score by which the rows of a group are ordered; it has neither a unit nor a level.

    All of its loss lies within groups, see `recmtl.model.heads.group_loss`.
    """

    scale = "score"

    def __init__(self) -> None:
        super().__init__()
        self.start = (0.0,)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """0: a row alone has no order."""
        return torch.zeros_like(label)

    def scores(self, logits: Tensor) -> list[Tensor]:
        """The score."""
        return [logits[:, 0]]


def exp_of_label(log: Tensor) -> Tensor:
    """The exponential of a label's logarithm, at most the largest label."""
    return torch.exp(log.clamp_max(LARGEST_LOG_LABEL))


def log_odds(share: float) -> float:
    """The log odds of a share of rows, kept away from 0 and 1."""
    share = min(max(share, LEAST_SHARE), 1.0 - LEAST_SHARE)
    return math.log(share) - math.log1p(-share)
