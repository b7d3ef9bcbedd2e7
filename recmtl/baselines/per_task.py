"""What all baselines share: a separate model for every task, fitted on the task's own rows.

The model of a funnel child is fitted where its parent happened and predicts p(child | parent); the
joint probability is the product down the funnel. Regression labels are transformed before fitting
and predictions are transformed back. A method only turns rows into a matrix and fits one label.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from recmtl.data.encoded_log import LogSplit
from recmtl.data.labelled.reading import LARGEST_LABEL
from recmtl.forest.task_rows import Matrix, TaskRows, task_rows
from recmtl.schema import TaskSpec
from recmtl.schema.names import joint_column, scored_columns, task_column

__all__ = [
    "BaselineMethod",
    "BaselineResult",
    "Classes",
    "FittedBaseline",
    "fit_per_task",
]

BLOCK = 65_536
"""Rows that are scored at once."""
Classes: TypeAlias = Mapping[str, Sequence[object]]
"""Of each multiclass task, its classes in the order of the label's indices."""


@dataclass(frozen=True)
class FittedBaseline:
    """One task's model and its cost.

    Attributes:
        predict: a matrix `[R, F]` to probabilities or values `[R]`, or `[R, C]` for C classes.
        parameters: numbers that were fitted.
        multiply_adds: products an example; None if the model is not made of products.
    """

    predict: Callable[[Matrix], np.ndarray]
    parameters: int
    multiply_adds: int | None


class BaselineMethod(Protocol):
    """Fits one label; its columns were fixed by the train rows."""

    def matrix(self, rows: LogSplit) -> Matrix:
        """The columns of the rows."""

    def fit(
        self, task: TaskSpec, train: TaskRows, validation: TaskRows, classes: int
    ) -> FittedBaseline:
        """Fit one task; the labels of a multiclass task are indices below `classes`."""


@dataclass(frozen=True)
class BaselineResult:
    """Scores of the test rows, and what they cost.

    Attributes:
        predictions: the scored columns `[R]` by name, as a recmtl model names them.
        cost: the entry of results.json: `parameters`, `multiply_adds` an example (None where the
            models are not made of products), `train_s`, `cpu_s` of all threads in training, its
            tuning included, and `score_rows_per_s`: rows a second with
            all tasks scored, the making of the columns included.
    """

    predictions: dict[str, np.ndarray]
    cost: dict[str, float | None]


def fit_per_task(
    prepare: Callable[[LogSplit], BaselineMethod],
    splits: tuple[LogSplit, LogSplit, LogSplit],
    tasks: Sequence[TaskSpec],
    classes: Classes,
) -> BaselineResult:
    """Fit every task on the train rows and score the test rows.

    A task whose train labels are all equal always predicts that label, or 0 if it has none.

    Args:
        prepare: makes the method from the train rows.
        splits: train rows, validation rows (for early stopping), and test rows.
        tasks: the schema's tasks, in the order of the label columns.
        classes: the classes of each multiclass task.
    """
    train, validation, test = (_counted(splits[0]), _counted(splits[1]), splits[2])
    started, cpu = time.perf_counter(), time.process_time()
    method = prepare(train)
    train_x, validation_x = method.matrix(train), method.matrix(validation)
    models = {}
    for task in tasks:
        train_rows = task_rows(train_x, train, tasks, task)
        validation_rows = task_rows(validation_x, validation, tasks, task)
        labels = np.unique(train_rows.label)
        models[task.name] = (
            method.fit(task, train_rows, validation_rows, len(classes.get(task.name, ())))
            if len(labels) > 1
            else _always(float(labels[0]) if len(labels) else 0.0)
        )
    trained, cpu = time.perf_counter(), time.process_time() - cpu
    predictions = _scored_columns(_scores(method, models, test), tasks, classes)
    scored = time.perf_counter()
    products = [model.multiply_adds for model in models.values()]
    cost: dict[str, float | None] = {
        "parameters": sum(model.parameters for model in models.values()),
        "multiply_adds": None if None in products else sum(p for p in products if p is not None),
        "train_s": trained - started,
        "cpu_s": cpu,
        "score_rows_per_s": len(test.labels) / max(scored - trained, 1e-9),
    }
    return BaselineResult(predictions, cost)


def _scores(
    method: BaselineMethod, models: Mapping[str, FittedBaseline], rows: LogSplit
) -> dict[str, np.ndarray]:
    """Each task's scores of all rows; the columns of `BLOCK` rows are in memory at a time."""
    scores: dict[str, list[np.ndarray]] = {name: [] for name in models}
    for start in range(0, max(len(rows), 1), BLOCK):
        x = method.matrix(rows.take(np.arange(start, min(start + BLOCK, len(rows)))))
        for name, model in models.items():
            scores[name].append(model.predict(x))
    return {name: np.concatenate(parts) for name, parts in scores.items()}


def _counted(split: LogSplit) -> LogSplit:
    """The rows of a weight above 0: logs of release 0.1 hold others."""
    weight = np.asarray(split.weight)
    return split if np.all(weight > 0) else split.take(np.flatnonzero(weight > 0))


def _always(value: float) -> FittedBaseline:
    return FittedBaseline(lambda x: np.full(x.shape[0], value), parameters=1, multiply_adds=0)


def _scored_columns(
    scores: Mapping[str, np.ndarray], tasks: Sequence[TaskSpec], classes: Classes
) -> dict[str, np.ndarray]:
    """Each task's scores under its column names, in task order."""
    by_name = {task.name: task for task in tasks}

    def joint(task: TaskSpec) -> np.ndarray:
        score = scores[task.name]
        return score if task.parent is None else score * joint(by_name[task.parent])

    columns: dict[str, np.ndarray] = {}
    for task in tasks:
        score = scores[task.name]
        if task.kind == "multiclass":
            if score.ndim == 1:  # the train rows had one class alone
                score = np.eye(len(classes[task.name]))[score.astype(int)]
            names = scored_columns(task, classes[task.name])
            columns |= {name: score[:, index] for index, name in enumerate(names)}
        elif task.kind == "regression":
            if task.transform == "log1p":
                score = np.expm1(np.minimum(score, math.log1p(LARGEST_LABEL)))
            columns[task_column(task)] = score
        else:
            columns[task_column(task)] = score
            if task.parent is not None:
                columns[joint_column(task)] = joint(task)
    return {name: values.astype(np.float32) for name, values in columns.items()}
