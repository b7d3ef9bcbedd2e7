"""How the losses of several tasks become one gradient: the interface and fixed weights.

A weighting sees the scaled losses `[T]` of every batch of a step, `weight / constant_loss **
balance` times the loss. It may weigh the losses before they are differentiated (`loss`), or look at
the tasks' gradients (`differentiate`) and change their sum (`combine`). A task without labelled
rows in a step has the loss 0 there: it takes no part, and what a weighting knows of it stays.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Measure", "TaskWeighting", "labelled"]

Measure = Callable[[], Tensor]
"""Returns the scaled losses `[T]` of the batches of a step under the present weights of the
network, with the dropout of the step."""


class TaskWeighting:
    """Fixed weights: every task's scaled loss counts as it is.

    Attributes:
        weights: of the tasks `[T]`, in the newest step.
        measures: whether losses have to be measured beside a step's gradients: `look` is called
            before a step of several batches, and `observe` with what measures the losses after it.
    """

    measures = False

    def __init__(self, tasks: int) -> None:
        self.weights = torch.ones(tasks)

    def look(self, measure: Measure) -> None:
        """Measure the losses of a step before its gradients are made."""

    def loss(self, losses: Tensor) -> Tensor:
        """The scalar that is followed for the losses `[T]` of a batch."""
        return losses.sum()

    def differentiate(self, losses: Tensor, share: float) -> None:
        """Look at the gradients of the losses `[T]` of a batch, which counts by its share."""

    def combine(self) -> None:
        """Change the gradients of a step, those of all its batches being added up."""

    def observe(self, losses: Tensor, measure: Measure | None = None) -> None:
        """Learn from a step that was taken; `losses` `[T]` are those before it."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state_dict` data."""

    def facts(self) -> dict[str, Any]:
        """What a record says beside the weights, as JSON data."""
        return {}


def labelled(losses: Tensor) -> list[int]:
    """Positions of the tasks that have labelled rows in a step, by its losses `[T]`.

    A loss is 0 without labelled rows. One that is 0 with them has no gradient either.

    >>> labelled(torch.tensor([0.3, 0.0, 1.2]))
    [0, 2]
    """
    return [task for task, loss in enumerate(losses.tolist()) if loss != 0.0]
