"""Metrics against scikit-learn, against literal definitions, and under weights and permutations."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as reference

from recmtl.evaluate import metrics
from recmtl.evaluate.metrics import reliability_curve

BINARY = {
    "auc": metrics.auc,
    "pr_auc": metrics.pr_auc,
    "log_loss": metrics.log_loss,
    "normalized_entropy": metrics.normalized_entropy,
    "calibration_ratio": metrics.calibration_ratio,
    "ece": metrics.ece,
}
VALUES = {
    "rmse": metrics.rmse,
    "mae": metrics.mae,
    "r2": metrics.r2,
    "spearman": metrics.spearman,
}


@pytest.fixture(params=[0, 1, 2], ids=["continuous", "many ties", "all tied"])
def binary(request):
    random = np.random.default_rng(request.param)
    p = random.random(400)
    p = [p, np.round(p, 1), np.full(400, 0.3)][request.param]
    return (random.random(400) < p).astype(np.float32), p, random.integers(1, 4, 400)


def test_binary_metrics_equal_scikit_learn(binary):
    labels, p, weights = binary
    assert metrics.auc(labels, p) == pytest.approx(reference.roc_auc_score(labels, p))
    assert metrics.auc(labels, p, weights) == pytest.approx(
        reference.roc_auc_score(labels, p, sample_weight=weights)
    )
    assert metrics.pr_auc(labels, p, weights) == pytest.approx(
        reference.average_precision_score(labels, p, sample_weight=weights)
    )
    inside = np.clip(p, 1e-6, 1 - 1e-6)
    assert metrics.log_loss(labels, inside, weights) == pytest.approx(
        reference.log_loss(labels, inside, sample_weight=weights)
    )


def test_value_metrics_equal_scikit_learn_and_scipy():
    from scipy.stats import spearmanr

    random = np.random.default_rng(0)
    y, v = random.normal(size=300), random.normal(size=300).round(1)
    weights = random.random(300)
    squared = reference.mean_squared_error(y, v, sample_weight=weights)
    assert metrics.rmse(y, v, weights) == pytest.approx(squared**0.5)
    assert metrics.mae(y, v, weights) == pytest.approx(
        reference.mean_absolute_error(y, v, sample_weight=weights)
    )
    assert metrics.r2(y, v, weights) == pytest.approx(
        reference.r2_score(y, v, sample_weight=weights)
    )
    assert metrics.spearman(y, v) == pytest.approx(spearmanr(y, v).statistic)


def test_multiclass_metrics_equal_scikit_learn():
    random = np.random.default_rng(1)
    p = random.dirichlet(np.ones(4), size=500)
    labels = random.integers(0, 4, 500)
    weights = random.random(500)
    assert metrics.multiclass_log_loss(labels, p, weights) == pytest.approx(
        reference.log_loss(labels, p, sample_weight=weights)
    )
    assert metrics.accuracy(labels, p, weights) == pytest.approx(
        reference.accuracy_score(labels, p.argmax(1), sample_weight=weights)
    )
    assert metrics.multiclass_auc(labels, p) == pytest.approx(
        reference.roc_auc_score(labels, p, multi_class="ovr", average="macro")
    )


@pytest.mark.parametrize("name", BINARY)
def test_binary_weights_equal_repeated_rows(name, binary):
    labels, p, weights = binary
    repeated = np.repeat(labels, weights), np.repeat(p, weights)
    assert BINARY[name](labels, p, weights) == pytest.approx(BINARY[name](*repeated), rel=1e-9)


@pytest.mark.parametrize("name", VALUES)
def test_value_weights_equal_repeated_rows(name):
    random = np.random.default_rng(2)
    y, v = random.normal(size=(2, 200)).round(1)
    weights = random.integers(0, 4, 200)
    repeated = np.repeat(y, weights), np.repeat(v, weights)
    assert VALUES[name](y, v, weights) == pytest.approx(VALUES[name](*repeated))


@pytest.mark.parametrize("name", BINARY)
def test_order_of_rows_does_not_matter(name, binary):
    labels, p, weights = binary
    mixed = np.random.default_rng(3).permutation(len(p))
    value = BINARY[name](labels, p, weights)
    assert BINARY[name](labels[mixed], p[mixed], weights[mixed]) == pytest.approx(value)


def test_ranking_metrics_ignore_monotone_transforms_and_mirror():
    random = np.random.default_rng(4)
    labels, scores = random.random(200) < 0.3, random.normal(size=200)
    group = random.integers(0, 20, 200)
    assert metrics.auc(labels, np.exp(scores)) == metrics.auc(labels, scores)
    assert metrics.gauc(labels, np.exp(scores), group) == metrics.gauc(labels, scores, group)
    assert metrics.auc(labels, -scores) == pytest.approx(1 - metrics.auc(labels, scores))


def gauc_by_loop(labels, scores, group, weights):
    total = mass = 0.0
    for member in np.unique(group):
        rows = group == member
        if 0 < labels[rows].sum() < rows.sum():
            area = reference.roc_auc_score(labels[rows], scores[rows], sample_weight=weights[rows])
            total, mass = total + weights[rows].sum() * area, mass + weights[rows].sum()
    return total / mass


@pytest.mark.parametrize("digits", [1, 8])
@pytest.mark.parametrize("weighted", [False, True])
def test_gauc_equals_the_loop_over_groups(digits, weighted):
    random = np.random.default_rng(5)
    group = random.integers(0, 300, 2000) * 7 - 50
    scores = random.random(2000).round(digits)
    labels = (random.random(2000) < 0.4 * scores).astype(np.float32)
    weights = random.random(2000) + 0.1 if weighted else np.ones(2000)
    expected = gauc_by_loop(labels, scores, group, weights)
    assert metrics.gauc(labels, scores, group, weights if weighted else None) == pytest.approx(
        expected
    )


def test_gauc_of_one_group_is_the_auc(binary):
    labels, p, _ = binary
    assert metrics.gauc(labels, p, np.zeros(len(p), int)) == pytest.approx(metrics.auc(labels, p))


def test_gauc_does_not_see_the_level_of_a_group():
    random = np.random.default_rng(6)
    group = random.integers(0, 50, 1000)
    scores, labels = random.normal(size=1000), random.random(1000) < 0.3
    moved = scores + 100 * random.normal(size=50)[group]
    assert metrics.gauc(labels, moved, group) == pytest.approx(metrics.gauc(labels, scores, group))


def test_known_values():
    labels, p = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    assert metrics.auc(labels, p) == 0.75
    assert metrics.normalized_entropy(labels, np.full(4, 0.5)) == pytest.approx(1)
    assert metrics.calibration_ratio(labels, np.full(4, 0.25)) == pytest.approx(0.5)
    assert metrics.ece(labels, np.full(4, 0.2)) == pytest.approx(0.3)
    assert metrics.log_loss(np.array([1]), np.array([0.0])) < 17  # a sure miss stays finite


@pytest.mark.parametrize("size", [0, 3])
def test_undefined_metrics_are_nan_without_a_warning(size):
    labels, p = np.zeros(size), np.linspace(0.2, 0.8, size)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("auc", "pr_auc", "normalized_entropy", "calibration_ratio"):
            assert np.isnan(BINARY[name](labels, p)), name
        assert np.isnan(metrics.gauc(labels, p, np.zeros(size, int)))
        assert np.isnan(metrics.multiclass_auc(labels, np.stack([p, 1 - p], axis=1)))
        assert np.isnan(metrics.r2(labels, p))
        assert np.isnan(metrics.spearman(labels, p))
        assert np.isnan(metrics.ece(labels, p)) == (size == 0)


def test_reliability_bins_hold_equal_mass_and_keep_the_means():
    random = np.random.default_rng(7)
    p = random.random(5000) ** 3
    labels = random.random(5000) < p
    curve = reliability_curve(labels, p, bins=10)
    assert np.allclose(curve.weight, 500, atol=1)
    assert np.average(curve.predicted, weights=curve.weight) == pytest.approx(p.mean())
    assert np.average(curve.observed, weights=curve.weight) == pytest.approx(labels.mean())
    assert np.all(np.diff(curve.predicted) > 0)
    assert np.all((curve.low <= curve.observed) & (curve.observed <= curve.high))
    inside = (curve.low <= curve.predicted) & (curve.predicted <= curve.high)
    assert inside.sum() >= 8  # calibrated by construction, so about 95 % of bins


def test_ece_of_a_calibrated_model_vanishes_and_of_a_shifted_one_is_the_shift():
    random = np.random.default_rng(8)
    p = random.uniform(0.2, 0.6, 100_000)
    labels = random.random(100_000) < p
    assert metrics.ece(labels, p) < 0.01
    assert metrics.ece(labels, p + 0.2) == pytest.approx(0.2, abs=0.01)
