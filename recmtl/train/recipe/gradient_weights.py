"""Weights made of the tasks' gradients: GradNorm, and methods that combine gradients.

Only weights of the grid that tasks share are looked at: an entry of a tensor is *shared in a step*
if the gradients of two tasks or more reach it. That is exact for every layout, since an expert or a
gate that a task does not use has a gradient of exactly 0 from it. Embedding tables, heads and what
belongs to one task follow the plain sum of the losses, so that gradients of tables stay sparse and
are made once.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recmtl.train.recipe.loss_weights import LearnedWeights
from recmtl.train.recipe.training import Weighting
from recmtl.train.recipe.weighting import Measure, TaskWeighting, labelled

__all__ = ["CombinedGradients", "GradNorm", "TaskGradients"]

LEAST_WEIGHT = 1e-3


class TaskGradients:
    """The gradients `[T, P]` of each task's loss by P numbers of a network, added up over batches.

    Args:
        tasks: number of tasks.
        parameters: tensors of P numbers in all.
    """

    def __init__(self, tasks: int, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        sizes = [parameter.numel() for parameter in self.parameters]
        ends = torch.tensor(sizes).cumsum(0).tolist()
        self.slices = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
        self.shape = tasks, sum(sizes)
        self._rows: Tensor | None = None

    @property
    def rows(self) -> Tensor:
        """The gradients `[T, P]`; memory is taken when the first are added."""
        if self._rows is None:
            like = self.parameters[0] if self.parameters else torch.zeros(0)
            self._rows = like.detach().new_zeros(self.shape)
        return self._rows

    def add(self, losses: Tensor, share: float) -> None:
        """Add the gradients of the losses `[T]` of a batch; their graph is kept."""
        for task in labelled(losses.detach()) if self.parameters else ():
            gradients = torch.autograd.grad(
                losses[task], self.parameters, retain_graph=True, allow_unused=True
            )
            for part, gradient in zip(self.slices, gradients, strict=True):
                if gradient is not None:
                    self.rows[task, part].add_(gradient.flatten(), alpha=share)

    def shared(self) -> Tensor:
        """The gradients `[T, P]`, 0 where fewer than two tasks reach an entry."""
        return self.rows * ((self.rows != 0).sum(0) > 1)

    def clear(self) -> None:
        """Forget the gradients of a step."""
        self.rows.zero_()


class CombinedGradients(TaskWeighting):
    """Shared weights of the grid follow `sum_t w_t gradient_t`, with w made of the Gramian.

    The gradients that a step has already are those of the plain sum; `combine` adds
    `sum_t (w_t - 1) gradient_t` to the shared entries. The Gramian `[t, t]` of the t tasks whose
    shared gradient is not 0 is divided by the mean of its diagonal, since methods with a threshold
    in them would otherwise depend on the scale of the losses. Other tasks have the weight 1.

    Args:
        tasks: number of tasks.
        grid: whose parameters are looked at.
        weigh: maps a Gramian to weights; where no two gradients conflict and all are equally long,
            they should be 1.
    """

    def __init__(self, tasks: int, *, grid: nn.Module, weigh: Callable[[Tensor], Tensor]) -> None:
        super().__init__(tasks)
        self.gradients = TaskGradients(tasks, [p for p in grid.parameters() if p.requires_grad])
        self.weigh = weigh

    def differentiate(self, losses: Tensor, share: float) -> None:
        """Add the gradients of a batch to those of the step."""
        self.gradients.add(losses, share)

    @torch.no_grad()
    def combine(self) -> None:
        """Weigh the tasks, and change the gradients of what they share."""
        rows = self.gradients.shared()
        gramian = (rows @ rows.T).double().cpu()
        tasks = torch.nonzero(gramian.diagonal() > 0).flatten()
        self.weights = torch.ones(len(rows))
        if len(tasks) > 1 and bool(torch.isfinite(gramian).all()):
            part = gramian[tasks][:, tasks]
            weights = self.weigh(part / part.diagonal().mean())
            self.weights[tasks] = weights.to(self.weights)
            self._correct(rows)
        self.gradients.clear()

    def _correct(self, rows: Tensor) -> None:
        change = (self.weights.to(rows) - 1.0) @ rows
        for parameter, part in zip(self.gradients.parameters, self.gradients.slices, strict=True):
            if parameter.grad is not None:
                parameter.grad += change[part].view_as(parameter)


class GradNorm(LearnedWeights):
    """GradNorm: weighted gradients of equal length at the last shared weights, by learning speed.

    Chen, Badrinarayanan, Lee and Rabinovich (ICML 2018), algorithm 1: w follows the gradient of
    `sum_t |w_t n_t - mean(w n) r_t^asymmetry|`, n_t being the length of task t's gradient and r_t
    its loss as a share of the first one, divided by their mean; the targets are constants. Then w
    is scaled to the sum of the number of tasks. Readings: the first loss is that of the best
    constant, with which heads begin, since the first batch of a rare task may hold no event; w is
    kept above .001; tasks that are not labelled in a step take no part in it; the last shared
    weights are the matrices of the deepest experts that two tasks' gradients reach, and of those
    the shared entries. If tasks share no experts, weights stay 1.

    Args:
        tasks: number of tasks.
        settings: learning rate and asymmetry.
        first: scaled loss `[T]` of the best constant predictions.
        layers: experts' matrices by name, the last first.
    """

    def __init__(
        self,
        tasks: int,
        *,
        settings: Weighting,
        first: Tensor,
        layers: Mapping[str, nn.Parameter],
    ) -> None:
        super().__init__(tasks, settings=settings, start=1.0)
        self.settings, self.first, self.layers = settings, first.cpu().float(), dict(layers)
        self.layer: str | None = None
        self.gradients: TaskGradients | None = None

    def loss(self, losses: Tensor) -> Tensor:
        """The weighted sum."""
        self.weights = self.values()
        return (losses * self.weights.to(losses)).sum()

    def differentiate(self, losses: Tensor, share: float) -> None:
        """Add the gradients at the last shared weights; find these while they are not known."""
        if self.gradients is None:
            self._find(losses)
        if self.gradients is not None:
            self.gradients.add(losses, share)

    def observe(self, losses: Tensor, measure: Measure | None = None) -> None:
        """One step of the weights."""
        if self.gradients is None:
            return
        lengths = self.gradients.shared().norm(dim=1).cpu().float()
        self.gradients.clear()
        tasks = [task for task in labelled(losses) if lengths[task] > 0]
        if len(tasks) < 2:
            return
        rates = losses.cpu().float()[tasks] / self.first[tasks]
        weighted = self.values(tasks) * lengths[tasks]
        target = weighted.mean() * (rates / rates.mean()) ** self.settings.asymmetry
        self.follow(tasks, torch.sign(weighted - target) * lengths[tasks])
        self._scale(tasks)

    def _scale(self, tasks: Sequence[int]) -> None:
        """Keep the weights of these tasks above 0, and their sum; that of others stays."""
        with torch.no_grad():
            others = sum(float(n) for t, n in enumerate(self.numbers) if t not in tasks)
            for task in tasks:
                self.numbers[task].clamp_(min=LEAST_WEIGHT)
            factor = (len(self.numbers) - others) / float(self.values(tasks).sum())
            for task in tasks:
                self.numbers[task].mul_(factor)

    def _find(self, losses: Tensor) -> None:
        """The last matrices that the gradients of two tasks reach."""
        for name, parameter in self.layers.items():
            gradients = TaskGradients(len(self.numbers), [parameter])
            gradients.add(losses, 1.0)
            if bool(gradients.shared().any()):
                self._use(name)
                return

    def _use(self, name: str) -> None:
        self.layer = name
        self.gradients = TaskGradients(len(self.numbers), [self.layers[name]])

    def state_dict(self) -> dict[str, Any]:
        """The weights, Adam's moments, and the name of the last shared weights."""
        return {**super().state_dict(), "layer": self.layer}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state_dict` data."""
        super().load_state_dict(state)
        if state["layer"] is not None:
            self._use(state["layer"])

    def facts(self) -> dict[str, Any]:
        """The name of the last shared weights."""
        return {"layer": self.layer}
