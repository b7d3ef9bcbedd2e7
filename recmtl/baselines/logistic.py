"""One linear model a task on sparse columns: scikit-learn's logistic, softmax or ridge regression.

The columns are one for each id of a categorical feature, one for each id of a pooled list, and for
each numeric feature its standardised value and a "missing" indicator. Ids that no train row has get
no column. The penalty is chosen on validation rows along a short path, from strong to weak. The
first fit begins at the base rate, each other one at the weights of the one before, and the path
ends where the validation loss rises.

Memory is bounded, whatever the log: `LogisticSettings.entries` bounds the matrix of the train rows,
`LogisticSettings.weights` the columns. What does not fit is left out and counted in the cost.
"""

import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # has no stubs

from recmtl.baselines.per_task import (
    BaselineResult,
    Classes,
    FittedBaseline,
    fit_per_task,
)
from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding
from recmtl.evaluate.metrics import log_loss, multiclass_log_loss, rmse
from recmtl.forest.task_rows import Matrix, TaskRows
from recmtl.schema import TaskSpec

__all__ = ["LogisticSettings", "fit_predict"]

Ids = NDArray[np.int32]
Numbers = NDArray[np.float32]
BLOCK = 65_536
"""Rows whose columns are made at once."""


@dataclass(frozen=True)
class LogisticSettings:
    """How a linear model is fitted.

    Attributes:
        path: what is tried of scikit-learn's C, the inverse weight of the squared weights beside
            the summed loss, ascending. Without validation rows the middle one is fitted.
        steps: L-BFGS steps at most for each C.
        tolerance: a fit ends where the mean loss has no larger derivative.
        entries: numbers other than 0 in the columns of the train rows (8 bytes each); of a log with
            more, evenly spaced rows are fitted on.
        weights: of a task at most (200 bytes each while they are fitted); of more columns, those
            of the most train rows are kept.
    """

    path: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0)
    steps: int = 50
    tolerance: float = 1e-6
    entries: int = 2**26
    weights: int = 2**22


def fit_predict(
    train: LogSplit,
    validation: LogSplit,
    test: LogSplit,
    tasks: Sequence[TaskSpec],
    encoding: Encoding,
    *,
    classes: Classes | None = None,
    settings: LogisticSettings | None = None,
) -> BaselineResult:
    """Fit one linear model a task and score the test rows. Deterministic.

    Args:
        train: rows to fit on.
        validation: rows that choose the penalty (log loss, or squared error).
        test: rows to score.
        tasks: the schema's tasks.
        encoding: names and positions of the id and numeric columns.
        classes: the classes of each multiclass task.
        settings: the penalties, the number of steps and the bounds of memory.

    Returns:
        Scores and cost; `multiply_adds` sums over the tasks the mean number of non-zero columns of
        a row, times the outputs of the task. `rows_left_out` and `columns_left_out` are there where
        a bound of the settings left out train rows or columns.
    """
    settings, classes = settings or LogisticSettings(), classes or {}
    outputs = max((len(names) for names in classes.values()), default=1)
    linear = _Linear(encoding, settings=settings, outputs=outputs)
    most = settings.entries // max(encoding.id_columns + encoding.numeric_columns, 1)
    thinned = _thinned(train, most)
    result = fit_per_task(linear.on, (thinned, _thinned(validation, most), test), tasks, classes)
    left_out = {"rows": len(train) - len(thinned), "columns": linear.left_out}
    result.cost.update({f"{what}_left_out": count for what, count in left_out.items() if count})
    return result


def _thinned(rows: LogSplit, most: int) -> LogSplit:
    """Evenly spaced rows, at most so many."""
    if len(rows) <= most:
        return rows
    return rows.take(np.linspace(0, len(rows) - 1, max(most, 1)).astype(np.int64))


class _Linear:
    def __init__(self, encoding: Encoding, *, settings: LogisticSettings, outputs: int) -> None:
        self._encoding = encoding
        self._settings = settings
        self._most = settings.weights // outputs
        self._scaler = StandardScaler()
        self._kept: NDArray[np.int64] | slice = slice(None)
        self.left_out = 0

    def on(self, train: LogSplit) -> "_Linear":
        """The method whose columns these train rows fix."""
        if self._encoding.numeric_columns:
            self._scaler.fit(np.asarray(train.numeric), sample_weight=train.varying_weight)
        rows_with = sum(block.getnnz(axis=0) for block in self._blocks(train))
        kept = np.flatnonzero(rows_with)
        if len(kept) > self._most:
            self.left_out = len(kept) - self._most
            kept = np.sort(kept[np.argsort(-rows_with[kept], kind="stable")[: self._most]])
        self._kept = kept
        return self

    def matrix(self, rows: LogSplit) -> sparse.csr_matrix:
        return sparse.vstack([block[:, self._kept] for block in self._blocks(rows)], format="csr")

    def _blocks(self, rows: LogSplit) -> Iterator[sparse.csr_matrix]:
        for start in range(0, max(len(rows), 1), BLOCK):
            part = slice(start, start + BLOCK)
            yield self._block(np.asarray(rows.ids[part]), np.asarray(rows.numeric[part]))

    def _block(self, ids: Ids, numeric: Numbers) -> sparse.csr_matrix:
        width, single = self._encoding.table_rows, len(self._encoding.single)
        parts = [_bag(ids[:, :single], np.ones((len(ids), single), np.float32), width)]
        for field in self._encoding.lists:
            cells = ids[:, field.columns]
            filled = (cells != 0).astype(np.float32)
            if field.pooling in ("mean", "attention"):  # linear in the mean of the ids
                filled /= np.maximum(filled.sum(axis=1, keepdims=True), 1)
            parts.append(_bag(cells, filled, width))
        if self._encoding.numeric_columns:
            missing = np.isnan(numeric)
            scaled = np.where(missing, 0, self._scaler.transform(numeric)) if len(ids) else numeric
            parts += [sparse.csr_matrix(part, dtype=np.float32) for part in (scaled, missing)]
        return sparse.hstack(parts, format="csr")

    def fit(
        self, task: TaskSpec, train: TaskRows, validation: TaskRows, classes: int
    ) -> FittedBaseline:
        # L-BFGS makes many short BLAS calls; more than one thread makes each of them slower.
        with threadpool_limits(1, user_api="blas"):
            model = _along_path(task, train, validation, classes, self._settings)
        weights = model.coef_.size + np.size(model.intercept_)
        touched = train.x.nnz / train.x.shape[0] * np.size(model.intercept_)
        return FittedBaseline(
            lambda x: _prediction(task, model, x, classes), weights, round(touched)
        )


def _along_path(
    task: TaskSpec,
    train: TaskRows,
    validation: TaskRows,
    classes: int,
    settings: LogisticSettings,
) -> Any:
    """The fitted model of the lowest validation loss, or of the middle of the path."""
    is_regression = task.kind == "regression"
    model = Ridge(solver="sparse_cg") if is_regression else _at_the_base_rate(train, settings)
    chooses = len(validation.label) > 0
    path = settings.path if chooses else settings.path[len(settings.path) // 2 :][:1]
    weight = None if np.all(train.weight == 1) else train.weight
    best_loss, best = np.inf, model
    for c in path:
        model.set_params(**({"alpha": 1 / c} if is_regression else {"C": c}))
        with warnings.catch_warnings():
            # A fit that the bound on steps ended is judged on validation rows like the others.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train.x, train.label, sample_weight=weight)
        if not chooses:
            break
        loss = _loss(task, _prediction(task, model, validation.x, classes), validation)
        if not loss < best_loss:
            break
        best_loss, best = loss, copy.copy(model)  # the next fit replaces its arrays
    return best


def _at_the_base_rate(train: TaskRows, settings: LogisticSettings) -> LogisticRegression:
    """A model whose first fit begins at the share of each class, that of a rare label included."""
    model = LogisticRegression(warm_start=True, max_iter=settings.steps, tol=settings.tolerance)
    model.classes_, place = np.unique(train.label, return_inverse=True)
    levels = np.log(np.bincount(place, train.weight))
    model.intercept_ = levels if len(levels) > 2 else levels[1:] - levels[:1]
    model.coef_ = np.zeros((len(model.intercept_), train.x.shape[1]))
    return model


def _loss(task: TaskSpec, prediction: NDArray[np.float64], rows: TaskRows) -> float:
    of_kind = {"binary": log_loss, "multiclass": multiclass_log_loss, "regression": rmse}
    return of_kind[task.kind](rows.label, prediction, rows.weight)


def _prediction(task: TaskSpec, model: Any, x: Matrix, classes: int) -> NDArray[np.float64]:
    """Values `[R]`, probabilities `[R]`, or `[R, C]` of a multiclass task."""
    if task.kind == "regression":
        return np.asarray(model.predict(x), np.float64)
    p = np.asarray(model.predict_proba(x), np.float64)
    if task.kind == "binary":
        return p[:, 1]
    of_all = np.zeros((len(p), classes))  # the task's train rows may lack a class of the log's
    of_all[:, model.classes_.astype(np.int64)] = p
    return of_all


def _bag(ids: Ids, values: Numbers, width: int) -> sparse.csr_matrix:
    """Row r has `values[r, j]` in column `ids[r, j]`; zeros are left out, repeats are summed."""
    used = values != 0
    ends = np.concatenate(([0], np.cumsum(used.sum(axis=1))))
    bag = sparse.csr_matrix((values[used], ids[used], ends), shape=(len(ids), width))
    bag.sum_duplicates()
    return bag
