"""The rows, label and weight on which a separate model of one task is fitted.

The model of a funnel child is fitted where its parent happened and predicts p(child | parent).
Regression labels are transformed before fitting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recmtl.data.columns.funnel import defined_rows, task_position
from recmtl.data.encoded_log import LogSplit
from recmtl.data.labelled.weights import weight_of
from recmtl.schema import TaskSpec

__all__ = ["Matrix", "TaskRows", "task_rows"]

Matrix: TypeAlias = Any
"""Rows of a method's own columns `[R, F]`: a NumPy array, or a SciPy sparse matrix."""


@dataclass(frozen=True)
class TaskRows:
    """The rows on which one task is defined.

    Attributes:
        x: their columns `[R, F]`.
        label: `[R]`: 0 and 1, class indices, or transformed values.
        weight: `[R]`, above 0. A log's weights have mean 1 on its train rows, and weights that a
            task has of its own have it here, so that they count rows in a penalty, too.
    """

    x: Matrix
    label: NDArray[np.float64]
    weight: NDArray[np.float64]


def task_rows(x: Matrix, split: LogSplit, tasks: Sequence[TaskSpec], task: TaskSpec) -> TaskRows:
    """The rows of a split, with columns `x`, on which one of its tasks is defined."""
    labels = np.asarray(split.labels)
    rows = defined_rows(labels, tasks, task)
    label = labels[rows, task_position(tasks, task.name)].astype(np.float64)
    if task.transform == "log1p":
        label = np.log1p(label)
    position = task_position(tasks, task.name)
    weight = weight_of(np.asarray(split.weight_by_task), position)[rows].astype(np.float64)
    if task.sample_weight is not None and len(weight):
        weight = weight / weight.mean()
    return TaskRows(x if rows.all() else x[np.flatnonzero(rows)], label, weight)
