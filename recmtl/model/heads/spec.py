"""A task as its head sees it: kind, parent, and the label statistics that scale loss and bias."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from recmtl.data.columns.funnel import funnel_path
from recmtl.data.columns.labels import LabelStatistics
from recmtl.schema import TaskSpec
from recmtl.schema.names import scored_columns

__all__ = ["HeadSpec", "head_specs", "output_columns"]


@dataclass(frozen=True)
class HeadSpec:
    """What a head needs to know of its task.

    Attributes:
        name: the task's name, part of its columns' names.
        kind: binary, regression or multiclass.
        parent: the task whose event comes before this one's in a funnel, or None.
        weight: factor of the task's loss.
        transform: `none`, or `log1p` of a regression label before it is standardised.
        mean: mean of the transformed label on train rows. For a binary label this is its rate; for
            a funnel child it is the rate of the joint event on the rows on which that is known.
        std: standard deviation of the transformed label on train rows.
        classes: names of a multiclass task's classes, in the order of the class indices.
        is_late: whether the event may come after the row, see `recmtl.schema.Label`.
    """

    name: str
    kind: Literal["binary", "regression", "multiclass"]
    parent: str | None = None
    weight: float = 1.0
    transform: str = "none"
    mean: float = 0.0
    std: float = 1.0
    classes: tuple[str, ...] = ()
    is_late: bool = False

    @property
    def size(self) -> int:
        """Number of logits."""
        return len(self.classes) if self.kind == "multiclass" else 1

    @property
    def constant_loss(self) -> float:
        """Loss of the best constant prediction; 1 for a standardised regression label.

        >>> round(HeadSpec("click", "binary", mean=0.5).constant_loss, 4)  # log 2
        0.6931
        """
        if self.kind == "regression":
            return 1.0
        if self.kind == "multiclass":
            return math.log(len(self.classes))
        rate = min(max(self.mean, 1e-6), 1.0 - 1e-6)
        return -rate * math.log(rate) - (1.0 - rate) * math.log(1.0 - rate)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the task's scored columns."""
        return scored_columns(self, self.classes)


def head_specs(
    tasks: Sequence[TaskSpec], statistics: Mapping[str, LabelStatistics]
) -> tuple[HeadSpec, ...]:
    """The heads of a schema's tasks, with label statistics of the train rows by task."""
    return tuple(
        HeadSpec(
            task.name,
            task.kind,
            parent=task.parent,
            weight=task.weight,
            transform=task.transform,
            mean=_mean(task, tasks, statistics),
            std=statistics[task.name].std or 1.0,
            classes=tuple(str(label) for label in statistics[task.name].classes),
            is_late=task.label.is_late,
        )
        for task in tasks
    )


def _mean(
    task: TaskSpec, tasks: Sequence[TaskSpec], statistics: Mapping[str, LabelStatistics]
) -> float:
    label = statistics[task.name]
    if task.parent is None or label.rows == statistics[task.parent].rows:
        return label.mean
    path = funnel_path(tasks, task)
    if label.given_parent is None:
        # A log of 0.1: labels are unknown where an event before did not happen.
        return label.positives / statistics[path[0].name].rows
    # Parent and child were not recorded on the same rows: only their ratio is free of the choice.
    return label.given_parent * _mean(path[-2], tasks, statistics)


def output_columns(specs: Sequence[HeadSpec]) -> tuple[str, ...]:
    """The scored columns of all tasks, in task order."""
    return tuple(column for spec in specs for column in spec.columns)
