"""Metrics of models of labels, beside plain loops and scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as sk

from recmtl.evaluate.heads.fit import pinball, poisson_deviance, weighted_kappa
from recmtl.evaluate.heads.order import xauc
from recmtl.evaluate.metrics import auc
from recmtl.evaluate.task_metrics import evaluate
from recmtl.schema import Condition, Head, TaskSpec

DICE = np.random.default_rng(5)
LABEL = DICE.integers(0, 6, 80).astype(float)
VALUE = np.round(LABEL + DICE.normal(0, 2, 80))
WEIGHT = DICE.integers(0, 4, 80).astype(float)
P = DICE.dirichlet(np.ones(6), 80)
METRICS = {
    "xauc": (xauc, VALUE),
    "weighted_kappa": (weighted_kappa, P),
    "poisson_deviance": (poisson_deviance, np.abs(VALUE) + 0.5),
    "pinball": (lambda *rows: pinball(*rows, share=0.3), VALUE),
}
every_metric = pytest.mark.parametrize("name", METRICS)


def plain_xauc(label: np.ndarray, value: np.ndarray, weight: np.ndarray) -> float:
    right = pairs = 0.0
    for i in range(len(label)):
        for j in range(len(label)):
            if label[i] > label[j]:
                pairs += weight[i] * weight[j]
                right += weight[i] * weight[j] * (0.5 + 0.5 * np.sign(value[i] - value[j]))
    return right / pairs


def test_xauc_counts_pairs_as_a_plain_loop_does() -> None:
    assert xauc(LABEL, VALUE) == pytest.approx(plain_xauc(LABEL, VALUE, np.ones(80)), rel=1e-12)
    weighted = plain_xauc(LABEL, VALUE, WEIGHT)
    assert xauc(LABEL, VALUE, WEIGHT) == pytest.approx(weighted, rel=1e-12)


def test_xauc_of_two_values_is_the_auc() -> None:
    label = (LABEL > 2).astype(float)
    assert xauc(label, VALUE) == pytest.approx(auc(label, VALUE), rel=1e-12)


def test_xauc_heeds_the_order_alone() -> None:
    assert xauc(LABEL, LABEL) == 1.0 and xauc(LABEL, -LABEL) == 0.0
    assert xauc(LABEL, np.zeros(80)) == 0.5
    assert xauc(np.exp(LABEL), VALUE**3) == xauc(LABEL, VALUE)


@every_metric
def test_a_weight_of_two_is_the_row_twice_and_of_zero_its_absence(name: str) -> None:
    metric, scores = METRICS[name]
    times = WEIGHT.astype(int)
    repeated = metric(np.repeat(LABEL, times), np.repeat(scores, times, axis=0))
    assert metric(LABEL, scores, WEIGHT) == pytest.approx(repeated, rel=1e-12)
    assert metric(LABEL, scores, 3 * WEIGHT) == pytest.approx(repeated, rel=1e-12)


@every_metric
def test_without_rows_a_metric_is_not_defined(name: str) -> None:
    metric, scores = METRICS[name]
    assert np.isnan(metric(LABEL[:0], scores[:0]))


def test_metrics_are_scikit_learns() -> None:
    expected = np.rint(P @ np.arange(6))
    kappa = sk.cohen_kappa_score(LABEL, expected, weights="quadratic", sample_weight=WEIGHT)
    assert weighted_kappa(LABEL, P, WEIGHT) == pytest.approx(kappa)
    loss = sk.mean_pinball_loss(LABEL, VALUE, alpha=0.3, sample_weight=WEIGHT)
    assert pinball(LABEL, VALUE, WEIGHT, share=0.3) == pytest.approx(loss)
    means = np.abs(VALUE) + 0.5
    deviance = sk.mean_poisson_deviance(LABEL, means, sample_weight=WEIGHT)
    assert poisson_deviance(LABEL, means, WEIGHT) == pytest.approx(deviance)


def test_classes_that_are_all_one_have_no_kappa() -> None:
    assert np.isnan(weighted_kappa(np.zeros(4), np.eye(3)[[0, 0, 0, 0]]))


def test_a_task_has_the_metrics_of_its_head_on_its_rows() -> None:
    tasks = (
        TaskSpec("w", "regression", Condition("w"), head=Head("ziln", quantiles=(0.3,))),
        TaskSpec("c", "regression", Condition("c"), head=Head("poisson")),
        TaskSpec("s", "multiclass", Condition("s"), head=Head("ordinal")),
        TaskSpec("v", "regression", Condition("v")),
    )
    labels = np.stack([LABEL] * 4, 1)
    labels[:10] = np.nan
    scores = {"value_w": VALUE, "value_w_q30": VALUE - 1, "value_c": np.abs(VALUE) + 0.5}
    scores |= {f"p_s_{k}": P[:, k] for k in range(6)} | {"value_v": VALUE}
    metrics = evaluate(scores, labels, tasks)
    assert metrics["w"]["pinball_q30"] == pinball(LABEL[10:], VALUE[10:] - 1, share=0.3)
    assert metrics["c"]["poisson_deviance"] == poisson_deviance(LABEL[10:], scores["value_c"][10:])
    assert metrics["s"]["weighted_kappa"] == weighted_kappa(LABEL[10:], P[10:])
    assert metrics["v"]["xauc"] == xauc(LABEL[10:], VALUE[10:])
    del scores["value_w_q30"]  # a baseline has no quantiles
    assert "pinball_q30" not in evaluate(scores, labels, tasks)["w"]
