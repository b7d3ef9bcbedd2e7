"""Weights of rows in every metric and in the verdict: 2 is twice, 0 is absent, a factor is nothing.

Metrics within rankings take one place for each row, so there a weight counts whole groups.
"""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.evaluate import evaluate, judge_transfer, metrics
from recmtl.evaluate.ranking_metrics import ranking_metrics
from recmtl.evaluate.task_metrics import METRICS
from recmtl.schema import Condition, TaskSpec

TASKS = (
    TaskSpec("click", "binary", Condition("click")),
    TaskSpec("buy", "binary", Condition("buy"), parent="click"),
    TaskSpec("watch", "regression", Condition("watch")),
    TaskSpec("stars", "multiclass", Condition("stars")),
)
FACTORS = (1e-30, 1e-7, 1 / 3, 1e7, 1e30)
Log = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]
few = settings(max_examples=25, deadline=None)


def make_log(seed: int, rows: int = 60, groups: int = 7) -> Log:
    """Predictions with many ties, labels, groups and whole-number weights."""
    random = np.random.default_rng(seed)
    click = random.integers(0, 2, rows)
    buy = np.where(click == 1, random.integers(0, 2, rows), 0)
    stars = np.where(random.random(rows) < 0.2, np.nan, random.integers(0, 3, rows))
    labels = np.stack([click, buy, random.integers(-2, 3, rows), stars], 1).astype(np.float64)
    shares = random.dirichlet(np.ones(3), rows).round(1)
    p = random.integers(1, 10, (3, rows)) / 10
    predictions = {
        "p_click": p[0],
        "p_buy_given_click": p[1],
        "p_click_and_buy": p[0] * p[1],
        "value_watch": random.integers(-2, 3, rows) / 2,
        **{f"p_stars_{k}": shares[:, k] for k in range(3)},
    }
    return predictions, labels, random.integers(0, groups, rows), random.integers(1, 4, rows)


def taken(log: Log, rows: np.ndarray) -> Log:
    predictions, labels, group, weight = log
    columns = {name: scores[rows] for name, scores in predictions.items()}
    return columns, labels[rows], group[rows], weight[rows]


def measured(log: Log, weight: np.ndarray | None, *, ranked: bool = True) -> dict[str, float]:
    predictions, labels, group, _ = log
    by_task = evaluate(predictions, labels, TASKS, group, weight)
    return {
        f"{task}.{name}": value
        for task, values in by_task.items()
        for name, value in values.items()
        if ranked or "_at_" not in name
    }


def agree(one: Mapping[str, float], other: Mapping[str, float], *, rel: float = 1e-9) -> None:
    assert one.keys() == other.keys()
    assert dict(one) == pytest.approx(dict(other), rel=rel, nan_ok=True)


def test_every_metric_of_every_kind_is_tested_here() -> None:
    names = set(measured(make_log(0), None))
    for task in TASKS:
        assert {f"{task.name}.{metric}" for metric in METRICS[task.kind]} <= names


@few
@given(st.integers(0, 10_000))
def test_a_weight_of_two_is_the_row_twice(seed: int) -> None:
    log = make_log(seed)
    twice = taken(log, np.repeat(np.arange(len(log[3])), log[3]))
    agree(measured(log, log[3], ranked=False), measured(twice, None, ranked=False))


@few
@given(st.integers(0, 10_000))
def test_a_weight_of_two_of_a_whole_group_is_the_group_twice(seed: int) -> None:
    log = make_log(seed)
    predictions, labels, group, _ = log
    of_group = np.random.default_rng(seed).integers(1, 4, 7)
    weight = of_group[group]
    copies = [taken(log, np.flatnonzero(weight > times)) for times in range(3)]
    columns = {name: np.concatenate([c[0][name] for c in copies]) for name in predictions}
    groups = np.concatenate([copy[2] + 100 * n for n, copy in enumerate(copies)])
    twice = (columns, np.concatenate([c[1] for c in copies]), groups, groups)
    agree(measured((predictions, labels, group, weight), weight), measured(twice, None))


@pytest.mark.parametrize("factor", FACTORS)
@few
@given(st.integers(0, 10_000))
def test_a_common_factor_changes_nothing(factor: float, seed: int) -> None:
    log = make_log(seed)
    weight = np.random.default_rng(seed).exponential(size=len(log[3]))
    agree(measured(log, weight), measured(log, weight * factor))


@few
@given(st.integers(0, 10_000))
def test_a_weight_of_zero_is_the_absence_of_the_row_to_the_bit(seed: int) -> None:
    log = make_log(seed)
    weight = np.maximum(0.0, np.random.default_rng(seed).normal(size=len(log[3])))
    rows = np.flatnonzero(weight)
    absent = measured(taken(log, rows), weight[rows])
    np.testing.assert_array_equal([*measured(log, weight).values()], [*absent.values()])


@few
@given(st.integers(0, 10_000), st.sampled_from(["auc", "log_loss", "ece"]))
def test_equal_weights_are_no_weights(seed: int, name: str) -> None:
    log = make_log(seed)
    same, none = (measured(log, w) for w in (np.full(60, 0.1), None))
    agree(same, none)
    assert f"click.{name}" in none


@pytest.mark.parametrize("constant", ["labels", "values", "both"])
@pytest.mark.parametrize("metric", [metrics.spearman, metrics.r2, metrics.normalized_entropy])
def test_a_constant_has_no_correlation_and_no_spread_under_any_weights(
    metric: object, constant: str
) -> None:
    random = np.random.default_rng(0)
    varying, level = random.integers(0, 2, 50) * 0.7, np.full(50, 1.0)
    labels = level if constant != "values" else (varying > 0).astype(np.float64)
    values = level * 0.3 if constant != "labels" else varying
    for seed in range(20):
        weight = np.random.default_rng(seed).exponential(size=50)
        result = metric(labels, values, weight)  # type: ignore[operator]
        needs_values = metric is metrics.spearman
        assert math.isnan(result) == (constant != "values" or needs_values)


def test_light_groups_keep_their_order_beside_a_heavy_one() -> None:
    """A running sum over all rows would lose the light rows' digits: each group is 1 or nothing."""
    label, score = np.tile([0.0, 1.0, 0.0], 40), np.tile([0.1, 0.9, 0.2], 40)
    group = np.repeat(np.arange(40), 3)
    weight = np.random.default_rng(0).uniform(1, 2, 120) * np.where(group == 0, 1e12, 1e-6)
    assert metrics.gauc(label, score, group, weight) == pytest.approx(1.0, abs=1e-12)


def test_rankings_leave_out_rows_of_weight_zero() -> None:
    gains, scores = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.9, 0.5, 0.4, 0.3])
    weights, group = np.array([0.0, 2.0, 2.0, 2.0]), np.zeros(4, np.int64)
    without = ranking_metrics(gains[1:], scores[1:], group[1:])
    assert ranking_metrics(gains, scores, group, weights=weights) == without


def make_models(seed: int, rows: int = 400) -> tuple[dict[str, dict[int, dict]], np.ndarray]:
    random = np.random.default_rng(seed)
    taste = random.normal(size=rows)
    labels = np.stack([taste + random.normal(size=rows) > 0, taste * 3 + 1], 1).astype(float)
    models: dict[str, dict[int, dict]] = {}
    for name, noise in (("searched", 0.3), ("single_task", 0.8)):
        score = taste + noise * random.normal(size=rows)
        columns = {"p_click": 1 / (1 + np.exp(-score)), "value_watch": 3 * score + 1}
        models[name] = {0: columns}
    return models, labels


JUDGED = (TASKS[0], TASKS[2])


@pytest.mark.parametrize("factor", FACTORS)
def test_the_verdict_does_not_notice_a_common_factor(factor: float) -> None:
    models, labels = make_models(0)
    weight = np.random.default_rng(1).exponential(size=len(labels))
    one, other = (
        judge_transfer(models, labels, JUDGED, weight=w, resamples=20, fixed=models)
        for w in (weight, weight * factor)
    )
    for task in ("click", "watch"):
        agree(
            one.tasks[task]["single_task"] | {"seeds": 0, "verdict": 0},
            other.tasks[task]["single_task"] | {"seeds": 0, "verdict": 0},
            rel=1e-6,
        )
        assert one.tasks[task]["verdict"] == other.tasks[task]["verdict"] == "helped"


def test_the_verdict_does_not_notice_rows_of_weight_zero() -> None:
    models, labels = make_models(2)
    weight = np.random.default_rng(1).integers(0, 3, len(labels)).astype(float)
    rows, group = np.flatnonzero(weight), np.arange(len(labels)) // 3
    fewer = {
        name: {0: {column: scores[rows] for column, scores in seeds[0].items()}}
        for name, seeds in models.items()
    }
    absent = judge_transfer(
        fewer, labels[rows], JUDGED, weight=weight[rows], group=group[rows], resamples=20
    )
    zero = judge_transfer(models, labels, JUDGED, weight=weight, group=group, resamples=20)
    assert zero == absent


def test_the_gain_counts_a_weight_of_two_as_the_row_twice() -> None:
    models, labels = make_models(3)
    weight = np.random.default_rng(1).integers(1, 3, len(labels))
    rows = np.repeat(np.arange(len(labels)), weight)
    twice = {
        name: {0: {column: scores[rows] for column, scores in seeds[0].items()}}
        for name, seeds in models.items()
    }
    weighted = judge_transfer(models, labels, JUDGED, weight=weight, resamples=20)
    repeated = judge_transfer(twice, labels[rows], JUDGED, resamples=20)
    for task in ("click", "watch"):
        gains = [verdict.tasks[task]["single_task"]["gain"] for verdict in (weighted, repeated)]
        assert gains[0] == pytest.approx(gains[1], rel=1e-9)


def test_a_constant_label_has_no_scale_under_any_weights() -> None:
    models, labels = make_models(4)
    labels[:, 1] = 0.1
    weight = np.random.default_rng(1).exponential(size=len(labels))
    verdict = judge_transfer(models, labels, JUDGED, weight=weight, resamples=20)
    assert verdict.mean["tasks"] == ["click"]
