"""One LightGBM model a task: the opponent that every table must show, as a practitioner builds it.

It reads the encoded columns as `recmtl.forest.columns` makes them: the same numbers, counts and
statistics as the networks, small vocabularies as categories, large ones by frequency. Its settings
are chosen on validation rows; the scores are the mean of the logits of several forests, each grown
on a sample of the rows.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from recmtl.baselines.per_task import BaselineResult, Classes, FittedBaseline, fit_per_task
from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding
from recmtl.forest.columns import ForestColumns
from recmtl.forest.grow import grow, leaves
from recmtl.forest.settings import ForestSettings
from recmtl.forest.task_rows import TaskRows
from recmtl.forest.tuned import tuned
from recmtl.schema import TaskSpec

__all__ = ["fit_predict"]

SHARE_OF_A_BAG = 0.8


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
    bag: int = 1,
) -> BaselineResult:
    """Fit one LightGBM model a task and score the test rows.

    Args:
        train: rows to fit on.
        validation: rows on which the settings and the number of trees are chosen (log loss, or
            squared error); without any, the settings are as they are.
        test: rows to score.
        tasks: the schema's tasks.
        encoding: names of the id and numeric columns.
        classes: the classes of each multiclass task.
        threads: threads of LightGBM, one a core if None. Equal threads and seed give equal scores.
        seed: fixes the samples of features and rows.
        settings: everything else.
        bag: forests whose logits are averaged; each of several has a share of .8 of the rows.

    Returns:
        Scores and cost; `parameters` counts leaves, `multiply_adds` is None, as a tree compares.
    """

    def prepare(rows: LogSplit) -> _Trees:
        cores, base = threads or os.cpu_count() or 1, settings or ForestSettings()
        columns = ForestColumns.fit(rows.ids, encoding, largest_category=base.largest_category)
        return _Trees(columns, base, threads=cores, seed=seed, bag=bag)

    return fit_per_task(prepare, (train, validation, test), tasks, classes or {})


@dataclass(frozen=True)
class _Trees:
    columns: ForestColumns
    settings: ForestSettings
    threads: int
    seed: int
    bag: int

    def matrix(self, rows: LogSplit) -> NDArray[np.float32]:
        return self.columns.matrix(rows.ids, rows.numeric)

    def fit(
        self, task: TaskSpec, train: TaskRows, validation: TaskRows, classes: int
    ) -> FittedBaseline:
        def grown(settings: ForestSettings, number: int = 0) -> Any:
            return grow(
                task.kind,
                train,
                validation,
                settings=settings,
                categories=self.columns.categories,
                classes=classes,
                threads=self.threads,
                seed=self.seed * 1009 + number if number else self.seed,
            )

        settings = tuned(self.settings, grown, validation)
        if self.bag > 1:
            settings = replace(settings, row_share=SHARE_OF_A_BAG)
        forests = [grown(settings, number) for number in range(self.bag)]

        def predict(x: NDArray[np.float32]) -> NDArray[np.float64]:
            logits = np.mean([forest.predict(x, raw_score=True) for forest in forests], axis=0)
            if task.kind == "binary":
                return np.asarray(expit(logits))
            return np.asarray(softmax(logits, axis=1) if task.kind == "multiclass" else logits)

        return FittedBaseline(predict, sum(map(leaves, forests)), None)
