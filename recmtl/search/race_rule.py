"""Who wins a race: the best mean on validation rows, unless that surely hurts a task.

Entrants are judged by the same numbers as the checks of a training (`Problem.score`), on all
validation rows and, for the jackknife, without each of several folds of groups. The highest mean
wins: of equal entrants each is as likely to win as any other, and a margin would favour one of
them. The veto is of the tasks. An entrant does not win if a task surely loses more against the
network that shares nothing than the tasks gain on average. That is tested for all tasks at once at
a level of one percent, because the luck of the two trainings comes on top of that of the rows.
`tests/unit/search/test_race_rule.py` simulates both.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from recmtl.evaluate.gain import jackknife_error

__all__ = ["hurt_tasks", "mean_score", "ranked"]

LEVEL = 0.01
"""Probability that a task of an equal entrant seems hurt, if chance draws nothing but the rows."""

Floats = npt.NDArray[np.float64]


def mean_score(scores: Floats) -> Floats:
    """Means `[1 + F]` over the tasks of scores `[1 + F, T]`; undefined tasks are left out.

    NaN if no task is defined.
    """
    is_defined = ~np.isnan(scores[0])
    if not is_defined.any():
        return np.full(len(scores), np.nan)
    mean: Floats = scores[:, is_defined].mean(1)
    return mean


def ranked(scores: dict[str, Floats]) -> list[str]:
    """Names of entrants by their mean, the best first; equal ones keep their order."""
    means = {name: float(mean_score(of_entrant)[0]) for name, of_entrant in scores.items()}
    return sorted(means, key=lambda name: np.inf if np.isnan(means[name]) else -means[name])


def hurt_tasks(entrant: Floats, apart: Floats) -> npt.NDArray[np.bool_]:
    """Which tasks `[T]` surely lose more than the tasks gain on average.

    Args:
        entrant: scores `[1 + F, T]` of an entrant.
        apart: the same of the network that shares nothing.
    """
    gain = mean_score(entrant) - mean_score(apart)
    loss = apart - entrant
    if gain[0] > 0.0:
        loss = loss - gain[:, None]
    folds, tasks = len(loss) - 1, loss.shape[1]
    errors = stdtrit(folds - 1, 1.0 - LEVEL / tasks)
    is_hurt: npt.NDArray[np.bool_] = loss[0] > errors * jackknife_error(loss)
    return is_hurt
