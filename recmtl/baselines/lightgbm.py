"""One LightGBM model a task: the opponent that every table must show.

It reads the encoded columns as `recmtl.forest.columns` makes them.
"""

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recmtl.baselines.per_task import BaselineResult, Classes, FittedBaseline, fit_per_task
from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding
from recmtl.forest.columns import ForestColumns
from recmtl.forest.grow import grow, leaves
from recmtl.forest.settings import ForestSettings
from recmtl.forest.task_rows import TaskRows
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
    threads: int | None = None,
    seed: int = 0,
    settings: ForestSettings | None = None,
) -> BaselineResult:
    """Fit one LightGBM model a task and score the test rows.

    Args:
        train: rows to fit on.
        validation: rows on which the number of trees is chosen (log loss, or squared error).
        test: rows to score.
        tasks: the schema's tasks.
        encoding: names of the id and numeric columns.
        classes: the classes of each multiclass task.
        threads: threads of LightGBM, one a core if None. Equal threads and seed give equal scores.
        seed: fixes the sample of features that each tree may use.
        settings: everything else.

    Returns:
        Scores and cost; `parameters` counts leaves, `multiply_adds` is None, as a tree compares.
    """

    def prepare(rows: LogSplit) -> _Trees:
        cores = threads or os.cpu_count() or 1
        return _Trees(
            rows, encoding, settings=settings or ForestSettings(), threads=cores, seed=seed
        )

    return fit_per_task(prepare, (train, validation, test), tasks, classes or {})


class _Trees:
    def __init__(
        self,
        train: LogSplit,
        encoding: Encoding,
        *,
        settings: ForestSettings,
        threads: int,
        seed: int,
    ) -> None:
        largest = settings.largest_category
        self._columns = ForestColumns.fit(train.ids, encoding, largest_category=largest)
        self._settings, self._threads, self._seed = settings, threads, seed

    def matrix(self, rows: LogSplit) -> NDArray[np.float32]:
        return self._columns.matrix(rows.ids, rows.numeric)

    def fit(
        self, task: TaskSpec, train: TaskRows, validation: TaskRows, classes: int
    ) -> FittedBaseline:
        forest = grow(
            task.kind,
            train,
            validation,
            settings=self._settings,
            categories=self._columns.categories,
            classes=classes,
            threads=self._threads,
            seed=self._seed,
        )
        return FittedBaseline(lambda x: np.asarray(forest.predict(x)), leaves(forest), None)
