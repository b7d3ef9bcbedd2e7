"""What the columns of a batch say of a label, checked: its values, or its classes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.funnel import funnel_path
from recmtl.data.columns.keys import Keys, category_keys
from recmtl.data.columns.numeric import numbers
from recmtl.data.columns.rules import rule_rows, satisfied
from recmtl.data.labelled.windows import late_rows
from recmtl.errors import SourceLocation
from recmtl.schema import Schema, TaskSpec

__all__ = ["LARGEST_LABEL", "read_class", "read_label", "written_label"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
LARGEST_LABEL = 1e30
"""Labels and what is predicted of them are float32, which ends at 3.4e38."""
WHOLE = ("poisson", "negative_binomial")
NOT_NEGATIVE = ("ziln", "rank", *WHOLE)


def read_label(
    task: TaskSpec, schema: Schema, columns: pa.RecordBatch, place: SourceLocation
) -> Floats:
    """Binary or regression label float64 [rows]; NaN where it is not defined, or not known yet.

    Args:
        task: one of the schema's tasks.
        schema: a late label has the time up to which the log knows of it.
        columns: a record batch with the columns of the labels.
        place: where the rows come from.

    Raises:
        DataError: as `written_label`, or the times of a late label are no times.
    """
    label = written_label(task, schema.tasks, columns, place)
    return late_rows(task, schema, columns, label, place).label if task.label.is_late else label


def written_label(
    task: TaskSpec, tasks: Sequence[TaskSpec], columns: pa.RecordBatch, place: SourceLocation
) -> Floats:
    """Binary or regression label float64 [rows], as it is written; NaN where it is not defined.

    Args:
        task: one of `tasks`.
        tasks: the schema's tasks.
        columns: a record batch with the columns of the labels.
        place: where the rows come from.

    Raises:
        DataError: the column has a wrong type, a binary label is not 0 or 1, a label is larger than
            `LARGEST_LABEL` or none that the task's head can model, or one is missing or infinite
            and the task does not say `missing: ignore`.
    """
    name = task.label.column
    column = columns.column(name)
    applies, _ = rule_rows(funnel_path(tasks, task), columns, place)
    if task.label.is_rule:
        truth, missing = satisfied(task.label, column, place)
        values = truth.astype(np.float64)
    else:
        values = numbers(column, name, place)
        missing = ~np.isfinite(values)
    defined = _defined(task, applies, missing, place)
    if task.kind == "binary" and not task.label.is_rule:
        wrong = values[defined & (values != 0) & (values != 1)]
        if len(wrong):
            remedy = "give label a rule: equals, one_of or at_least"
            fault = f"holds {wrong[0]:g}, but the label of task {task.name!r} must be 0 or 1"
            raise place.error(fault, remedy, column=name)
    farthest = float(np.abs(values[defined]).max(initial=0.0))
    if farthest > LARGEST_LABEL:
        fault = f"holds the label {farthest:g}, and no label may be beyond {LARGEST_LABEL:g}"
        raise place.error(fault, "give labels in another unit, or correct them", column=name)
    if task.transform == "log1p" and (values[defined] <= -1).any():
        remedy = "correct them, or use transform: none"
        raise place.error("holds labels <= -1, which log1p cannot take", remedy, column=name)
    _refuse_of_head(task, values[defined], place)
    return np.where(defined, values, np.nan)


def _refuse_of_head(task: TaskSpec, label: Floats, place: SourceLocation) -> None:
    """Refuse labels [n] that the model of a head gives no probability."""
    head = "" if task.head is None else task.head.kind
    wrong = label[label < 0] if head in NOT_NEGATIVE else label[:0]
    if not len(wrong) and head in WHOLE:
        wrong = label[label != np.floor(label)]
    if len(wrong):
        what = "a count: 0, 1, 2, ..." if head in WHOLE else "0 or more"
        fault = f"holds the label {wrong[0]:g}, and head {head} of task {task.name!r} needs {what}"
        raise place.error(fault, "correct them, or drop head", column=task.label.column)


def read_class(task: TaskSpec, columns: pa.RecordBatch, place: SourceLocation) -> Keys:
    """The class of each row, code -1 where the task is not defined; raises as `read_label`."""
    name = task.label.column
    keys = category_keys(columns.column(name), name, place)
    applies, _ = rule_rows([task], columns, place)
    defined = _defined(task, applies, keys.codes < 0, place)
    return Keys(np.where(defined, keys.codes, -1), keys.values)


def _defined(task: TaskSpec, applies: Bools, missing: Bools, place: SourceLocation) -> Bools:
    gaps = int(np.count_nonzero(applies & missing))
    if gaps and task.missing == "refuse":
        fault = f"{gaps} labels of task {task.name!r} are null, NaN or infinite"
        remedy = "drop those rows, give the task a rows rule, or say missing: ignore"
        raise place.error(fault, remedy, column=task.label.column)
    return applies & ~missing
