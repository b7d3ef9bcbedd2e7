"""What a network is trained on: encoded splits and the tasks of their label columns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from recmtl.data.encoding import Encoding
from recmtl.data.labels import LabelStatistics
from recmtl.data.log import EncodedLog, Split
from recmtl.evaluate.population import own_rows, task_position
from recmtl.heads import HeadSpec, head_specs
from recmtl.schema import Task

__all__ = ["Material"]


@dataclass(frozen=True)
class Material:
    """Train, validation and test rows, their encoding, their tasks and the heads that fit them.

    The columns of `labels` follow `tasks`. `test` is scored and never used for a choice.
    """

    train: Split
    validation: Split
    test: Split
    encoding: Encoding
    tasks: tuple[Task, ...]
    heads: tuple[HeadSpec, ...]

    @classmethod
    def of(cls, log: EncodedLog) -> "Material":
        """All tasks of an encoded log."""
        tasks = tuple(log.schema.tasks)
        train, validation, test = map(log.split, ("train", "validation", "test"))
        heads = head_specs(tasks, log.label_statistics)
        return cls(train, validation, test, log.encoding, tasks, heads)

    def only(self, task: Task) -> "Material":
        """One task alone, on its own population: train and validation rows where it is defined.

        A funnel child becomes a plain task on the rows where its parent happened. All test rows
        stay, so that scores line up with those of other models; their labels do not matter.
        """
        alone = replace(task, parent=None)
        train, validation = (
            _restrict(split, self.tasks, task) for split in (self.train, self.validation)
        )
        column = [task_position(self.tasks, task.name)]
        test = replace(self.test, labels=np.asarray(self.test.labels)[:, column])
        statistics = {task.name: _statistics(alone, train.labels[:, 0], self.heads)}
        heads = head_specs((alone,), statistics)
        return Material(train, validation, test, self.encoding, (alone,), heads)


def _restrict(split: Split, tasks: Sequence[Task], task: Task) -> Split:
    labels = np.asarray(split.labels)
    rows = np.flatnonzero(own_rows(labels, tasks, task))
    own = labels[rows][:, [task_position(tasks, task.name)]]
    if len(rows) == len(split):
        return replace(split, labels=own)
    taken = {n: np.asarray(getattr(split, n))[rows] for n in ("ids", "numeric", "weight", "group")}
    return replace(split, **taken, labels=own, row=np.asarray(split.row)[rows])


def _statistics(task: Task, labels: np.ndarray, heads: Sequence[HeadSpec]) -> LabelStatistics:
    label = labels.astype(np.float64)
    if task.transform == "log1p":
        label = np.log1p(label)
    classes = next(head.classes for head in heads if head.name == task.name)
    positives = int(label.sum()) if task.kind == "binary" else 0
    return LabelStatistics(len(label), positives, float(label.mean()), float(label.std()), classes)
