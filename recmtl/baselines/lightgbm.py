"""One LightGBM model a task: the opponent that every table must show.

Ids become codes by descending frequency on the train rows. LightGBM reads small vocabularies as
categories and large ones as ordered numbers, frequent ids first, so that a split separates head
from tail. A list is read as the number of its values. Numeric features stay as they are encoded:
the encoding is monotone, so a tree sees no difference.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from recmtl.baselines.per_task import (
    BaselineResult,
    Classes,
    FittedBaseline,
    TaskRows,
    fit_per_task,
)
from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding
from recmtl.schema import TaskSpec

__all__ = ["LightGBMSettings", "fit_predict"]

OBJECTIVE = {"binary": "binary", "regression": "regression", "multiclass": "multiclass"}
UNSEEN = -1


@dataclass(frozen=True)
class LightGBMSettings:
    """The parameters of LightGBM that matter here, and how it reads ids.

    Attributes:
        rounds: trees at most.
        patience: trees without a better validation loss after which growing stops.
        learning_rate: factor of every tree.
        leaves: leaves of a tree at most.
        smallest_leaf: train rows in a leaf at least.
        feature_share: share of the features that each tree may use.
        largest_category: distinct ids up to which a feature is a category.
    """

    rounds: int = 500
    patience: int = 30
    learning_rate: float = 0.1
    leaves: int = 31
    smallest_leaf: int = 50
    feature_share: float = 0.8
    largest_category: int = 1000


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
    settings: LightGBMSettings | None = None,
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
            rows, encoding, settings=settings or LightGBMSettings(), threads=cores, seed=seed
        )

    return fit_per_task(prepare, (train, validation, test), tasks, classes or {})


@dataclass(frozen=True)
class _Codes:
    """The code of each id of a column: 0, 1, 2, ... by descending train frequency; -1 = unseen.

    Attributes:
        first: the smallest id of the train rows.
        code: the code of `first`, `first + 1`, ...
    """

    first: int
    code: NDArray[np.int32]

    @staticmethod
    def fit(ids: NDArray[np.int32]) -> "_Codes":
        first = int(ids.min()) if len(ids) else 0
        counts = np.bincount(ids - first) if len(ids) else np.zeros(1, np.int64)
        code = np.empty(len(counts), np.int32)
        code[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
        code[counts == 0] = UNSEEN
        return _Codes(first, code)

    def __call__(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        position = ids.astype(np.int64) - self.first
        inside = (position >= 0) & (position < len(self.code))
        return np.where(inside, self.code[np.clip(position, 0, len(self.code) - 1)], UNSEEN)


class _Trees:
    def __init__(
        self,
        train: LogSplit,
        encoding: Encoding,
        *,
        settings: LightGBMSettings,
        threads: int,
        seed: int,
    ) -> None:
        self._lists = encoding.lists
        self._codes = [_Codes.fit(np.asarray(train.ids[:, i])) for i in range(len(encoding.single))]
        self._settings = settings
        self._categories = [
            i for i, c in enumerate(self._codes) if c.code.max() < settings.largest_category
        ]
        self._parameters = {
            "learning_rate": settings.learning_rate,
            "num_leaves": settings.leaves,
            "min_data_in_leaf": settings.smallest_leaf,
            "feature_fraction": settings.feature_share,
            "num_threads": threads,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }

    def matrix(self, rows: LogSplit) -> NDArray[np.float32]:
        single, lists = len(self._codes), len(self._lists)
        x = np.empty((len(rows.labels), single + lists + rows.numeric.shape[1]), np.float32)
        for i, codes in enumerate(self._codes):
            x[:, i] = codes(np.asarray(rows.ids[:, i]))
        for i, field in enumerate(self._lists, start=single):
            cells = rows.ids[:, field.first : field.first + field.length]
            x[:, i] = np.count_nonzero(cells, axis=1)
        x[:, single + lists :] = rows.numeric
        return x

    def fit(
        self, task: TaskSpec, train: TaskRows, validation: TaskRows, classes: int
    ) -> FittedBaseline:
        parameters = self._parameters | {"objective": OBJECTIVE[task.kind]}
        if task.kind == "multiclass":
            parameters["num_class"] = classes
        data = lightgbm.Dataset(
            train.x,
            train.label,
            # LightGBM splits no leaf whose Hessians, which have the unit of weights, sum to little.
            weight=train.weight / train.weight.mean(),
            categorical_feature=self._categories,
            params=parameters,
        )
        callbacks: list[Callable[..., Any]] = []
        if len(validation.label):
            callbacks = [lightgbm.early_stopping(self._settings.patience, verbose=False)]
        held_out = data.create_valid(validation.x, validation.label, weight=validation.weight)
        booster = lightgbm.train(
            parameters,
            data,
            num_boost_round=self._settings.rounds,
            valid_sets=[held_out] if callbacks else None,
            callbacks=callbacks,
        )
        trees = booster.dump_model(num_iteration=booster.best_iteration or None)["tree_info"]
        return FittedBaseline(
            lambda x: np.asarray(booster.predict(x)),
            sum(tree["num_leaves"] for tree in trees),
            None,
        )
