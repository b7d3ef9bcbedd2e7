"""Weights that a task has of its own: what each row counts for it, beside the weight of the row."""

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.numeric import numbers
from recmtl.errors import SourceLocation
from recmtl.schema import TaskSpec

__all__ = ["MOST_WEIGHT", "joined_weights", "task_weight", "weight_of"]

Floats = npt.NDArray[np.float64]
Weights = TypeVar("Weights", bound=npt.NDArray[Any] | None)
MOST_WEIGHT = 1e15
"""Weights of tasks lie between it and its inverse: float32 holds their products with others."""


def task_weight(
    task: TaskSpec,
    label: npt.NDArray[Any],
    columns: pa.RecordBatch,
    place: SourceLocation,
) -> Floats | None:
    """What the rows count for a task by its own column [rows]; None where it names none.

    It is 1 on rows where the task is not defined: nobody reads it there.

    Args:
        task: the task.
        label: on which rows it is defined: NaN where not, unless the label is late.
        columns: a record batch with the column.
        place: where the rows come from.

    Raises:
        DataError: a weight is missing, infinite, negative or beyond `MOST_WEIGHT`.
    """
    column = task.sample_weight
    if column is None:
        return None
    values = numbers(columns.column(column), column, place)
    # An open window has no label yet, but a loss of late labels may read the row.
    read = ~np.isnan(label) | (task.label.is_late & np.isfinite(values))
    is_weight = (values == 0) | (values >= 1 / MOST_WEIGHT) & (values <= MOST_WEIGHT)
    wrong = read & ~is_weight
    if wrong.any():
        fault = (
            f"{int(wrong.sum())} weights of task {task.name!r} are missing, negative, or not 0 and "
            f"not within {1 / MOST_WEIGHT:g} and {MOST_WEIGHT:g}"
        )
        remedy = f"correct them, or drop sample_weight of task {task.name!r}"
        raise place.error(fault, remedy, column=column)
    return np.where(read, values, 1.0)


def joined_weights(weight: Floats | None, of_task: Floats | None) -> Floats | None:
    """The weight of rows [rows] times what they count for a task; None counts each once."""
    if weight is None or of_task is None:
        return weight if of_task is None else of_task
    return weight * of_task


def weight_of(weight: Weights, position: int) -> Weights:
    """The weights [R] of the task at a position, of weights [R] of all tasks or of each [R, T]."""
    of_task: Any = weight if weight is None or weight.ndim == 1 else weight[:, position]
    chosen: Weights = of_task
    return chosen
