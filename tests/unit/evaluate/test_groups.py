"""A row without a group is nobody's: it competes with no row and is drawn alone."""

import numpy as np
import pytest

from recmtl.data.encoded_log import NO_GROUP
from recmtl.evaluate.groups import grouped_rows, resampled_units
from recmtl.evaluate.metrics import gauc
from recmtl.evaluate.ranking_metrics import ranking_metrics
from recmtl.evaluate.task_metrics import evaluate
from recmtl.evaluate.transfer_test import judge_transfer
from recmtl.schema import Condition, TaskSpec

RANDOM = np.random.default_rng(0)
ROWS = 240
CLICK = TaskSpec("click", "binary", Condition("click"))
LABELS = RANDOM.integers(0, 2, ROWS).astype(float)
SCORES = RANDOM.random(ROWS).round(2)
GROUP = RANDOM.integers(0, 30, ROWS)
ALONE = RANDOM.random(ROWS) < 0.4
PARTLY = np.where(ALONE, NO_GROUP, GROUP)


def test_metrics_by_group_are_those_of_the_rows_with_a_group() -> None:
    weight = RANDOM.random(ROWS)
    kept = (LABELS[~ALONE], SCORES[~ALONE], GROUP[~ALONE])
    assert gauc(LABELS, SCORES, PARTLY) == gauc(*kept)
    assert gauc(LABELS, SCORES, PARTLY, weight) == gauc(*kept, weight[~ALONE])
    assert ranking_metrics(LABELS, SCORES, PARTLY) == ranking_metrics(*kept)
    columns, labels = {"p_click": SCORES}, LABELS[:, None]
    metrics = evaluate(columns, labels, [CLICK], PARTLY)["click"]
    assert metrics["gauc"] == gauc(*kept)
    assert metrics["ndcg_at_10"] == ranking_metrics(*kept)["ndcg"]
    assert metrics["auc"] == evaluate(columns, labels, [CLICK])["click"]["auc"]


def test_without_any_group_metrics_by_group_are_not_defined() -> None:
    nobody = np.full(ROWS, NO_GROUP)
    assert np.isnan(gauc(LABELS, SCORES, nobody))
    assert np.isnan(ranking_metrics(LABELS, SCORES, nobody)["ndcg"])


@pytest.mark.parametrize(
    "group",
    [
        np.where(ALONE, np.nan, GROUP),
        np.array([None if alone else g for alone, g in zip(ALONE, GROUP, strict=True)]),
        np.array([float("nan") if a else f"u{g}" for a, g in zip(ALONE, GROUP, strict=True)],
                 dtype=object),
    ],
    ids=["NaN", "None", "NaN among texts"],
)  # fmt: skip
def test_missing_values_of_other_arrays_are_no_group_either(group: np.ndarray) -> None:
    assert (grouped_rows(group) == ~ALONE).all()


def test_a_bootstrap_draws_rows_without_a_group_one_by_one() -> None:
    units = resampled_units(PARTLY, ROWS)
    assert sorted(set(units)) == list(range(len(set(GROUP[~ALONE])) + ALONE.sum()))
    assert len(set(units[ALONE])) == ALONE.sum()
    for g in set(GROUP[~ALONE]):
        assert len(set(units[g == PARTLY])) == 1
    assert resampled_units(None, 3).tolist() == [0, 1, 2]


def test_with_no_group_at_all_the_verdict_is_that_of_rows() -> None:
    seeds = {name: {0: {"p_click": RANDOM.random(ROWS)}} for name in ("searched", "single_task")}
    settings = {"labels": LABELS[:, None], "tasks": [CLICK], "resamples": 30}
    alone, rows = (
        judge_transfer(seeds, **settings, group=group) for group in (np.full(ROWS, NO_GROUP), None)
    )
    assert alone.tasks["click"]["single_task"] == rows.tasks["click"]["single_task"]
