"""One LightGBM a task: the opponent that every table must show.

Ids become codes by descending frequency on the train rows: small vocabularies are given to
LightGBM as categories, large ones as ordered numbers (frequent ids first, so that a split
separates head from tail). A list counts its values. Numeric features pass as they are encoded,
which is monotone and therefore the same to a tree.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from recmtl.baselines.one_a_task import BaselineResult, Examples, FittedBaseline, one_a_task
from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding
from recmtl.schema import TaskSpec

__all__ = ["LightGBMSettings", "fit_predict"]

OBJECTIVE = {"binary": "binary", "regression": "regression", "multiclass": "multiclass"}
UNSEEN = -1


@dataclass(frozen=True)
class LightGBMSettings:
    """LightGBM's own parameters, and the vocabulary size up to which ids are categories."""

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
    classes: Mapping[str, Sequence[Any]] | None = None,
    threads: int | None = None,
    seed: int = 0,
    settings: LightGBMSettings | None = None,
) -> BaselineResult:
    """Fit one LightGBM a task and score the test rows.

    Args:
        train: rows to fit on.
        validation: rows on which the number of trees is chosen (log loss, or squared error).
        test: rows to score.
        tasks: the schema's tasks.
        encoding: names of the id and numeric columns.
        classes: multiclass task -> its classes in the order of the label's indices.
        threads: of LightGBM; None = one a core. The same threads and seed give the same scores.
        seed: of the feature samples.
        settings: everything else.

    Returns:
        Scores, and the cost: `parameters` counts leaves, `multiply_adds` is None (a tree compares).
    """

    def prepare(rows: LogSplit) -> _Trees:
        cores = threads or os.cpu_count() or 1
        return _Trees(
            rows, encoding, settings=settings or LightGBMSettings(), threads=cores, seed=seed
        )

    return one_a_task(prepare, (train, validation, test), tasks, classes or {})


@dataclass(frozen=True)
class _Codes:
    """Global ids of one column -> 0, 1, 2, ... by descending train frequency; -1 = unseen."""

    first: int
    code: NDArray[np.int32]

    @staticmethod
    def fit(ids: NDArray[np.int32]) -> "_Codes":
        first = int(ids.min()) if len(ids) else 0
        times = np.bincount(ids - first) if len(ids) else np.zeros(1, np.int64)
        code = np.empty(len(times), np.int32)
        code[np.argsort(-times, kind="stable")] = np.arange(len(times))
        code[times == 0] = UNSEEN
        return _Codes(first, code)

    def __call__(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        place = ids.astype(np.int64) - self.first
        inside = (place >= 0) & (place < len(self.code))
        return np.where(inside, self.code[np.clip(place, 0, len(self.code) - 1)], UNSEEN)


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
        self, task: TaskSpec, train: Examples, validation: Examples, classes: int
    ) -> FittedBaseline:
        parameters = self._parameters | {"objective": OBJECTIVE[task.kind]}
        if task.kind == "multiclass":
            parameters["num_class"] = classes
        data = lightgbm.Dataset(
            train.x,
            train.label,
            weight=train.weight,
            categorical_feature=self._categories,
            params=parameters,
        )
        stop: list[Callable[..., Any]] = []
        if len(validation.label):
            stop = [lightgbm.early_stopping(self._settings.patience, verbose=False)]
        held_out = data.create_valid(validation.x, validation.label, weight=validation.weight)
        booster = lightgbm.train(
            parameters,
            data,
            num_boost_round=self._settings.rounds,
            valid_sets=[held_out] if stop else None,
            callbacks=stop,
        )
        trees = booster.dump_model(num_iteration=booster.best_iteration or None)["tree_info"]
        return FittedBaseline(
            lambda x: np.asarray(booster.predict(x)),
            sum(tree["num_leaves"] for tree in trees),
            None,
        )
