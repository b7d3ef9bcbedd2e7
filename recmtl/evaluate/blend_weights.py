"""Weights with which the members of a blend are averaged, and whether the blend gains anything.

For one task, the weights minimise the loss of `sum_m v_m logits_m + level` over weights v that are
not negative, on rows of validation; divided by their sum they make the average. The sum itself and
the level only stretch and shift the scores, which is the work of calibration. So the first member
alone, with which the blend is compared, gets a factor and a level of its own, too.

Few rows tell little of weights: the fitted ones shrink to equal ones, so that of n telling rows
n / (n + 100) is fitted. Equal weights need no rows: a loss is convex, so that the mean of logits
has at most the mean loss of its members.

What the blend gains is asked of rows that had no part in the weights: weights are fitted without
each of several folds of groups, and judged on that fold. It is left only where it surely loses.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import logsumexp

from recmtl.evaluate.label_space import telling_share

__all__ = ["BlendFit", "TaskLogits", "fit_blend_weights", "judge_blend"]

LEAST_OF_EQUAL = 0.25
"""A member that gets less than this share of an equal weight is left out."""
SHRINK = 1e-4
"""Penalty of the factors' squares, in units of the loss: members that say the same share."""
STANDARD_ERRORS = 2.0
"""By how many the mean gain over the folds must be below 0 for the blend to be left."""
FEWEST_ROWS = 10
"""Rows of a class, and of every fold, without which nothing is blended."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TaskLogits:
    """What the members say of the rows on which one task is defined.

    Attributes:
        kind: binary, multiclass or regression.
        logits: `[M, R, K]`, K classes, or 1.
        label: `[R]`: 0 and 1, class indices, or values on the scale of the logits.
        weight: of each row `[R]`, above 0.
        fold: of each row `[R]`, counted from 0.
    """

    kind: str
    logits: Floats
    label: Floats
    weight: Floats
    fold: npt.NDArray[np.int64]

    def rows(self, chosen: npt.NDArray[np.bool_]) -> "TaskLogits":
        """Some of the rows."""
        parts = self.label[chosen], self.weight[chosen], self.fold[chosen]
        return TaskLogits(self.kind, self.logits[:, chosen], *parts)

    def members(self, chosen: npt.NDArray[np.int64]) -> "TaskLogits":
        """Some of the members."""
        return TaskLogits(self.kind, self.logits[chosen], self.label, self.weight, self.fold)

    def blended(self, weights: Floats) -> "TaskLogits":
        """The members' weighted sum as the only member."""
        logits = np.tensordot(weights, self.logits, 1)[None]
        return TaskLogits(self.kind, logits, self.label, self.weight, self.fold)

    def loss(self, line: Floats) -> tuple[float, Floats]:
        """Mean loss under factors and level `[M + K]`, and its gradient."""
        factors, level = line[: len(self.logits)], line[len(self.logits) :]
        values = np.tensordot(factors, self.logits, 1) + level
        losses, slopes = _losses(self.kind, values, self.label)
        share = self.weight / self.weight.sum()
        slopes *= share[:, None]
        gradient = np.tensordot(self.logits, slopes, 2), slopes.sum(0)
        return float(share @ losses), np.concatenate(gradient)


@dataclass(frozen=True)
class BlendFit:
    """The weights of one task's members, and what they gain.

    Attributes:
        weights: `[M]`, not negative, of sum 1.
        gain: by how much the loss of held-out rows is lower than that of the first member; NaN
            where there are too few rows.
        error: its standard error.
        taken: whether the members are blended: they differ, there are rows enough, and no
            sure loss.
    """

    weights: Floats
    gain: float
    error: float
    taken: bool


def fit_blend_weights(task: TaskLogits) -> Floats:
    """Weights `[M]`, not negative and of sum 1; the first member alone if none has any use.

    The second of these members has no use, but two telling rows say next to nothing:

    >>> logits = np.array([[[-2.0], [1.0], [-1.0], [2.0]], [[0.0], [0.0], [0.0], [0.0]]])
    >>> label, fold = np.array([0.0, 0.0, 1.0, 1.0]), np.zeros(4, np.int64)
    >>> fit_blend_weights(TaskLogits("binary", logits, label, np.ones(4), fold)).round(2)
    array([0.51, 0.49])
    """
    factors: Floats = _fit(task)[: len(task.logits)]
    members, total = len(factors), float(factors.sum())
    fitted = factors / total if total > 0 else np.eye(members)[0]
    share = telling_share(task.label, task.kind)
    weights = share * fitted + (1 - share) / members
    weights[weights < LEAST_OF_EQUAL / members] = 0.0
    normalised: Floats = weights / weights.sum()
    return normalised


def judge_blend(task: TaskLogits) -> BlendFit:
    """Fit the weights on all rows, and judge them on each fold without its rows."""
    members, folds = len(task.logits), int(task.fold.max(initial=-1)) + 1
    alone = task.members(np.array([0]))
    if members == 1 or _too_few(task, folds):
        return BlendFit(np.eye(members)[0], math.nan, math.nan, False)
    gains = []
    for fold in range(folds):
        inside = task.fold == fold
        blended = task.blended(fit_blend_weights(task.rows(~inside)))
        losses = [part.rows(inside).loss(_fit(part.rows(~inside)))[0] for part in (alone, blended)]
        gains.append(losses[0] - losses[1])
    gain, error = float(np.mean(gains)), float(np.std(gains, ddof=1)) / math.sqrt(folds)
    weights = fit_blend_weights(task)
    taken = bool(weights[0] < 1) and gain > -STANDARD_ERRORS * error
    return BlendFit(weights, gain, error, taken)


def _too_few(task: TaskLogits, folds: int) -> bool:
    """Whether a fold has next to no rows, or there are next to none of all classes but one."""
    if folds < 2 or np.bincount(task.fold).min() < FEWEST_ROWS:
        return True
    if task.kind == "regression":
        return False
    classes = np.sort(np.bincount(task.label.astype(np.int64), minlength=2))
    return bool(classes[-2] < FEWEST_ROWS)


def _fit(task: TaskLogits) -> Floats:
    """The best factors and level `[M + K]`; members of next to no weight get none."""
    members, classes = len(task.logits), task.logits.shape[2]
    # A member that says the same of every row is a level, whatever its factor.
    spread = (task.logits - task.logits.mean(1, keepdims=True)).std((1, 2))
    used = np.flatnonzero(spread > 1e-9)
    best = np.zeros(members + classes)
    while True:
        line = _minimum(task.members(used)) if len(used) else best[members:]
        factors = line[: len(used)]
        kept = factors >= LEAST_OF_EQUAL * factors.sum() / members
        if kept.all():
            break
        used = used[kept & (factors > 0)]
    best[used], best[members:] = line[: len(used)], line[len(used) :]
    return best


def _minimum(task: TaskLogits) -> Floats:
    """Factors that are not negative, and a level, of the least loss."""
    members, classes = len(task.logits), task.logits.shape[2]

    def objective(line: Floats) -> tuple[float, Floats]:
        (value, gradient), factors = task.loss(line), line[:members]
        gradient[:members] += 2 * SHRINK * factors
        return value + SHRINK * float(factors @ factors), gradient

    start = np.concatenate([np.full(members, 1.0 / members), np.zeros(classes)])
    bounds = [(0.0, None)] * members + [(None, None)] * classes
    fit = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, tol=1e-10)
    line: Floats = fit.x
    return line


def _losses(kind: str, values: Floats, label: Floats) -> tuple[Floats, Floats]:
    """Losses `[R]` of values `[R, K]`, and their slopes `[R, K]`."""
    if kind == "regression":
        gap = values[:, 0] - label
        return gap**2, 2 * gap[:, None]
    if kind == "binary":
        z = values[:, 0]
        total = np.logaddexp(0.0, z)
        return total - label * z, (np.exp(z - total) - label)[:, None]
    rows, at = np.arange(len(label)), label.astype(np.int64)
    total = logsumexp(values, 1)
    slopes = np.exp(values - total[:, None])
    slopes[rows, at] -= 1.0
    return total - values[rows, at], slopes
