"""The floor: always predict the train rows' base rate (binary, multiclass) or mean (regression)."""

from collections.abc import Sequence

import numpy as np

from recmtl.baselines.per_task import (
    BaselineResult,
    Classes,
    FittedBaseline,
    fit_per_task,
)
from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding
from recmtl.forest.task_rows import Matrix, TaskRows
from recmtl.schema import TaskSpec

__all__ = ["fit_predict"]


def fit_predict(
    train: LogSplit,
    validation: LogSplit,
    test: LogSplit,
    tasks: Sequence[TaskSpec],
    encoding: Encoding,
    *,
    classes: Classes | None = None,
) -> BaselineResult:
    """Score every test row with the weighted mean label of the task's own train rows."""
    return fit_per_task(lambda _: _Constant(), (train, validation, test), tasks, classes or {})


class _Constant:
    def matrix(self, rows: LogSplit) -> Matrix:
        return np.empty((len(rows.labels), 0), dtype=np.float32)

    def fit(
        self, task: TaskSpec, train: TaskRows, validation: TaskRows, classes: int
    ) -> FittedBaseline:
        if task.kind == "multiclass":
            mass = np.bincount(train.label.astype(np.int64), train.weight, minlength=classes)
            shares = mass / mass.sum()
            return FittedBaseline(lambda x: np.tile(shares, (len(x), 1)), classes, 0)
        mean = float(np.average(train.label, weights=train.weight))
        return FittedBaseline(lambda x: np.full(len(x), mean), 1, 0)
