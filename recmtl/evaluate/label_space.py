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
from recmtl.schema.names import owner_of, task_column

__all__ = [
    "defined_rows",
    "joint_labels",
    "scores_of",
    "task_position",
]


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
