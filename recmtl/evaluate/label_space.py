"""The rows, labels and scored columns of each task.

A task is judged on the rows on which it is defined: its label exists and the event of its funnel
parent happened. Everything that evaluates or fits a single task takes rows and columns from here,
so that no metric includes rows without an answer (a conversion rate over impressions that nobody
clicked).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from recmtl.data.columns.funnel import defined_rows, joint_labels, task_position
from recmtl.data.labelled.weights import weight_of
from recmtl.errors import DataError
from recmtl.schema import TaskSpec
from recmtl.schema.names import owner_of, task_column

__all__ = [
    "defined_rows",
    "joint_labels",
    "scores_of",
    "task_position",
    "telling_share",
    "weight_of",
]

HALF_SHARE = 100
"""Telling rows of a task that is believed half as much as one with plenty of them."""


def scores_of(
    predictions: Mapping[str, np.ndarray], tasks: Sequence[TaskSpec], task: TaskSpec
) -> np.ndarray:
    """The scores that belong to `task`: shape [R], or [R, C] for multiclass in class order.

    Raises:
        DataError: the predictions lack the task's column.
    """
    if task.kind == "multiclass":
        columns = _class_columns(predictions, tasks, task)
        if len(columns) < 2:
            raise DataError(
                f"predictions: task {task.name!r} needs columns p_{task.name}_<class>, "
                f"found {columns}; score with a model that has this task"
            )
        return np.stack([predictions[column] for column in columns], axis=1)
    column = task_column(task)
    if column not in predictions:
        raise DataError(
            f"predictions: column {column!r} of task {task.name!r} is missing; "
            f"found {', '.join(predictions)}"
        )
    return predictions[column]


def _class_columns(
    predictions: Mapping[str, np.ndarray], tasks: Sequence[TaskSpec], task: TaskSpec
) -> list[str]:
    return [column for column in predictions if owner_of(column, tasks) == task.name]


def telling_share(label: npt.NDArray[np.floating], kind: str) -> float:
    """The share n / (n + 100) by which an estimate shrinks whose error goes with 1 / n.

    n are the telling rows: of a regression all that are labelled, else those outside the commonest
    class. The AUC of a task with two dozen positive rows differs by .03 between equal networks.

    Args:
        label: `[R]` of the rows on which the task is defined.
        kind: of the task.

    >>> telling_share(np.array([0.0] * 900 + [1.0] * 100), "binary")
    0.5
    """
    telling = len(label)
    if kind != "regression" and telling:
        telling -= int(np.unique(label, return_counts=True)[1].max())
    return telling / (telling + HALF_SHARE)
