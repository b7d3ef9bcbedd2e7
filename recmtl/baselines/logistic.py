"""One linear model a task on sparse columns: logistic, softmax or ridge regression.

All three share one solver, since the gradient of each loss in the margins is prediction - label.
The columns are one for each id of a categorical feature, one for each id of a pooled list, and for
each numeric feature its standardised value and a "missing" indicator. Ids that no train row has get
no column. L-BFGS starts at the base rate. The step with the lowest validation loss is kept, which
may be the start; without validation rows the last step is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit, softmax
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # has no stubs

from recmtl.baselines.per_task import (
    BaselineResult,
    Classes,
    FittedBaseline,
    fit_per_task,
)
from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding
from recmtl.forest.task_rows import TaskRows
from recmtl.schema import TaskSpec

__all__ = ["LogisticSettings", "fit_predict"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LogisticSettings:
    """How a linear model is fitted.

    Attributes:
        penalty: weight of the squared weights beside the summed loss, scikit-learn's 1 / C.
        steps: L-BFGS steps at most.
        patience: steps without a better validation loss after which the fit stops.
    """

    penalty: float = 1.0
    steps: int = 50
    patience: int = 5


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
        validation: rows that choose the step to keep.
        test: rows to score.
        tasks: the schema's tasks.
        encoding: names and positions of the id and numeric columns.
        classes: the classes of each multiclass task.
        settings: penalty and number of steps.

    Returns:
        Scores and cost; `multiply_adds` sums over the tasks the mean number of non-zero columns of
        a row, times the outputs of the task.
    """

    def prepare(rows: LogSplit) -> _Linear:
        return _Linear(rows, encoding, settings=settings or LogisticSettings())

    return fit_per_task(prepare, (train, validation, test), tasks, classes or {})


class _Linear:
    def __init__(self, train: LogSplit, encoding: Encoding, *, settings: LogisticSettings) -> None:
        self._encoding = encoding
        self._settings = settings
        numeric, weight = np.asarray(train.numeric, dtype=np.float64), train.varying_weight
        of_rows = 1.0 if weight is None else weight.astype(np.float64)[:, None]
        share = ~np.isnan(numeric) * of_rows
        mass = share.sum(axis=0)
        mass[mass == 0] = 1.0
        self._mean = (np.nan_to_num(numeric) * share).sum(axis=0) / mass
        centred = np.nan_to_num(numeric - self._mean)
        self._scale = np.sqrt((centred**2 * share).sum(axis=0) / mass)
        # Weighted sums leave a constant some rounding.
        self._scale[self._scale <= 1e-12 * np.abs(self._mean)] = 1.0
        self._kept = np.flatnonzero(self._all_columns(train).getnnz(axis=0))

    def matrix(self, rows: LogSplit) -> sparse.csr_matrix:
        return self._all_columns(rows)[:, self._kept]

    def _all_columns(self, rows: LogSplit) -> sparse.csr_matrix:
        ids, width = np.asarray(rows.ids), self._encoding.table_rows
        count, single = len(ids), len(self._encoding.single)
        parts = [_bag(ids[:, :single], np.ones((count, single)), width)]
        for field in self._encoding.lists:
            cells = ids[:, field.columns]
            filled = (cells != 0).astype(np.float64)
            if field.pooling in ("mean", "attention"):  # linear in the mean of the ids
                filled /= np.maximum(filled.sum(axis=1, keepdims=True), 1)
            parts.append(_bag(cells, filled, width))
        missing = np.isnan(rows.numeric)
        scaled = np.where(missing, 0, (rows.numeric - self._mean) / self._scale)
        parts += [sparse.csr_matrix(scaled), sparse.csr_matrix(missing.astype(np.float64))]
        return sparse.csr_matrix(sparse.hstack(parts, format="csr"))

    def fit(
        self, task: TaskSpec, train: TaskRows, validation: TaskRows, classes: int
    ) -> FittedBaseline:
        outputs = classes if task.kind == "multiclass" else 1
        level, spread = 0.0, 1.0
        if task.kind == "regression":
            level = float(np.average(train.label, weights=train.weight))
            squares = np.square(train.label - level)
            spread = float(np.sqrt(np.average(squares, weights=train.weight)))
        loss = _Loss(task.kind, outputs, level, spread)
        weights = _fit(loss, train, validation, self._settings)
        touched = train.x.nnz / train.x.shape[0] * outputs
        return FittedBaseline(
            lambda x: loss.prediction(_margins(x, weights)), weights.size, round(touched)
        )


@dataclass(frozen=True)
class _Loss:
    """The loss of one kind of label as a function of the margins.

    Attributes:
        kind: the task's kind.
        outputs: margins of a row, one for each class of a multiclass task, else 1.
        level: of a regression the margin 0 as a label.
        spread: of a regression the step of the label for a step of 1 of the margin.
    """

    kind: str
    outputs: int
    level: float
    spread: float

    def terms(self, margins: FloatArray, label: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Margins `[R, O]` to the loss `[R]` and its gradient in the margins `[R, O]`."""
        if self.kind == "binary":
            margin = margins[:, 0]
            return np.logaddexp(0, margin) - label * margin, (expit(margin) - label)[:, None]
        if self.kind == "multiclass":
            log_p = log_softmax(margins, axis=1)
            hit = np.eye(self.outputs)[label.astype(np.int64)]
            return -np.sum(log_p * hit, axis=1), np.exp(log_p) - hit
        residual = margins[:, 0] - (label - self.level) / self.spread
        return 0.5 * residual**2, residual[:, None]

    def base(self, label: FloatArray, weight: FloatArray) -> FloatArray:
        """Margins `[O]` that predict the base rate, or the mean."""
        if self.kind == "multiclass":
            mass = np.bincount(label.astype(np.int64), weight, self.outputs) + 0.5
            return np.asarray(np.log(mass / mass.sum()))
        mean = float(np.average(label, weights=weight))
        if self.kind == "binary":
            return np.array([logit(mean)])
        return np.array([(mean - self.level) / self.spread])

    def prediction(self, margins: FloatArray) -> FloatArray:
        """Margins `[R, O]` to probabilities `[R]` or `[R, O]`, or to values `[R]`."""
        if self.kind == "binary":
            return np.asarray(expit(margins[:, 0]))
        if self.kind == "multiclass":
            return np.asarray(softmax(margins, axis=1))
        return margins[:, 0] * self.spread + self.level


def _fit(
    loss: _Loss, train: TaskRows, held_out: TaskRows, settings: LogisticSettings
) -> FloatArray:
    """Weights `[F + 1, O]`; the last row is the intercept, which is not penalised."""
    shape = (train.x.shape[1] + 1, loss.outputs)
    transposed = train.x.T.tocsr()  # its product reads rows in order: twice as fast
    mass = train.weight.sum()
    start = np.zeros(shape)
    start[-1] = loss.base(train.label, train.weight)
    best_loss, best_step, best_weights = np.inf, 0, start
    step = -1

    def objective(flat: FloatArray) -> tuple[float, FloatArray]:
        weights = flat.reshape(shape)
        terms, residual = loss.terms(_margins(train.x, weights), train.label)
        residual = residual * (train.weight / mass)[:, None]
        ridge = settings.penalty / mass * weights[:-1]
        gradient = np.vstack([transposed @ residual + ridge, residual.sum(axis=0)])
        value = np.sum(terms * train.weight) / mass + 0.5 * np.sum(ridge * weights[:-1])
        return float(value), gradient.ravel()

    def after_step(flat: FloatArray) -> None:
        nonlocal best_loss, best_step, best_weights, step
        step += 1
        weights = flat.reshape(shape)
        terms, _ = loss.terms(_margins(held_out.x, weights), held_out.label)
        loss_now = float(np.average(terms, weights=held_out.weight))
        if loss_now < best_loss:
            best_loss, best_step, best_weights = loss_now, step, weights.copy()
        elif step - best_step >= settings.patience:
            raise StopIteration

    chooses = len(held_out.label) > 0
    if chooses:
        after_step(start.ravel())
    # L-BFGS makes many short BLAS calls; more than one thread makes each of them slower.
    with threadpool_limits(1, user_api="blas"):
        last = minimize(
            objective,
            start.ravel(),
            jac=True,
            method="L-BFGS-B",
            callback=after_step if chooses else None,
            options={"maxiter": settings.steps},
        )
    return best_weights if chooses else np.asarray(last.x).reshape(shape)


def _margins(x: sparse.csr_matrix, weights: FloatArray) -> FloatArray:
    return np.asarray(x @ weights[:-1] + weights[-1])


def _bag(ids: NDArray[np.int32], values: FloatArray, width: int) -> sparse.csr_matrix:
    """Row r has `values[r, j]` in column `ids[r, j]`; zeros are left out, repeats are summed."""
    used = values != 0
    ends = np.concatenate(([0], np.cumsum(used.sum(axis=1))))
    bag = sparse.csr_matrix((values[used], ids[used], ends), shape=(len(ids), width))
    bag.sum_duplicates()
    return bag
