"""What a forest says of a train row does not depend on that row's label."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.encoded_log import NO_GROUP, LogSplit
from recmtl.forest.columns import ForestColumns
from recmtl.forest.forests import TaskForest
from recmtl.forest.out_of_fold import FoldRule, ForestGrower, fold_rule, folds_of
from recmtl.forest.settings import Trees
from recmtl.schema import Roles, Schema, SplitRule
from tests.tabular_problems import ENCODING, TASKS, make_split

FEW = Trees(rounds=12, patience=3, leaves=5, smallest_leaf=3, folds=3, tune=False)
CLASSES = {"stars": ("1", "2", "3")}
TRAIN, VALIDATION = make_split(300, 0), make_split(100, 1)
FOLDS = folds_of(TRAIN, 3, "row")


def grower(train: LogSplit, settings: Trees = FEW) -> ForestGrower:
    columns = ForestColumns.fit(train.ids, ENCODING, largest_category=1000)
    return ForestGrower(train, VALIDATION, TASKS, columns, FOLDS, settings, 0)


def forest(train: LogSplit, task: Any) -> TaskForest:
    """The forest that is grown without the last fold."""
    without_a_fold = grower(train).of_fold(task, CLASSES.get(task.name, ()), 2).forest
    assert without_a_fold is not None
    return without_a_fold


def out_of_fold(train: LogSplit, task: Any, settings: Trees = FEW) -> np.ndarray:
    classes = CLASSES.get(task.name, ())
    logits = np.empty((len(train), max(len(classes), 1)))
    for fold in range(3):
        logits[fold == FOLDS] = grower(train, settings).of_fold(task, classes, fold).logits
    return logits


@pytest.mark.parametrize("tune", [False, True])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_labels_of_a_fold_change_nothing_of_its_own_answers_to_the_bit(
    task: Any, tune: bool
) -> None:
    """The labels of all tasks, so that the rows on which a child is defined change, too."""
    settings = replace(FEW, tune=tune)
    labels = TRAIN.labels.copy()
    inside = FOLDS == 1
    labels[inside] = labels[inside][::-1]
    labels[np.flatnonzero(inside)[:5], 3] = np.nan
    before, after = (
        out_of_fold(rows, task, settings) for rows in (TRAIN, replace(TRAIN, labels=labels))
    )
    np.testing.assert_array_equal(before[inside], after[inside])
    assert not np.array_equal(before[~inside], after[~inside]), "the others did learn from them"


def test_one_label_changes_no_answer_for_its_row() -> None:
    before = out_of_fold(TRAIN, TASKS[0])
    for row in (0, 17, 299):
        labels = TRAIN.labels.copy()
        labels[row, 0] = 1 - labels[row, 0]
        assert out_of_fold(replace(TRAIN, labels=labels), TASKS[0])[row] == before[row]


def test_a_fold_without_which_nothing_differs_has_no_answer() -> None:
    labels = TRAIN.labels.copy()
    labels[:, 0] = 0.0
    labels[np.flatnonzero(FOLDS == 2)[:4], 0] = 1.0
    answers = out_of_fold(replace(TRAIN, labels=labels), TASKS[0])[:, 0]
    assert np.isnan(answers[FOLDS == 2]).all() and np.isfinite(answers[FOLDS != 2]).all()
    labels[:, 0] = 0.0
    assert grower(replace(TRAIN, labels=labels)).of_fold(TASKS[0], (), 0).forest is None


def test_rows_of_weight_0_are_as_if_they_were_absent() -> None:
    """Logs of release 0.1 hold such rows."""
    weight = TRAIN.weight.copy()
    absent = np.arange(300) % 7 == 0
    weight[absent] = 0.0
    labels = TRAIN.labels.copy()
    labels[absent] = 1.0
    plain, other = (replace(TRAIN, weight=weight, labels=which) for which in (TRAIN.labels, labels))
    assert forest(plain, TASKS[0]).text == forest(other, TASKS[0]).text


def test_answers_are_logits_of_each_kind() -> None:
    x = grower(TRAIN).columns.matrix(VALIDATION.ids, VALIDATION.numeric)
    click, buy, watch, stars = (forest(TRAIN, task) for task in TASKS)
    probability = click.booster.predict(x)
    np.testing.assert_allclose(1 / (1 + np.exp(-click.logits(x)[:, 0])), probability)
    assert np.array_equal(watch.logits(x)[:, 0], watch.booster.predict(x))
    np.testing.assert_allclose(np.exp(stars.logits(x)).sum(1), 1.0)
    np.testing.assert_allclose(np.exp(stars.logits(x)), stars.booster.predict(x))
    assert stars.fields == ("stars.tree.1", "stars.tree.2", "stars.tree.3")
    assert buy.fields == ("buy.tree",) and buy.logits(x).shape == (100, 1)


@given(st.integers(2, 7), st.sampled_from(["group", "order", "row"]), st.integers(0, 9))
def test_every_row_has_a_fold_and_no_fold_is_empty(count: int, rule: FoldRule, seed: int) -> None:
    rows = make_split(400, seed)
    rows = replace(rows, group=np.random.default_rng(seed).integers(0, 90, 400))
    folds = folds_of(rows, count, rule)
    assert set(folds.tolist()) == set(range(count))
    assert np.bincount(folds).max() < 2.5 * 400 / count


def test_groups_stay_whole_and_rows_without_one_are_spread() -> None:
    group = np.repeat(np.arange(40), 10)
    group[:50] = NO_GROUP
    folds = folds_of(replace(make_split(400, 0), group=group), 4, "group")
    assert all(len(set(folds[group == g].tolist())) == 1 for g in range(5, 40))
    assert len(set(folds[:50].tolist())) == 4


def test_blocks_of_time_follow_the_order_of_the_log() -> None:
    shuffled = np.random.default_rng(0).permutation(100)
    rows = replace(make_split(100, 0), row=shuffled)
    folds = folds_of(rows, 4, "order")
    assert np.array_equal(folds[np.argsort(shuffled)], np.repeat(np.arange(4), 25))


@pytest.mark.parametrize(
    ("group", "by", "rule"),
    [("user", "time", "group"), (None, "time", "order"), (None, "random", "row")],
)
def test_the_schema_says_how_folds_are_made(group: str | None, by: Any, rule: str) -> None:
    roles = Roles(group=group, time="t")
    assert fold_rule(Schema("x", (), TASKS, SplitRule(by), roles)) == rule
