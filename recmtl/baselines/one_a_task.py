"""What all baselines share: a separate model for every task, fitted on the task's own rows.

A funnel child is fitted where its parent happened, so its model says p(child | parent); the joint
probability is the product down the funnel. Labels are transformed before fitting and values
transformed back after. A method only has to turn rows into a matrix and fit one label.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recmtl.data.encoded_log import LogSplit
from recmtl.evaluate.label_space import joint_column, own_column, own_rows, task_position
from recmtl.schema import TaskSpec

__all__ = ["BaselineResult", "Examples", "FittedBaseline", "Method", "one_a_task"]


@dataclass(frozen=True)
class Examples:
    """Rows of one task: a matrix [R, F] (dense or sparse), labels [R], weights [R]."""

    x: Any
    label: NDArray[np.float64]
    weight: NDArray[np.float64]


@dataclass(frozen=True)
class FittedBaseline:
    """One task's model: matrix [R, F] -> p or value [R], or [R, C] for multiclass; and its cost."""

    predict: Callable[[Any], np.ndarray]
    parameters: int
    multiply_adds: int | None


class Method(Protocol):
    """A way to fit one label, after it has seen the train rows once to fix its columns."""

    def matrix(self, rows: LogSplit) -> Any:
        """The rows as a matrix [R, F], dense or sparse."""

    def fit(
        self, task: TaskSpec, train: Examples, validation: Examples, classes: int
    ) -> FittedBaseline:
        """Fit one task; labels are 0/1, class indices below `classes`, or transformed values."""


@dataclass(frozen=True)
class BaselineResult:
    """Scored columns [R] of the test rows by name, and the cost entry of results.json.

    `cost`: parameters, multiply_adds an example (None where products are not what is computed),
    train_s, score_rows_per_s (rows a second with all tasks scored, encoding included).
    """

    predictions: dict[str, np.ndarray]
    cost: dict[str, float | None]


def one_a_task(
    prepare: Callable[[LogSplit], Method],
    splits: tuple[LogSplit, LogSplit, LogSplit],
    tasks: Sequence[TaskSpec],
    classes: Mapping[str, Sequence[Any]],
) -> BaselineResult:
    """Fit every task on train rows (validation rows for early stopping), score the test rows.

    Args:
        prepare: train rows -> method.
        splits: train, validation and test rows.
        tasks: the schema's tasks, in the order of the label columns.
        classes: multiclass task -> its classes in the order of the label's indices.
    """
    train, validation, test = splits
    started = time.perf_counter()
    method = prepare(train)
    seen, held_out = method.matrix(train), method.matrix(validation)
    fitted = {}
    for task in tasks:
        learn = _examples(seen, train, tasks, task)
        stop = _examples(held_out, validation, tasks, task)
        known = np.unique(learn.label)
        fitted[task.name] = (
            method.fit(task, learn, stop, len(classes.get(task.name, ())))
            if len(known) > 1
            else _always(float(known[0]) if len(known) else 0.0)
        )
    trained = time.perf_counter()
    x = method.matrix(test)
    predictions = _columns(
        {name: model.predict(x) for name, model in fitted.items()}, tasks, classes
    )
    scored = time.perf_counter()
    products = [model.multiply_adds for model in fitted.values()]
    cost: dict[str, float | None] = {
        "parameters": sum(model.parameters for model in fitted.values()),
        "multiply_adds": None if None in products else sum(p for p in products if p is not None),
        "train_s": trained - started,
        "score_rows_per_s": len(test.labels) / max(scored - trained, 1e-9),
    }
    return BaselineResult(predictions, cost)


def _examples(x: Any, split: LogSplit, tasks: Sequence[TaskSpec], task: TaskSpec) -> Examples:
    labels = np.asarray(split.labels)
    rows = own_rows(labels, tasks, task)
    label = labels[rows, task_position(tasks, task.name)].astype(np.float64)
    if task.transform == "log1p":
        label = np.log1p(label)
    weight = np.asarray(split.weight)[rows].astype(np.float64)
    return Examples(x if rows.all() else x[np.flatnonzero(rows)], label, weight)


def _always(value: float) -> FittedBaseline:
    return FittedBaseline(lambda x: np.full(x.shape[0], value), parameters=1, multiply_adds=0)


def _columns(
    scores: Mapping[str, np.ndarray],
    tasks: Sequence[TaskSpec],
    classes: Mapping[str, Sequence[Any]],
) -> dict[str, np.ndarray]:
    """Each task's scores under its column names, in task order."""
    by_name = {task.name: task for task in tasks}

    def happened(task: TaskSpec) -> np.ndarray:
        own = scores[task.name]
        return own if task.parent is None else own * happened(by_name[task.parent])

    columns = {}
    for task in tasks:
        own = scores[task.name]
        if task.kind == "multiclass":
            own = own if own.ndim == 2 else np.eye(len(classes[task.name]))[own.astype(int)]
            for index, name in enumerate(classes[task.name]):
                columns[f"p_{task.name}_{name}"] = own[:, index]
        elif task.kind == "regression":
            columns[own_column(task)] = np.expm1(own) if task.transform == "log1p" else own
        else:
            columns[own_column(task)] = own
            if task.parent is not None:
                columns[joint_column(task)] = happened(task)
    return {name: values.astype(np.float32) for name, values in columns.items()}
