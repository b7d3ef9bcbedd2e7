"""The weights of a blend's members, by hand and by what they must not do."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import check_grad

from recmtl.evaluate.blend_weights import TaskLogits, _fit, fit_blend_weights, judge_blend

FOLDS = 8


def binary(rows: int, noise: tuple[float, ...], seed: int = 0) -> TaskLogits:
    """Members that know the true logit but for noise of their own."""
    random = np.random.default_rng(seed)
    truth = random.normal(0.0, 2.0, rows)
    label = (random.random(rows) < 1 / (1 + np.exp(-truth))).astype(np.float64)
    logits = np.stack([truth + random.normal(0.0, scale, rows) for scale in noise])
    return TaskLogits("binary", logits[:, :, None], label, np.ones(rows), np.arange(rows) % FOLDS)


def regression(rows: int = 400) -> TaskLogits:
    """Two members whose mean is the label, but for noise that they share in no row."""
    random = np.random.default_rng(1)
    label, gap = random.normal(0.0, 1.0, rows), random.normal(0.0, 1.0, rows)
    logits = np.stack([label + gap, label - gap])
    weight = random.uniform(0.5, 2.0, rows)
    return TaskLogits("regression", logits[:, :, None], label, weight, np.arange(rows) % FOLDS)


def test_two_members_whose_errors_cancel_get_a_half_each() -> None:
    np.testing.assert_allclose(fit_blend_weights(regression()), [0.5, 0.5], atol=1e-3)


def test_weights_are_those_of_the_normal_equations() -> None:
    """Least squares on [members, 1], divided by the sum of its factors; a fifth is equal."""
    task = regression()
    third = task.label + np.random.default_rng(2).normal(0.0, 0.3, len(task.label))
    first = task.label + np.random.default_rng(3).normal(0.0, 0.4, len(task.label))
    task = replace(task, logits=np.stack([first, third])[:, :, None])
    x = np.column_stack([first, third, np.ones(len(first))])
    root = np.sqrt(task.weight)
    factors = np.linalg.lstsq(x * root[:, None], task.label * root, rcond=None)[0][:2]
    expected = 0.8 * factors / factors.sum() + 0.2 / 2
    np.testing.assert_allclose(fit_blend_weights(task), expected, atol=1e-3)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_the_slopes_are_those_of_the_loss(kind: str) -> None:
    random = np.random.default_rng(4)
    size = 3 if kind == "multiclass" else 1
    label = random.integers(0, 3 if kind == "multiclass" else 2, 50).astype(np.float64)
    logits = random.normal(size=(2, 50, size))
    task = TaskLogits(kind, logits, label, random.uniform(0.1, 2, 50), np.zeros(50, np.int64))
    line = random.normal(size=2 + size)
    assert check_grad(lambda x: task.loss(x)[0], lambda x: task.loss(x)[1], line) < 1e-5


def test_a_member_that_would_need_a_negative_weight_gets_none() -> None:
    task = binary(2000, (0.5, 0.5))
    opposite = replace(task, logits=np.concatenate([task.logits, -task.logits[:1]]))
    weights = fit_blend_weights(opposite)
    assert weights[2] == 0 and (weights >= 0).all() and weights.sum() == pytest.approx(1)


def test_a_member_of_pure_noise_or_of_one_answer_gets_none() -> None:
    task = binary(4000, (0.5,))
    noise = np.random.default_rng(5).normal(0.0, 2.0, (1, 4000, 1))
    useless = np.concatenate([task.logits, noise, np.full((1, 4000, 1), -3.0)])
    fit = judge_blend(replace(task, logits=useless))
    np.testing.assert_array_equal(fit.weights, [1.0, 0.0, 0.0])
    assert not fit.taken, "the first member alone is what is served today"


def test_the_blend_of_members_with_errors_of_their_own_gains_surely() -> None:
    fit = judge_blend(binary(6000, (1.0, 1.0, 1.0)))
    assert fit.taken and fit.gain > 2 * fit.error > 0
    np.testing.assert_allclose(fit.weights, 1 / 3, atol=0.08)


def test_being_better_calibrated_is_no_gain() -> None:
    """A member that says the same on another scale and level ranks no row differently."""
    task = binary(4000, (0.5,))
    louder = np.concatenate([3.0 * task.logits - 1.0, task.logits])
    fit = judge_blend(replace(task, logits=louder))
    assert abs(fit.gain) < 1e-4


def test_of_few_telling_rows_weights_shrink_to_equal_ones() -> None:
    """On fresh rows they lose less than fitted weights do, and than the first member alone."""
    losses = []
    for seed in range(40):
        task, fresh = binary(100, (1.0, 1.2, 0.8), seed), binary(4000, (1.0, 1.2, 0.8), 99 - seed)
        factors = _fit(task)[:3]
        rules = (fit_blend_weights(task), factors / factors.sum(), np.eye(3)[0])
        losses.append([fresh.blended(weights).loss(np.array([1.0, 0.0]))[0] for weights in rules])
    shrunk, fitted, alone = np.transpose(losses)
    for other in (fitted, alone):
        gain = other - shrunk
        assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(len(gain))


def test_a_blend_that_surely_loses_is_left() -> None:
    task = binary(500, (0.0,))
    loud = np.random.default_rng(9).normal(0.0, 6.0, (4, 500, 1))
    fit = judge_blend(replace(task, logits=np.concatenate([task.logits, loud])))
    assert fit.weights[0] < 1 and fit.gain < -2 * fit.error and not fit.taken


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(30, 400))
def test_weights_are_shares_that_no_order_of_rows_changes(seed: int, members: int, n: int) -> None:
    task = binary(n, tuple(np.random.default_rng(seed).uniform(0.1, 2.0, members)), seed)
    weights = fit_blend_weights(task)
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    assert weights[weights > 0].min() >= 0.25 / members
    # A task of which nothing is known has equal weights.
    nothing = fit_blend_weights(task.rows(np.arange(n) < 2))
    np.testing.assert_allclose(nothing, 1 / members, atol=0.02)


def test_too_few_rows_blend_nothing() -> None:
    task = binary(60, (1.0, 1.0))
    for part in (task, task.rows(np.zeros(60, np.bool_))):
        fit = judge_blend(part)
        assert not fit.taken and np.isnan(fit.gain)
        np.testing.assert_array_equal(fit.weights, [1.0, 0.0])
    one_class = binary(4000, (1.0, 1.0))
    assert not judge_blend(replace(one_class, label=np.ones(4000))).taken


def test_the_order_of_rows_changes_nothing() -> None:
    task = binary(1000, (0.7, 1.1))
    order = np.random.default_rng(6).permutation(1000)
    shuffled = TaskLogits(
        "binary", task.logits[:, order], task.label[order], task.weight[order], task.fold[order]
    )
    first, second = judge_blend(task), judge_blend(shuffled)
    np.testing.assert_allclose(first.weights, second.weights, atol=1e-5)
    assert first.gain == pytest.approx(second.gain, abs=1e-7)


def test_classes_are_blended_as_two_of_them_would_be() -> None:
    two = binary(1500, (0.8, 1.2))
    zeros = np.zeros_like(two.logits)
    as_classes = replace(two, kind="multiclass", logits=np.concatenate([zeros, two.logits], 2))
    np.testing.assert_allclose(fit_blend_weights(as_classes), fit_blend_weights(two), atol=2e-3)
