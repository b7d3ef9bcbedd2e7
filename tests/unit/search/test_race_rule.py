"""The rule of a race, checked by simulation: unbiased among equals, strong, and fair to tasks."""

import numpy as np
import pytest

from recmtl.evaluate.gain import jackknife_error
from recmtl.evaluate.metrics import mean_over_tasks
from recmtl.search.race_rule import hurt_tasks, ranked

FOLDS, ROWS, TASKS, ENTRANTS = 8, 400, 5, 6
STUDIES = 1500


def simulated(
    truth: np.ndarray, seed: int, *, row_noise: float = 1.0, training_noise: float = 0.0
) -> np.ndarray:
    """Scores `[E, 1 + F, T]` of entrants with true scores `[E, T]`, as a race sees them.

    Each row has a part that all entrants share and one of its own; a training adds its luck.
    """
    random = np.random.default_rng(seed)
    common = random.normal(size=(1, ROWS, TASKS))
    rows = common + row_noise * random.normal(size=(len(truth), ROWS, TASKS))
    rows += truth[:, None] + training_noise * random.normal(size=truth.shape)[:, None]
    fold = np.arange(ROWS) % FOLDS
    parts = [rows.mean(1), *(rows[:, fold != number].mean(1) for number in range(FOLDS))]
    return np.stack(parts, 1)


ERROR = np.sqrt(2.0 / ROWS)
"""Standard error of the difference of two entrants on one task, if only rows are drawn."""


def winner(scores: np.ndarray) -> int:
    """The place of the entrant that the rule picks; the last one shares nothing."""
    order = ranked({str(place): of_entrant for place, of_entrant in enumerate(scores)})
    free = [int(key) for key in order if not hurt_tasks(scores[int(key)], scores[-1]).any()]
    return free[0]


@pytest.mark.parametrize("luck", [0.0, 0.05])
def test_of_equal_entrants_each_wins_equally_often(luck: float) -> None:
    """Also where the luck of trainings is as large as that of the rows (an error of .05)."""
    equal = np.zeros((ENTRANTS, TASKS))
    wins = np.zeros(ENTRANTS)
    for seed in range(STUDIES):
        wins[winner(simulated(equal, seed, training_noise=luck))] += 1
    expected = STUDIES / ENTRANTS
    # Chi square with 5 degrees of freedom exceeds 20.5 once in a thousand.
    assert ((wins - expected) ** 2 / expected).sum() < 20.5


@pytest.mark.parametrize(("luck", "most"), [(0.0, 0.015), (0.05, 0.05)])
def test_equal_entrants_are_hardly_ever_vetoed(luck: float, most: float) -> None:
    equal = np.zeros((2, TASKS))
    studies = [simulated(equal, seed, training_noise=luck) for seed in range(STUDIES)]
    vetoes = [hurt_tasks(entrant, apart).any() for entrant, apart in studies]
    assert np.mean(vetoes) <= most


def test_a_better_entrant_wins_nine_times_in_ten() -> None:
    """One that gains three standard errors of the mean, among five that are equal."""
    truth = np.zeros((ENTRANTS, TASKS))
    truth[2] = 3.0 * ERROR / np.sqrt(TASKS)
    wins = [winner(simulated(truth, seed)) == 2 for seed in range(STUDIES)]
    assert np.mean(wins) > 0.9


def test_a_task_of_few_rows_does_not_choose_by_its_luck() -> None:
    """True gains of equal size on all tasks, of which two are known fifteen times worse.

    By weights n / (n + 100) the winner gains more, on the mean over all tasks and on those with
    rows enough, than by a plain mean.
    """
    random, few = np.random.default_rng(3), np.array([1, 1, 1, 15.0, 15.0])
    rows = 4000 / few**2
    gains: dict[str, list[list[float]]] = {"plain": [], "weighted": []}
    for _ in range(2000):
        truth = random.normal(size=(ENTRANTS, TASKS)) * 0.003
        seen = truth + random.normal(size=truth.shape) * 0.002 * few
        scores = {str(entrant): seen[entrant, None] for entrant in range(ENTRANTS)}
        for rule, weights in (("plain", None), ("weighted", rows / (rows + 100))):
            of_winner = truth[int(ranked(scores, weights)[0])]
            gains[rule].append([of_winner.mean(), of_winner[:3].mean()])
    plain, weighted = (np.array(gains[rule]) for rule in ("plain", "weighted"))
    difference = weighted - plain
    error = difference.std(0) / np.sqrt(len(difference))
    assert (difference.mean(0) > 3 * error).all()
    assert (weighted.mean(0) > 1.3 * plain.mean(0)).all()


def test_a_task_that_surely_loses_more_than_the_tasks_gain_is_a_veto() -> None:
    """The task loses ten standard errors, the others gain four each."""
    truth = np.zeros((2, TASKS))
    truth[0] = 4.0 * ERROR
    truth[0, 3] = -10.0 * ERROR
    studies = [simulated(truth, seed) for seed in range(300)]
    vetoed = [hurt_tasks(entrant, apart) for entrant, apart in studies]
    assert np.mean([hurt[3] for hurt in vetoed]) > 0.95
    assert not np.any([hurt[[0, 1, 2, 4]] for hurt in vetoed])


def test_a_task_that_loses_less_than_the_tasks_gain_is_no_veto() -> None:
    truth = np.zeros((2, TASKS))
    truth[0] = 10.0 * ERROR
    truth[0, 3] = -3.0 * ERROR
    studies = [simulated(truth, seed) for seed in range(300)]
    assert np.mean([hurt_tasks(entrant, apart).any() for entrant, apart in studies]) < 0.05


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    """With a fold for every row it is the textbook's, to rounding."""
    values = np.random.default_rng(0).normal(size=50)
    parts = np.array([values.mean(), *(np.delete(values, row).mean() for row in range(50))])
    assert jackknife_error(parts) == pytest.approx(values.std(ddof=1) / np.sqrt(50))


def test_an_undefined_task_neither_counts_nor_vetoes() -> None:
    entrant, apart = simulated(np.zeros((2, TASKS)), 0)
    entrant[:, 1] = apart[:, 1] = np.nan
    assert mean_over_tasks(entrant)[0] == pytest.approx(np.delete(entrant[0], 1).mean())
    assert not hurt_tasks(entrant, apart)[1]
    assert np.isnan(mean_over_tasks(np.full((3, 2), np.nan))).all()


def test_the_order_is_by_the_mean_and_equal_ones_stay_as_they_are() -> None:
    rows = {"a": 0.5, "b": 0.7, "c": 0.7, "d": np.nan, "e": 0.6}
    scores = {name: np.full((3, 2), value) for name, value in rows.items()}
    assert ranked(scores) == ["b", "c", "e", "a", "d"]
