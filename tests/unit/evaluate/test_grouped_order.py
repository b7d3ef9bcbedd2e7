"""The order of graded labels within groups, against loops over pairs, and in a verdict."""

import numpy as np
import pytest

from recmtl.data.encoded_log import NO_GROUP
from recmtl.evaluate.heads.grouped_order import GroupedOrder, ordered_groups
from recmtl.evaluate.measured import Grouped, primary_measure
from recmtl.evaluate.metrics import gauc
from recmtl.evaluate.ranking_metrics import ranking_metrics
from recmtl.evaluate.task_metrics import evaluate, validation_score
from recmtl.evaluate.transfer_test import judge_transfer
from recmtl.schema import Condition, Head, TaskSpec

ROWS = 300
RANKED = TaskSpec("best", "regression", Condition("grade"), head=Head("rank"))
Array = np.ndarray


def rows_of(grades: int = 4) -> tuple[Array, Array, Array, Array]:
    """Labels, scores with ties, groups of which some are missing, and weights."""
    dice = np.random.default_rng(5)
    group = dice.integers(0, 60, ROWS) * 10**12
    group[::19] = NO_GROUP
    scores = dice.integers(-3, 4, ROWS) / 3
    return dice.integers(0, grades, ROWS).astype(float), scores, group, dice.uniform(0.1, 4.0, ROWS)


def by_loop(labels: Array, scores: Array, group: Array, weights: Array) -> dict[int, float]:
    """The AUC of every group with an order."""
    aucs = {}
    for code in set(group.tolist()) - {NO_GROUP}:
        rows = np.flatnonzero(group == code)
        pairs = [(i, j) for i in rows for j in rows if labels[i] > labels[j]]
        mass = sum(weights[i] * weights[j] for i, j in pairs)
        if pairs:
            wins = ((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]) for i, j in pairs)
            right = sum(w * weights[i] * weights[j] for w, (i, j) in zip(wins, pairs, strict=True))
            aucs[code] = right / mass
    return aucs


@pytest.mark.parametrize("weighted", [False, True])
def test_gauc_of_grades_is_the_mean_of_pairs_by_group(weighted: bool) -> None:
    labels, scores, group, weights = rows_of()
    weights = weights if weighted else np.ones(ROWS)
    aucs = by_loop(labels, scores, group, weights)
    mass = [weights[group == code].sum() for code in aucs]
    expected = np.average(list(aucs.values()), weights=mass)
    assert gauc(labels, scores, group, weights if weighted else None) == pytest.approx(expected)
    assert ordered_groups(labels, np.where(group == NO_GROUP, np.arange(ROWS), group)) == len(aucs)


def test_of_two_grades_it_is_the_gauc_of_classes() -> None:
    labels, scores, group, weights = rows_of(grades=2)
    order = GroupedOrder(labels, scores, group=group, weights=weights).means(weights[:, np.newaxis])
    assert order.tolist() == pytest.approx([gauc(labels, scores, group, weights)])
    moved = gauc(3.0 * labels, scores, group, weights)
    assert moved == pytest.approx(gauc(labels, scores, group, weights))


def test_a_draw_of_groups_is_the_gauc_of_their_rows() -> None:
    labels, scores, group, weights = rows_of()
    measure = primary_measure("rank", labels, scores, Grouped(group, weights))
    dice = np.random.default_rng(1)
    _, code = np.unique(group, return_inverse=True)
    times = dice.poisson(1.0, (code.max() + 1, 3))[code]
    values = measure(weights[:, np.newaxis] * times)
    for draw in range(3):
        drawn = np.repeat(np.arange(ROWS), times[:, draw])
        apart = np.concatenate([np.arange(n) for n in times[:, draw]]) + group[drawn]
        apart[group[drawn] == NO_GROUP] = NO_GROUP
        expected = gauc(labels[drawn], scores[drawn], apart, weights[drawn])
        assert values[draw] == pytest.approx(expected)
    assert np.isnan(measure(np.zeros((ROWS, 1)))).all()


def test_nothing_in_order_has_no_metric() -> None:
    assert np.isnan(gauc(np.full(4, 2.0), np.arange(4.0), np.zeros(4, np.int64)))
    nobody = np.full(4, NO_GROUP)
    alone = GroupedOrder(np.arange(4.0), np.arange(4.0), group=nobody)
    assert np.isnan(alone.means(np.ones((4, 1)))[0])
    assert ordered_groups(np.empty(0), np.empty(0, np.int64)) == 0


def test_a_task_that_ranks_has_the_metrics_of_an_order_alone() -> None:
    labels, scores, group, weights = rows_of()
    predictions = {"score_best": scores}
    metrics = evaluate(predictions, labels[:, np.newaxis], [RANKED], group, weights)["best"]
    assert set(metrics) == {
        "gauc",
        *(f"{name}_at_10" for name in ("ndcg", "map", "mrr", "hit_rate", "recall")),
    }
    assert metrics["gauc"] == gauc(labels, scores, group, weights)
    ranked = ranking_metrics(labels, scores, group, k=10, weights=weights)
    assert metrics["ndcg_at_10"] == ranked["ndcg"]
    assert validation_score({"best": metrics}, [RANKED]) == metrics["gauc"]
    alone = evaluate(predictions, labels[:, np.newaxis], [RANKED])["best"]
    assert np.isnan(alone["gauc"])


def test_a_better_order_is_judged_better() -> None:
    labels, _, group, _ = rows_of()
    noise = np.random.default_rng(3).normal(size=(4, ROWS))
    models = {
        "searched": {seed: {"score_best": labels + noise[seed]} for seed in range(2)},
        "single_task": {seed: {"score_best": noise[2 + seed]} for seed in range(2)},
    }
    verdict = judge_transfer(models, labels[:, np.newaxis], [RANKED], group=group).tasks["best"]
    assert verdict["metric"] == "gauc" and verdict["higher_is_better"]
    assert verdict["verdict"] == "helped"
    few = judge_transfer(models, np.ones((ROWS, 1)), [RANKED], group=group).tasks["best"]
    assert few["verdict"] == "not proven"
