"""The gain of one model over another with its interval: over test rows and training seeds.

`recmtl.evaluate.transfer_test` says in plain words how the kinds of luck are put together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

__all__ = ["NOT_PROVEN", "Gain", "control_false_discoveries", "gain_of", "jackknife_error"]

NOT_PROVEN = "not proven"
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Gain:
    """How far one model is ahead of another on one task; positive = ahead.

    Attributes:
        gain: difference of the metrics, signed so that more is better.
        low: lower bound of the interval.
        high: upper bound of the interval.
        error_rows: standard error from the choice of the test rows.
        error_seeds: standard error from the training seeds; 0 if both models have one alone.
        seeds: number of seeds of the model and of the opponent.
        chance: two-sided p-value of a gain of 0; NaN where none can be given.
        verdict: `helped`, `hurt` or `not proven`.
        error_sample: standard error from the choice of the train rows; 0 where it is not known.
    """

    gain: float
    low: float
    high: float
    error_rows: float
    error_seeds: float
    seeds: tuple[int, int]
    chance: float
    verdict: str
    error_sample: float = 0.0


def gain_of(
    ours: FloatArray,
    theirs: FloatArray,
    *,
    confidence: float,
    units: int | None = None,
    fixed: tuple[bool, bool] = (False, False),
    samples: FloatArray | None = None,
) -> Gain:
    """The gain and its interval from metric values in which higher is better.

    Args:
        ours: shape [1 + resamples, seeds]: row 0 on the rows as they are, then one row a draw.
        theirs: the opponent's, [1 + resamples, its seeds], measured on the same draws.
        confidence: of the interval.
        units: number of units that were drawn; None: so many, and drawn so often, that their spread
            is known exactly.
        fixed: whether we, and the opponent, are without the luck of a training seed.
        samples: gains `[K]` of both trained once on each of K bootstrap samples of the train rows.
    """
    difference = ours.mean(axis=1) - theirs.mean(axis=1)
    gain, drawn = float(difference[0]), difference[1:][np.isfinite(difference[1:])]
    # Draws without one of the classes have no value; if they are many, the spread is not reliable.
    reliable = len(drawn) > 1 and 2 * len(drawn) >= len(difference) - 1
    rows = float(np.var(drawn, ddof=1)) if reliable else float("nan")
    freedom = np.inf
    if units is not None:
        # Drawing units with replacement shows (units - 1) / units of the variance.
        rows, freedom = rows * units / max(units - 1, 1), max(min(len(drawn), units) - 1, 1)
    seeds = _seed_variances(ours[0], theirs[0], fixed)
    sample = _sample_variances(samples, ours[0], theirs[0], fixed)
    parts = [(rows, freedom), *seeds, *sample]
    error = float(np.sqrt(sum(variance for variance, _ in parts)))
    share = sum(variance**2 / of for variance, of in parts)
    joint = error**4 / share if share > 0 else np.inf
    half = float(stdtrit(joint, 0.5 + confidence / 2)) * error
    low, high = gain - half, gain + half
    sure = bool(seeds) or all(fixed)
    return Gain(
        gain,
        low,
        high,
        error_rows=float(np.sqrt(rows)),
        error_seeds=float(np.sqrt(sum(variance for variance, _ in seeds))),
        seeds=(ours.shape[1], theirs.shape[1]),
        chance=_chance(gain, error, joint),
        verdict="helped" if sure and low > 0 else "hurt" if sure and high < 0 else NOT_PROVEN,
        error_sample=float(np.sqrt(sum(variance for variance, _ in sample))),
    )


def _chance(gain: float, error: float, freedom: float) -> float:
    """Two-sided p-value of Student's t; a difference without any error is no chance."""
    return float(gain == 0) if error == 0 else float(2 * stdtr(freedom, -abs(gain) / error))


def control_false_discoveries(gains: Mapping[str, Gain], rate: float) -> dict[str, Gain]:
    """Take back verdicts, so that at most a share of those that stand is false on average.

    Benjamini and Hochberg (1995), step-up procedure: with the chances of `m` tasks in order, the
    first `k` stand for the largest `k` whose chance is at most `rate * k / m`. It holds for tasks
    that are independent or depend on each other positively, as metrics on the same rows do.

    Args:
        gains: task -> gain against one opponent, of the tasks that can be judged.
        rate: the share, between 0 and 1.
    """
    order = sorted(gains, key=lambda task: (np.isnan(gains[task].chance), gains[task].chance))
    passing = [
        place
        for place, task in enumerate(order, start=1)
        if gains[task].chance <= rate * place / len(order)
    ]
    stands = set(order[: max(passing, default=0)])
    return {
        task: gain if task in stands else replace(gain, verdict=NOT_PROVEN)
        for task, gain in gains.items()
    }


def _seed_variances(
    ours: FloatArray, theirs: FloatArray, fixed: tuple[bool, bool]
) -> list[tuple[float, float]]:
    """Independent parts of the variance of the gain that come from seeds, with their freedom.

    A model with one seed is taken to scatter as the other does; with one seed each there is no
    part, as none can be estimated.
    """
    free = [values for values, is_fixed in zip((ours, theirs), fixed, strict=True) if not is_fixed]
    several = [values for values in free if len(values) > 1]
    alone = len(free) - len(several)
    return [
        (float(np.var(values, ddof=1)) * (1 / len(values) + alone), float(len(values) - 1))
        for values in several
    ]


def _sample_variances(
    samples: FloatArray | None, ours: FloatArray, theirs: FloatArray, fixed: tuple[bool, bool]
) -> list[tuple[float, float]]:
    """The part of the variance of the gain that comes from the train rows, with its freedom.

    Each sample was trained on once, so that their spread holds the luck of one seed of each model,
    too; that is taken off as far as seeds show it.
    """
    if samples is None or len(samples) < 2:
        return []
    several = [v for v, is_fixed in zip((ours, theirs), fixed, strict=True) if not is_fixed]
    of_seeds = sum(float(np.var(values, ddof=1)) for values in several if len(values) > 1)
    variance = max(float(np.var(samples, ddof=1)) - of_seeds, 0.0)
    return [(variance, float(len(samples) - 1))]


def jackknife_error(values: FloatArray) -> FloatArray:
    """Standard error of statistics `[1 + F, ...]`: on all rows, then without each fold.

    Source: Efron, The Annals of Statistics 1979; folds are groups of rows (delete-d jackknife).
    """
    folds = len(values) - 1
    spread = ((values[1:] - values[1:].mean(0)) ** 2).sum(0)
    error: FloatArray = np.sqrt(spread * (folds - 1) / folds)
    return error
