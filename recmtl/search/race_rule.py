"""Who wins a race: the best mean on validation rows, unless that surely hurts a task.

Entrants are judged by the same numbers as the checks of a training (`Problem.score`), on all
validation rows and, for the jackknife, without each of several folds of groups. The highest mean
over the tasks wins, in which a task counts by the rows that tell of it
(`recmtl.train.stop_metric.task_weights`): of equal entrants each is as likely to win as any other,
and a margin would favour one of them. The veto is of the tasks. An entrant does not win if a task
surely loses more against the network that shares nothing than the tasks gain on average. That is
tested for all tasks at once at a level of one percent, because the luck of the two trainings comes
on top of that of the rows.
`tests/unit/search/test_race_rule.py` simulates both.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from recmtl.evaluate.gain import jackknife_error
from recmtl.evaluate.metrics import mean_over_tasks

__all__ = ["hurt_tasks", "ranked"]

LEVEL = 0.01
"""Probability that a task of an equal entrant seems hurt, if chance draws nothing but the rows."""

Floats = npt.NDArray[np.float64]


def ranked(scores: dict[str, Floats], weights: Floats | None = None) -> list[str]:
    """Names of entrants by their mean, the best first; equal ones keep their order.

    Args:
        scores: of each entrant `[1 + F, T]`.
        weights: what each task counts in the mean; all the same if None.
    """
    means = {name: float(mean_over_tasks(of, weights)[0]) for name, of in scores.items()}
    return sorted(means, key=lambda name: np.inf if np.isnan(means[name]) else -means[name])


def hurt_tasks(
    entrant: Floats, apart: Floats, weights: Floats | None = None
) -> npt.NDArray[np.bool_]:
    """Which tasks `[T]` surely lose more than the tasks gain on average.

    Args:
        entrant: scores `[1 + F, T]` of an entrant.
        apart: the same of the network that shares nothing.
        weights: what each task counts in the mean; all the same if None.
    """
    gain = mean_over_tasks(entrant, weights) - mean_over_tasks(apart, weights)
    loss = apart - entrant
    if gain[0] > 0.0:
        loss = loss - gain[:, None]
    folds, tasks = len(loss) - 1, loss.shape[1]
    errors = stdtrit(folds - 1, 1.0 - LEVEL / tasks)
    is_hurt: npt.NDArray[np.bool_] = loss[0] > errors * jackknife_error(loss)
    return is_hurt
