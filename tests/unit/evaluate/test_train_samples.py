"""The luck of the train rows in the interval of a gain."""

import numpy as np
import pytest
from scipy.special import expit as sigmoid

from recmtl.evaluate.gain import gain_of
from recmtl.evaluate.transfer_test import judge_transfer
from recmtl.schema import Condition, TaskSpec

CLICK = TaskSpec("click", "binary", Condition("click"))
WATCH = TaskSpec("watch", "regression", Condition("watch"))


def values(random: np.random.Generator, level: float, seeds: int, std: float) -> np.ndarray:
    """Metric values `[1 + draws, seeds]` of a model, without any luck of the test rows."""
    return np.repeat(level + std * random.normal(size=(1, seeds)), 50, axis=0)


def test_equal_gains_on_all_samples_add_nothing() -> None:
    random = np.random.default_rng(0)
    ours, theirs = values(random, 0.8, 5, 0.01), values(random, 0.7, 5, 0.01)
    without = gain_of(ours, theirs, confidence=0.95)
    same = gain_of(ours, theirs, confidence=0.95, samples=np.full(6, 0.1))
    assert (same.low, same.high) == pytest.approx((without.low, without.high))
    assert same.error_sample == 0.0


def test_the_spread_over_samples_less_that_of_seeds_is_added() -> None:
    random = np.random.default_rng(1)
    ours, theirs = values(random, 0.8, 4, 0.01), values(random, 0.7, 4, 0.02)
    samples = np.array([0.0, 0.3, 0.1, -0.1])
    gain = gain_of(ours, theirs, confidence=0.95, samples=samples)
    of_seeds = np.var(ours[0], ddof=1) + np.var(theirs[0], ddof=1)
    assert gain.error_sample**2 == pytest.approx(np.var(samples, ddof=1) - of_seeds)
    without = gain_of(ours, theirs, confidence=0.95)
    assert gain.high - gain.low > 3 * (without.high - without.low)
    assert gain.gain == without.gain


def test_a_fixed_model_has_no_seeds_to_take_off() -> None:
    ours = np.full((50, 3), [0.6, 0.7, 0.8])
    theirs = np.full((50, 3), [0.1, 0.5, 0.9])
    samples = np.array([0.0, 0.5, 1.0])
    gain = gain_of(ours, theirs, confidence=0.95, fixed=(False, True), samples=samples)
    assert gain.error_sample**2 == pytest.approx(0.25 - 0.01)


def test_what_intervals_state_holds_where_train_rows_decide() -> None:
    """Two models of no difference: each train sample favours one of them by chance."""
    random, false, studies = np.random.default_rng(2), {"with": 0, "without": 0}, 400
    for _ in range(studies):
        luck = random.normal()  # of the train rows of this study
        ours, theirs = values(random, luck, 5, 0.3), values(random, 0.0, 5, 0.3)
        drawn = luck + random.normal(size=8) + 0.3 * np.sqrt(2) * random.normal(size=8)
        for name, samples in (("with", drawn), ("without", None)):
            verdict = gain_of(ours, theirs, confidence=0.95, samples=samples).verdict
            false[name] += verdict != "not proven"
    assert false["with"] <= 0.09 * studies, "the stated level, and what eight samples leave open"
    assert false["without"] > 0.5 * studies


def test_a_study_judges_tasks_and_their_mean_on_its_samples() -> None:
    random = np.random.default_rng(3)
    signal = random.normal(size=800)
    labels = np.stack([random.random(800) < sigmoid(signal), signal], 1).astype(np.float32)
    weight = random.integers(0, 3, 800).astype(float)

    def model(noise: float) -> dict[str, np.ndarray]:
        score = signal + noise * random.normal(size=800)
        return {"p_click": sigmoid(score), "value_watch": score}

    def models(noises: dict[str, list[float]]) -> dict[str, dict[int, dict[str, np.ndarray]]]:
        return {name: {s: model(n) for s, n in enumerate(all_)} for name, all_ in noises.items()}

    names = ("searched", "single_task", "mmoe")
    predictions = models({name: [1.0, 1.0, 1.0] for name in names})
    on_samples = models({"searched": [0.5, 1.0, 2.0], "single_task": [1.0, 1.0, 1.0]})
    verdict = judge_transfer(
        predictions, labels, [CLICK, WATCH], weight=weight, resampled=on_samples
    )
    plain = judge_transfer(predictions, labels, [CLICK, WATCH], weight=weight)
    assert verdict.tasks["click"]["train_samples"] == 3
    assert plain.tasks["click"]["train_samples"] == 0
    for entry in (verdict.tasks["click"], verdict.tasks["watch"], verdict.mean):
        assert entry["single_task"]["error_sample"] > 0
        assert entry["mmoe"]["error_sample"] == 0, "which was trained on no sample"
    for task in ("click", "watch"):
        assert verdict.tasks[task]["mmoe"] == plain.tasks[task]["mmoe"]
    assert verdict.mean["mmoe"] == plain.mean["mmoe"]
