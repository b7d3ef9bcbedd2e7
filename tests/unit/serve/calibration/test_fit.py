"""Fits of calibration maps against plain second implementations, and their invariances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from recmtl.serve.calibration.fit import isotonic, platt

Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


def sample(seed: int, rows: int = 300) -> Sample:
    """Scores, labels that follow them loosely, and whole-number weights."""
    random = np.random.default_rng(seed)
    p = random.beta(1.5, 3.0, rows)
    label = (random.random(rows) < expit(0.7 * logit(p) + 0.4)).astype(np.float64)
    return p, label, random.integers(1, 4, rows).astype(np.float64)


def newton(p: np.ndarray, label: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Platt's maximum likelihood by Newton's method, two numbers and no library."""
    positive, negative = (weight * label).sum(), (weight * (1 - label)).sum()
    target = np.where(label == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
    design = np.stack([logit(p), np.ones(len(p))], 1)
    line = np.array([1.0, 0.0])
    for _ in range(50):
        q = expit(design @ line)
        gradient = design.T @ (weight * (q - target))
        hessian = (design * (weight * q * (1 - q))[:, None]).T @ design
        line = line - np.linalg.solve(hessian, gradient)
    return line[0], line[1]


def pool_adjacent_violators(label: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Increasing values of least squares for labels in the order of their scores."""
    blocks: list[list[float]] = []
    for value, mass in zip(label, weight, strict=True):
        blocks.append([value, mass, 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            value, mass, rows = blocks.pop()
            last = blocks[-1]
            last[0] = (last[0] * last[1] + value * mass) / (last[1] + mass)
            last[1], last[2] = last[1] + mass, last[2] + rows
    return np.repeat([block[0] for block in blocks], [int(block[2]) for block in blocks])


@pytest.mark.parametrize("seed", range(6))
def test_platt_is_where_newton_ends(seed: int) -> None:
    rows = sample(seed)
    slope, intercept = newton(*rows)
    curve = platt(*rows)
    assert curve.slope == pytest.approx(slope, rel=1e-5)
    assert curve.intercept == pytest.approx(intercept, abs=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_isotonic_is_where_pooling_ends(seed: int) -> None:
    p, label, weight = sample(seed)
    order = np.argsort(p)
    pooled = pool_adjacent_violators(label[order], weight[order])
    least = 1 / (len(p) + 2)
    np.testing.assert_allclose(
        isotonic(p, label, weight)(p[order]), np.clip(pooled, least, 1 - least), atol=1e-9
    )


@pytest.mark.parametrize("fit", [platt, isotonic])
def test_a_weight_counts_as_that_many_rows(fit) -> None:
    p, label, weight = sample(1)
    times = weight.astype(int)
    repeated = np.repeat(p, times), np.repeat(label, times), np.ones(times.sum())
    asked = np.linspace(0.05, 0.9, 50)
    # Isotonic values are bounded by the number of rows, which is not the same here.
    np.testing.assert_allclose(fit(p, label, weight)(asked), fit(*repeated)(asked), atol=2e-3)


@pytest.mark.parametrize("fit", [platt, isotonic])
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_does_not_matter(fit, seed: int) -> None:
    rows = sample(seed)
    order = np.random.default_rng(seed).permutation(len(rows[0]))
    asked = np.linspace(0.01, 0.99, 50)
    shuffled = fit(*(column[order] for column in rows))
    np.testing.assert_allclose(fit(*rows)(asked), shuffled(asked), atol=1e-6)


def test_isotonic_looks_at_the_order_of_scores_alone() -> None:
    p, label, weight = sample(2)
    np.testing.assert_allclose(
        isotonic(p, label, weight)(p), isotonic(p**3, label, weight)(p**3), atol=1e-12
    )


def test_platt_undoes_any_line_in_log_odds() -> None:
    """Scores bent by another Platt map are calibrated to the same probabilities."""
    p, label, weight = sample(3)
    bent = expit(1.8 * logit(p) - 0.6)
    np.testing.assert_allclose(
        platt(p, label, weight)(p), platt(bent, label, weight)(bent), rtol=1e-4
    )


def test_a_calibrated_column_needs_no_second_isotonic_map() -> None:
    p, label, weight = sample(4)
    once = isotonic(p, label, weight)(p)
    np.testing.assert_allclose(isotonic(once, label, weight)(once), once, atol=1e-9)


def test_platt_keeps_the_softened_share_of_positives() -> None:
    """The derivative by the intercept is zero: predictions and targets have one mean."""
    p, label, weight = sample(5)
    positive, negative = (weight * label).sum(), (weight * (1 - label)).sum()
    target = np.where(label == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
    mean = np.average(platt(p, label, weight)(p), weights=weight)
    assert mean == pytest.approx(np.average(target, weights=weight), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 1.0, width=32), st.booleans()), min_size=2, max_size=40))
def test_whatever_the_rows_maps_increase_strictly_within_0_and_1(rows):
    p = np.array([score for score, _ in rows], np.float64)
    label = np.array([value for _, value in rows], np.float64)
    for fit in (platt, isotonic):
        mapped = fit(p, label, np.ones(len(p)))(np.linspace(0.0, 1.0, 33))
        assert (np.diff(mapped) >= 0).all()
        assert (mapped >= 0).all() and (mapped <= 1).all()
    least = 1 / (len(p) + 2)
    assert mapped.min() >= least - 1e-12 and mapped.max() <= 1 - least + 1e-12


def test_labels_of_one_class_stay_away_from_certainty() -> None:
    p = np.linspace(0.1, 0.9, 18)
    np.testing.assert_allclose(isotonic(p, np.ones(18), np.ones(18))(p), 19 / 20)
    np.testing.assert_allclose(isotonic(p, np.zeros(18), np.ones(18))(p), 1 / 20)
