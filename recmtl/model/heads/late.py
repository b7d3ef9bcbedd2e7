"""Losses of late labels: what a row says whose event may still come (delayed feedback).

Both readings model the delay of an event that happens within its window. With u the share of the
window that has passed, it is exponential and cut at the window's end:

    F(u) = (1 - exp(-k u)) / (1 - exp(-k)),   f(u) = k exp(-k u) / (1 - exp(-k))

A head of its own gives log k of each row. Of a row of which the share w has passed, p the
probability of the event, the losses are:

- `exponential` (Chapelle, KDD 2014, eqs. 12 to 17; there the window has no end): an event seen
  after the share d costs `-log p - log f(d)`, no event so far `-log(1 - p F(w))`.
- `importance` (feedback shift, Yasui et al., WWW 2020): the cross-entropy of what is seen so far,
  an event weighted by `1 / F(w)` and none by `(1 - p) / (1 - p F(w))`. The paper fits the weights
  by two classifiers; in our reading they follow from p and F, which are held fixed in them. The
  head of the delay learns from the events alone, `-log(f(d) / F(w))`.

A closed window has F = 1, and p then costs its cross-entropy in both.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from recmtl.grid.experts import StackedExperts
from recmtl.model.heads.funnel import Funnel, joint_loss

__all__ = [
    "LateHead",
    "LateLabels",
    "exponential_loss",
    "importance_loss",
    "log_density",
    "log_distribution",
]

LateLabels = Literal["unknown", "exponential", "importance"]
SLOWEST, FASTEST = math.log(1e-3), math.log(1e4)
"""Bounds of log k: nearly uniform over the window, and a ten-thousandth of it on average."""
LEAST_SEEN = 0.01
"""Lower bound of F in a weight, so that no event counts more than a hundred times."""


def log_distribution(share: Tensor, log_rate: Tensor) -> Tensor:
    """`log F(u)` of shares u above 0 of the window, `[B]`.

    >>> half = log_distribution(torch.tensor([0.5, 1.0]), torch.tensor([0.0, 0.0])).exp()
    >>> [round(p, 3) for p in half.tolist()]
    [0.622, 1.0]
    """
    rate = log_rate.exp()
    return torch.log(-torch.expm1(-rate * share)) - torch.log(-torch.expm1(-rate))


def log_density(share: Tensor, log_rate: Tensor) -> Tensor:
    """`log f(u)` of shares u of the window, `[B]`."""
    rate = log_rate.exp()
    return log_rate - rate * share - torch.log(-torch.expm1(-rate))


def exponential_loss(
    log_p: Tensor, label: Tensor, *, waited: Tensor, delay: Tensor, log_rate: Tensor
) -> Tensor:
    """Chapelle's loss `[B]`; see the module.

    Args:
        log_p: log of the probability of the event.
        label: 1 where it has been seen, 0 where not so far.
        waited: share of the window that has passed, 1 where it is closed.
        delay: share after which the event happened, any number where it was not seen.
        log_rate: log k.
    """
    log_seen = torch.where(label == 1, 0.0, log_distribution(waited, log_rate))
    return joint_loss(log_p + log_seen, label) - label * log_density(delay, log_rate)


def importance_loss(
    log_p: Tensor, label: Tensor, *, waited: Tensor, delay: Tensor, log_rate: Tensor
) -> Tensor:
    """The cross-entropy `[B]` weighted for its shift; see the module and `exponential_loss`."""
    log_seen = log_distribution(waited, log_rate)
    p, seen = log_p.detach().exp(), log_seen.detach().exp().clamp_min(LEAST_SEEN)
    of_none = (1.0 - p).clamp_min(1e-7) / (1.0 - p * seen).clamp_min(1e-7)
    weight = torch.where(label == 1, 1.0 / seen, of_none)
    fit = log_density(delay, log_rate) - log_seen
    return weight * joint_loss(log_p, label) - label * fit


LOSSES = {"exponential": exponential_loss, "importance": importance_loss}


class LateHead(nn.Module):
    """The delays of late events, and the losses of their tasks; only training uses it.

    Args:
        late: positions of the tasks whose labels are late, among all tasks.
        reading: which loss.
        width: features of a task lane.
        tower: hidden widths of a head.
    """

    def __init__(
        self, late: Sequence[int], reading: LateLabels, *, width: int, tower: Sequence[int]
    ) -> None:
        super().__init__()
        self.late, self.loss = tuple(late), LOSSES[reading]
        reads = list(enumerate(late))
        self.rates = StackedExperts((width, *tower, 1), reads, last_activation=False)

    def forward(self, lanes: Tensor) -> list[Tensor]:
        """Log k `[B, 1]` of each late task, from the lanes `[B, T, D]`."""
        return list(self.rates(lanes).clamp(SLOWEST, FASTEST).unbind(1))

    def seen(self, happened: Tensor, waits: Tensor) -> Tensor:
        """Labels `[B, T]` with what has been seen of late ones in place of NaN.

        Args:
            happened: labels on the entire space `[B, T]`, NaN where they are not known.
            waits: `waited` and `delay` of each late task, `[B, 2 L]`.
        """
        columns = list(happened.unbind(1))
        for number, task in enumerate(self.late):
            waited, delay = waits[:, 2 * number], waits[:, 2 * number + 1]
            so_far = torch.where(waited.isnan(), waited, (~delay.isnan()).to(waited.dtype))
            columns[task] = torch.where(columns[task].isnan(), so_far, columns[task])
        return torch.stack(columns, 1)

    def losses(
        self, funnel: Funnel, logits: list[Tensor], targets: Tensor, waits: Tensor
    ) -> dict[int, Tensor]:
        """The loss `[B]` of each late task, by position.

        Args:
            funnel: of all tasks.
            logits: of all tasks, and last the rates.
            targets: from `seen`, 0 in place of NaN.
            waits: see there.
        """
        losses = {}
        for number, (task, rate) in enumerate(
            zip(self.late, logits[-len(self.late) :], strict=True)
        ):
            waited, delay = waits[:, 2 * number], waits[:, 2 * number + 1]
            losses[task] = self.loss(
                funnel.log_probability(task, logits),
                targets[:, task],
                waited=waited.nan_to_num(1.0).clamp_min(1e-6),
                delay=delay.nan_to_num(0.0),
                log_rate=rate[:, 0],
            )
        return losses
