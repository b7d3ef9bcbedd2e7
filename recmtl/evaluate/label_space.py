"""The rows, labels and scored columns of each task.

A task is judged on the rows on which it is defined: its label exists and the event of its funnel
parent happened. Everything that evaluates or fits a single task takes rows and columns from here,
so that no metric includes rows without an answer (a conversion rate over impressions that nobody
clicked).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from recmtl.data.columns.funnel import defined_rows, joint_labels, task_position
from recmtl.errors import DataError
from recmtl.schema import TaskSpec

__all__ = [
    "defined_rows",
    "joint_column",
    "joint_labels",
    "scores_of",
    "task_column",
    "task_position",
]


def task_column(task: TaskSpec) -> str:
    """The scored column of a binary or regression task, for the rows on which it is defined."""
    if task.kind == "regression":
        return f"value_{task.name}"
    return f"p_{task.name}" if task.parent is None else f"p_{task.name}_given_{task.parent}"


def joint_column(task: TaskSpec) -> str:
    """The scored column of the event "parent and child", for all rows."""
    return f"p_{task.parent}_and_{task.name}"


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
    # p_rating_full_3 may be class "full_3" of `rating` or class "3" of `rating_full`: the task
    # with the longest matching name owns the column.
    names = [other.name for other in tasks if other.name.startswith(task.name)]

    def owner(column: str) -> str | None:
        fitting = [n for n in names if column == f"p_{n}" or column.startswith(f"p_{n}_")]
        return max(fitting, key=len, default=None)

    return [column for column in predictions if owner(column) == task.name]
