"""Laws of metrics on any rows: plain second implementations, weights, bounds, invariances."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from recmtl.evaluate import metrics
from recmtl.evaluate.pairwise_order import PairwiseOrder, product_sum, tie_blocks

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]
Metric = Callable[..., float]
OF_PROBABILITIES = [
    metrics.auc,
    metrics.pr_auc,
    metrics.log_loss,
    metrics.brier,
    metrics.normalized_entropy,
    metrics.calibration_ratio,
    metrics.ece,
]
OF_VALUES = [metrics.rmse, metrics.mae, metrics.r2, metrics.spearman]
few = settings(max_examples=40, deadline=None)


@st.composite
def rows(draw: st.DrawFn, *, binary: bool = True) -> Rows:
    """Labels, scores from few levels (so that many tie), and whole-number weights."""
    count = draw(st.integers(2, 12))
    seed = draw(st.integers(0, 10_000))
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count) if binary else random.integers(-3, 4, count)
    scores = random.integers(1, draw(st.sampled_from((2, 4, 50))) + 1, count) / 51
    return labels.astype(np.float64), scores, random.integers(1, 4, count)


def same(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or one == pytest.approx(other, abs=1e-9)


@few
@given(rows())
def test_auc_counts_the_pairs_that_are_in_order(drawn: Rows) -> None:
    labels, scores, weights = drawn
    wins = pairs = 0.0
    for i in np.flatnonzero(labels == 1):
        for j in np.flatnonzero(labels == 0):
            mass = float(weights[i] * weights[j])
            pairs += mass
            wins += mass * (1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0)
    plain = wins / pairs if pairs else math.nan
    assert same(metrics.auc(labels, scores, weights), plain)


@few
@given(rows())
def test_average_precision_is_the_sum_over_thresholds(drawn: Rows) -> None:
    labels, scores, weights = drawn
    total, area, recall = float(weights @ labels), 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        shown = scores >= threshold
        hits = float(weights[shown] @ labels[shown])
        if total:
            area += (hits / total - recall) * hits / float(weights[shown].sum())
            recall = hits / total
    assert same(metrics.pr_auc(labels, scores, weights), area if total else math.nan)


@few
@given(rows(binary=False))
def test_spearman_is_the_correlation_of_mean_ranks(drawn: Rows) -> None:
    labels, scores, weights = drawn
    one, two = (rankdata(np.repeat(values, weights)) for values in (labels, scores))
    if one.std() == 0 or two.std() == 0:
        assert math.isnan(metrics.spearman(labels, scores, weights))
    else:
        assert same(metrics.spearman(labels, scores, weights), float(np.corrcoef(one, two)[0, 1]))


@pytest.mark.parametrize("metric", OF_PROBABILITIES, ids=lambda m: m.__name__)
@few
@given(rows())
def test_a_weight_repeats_a_row(metric: Metric, drawn: Rows) -> None:
    labels, scores, weights = drawn
    repeated = metric(np.repeat(labels, weights), np.repeat(scores, weights))
    assert same(metric(labels, scores, weights), repeated)


@pytest.mark.parametrize("metric", OF_VALUES, ids=lambda m: m.__name__)
@few
@given(rows(binary=False))
def test_a_weight_repeats_a_row_of_values(metric: Metric, drawn: Rows) -> None:
    labels, scores, weights = drawn
    repeated = metric(np.repeat(labels, weights), np.repeat(scores, weights))
    assert same(metric(labels, scores, weights), repeated)


@pytest.mark.parametrize("metric", [*OF_PROBABILITIES, *OF_VALUES], ids=lambda m: m.__name__)
@few
@given(rows())
def test_only_the_proportions_of_weights_matter(metric: Metric, drawn: Rows) -> None:
    labels, scores, weights = drawn
    assert same(metric(labels, scores, weights), metric(labels, scores, weights * 0.25))


@pytest.mark.parametrize("metric", [*OF_PROBABILITIES, *OF_VALUES], ids=lambda m: m.__name__)
@few
@given(rows())
def test_a_row_of_weight_zero_does_not_count(metric: Metric, drawn: Rows) -> None:
    labels, scores, weights = drawn
    more = [np.append(values, extra) for values, extra in ((labels, 1.0), (scores, 0.01))]
    assert same(metric(*more, np.append(weights, 0)), metric(labels, scores, weights))


@few
@given(rows())
def test_increasing_maps_leave_the_order_and_its_metrics(drawn: Rows) -> None:
    labels, scores, weights = drawn
    for metric in (metrics.auc, metrics.pr_auc, metrics.spearman):
        for change in (np.exp, lambda s: s**3 - 7.0, lambda s: np.log(s / (1 - s))):
            assert same(metric(labels, change(scores), weights), metric(labels, scores, weights))


@few
@given(rows())
def test_turned_scores_or_turned_labels_give_the_rest_of_the_area(drawn: Rows) -> None:
    labels, scores, weights = drawn
    rest = 1.0 - metrics.auc(labels, scores, weights)
    assert same(metrics.auc(labels, -scores, weights), rest)
    assert same(metrics.auc(1.0 - labels, scores, weights), rest)


@few
@given(rows(binary=False), st.floats(0.1, 9.0), st.floats(-5.0, 5.0))
def test_errors_follow_the_unit_of_the_label(drawn: Rows, unit: float, shift: float) -> None:
    labels, scores, weights = drawn
    moved = labels * unit + shift, scores * unit + shift, weights
    assert same(metrics.rmse(*moved), unit * metrics.rmse(labels, scores, weights))
    assert same(metrics.mae(*moved), unit * metrics.mae(labels, scores, weights))
    if len(set(labels)) > 1:
        assert metrics.r2(*moved) == pytest.approx(metrics.r2(labels, scores, weights), rel=1e-6)


@few
@given(rows(binary=False))
def test_the_absolute_error_is_at_most_the_root_of_the_square(drawn: Rows) -> None:
    assert metrics.mae(*drawn) <= metrics.rmse(*drawn) + 1e-12


@few
@given(rows())
def test_no_constant_beats_the_base_rate(drawn: Rows) -> None:
    labels, scores, weights = drawn
    rate = float(np.average(labels, weights=weights))
    for loss in (metrics.log_loss, metrics.brier):
        best = loss(labels, np.full(len(labels), rate), weights)
        assert best <= loss(labels, np.full(len(labels), scores[0]), weights) + 1e-6
    if 0 < rate < 1:
        constant = np.full(len(labels), rate)
        assert metrics.normalized_entropy(labels, constant, weights) == pytest.approx(1.0)
        assert metrics.calibration_ratio(labels, constant, weights) == pytest.approx(1.0)
        assert metrics.ece(labels, constant, weights) == pytest.approx(0.0, abs=1e-12)


@few
@given(rows(), st.integers(1, 8))
def test_the_error_of_calibration_is_bounded_by_its_ends(drawn: Rows, bins: int) -> None:
    """One bin compares the means alone; more bins can only find more, and never more than 1."""
    labels, scores, weights = drawn
    means = abs(np.average(scores, weights=weights) - np.average(labels, weights=weights))
    assert metrics.ece(labels, scores, weights, bins=1) == pytest.approx(means)
    assert means - 1e-9 <= metrics.ece(labels, scores, weights, bins=bins) <= 1.0


@few
@given(rows(), st.integers(1, 8))
def test_the_bins_of_the_curve_share_out_all_rows(drawn: Rows, bins: int) -> None:
    labels, scores, weights = drawn
    curve = metrics.reliability_curve(labels, scores, weights, bins=bins)
    assert len(curve.weight) <= bins
    assert curve.weight.sum() == pytest.approx(weights.sum())
    assert (curve.weight * curve.predicted).sum() == pytest.approx(weights @ scores)
    assert (curve.weight * curve.observed).sum() == pytest.approx(weights @ labels)
    assert (np.diff(curve.predicted) > 0).all()
    assert (curve.low <= curve.observed).all() and (curve.observed <= curve.high).all()
    assert (curve.low >= -1e-12).all() and (curve.high <= 1 + 1e-12).all()


@few
@given(rows())
def test_two_classes_are_a_binary_task(drawn: Rows) -> None:
    labels, scores, weights = drawn
    both = np.stack([1.0 - scores, scores], axis=1)
    loss = metrics.multiclass_log_loss(labels, both, weights)
    assert same(loss, metrics.log_loss(labels, scores, weights))
    area = metrics.multiclass_auc(labels, both, weights)
    assert same(area, metrics.auc(labels, scores, weights))
    hits = np.average((scores > 0.5) == labels, weights=weights)
    assert metrics.accuracy(labels, both, weights) == pytest.approx(float(hits))


def test_probabilities_of_0_and_1_cost_much_but_not_infinitely_much() -> None:
    sure_and_wrong = metrics.log_loss(np.array([1, 0]), np.array([0.0, 1.0]))
    assert sure_and_wrong == pytest.approx(-math.log(np.finfo(np.float32).eps), rel=1e-6)
    assert metrics.log_loss(np.array([1, 0]), np.array([1.0, 0.0])) < 1e-6
    assert np.isfinite(metrics.multiclass_log_loss(np.array([1]), np.array([[1.0, 0.0]])))


def test_the_mean_leaves_out_what_is_not_defined() -> None:
    assert metrics.mean_of_defined([1.0, math.nan, 3.0]) == 2.0
    assert math.isnan(metrics.mean_of_defined([math.nan]))
    assert math.isnan(metrics.mean_of_defined([]))


@few
@given(st.integers(0, 1000), st.integers(1, 5))
def test_many_weightings_are_measured_as_one_by_one(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    labels, scores = random.integers(0, 2, 30), random.integers(0, 6, 30)
    weights = random.integers(0, 3, (30, count)).astype(np.float64)
    order = PairwiseOrder(labels, scores)
    for value, column in zip(order.aucs(weights), weights.T, strict=True):
        times = column.astype(int)
        repeated = metrics.auc(np.repeat(labels, times), np.repeat(scores, times))
        assert same(float(value), repeated)
        assert same(float(value), order.auc(column))


@few
@given(st.lists(st.integers(0, 5), max_size=12))
def test_blocks_of_ties_cover_the_sorted_values(values: list[int]) -> None:
    order, starts = tie_blocks(np.array(values, dtype=np.int64))
    ordered = np.array(values, dtype=np.int64)[order]
    assert (np.diff(ordered) >= 0).all() and sorted(order) == list(range(len(values)))
    assert [int(ordered[start]) for start in starts] == sorted(set(values))
    for block in np.split(order, starts[1:]):
        assert (np.diff(block) > 0).all(), "equal values keep the order of the rows"


def test_a_sum_of_products_is_the_dot_product() -> None:
    one, two = np.random.default_rng(0).random((2, 10_000))
    assert product_sum(one, two) == pytest.approx(float(one @ two), rel=1e-12)
