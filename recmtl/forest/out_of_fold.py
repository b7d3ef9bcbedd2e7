"""Forests of a log, and what they say of each of its rows.

A train row gets the answer of a forest that was grown without its fold, so that the answer does not
depend on the row's own label: not even through the settings and the number of trees, which each
forest chooses on the validation rows by itself. Rows of validation and test, as any row that is
scored later, get the mean of the answers of all forests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import lightgbm
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recmtl.data.columns.keys import stable_hash
from recmtl.data.encoded_log import NO_GROUP, LogSplit
from recmtl.forest.columns import ForestColumns
from recmtl.forest.forests import TaskForest
from recmtl.forest.grow import grow
from recmtl.forest.settings import ForestSettings, Trees
from recmtl.forest.task_rows import TaskRows, task_rows
from recmtl.forest.text import forest_text
from recmtl.forest.tuned import tuned
from recmtl.schema import Schema, TaskSpec

__all__ = ["FoldRule", "ForestGrower", "GrownFold", "fold_rule", "folds_of"]

FoldRule = Literal["group", "order", "row"]
SALT = 18_446
"""Seed of the hash of folds, so that they do not follow a split by the same column."""
AT_ONCE = 65_536
"""Rows whose logits are computed at a time."""


def fold_rule(schema: Schema) -> FoldRule:
    """How train rows are divided into folds.

    `group`: whole groups, where the schema names one. `order`: contiguous blocks in the order of
    the log, where the split is by time. `row`: single rows at random.
    """
    if schema.roles.group is not None:
        return "group"
    return "order" if schema.split.by == "time" else "row"


def folds_of(rows: LogSplit, count: int, rule: FoldRule) -> NDArray[np.int64]:
    """The fold of each row `[R]`, from 0 to below `count`; equal in every process."""
    number = np.asarray(rows.row)
    if rule == "order":
        place = np.empty(len(number), np.int64)
        place[np.argsort(number, kind="stable")] = np.arange(len(number))
        return place * count // max(len(number), 1)
    of_row = _hashed(number) % np.uint64(count)
    if rule == "row":
        return of_row.astype(np.int64)
    group = np.asarray(rows.group)
    of_group = _hashed(group) % np.uint64(count)
    return np.where(group == NO_GROUP, of_row, of_group).astype(np.int64)


def _hashed(values: NDArray[np.int64]) -> NDArray[np.uint64]:
    return stable_hash(pa.array(values), SALT)


@dataclass(frozen=True)
class GrownFold:
    """What was grown without a fold.

    Attributes:
        forest: None where all labels outside of the fold are equal: there is nothing to learn.
        logits: of the rows of the fold `[R, fields]`; NaN without a forest.
    """

    forest: TaskForest | None
    logits: NDArray[np.float64]


@dataclass(frozen=True)
class ForestGrower:
    """Grows the forests of each task, on one core each: one without each fold.

    Attributes:
        train: rows to grow on, those of a weight above 0.
        validation: rows on which each forest chooses its number of trees.
        tasks: in the order of the label columns.
        columns: encoded rows to what trees split.
        folds: of the train rows `[R]`.
        settings: of the forests and folds.
        seed: of LightGBM.
    """

    train: LogSplit
    validation: LogSplit
    tasks: Sequence[TaskSpec]
    columns: ForestColumns
    folds: NDArray[np.int64]
    settings: Trees
    seed: int

    def of_fold(self, task: TaskSpec, classes: Sequence[str], fold: int) -> GrownFold:
        """The forest that is grown without a fold, and its logits of the fold's rows."""
        inside = self.folds == fold
        forest = self._forest(task, classes, ~inside)
        rows = np.flatnonzero(inside)
        logits = np.full((len(rows), max(len(classes), 1)), np.nan)
        if forest is not None:
            for first in range(0, len(rows), AT_ONCE):
                part = rows[first : first + AT_ONCE]
                x = self.columns.matrix(self.train.ids[part], self.train.numeric[part])
                logits[first : first + AT_ONCE] = forest.logits(x)
        return GrownFold(forest, logits)

    def _forest(
        self, task: TaskSpec, classes: Sequence[str], kept: NDArray[np.bool_]
    ) -> TaskForest | None:
        train = self._rows(self.train, task, kept)
        if len(train.label) == 0 or train.label.min() == train.label.max():
            return None
        validation = self._rows(self.validation, task, np.ones(len(self.validation), np.bool_))

        def grown(settings: ForestSettings) -> lightgbm.Booster:
            return grow(
                task.kind,
                train,
                validation,
                settings=settings,
                categories=self.columns.categories,
                classes=len(classes),
                threads=1,
                seed=self.seed,
            )

        settings = tuned(self.settings, grown, validation)
        # Its text holds the chosen number of trees, and is what will be loaded to score.
        return TaskForest(task.name, tuple(classes), forest_text(grown(settings)))

    def _rows(self, split: LogSplit, task: TaskSpec, kept: NDArray[np.bool_]) -> TaskRows:
        """The kept rows of a split on which the task is defined."""
        numbers = np.flatnonzero(kept & (np.asarray(split.weight) > 0))
        part = split if len(numbers) == len(split) else split.take(numbers)
        return task_rows(self.columns.matrix(part.ids, part.numeric), part, self.tasks, task)
