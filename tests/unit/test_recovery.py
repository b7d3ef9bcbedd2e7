"""The planted problems: what is said of them is true, and the judge can say no."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.recovery import plants
from benchmarks.recovery.judge import MARGIN, Fit, Trial, Verdict
from benchmarks.recovery.page import page
from benchmarks.recovery.plants import Plant
from benchmarks.recovery.trials import PLANTS

MAKERS: dict[str, Callable[[int], Plant]] = {
    "routes": plants.routes,
    "mmoe": lambda seed: plants.mmoe_pair(seed, 0.5),
    "skips": plants.skips,
    "tree": plants.tree,
    "difficulty": plants.difficulty,
}
GOOD = Trial(
    True, {}, {"found": Fit(1, 0.3, 9), "oracle": Fit(0.2, 0.3, 9), "wrong": Fit(0.5, 1, 9)}
)


def correlations(plant: Plant) -> np.ndarray:
    """Of the tasks' labels on test rows, `[T, T]`."""
    return np.corrcoef(plant.problem.test.labels.T)


@pytest.mark.parametrize("name", MAKERS)
def test_a_seed_fixes_a_plant_and_another_seed_changes_it(name: str) -> None:
    once, again, other = (MAKERS[name](seed).problem for seed in (7, 7, 8))
    for column in ("numeric", "labels"):
        values = getattr(once.train, column)
        np.testing.assert_array_equal(values, getattr(again.train, column))
        assert not np.array_equal(values, getattr(other.train, column), equal_nan=True)


@pytest.mark.parametrize("name", MAKERS)
def test_labels_are_standardised_and_all_known_on_test_rows_alone(name: str) -> None:
    plant = MAKERS[name](0)
    labels = plant.problem.test.labels
    assert len(plant.groups) == labels.shape[1] == len(plant.problem.tasks)
    np.testing.assert_allclose(labels.mean(0), 0.0, atol=0.05)
    assert (labels.std(0) > 0.95).all() and (labels.std(0) < 1.1).all()
    scarce = name in ("routes", "mmoe")
    assert np.isnan(plant.problem.train.labels).any() == scarce


def test_only_tasks_of_a_pair_agree() -> None:
    found = np.abs(correlations(plants.routes(0)))
    # The noise is 0.3 of the teacher's deviation, so two labels of one teacher agree to 1 / 1.09.
    np.testing.assert_allclose([found[0, 1], found[2, 3]], 1 / 1.09, atol=0.02)
    others = [found[0, 2], found[0, 4], found[2, 4]]
    assert max(others) < 0.7


@pytest.mark.parametrize("correlation", [0.0, 1.0])
def test_the_pair_of_mmoe_is_one_task_at_correlation_one(correlation: float) -> None:
    plant = plants.mmoe_pair(3, correlation)
    agreement = abs(correlations(plant)[0, 1])
    assert agreement > 0.98 if correlation else agreement < 0.1
    assert plant.groups == ((0, 0) if correlation else (0, 1))


def linear_share(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Share of the labels' variance `[T]` that a linear rule explains."""
    x = np.column_stack([x, np.ones(len(x))])
    rest = labels - x @ np.linalg.lstsq(x, labels, rcond=None)[0]
    return 1.0 - rest.var(0) / labels.var(0)


def test_shallow_tasks_are_linear_and_deep_ones_are_not() -> None:
    test = plants.skips(0).problem.test
    share = linear_share(test.numeric, test.labels)
    assert share[:2].min() > 0.9 and share[2:].max() < 0.1


def test_easy_rows_are_linear_and_hard_rows_are_not() -> None:
    test = plants.difficulty(0).problem.test
    hard = test.numeric[:, plants.HARD] > 0
    assert 0.47 < hard.mean() < 0.53
    assert linear_share(test.numeric[~hard], test.labels[~hard]).min() > 0.9
    assert linear_share(test.numeric[hard], test.labels[hard]).max() < 0.1


def test_the_judge_passes_what_is_found_and_refuses_the_rest() -> None:
    assert Verdict.of([GOOD] * 10).failures == []
    lost = replace(GOOD, found=False)
    assert Verdict.of([GOOD] * 9 + [lost]).failures == []
    assert Verdict.of([GOOD] * 8 + [lost] * 2).failures == ["not found often enough"]
    worse = replace(GOOD, fits={**GOOD.fits, "found": Fit(1, 0.301 + MARGIN, 9)})
    assert Verdict.of([worse] * 10).failures == ["worse than the oracle"]
    alike = replace(GOOD, fits={**GOOD.fits, "wrong": GOOD.fits["oracle"]})
    assert [f.partition(":")[0] for f in Verdict.of([alike] * 10).failures] == ["not identifiable"]


def test_the_page_tells_counts_and_settings() -> None:
    text = page({"skips": {0: GOOD, 1: replace(GOOD, found=False)}}, {"reinforce": [0.5, -0.1]})
    assert "| 1 of 2 |" in text and "not found often enough" in text
    assert "search.run_odds 0" in text and "search.anchor" not in text
    assert "| reinforce | 1 of 2 | +0.20 | +0.50, -0.10 |" in text
    assert PLANTS["skips"].title.capitalize() in text
