"""Weights of losses that are known before a step and learned after it: uncertainty, DWA, FAMO.

A step of several batches equals that of one large batch, since the weights are the same in all of
them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recmtl.train.recipe.training import Weighting
from recmtl.train.recipe.weighting import Measure, TaskWeighting, labelled

__all__ = ["DynamicWeightAverage", "Famo", "LearnedWeights", "Uncertainty"]

TINY = 1e-8


class LearnedWeights(TaskWeighting):
    """Weights made of one number a task, which Adam learns; tasks without labelled rows keep it.

    Args:
        tasks: number of tasks.
        settings: of the weighting.
        start: of the numbers.
        decay: weight decay of Adam.
    """

    def __init__(
        self, tasks: int, *, settings: Weighting, start: float = 0.0, decay: float = 0.0
    ) -> None:
        super().__init__(tasks)
        self.numbers = [nn.Parameter(torch.tensor(start)) for _ in range(tasks)]
        self.optimizer = torch.optim.Adam(
            self.numbers, lr=settings.learning_rate, weight_decay=decay, foreach=False
        )

    def follow(self, tasks: Sequence[int], gradient: Tensor) -> None:
        """One step of the numbers of these tasks along their gradient `[len(tasks)]`."""
        for task, slope in zip(tasks, gradient.tolist(), strict=True):
            self.numbers[task].grad = torch.tensor(slope)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def values(self, tasks: Sequence[int] | None = None) -> Tensor:
        """The numbers of these tasks, of all by default."""
        which = range(len(self.numbers)) if tasks is None else tasks
        return torch.stack([self.numbers[task].detach() for task in which])

    def state_dict(self) -> dict[str, Any]:
        """The numbers, Adam's moments and the newest weights."""
        return {
            "numbers": self.values(),
            "optimizer": self.optimizer.state_dict(),
            "weights": self.weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state_dict` data."""
        with torch.no_grad():
            for number, value in zip(self.numbers, state["numbers"], strict=True):
                number.copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.weights = state["weights"]


class Uncertainty(LearnedWeights):
    """Homoscedastic uncertainty: `sum_t exp(-s_t) loss_t + s_t / 2` with a learned s_t.

    Kendall, Gal and Cipolla (CVPR 2018), with s = log sigma^2. Reading for log losses: the softmax
    of logits divided by sigma^2 approximated as in their equation 10, which gives exactly this
    form. For a squared error they have exp(-s) / 2 in place of exp(-s), which is the same
    objective with s moved by log 2. At the optimum exp(-s) is 1 / (2 loss).
    """

    def loss(self, losses: Tensor) -> Tensor:
        """The weighted sum; the terms s / 2 have no gradient in the network."""
        self.weights = torch.exp(-self.values())
        return (losses * self.weights.to(losses)).sum()

    def observe(self, losses: Tensor, measure: Measure | None = None) -> None:
        """Follow the objective's gradient `1/2 - exp(-s) loss` of each labelled task."""
        tasks = labelled(losses)
        self.follow(tasks, 0.5 - torch.exp(-self.values(tasks)) * losses.cpu().float()[tasks])


class DynamicWeightAverage(TaskWeighting):
    """DWA: `T softmax(r / temperature)` of the rates r at which the losses last fell.

    Liu, Johns and Davison (CVPR 2019), equation 7: r_t is the mean loss of a period divided by that
    of the period before; weights are 1 until there are two. Reading: a period is a number of steps
    rather than an epoch, since a table is passed over a few times only. A task without labelled
    rows in a period keeps its rate.

    Args:
        tasks: number of tasks.
        settings: temperature and period.
    """

    def __init__(self, tasks: int, *, settings: Weighting) -> None:
        super().__init__(tasks)
        self.settings, self.steps = settings, 0
        self.sums, self.counts, self.before = (torch.zeros(tasks).double() for _ in range(3))
        self.rates = torch.ones(tasks).double()

    def loss(self, losses: Tensor) -> Tensor:
        """The weighted sum."""
        return (losses * self.weights.to(losses)).sum()

    def observe(self, losses: Tensor, measure: Measure | None = None) -> None:
        """Add up the losses; at the end of a period, weigh anew."""
        losses = losses.cpu().double()
        self.sums += losses
        self.counts += losses != 0.0
        self.steps += 1
        if self.steps % self.settings.period:
            return
        seen = self.counts > 0
        mean = torch.where(seen, self.sums / self.counts.clamp(min=1.0), self.before)
        comparable = seen & (self.before > 0)
        self.rates = torch.where(comparable, mean / self.before.clamp(min=TINY), self.rates)
        self.before = mean
        self.sums, self.counts = torch.zeros_like(mean), torch.zeros_like(mean)
        weights = len(mean) * torch.softmax(self.rates / self.settings.temperature, 0)
        self.weights = weights.float()

    def state_dict(self) -> dict[str, Any]:
        """Sums and counts of the period, the means before it, rates, weights, number of steps."""
        return {name: getattr(self, name) for name in self._parts()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state_dict` data."""
        for name in self._parts():
            setattr(self, name, state[name])

    def _parts(self) -> tuple[str, ...]:
        return ("sums", "counts", "before", "rates", "weights", "steps")


class Famo(LearnedWeights):
    """FAMO: every labelled task's log loss falls equally fast, without gradients of single tasks.

    Liu, Feng, Stone and Liu (NeurIPS 2023), algorithm 1: the step follows
    `c sum_t z_t grad(loss_t) / loss_t` with z = softmax(xi) and c = 1 / sum_t (z_t / loss_t); then
    xi follows `J_softmax^T (log loss_before - log loss_after)` by Adam with weight decay .001.
    Readings: softmax runs over the tasks that are labelled in the step; weights are multiplied by
    their number, so that equal losses have the step of fixed weights; the losses after a step are
    measured with the dropout of the step, so that they differ by the step alone.
    """

    measures = True

    def __init__(self, tasks: int, *, settings: Weighting) -> None:
        super().__init__(tasks, settings=settings, decay=1e-3)
        self.measured: Tensor | None = None

    def look(self, measure: Measure) -> None:
        """The losses of all batches of the step, on which the weights of each depend."""
        self.measured = measure()

    def loss(self, losses: Tensor) -> Tensor:
        """The weighted sum; tasks that are not labelled have the weight 0."""
        step = losses.detach() if self.measured is None else self.measured
        tasks, inverse = labelled(step), torch.zeros(len(losses))
        if tasks:
            shares = torch.softmax(self.values(tasks), 0)
            inverse[tasks] = shares / (step.cpu().float()[tasks] + TINY)
            inverse *= len(tasks) / inverse.sum()
        self.weights = inverse
        return (losses * self.weights.to(losses)).sum()

    def observe(self, losses: Tensor, measure: Measure | None = None) -> None:
        """Give more weight to tasks whose log losses fell least."""
        tasks, self.measured = labelled(losses), None
        if len(tasks) < 2 or measure is None:
            return
        before, after = (part.cpu().float()[tasks] for part in (losses, measure()))
        fall = torch.log(before + TINY) - torch.log(after + TINY)
        shares = torch.softmax(self.values(tasks), 0)
        self.follow(tasks, shares * (fall - (shares * fall).sum()))
