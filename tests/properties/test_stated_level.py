"""The control of the controls: a copy of an arm is declared better or worse as rarely as is stated.

A study has two arms of equal distribution. The score of a row is its signal, by a strength that
varies over seeds, and noise that differs in every row and seed: so seeds differ in what they are
worth and rows in what they happen to favour. All studies go through `judge_transfer`.
"""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom

from recmtl.evaluate.gain import NOT_PROVEN
from recmtl.evaluate.transfer_test import judge_transfer
from recmtl.schema import Condition, TaskSpec

STUDIES, TOGETHER, ROWS = 1_000, 50, 160
TASKS = [TaskSpec(f"t{number}", "binary", Condition(f"t{number}")) for number in range(TOGETHER)]
LEVEL = 0.05


def verdicts(
    seeds: tuple[int, int],
    *,
    strength: float,
    rate: float = 0.4,
    groups: int = 0,
    studies: int = STUDIES,
) -> tuple[int, int]:
    """How many of the studies declare the copy better, and how many declare it worse.

    Args:
        seeds: of the arm that is judged, and of its copy.
        strength: standard deviation over seeds of the factor of the signal, which is 1.
        rate: share of positive rows.
        studies: their number.
        groups: the rows are as many groups, whose rows share signal, label and noise; 0: none.
    """
    counts = dict.fromkeys(("helped", "hurt", NOT_PROVEN), 0)
    for first in range(studies // TOGETHER):
        random = np.random.default_rng(first)
        units = groups or ROWS
        signal = random.normal(size=(units, TOGETHER))
        labels = random.random((units, TOGETHER)) < expit(signal + np.log(rate / (1 - rate)))
        unit = np.arange(ROWS) % units
        predictions = {
            arm: {
                seed: columns(
                    signal * (1 + strength * random.normal(size=TOGETHER))
                    + random.normal(size=signal.shape),
                    unit,
                )
                for seed in range(count)
            }
            for arm, count in zip(("searched", "single_task"), seeds, strict=True)
        }
        judged = judge_transfer(
            predictions,
            labels[unit].astype(np.float64),
            TASKS,
            group=unit if groups else None,
            resamples=60,
            seed=first,
        )
        for task in judged.tasks.values():
            counts[task["verdict"]] += 1
    return counts["helped"], counts["hurt"]


def columns(logits: np.ndarray, unit: np.ndarray) -> dict[str, np.ndarray]:
    named = zip(TASKS, logits[unit].T, strict=False)
    return {f"p_{task.name}": expit(column) for task, column in named}


@pytest.mark.parametrize(
    ("seeds", "settings"),
    [
        pytest.param((3, 3), {"strength": 0.3}, id="three seeds each"),
        pytest.param((3, 1), {"strength": 0.3}, id="the copy has one seed"),
        pytest.param((2, 2), {"strength": 0.2, "groups": 30}, id="thirty groups"),
        pytest.param((2, 5), {"strength": 0.2, "rate": 0.1}, id="about twenty positives"),
    ],
)
def test_a_copy_is_declared_better_no_more_often_than_stated(
    seeds: tuple[int, int], settings: dict[str, float]
) -> None:
    better, worse = verdicts(seeds, **settings)
    most = binom.ppf(0.999, STUDIES, LEVEL / 2)
    assert better <= most and worse <= most
    assert better + worse <= binom.ppf(0.999, STUDIES, LEVEL)


def test_one_seed_each_is_never_declared_better_or_worse() -> None:
    assert verdicts((1, 1), strength=0.3, studies=100) == (0, 0)


@pytest.mark.slow
def test_with_false_discoveries_controlled_few_studies_of_copies_declare_anything() -> None:
    random = np.random.default_rng(0)
    declared, studies, shape = 0, 150, (ROWS, 8)
    for study in range(studies):
        signal = random.normal(size=shape)
        labels = random.random(shape) < expit(signal)
        predictions = {
            arm: {
                seed: columns(
                    signal * (1 + random.normal(size=8)) + random.normal(size=shape),
                    np.arange(ROWS),
                )
                for seed in range(5)
            }
            for arm in ("searched", "single_task")
        }
        judged = judge_transfer(
            predictions,
            labels.astype(np.float64),
            TASKS[:8],
            resamples=60,
            seed=study,
            false_discovery=LEVEL,
        )
        declared += any(task["verdict"] != NOT_PROVEN for task in judged.tasks.values())
    assert declared <= binom.ppf(0.999, studies, LEVEL)
