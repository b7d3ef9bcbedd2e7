"""The parts of the transfer test by themselves: draws, measures, and the interval of a gain."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, norm, ttest_ind
from scipy.stats import t as student

from recmtl.evaluate import metrics
from recmtl.evaluate.gain import NOT_PROVEN, Gain, control_false_discoveries, gain_of
from recmtl.evaluate.measured import paired_bootstrap, primary_measure
from recmtl.evaluate.results import strongest_opponent, summary
from recmtl.evaluate.transfer_test import judge_transfer
from recmtl.schema import Condition, TaskSpec

few = settings(max_examples=40, deadline=None)
CLICK = TaskSpec("click", "binary", Condition("click"))
WATCH = TaskSpec("watch", "regression", Condition("watch"))


def total(weights: np.ndarray) -> np.ndarray:
    """A measure that shows the weights themselves."""
    return np.asarray(weights.sum(axis=0))


def draws(unit: np.ndarray, rows: np.ndarray, *, resamples: int = 21, seed: int = 0) -> np.ndarray:
    weights = np.ones(len(unit))
    return paired_bootstrap([total], unit, weights, rows=rows, resamples=resamples, seed=seed)


def test_every_draw_has_as_many_rows_as_there_are() -> None:
    unit, rows = np.arange(17), np.ones(17, bool)
    assert (draws(unit, rows) == 17).all()


def test_a_draw_of_groups_takes_all_rows_of_a_group_or_none() -> None:
    unit = np.repeat([0, 1, 2], 4)

    def of_rows(weights: np.ndarray) -> np.ndarray:
        assert (weights.reshape(3, 4, -1) == weights.reshape(3, 4, -1)[:, :1]).all()
        return np.asarray(weights.sum(axis=0))

    values = paired_bootstrap(
        [of_rows], unit, np.ones(12), rows=np.ones(12, bool), resamples=30, seed=1
    )
    assert (values == 12).all()


def test_tasks_share_their_draws_whatever_rows_they_are_defined_on() -> None:
    unit, half = np.arange(40), np.arange(40) < 20
    parts = draws(unit, half) + draws(unit, ~half)
    assert (parts == 40).all()


def test_the_number_of_draws_at_a_time_does_not_show() -> None:
    unit, rows = np.arange(11), np.arange(11) % 2 == 0
    assert (draws(unit, rows, resamples=21)[:13] == draws(unit, rows, resamples=13)).all()


def test_row_weights_multiply_the_draws() -> None:
    unit, rows = np.arange(9), np.ones(9, bool)
    doubled = paired_bootstrap([total], unit, np.full(9, 2.5), rows=rows, resamples=5, seed=0)
    np.testing.assert_allclose(doubled, 2.5 * draws(unit, rows, resamples=5))


def test_no_row_of_a_task_leaves_every_draw_undefined() -> None:
    assert np.isnan(draws(np.arange(5), np.zeros(5, bool))).all()


def test_the_spread_of_a_drawn_mean_is_its_standard_error() -> None:
    """For the mean of squares the bootstrap's spread is known: s / sqrt(n)."""
    errors = np.random.default_rng(0).normal(size=400)
    measure = primary_measure("regression", np.zeros(400), errors)
    values = paired_bootstrap(
        [measure], np.arange(400), np.ones(400), rows=np.ones(400, bool), resamples=800, seed=3
    )
    squares = values[:, 0] ** 2
    assert squares.std() == pytest.approx((errors**2).std() / 20, rel=0.1)
    assert squares.mean() == pytest.approx((errors**2).mean(), rel=0.02)


@pytest.mark.parametrize("kind", ["binary", "regression", "multiclass"])
@few
@given(seed=st.integers(0, 1000))
def test_a_prepared_measure_is_the_metric_under_any_weights(kind: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3 if kind == "multiclass" else 2, 25).astype(np.float64)
    scores = random.dirichlet(np.ones(3), 25) if kind == "multiclass" else random.random(25)
    plain = {
        "binary": metrics.auc,
        "regression": metrics.rmse,
        "multiclass": metrics.multiclass_log_loss,
    }[kind]
    weights = random.integers(0, 4, (25, 3)).astype(np.float64)
    measured = primary_measure(kind, labels, scores)(weights)
    expected = [plain(labels, scores, column) for column in weights.T]
    np.testing.assert_allclose(measured, expected, rtol=1e-9)


def test_without_weight_a_measure_is_undefined() -> None:
    for kind in ("binary", "regression"):
        measure = primary_measure(kind, np.array([0.0, 1.0]), np.array([0.2, 0.7]))
        assert np.isnan(measure(np.zeros((2, 1)))).all()


def columns(*seeds: list[float], drawn: float = 0.0) -> np.ndarray:
    """Values of each seed, and four draws that spread by `drawn` around them."""
    now = np.array([[value for seed in seeds for value in seed]])
    around = np.array([[-1.0], [1.0], [-1.0], [1.0]]) * drawn
    return np.vstack([now, now + around])


def test_the_interval_of_seeds_alone_is_that_of_welchs_t_test() -> None:
    ours, theirs = [0.71, 0.74, 0.73, 0.75], [0.70, 0.69, 0.72]
    gain = gain_of(columns(ours), columns(theirs), confidence=0.95)
    welch = ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert (gain.low, gain.high) == pytest.approx((welch.low, welch.high), rel=1e-9)
    assert gain.error_rows == 0.0 and gain.seeds == (4, 3)


def test_the_interval_of_rows_alone_is_normal() -> None:
    gain = gain_of(columns([0.8], drawn=0.1), columns([0.6]), confidence=0.9)
    error = 0.1 * math.sqrt(4 / 3)
    assert gain.error_rows == pytest.approx(error) and gain.error_seeds == 0.0
    assert gain.high - gain.gain == pytest.approx(norm.ppf(0.95) * error)


def test_the_errors_of_rows_and_seeds_add_in_squares() -> None:
    seeds, spread = [0.7, 0.8, 0.75], 0.02
    ours, theirs = columns(seeds, drawn=spread), columns([0.6])
    both = gain_of(ours, theirs, confidence=0.95, fixed=(False, True))
    variance = np.var(seeds, ddof=1) / 3
    error = math.sqrt(both.error_rows**2 + variance)
    freedom = error**4 / (variance**2 / 2)
    assert both.error_seeds == pytest.approx(math.sqrt(variance))
    assert both.high - both.gain == pytest.approx(student.ppf(0.975, freedom) * error)


@few
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 4))
def test_opponents_see_opposite_gains(seed: int, one: int, two: int) -> None:
    random = np.random.default_rng(seed)
    ours, theirs = random.normal(size=(31, one)), random.normal(size=(31, two))
    gain = gain_of(ours, theirs, confidence=0.95)
    turned = gain_of(theirs, ours, confidence=0.95)
    assert turned.gain == pytest.approx(-gain.gain)
    assert (turned.low, turned.high) == pytest.approx((-gain.high, -gain.low))
    opposite = {"helped": "hurt", "hurt": "helped", NOT_PROVEN: NOT_PROVEN}
    assert turned.verdict == opposite[gain.verdict]


@few
@given(st.integers(0, 1000), st.floats(0.5, 0.98))
def test_more_confidence_is_a_wider_interval(seed: int, confidence: float) -> None:
    random = np.random.default_rng(seed)
    ours, theirs = random.normal(size=(21, 3)), random.normal(size=(21, 2))
    narrow = gain_of(ours, theirs, confidence=confidence)
    wide = gain_of(ours, theirs, confidence=confidence + 0.01)
    assert wide.low < narrow.low <= narrow.gain <= narrow.high < wide.high


def test_a_model_against_itself_has_no_gain_and_no_error_of_rows() -> None:
    values = np.random.default_rng(0).normal(size=(21, 1))
    gain = gain_of(values, values, confidence=0.95)
    assert (gain.gain, gain.error_rows, gain.verdict) == (0.0, 0.0, NOT_PROVEN)


def test_mostly_undefined_draws_prove_nothing() -> None:
    ours = np.vstack([np.ones((3, 1)), np.full((8, 1), np.nan)])
    gain = gain_of(ours, np.zeros((11, 1)), confidence=0.95)
    assert gain.gain == 1.0 and math.isnan(gain.error_rows) and gain.verdict == NOT_PROVEN


def test_false_verdicts_about_errors_are_rare_where_nothing_differs() -> None:
    """Two models with equal errors in distribution: about 5 % of intervals leave out 0."""
    wrong = 0
    for trial in range(120):
        random = np.random.default_rng(trial)
        labels = random.normal(size=(150, 1))
        predictions = {
            name: {0: {"value_watch": labels[:, 0] + random.normal(size=150)}}
            for name in ("searched", "single_task")
        }
        verdict = judge_transfer(
            predictions, labels, [WATCH], resamples=60, seed=trial, fixed=tuple(predictions)
        )
        wrong += verdict.tasks["watch"]["verdict"] != NOT_PROVEN
    assert 0 < wrong <= 14  # of 120: the 99.5 % quantile of a binomial with 5 % is 13


def test_a_clear_difference_is_found_in_both_directions() -> None:
    random = np.random.default_rng(0)
    labels = (random.random((600, 1)) < 0.3).astype(np.float64)
    good = np.clip(0.3 + 0.3 * labels[:, 0] + random.normal(size=600) * 0.1, 0, 1)
    bad = random.random(600)
    for ours, theirs, expected in ((good, bad, "helped"), (bad, good, "hurt")):
        predictions = {"searched": {0: {"p_click": ours}}, "single_task": {0: {"p_click": theirs}}}
        verdict = judge_transfer(
            predictions, labels, [CLICK], resamples=50, fixed=tuple(predictions)
        )
        assert verdict.tasks["click"]["verdict"] == verdict.mean["verdict"] == expected


def test_the_strongest_opponent_needs_a_finite_gain() -> None:
    gains = {
        "weak": {"gain": 0.3},
        "strong": {"gain": 0.1},
        "unknown": {"gain": math.nan},
        "verdict": "helped",
    }
    strongest = strongest_opponent(gains, ["weak", "strong", "unknown", "absent"])
    assert strongest == {"model": "strong", "gain": 0.1}
    assert strongest_opponent(gains, ["unknown", "absent"]) == {}


def test_a_summary_counts_only_finite_seeds() -> None:
    assert summary([1.0, 2.0, math.nan, math.inf]) == {
        "mean": 1.5,
        "std": pytest.approx(math.sqrt(0.5)),
        "seeds": 2,
    }
    assert summary([4.0]) == {"mean": 4.0, "std": 0.0, "seeds": 1}
    assert summary([math.nan]) == {"mean": None, "std": None, "seeds": 0}


def test_the_chance_of_a_gain_of_seeds_alone_is_that_of_a_t_test() -> None:
    ours, theirs = [0.81, 0.83, 0.80, 0.84], [0.80, 0.79, 0.82, 0.78]
    gain = gain_of(columns(ours), columns(theirs), confidence=0.95)
    assert gain.chance == pytest.approx(ttest_ind(ours, theirs, equal_var=False).pvalue)


@few
@given(
    chances=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    rate=st.floats(0.01, 0.3),
    unknown=st.booleans(),
)
def test_false_discoveries_are_controlled_as_scipy_does(
    chances: list[float], rate: float, unknown: bool
) -> None:
    gains = {str(i): with_chance(chance) for i, chance in enumerate(chances)}
    adjusted = false_discovery_control(chances + [1.0] * unknown)
    if unknown:
        gains["unknown"] = with_chance(float("nan"))
    stands = {
        name
        for name, gain in control_false_discoveries(gains, rate).items()
        if gain.verdict == "helped"
    }
    clear = np.abs(adjusted - rate) > 1e-12
    for i, chance in enumerate(adjusted[: len(chances)]):
        if clear[i]:
            assert (str(i) in stands) == (chance <= rate)
    assert "unknown" not in stands


def with_chance(chance: float) -> Gain:
    return Gain(0.1, 0.0, 0.2, 0.05, 0.05, (3, 3), chance, "helped")
