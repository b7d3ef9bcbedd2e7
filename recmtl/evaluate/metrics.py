"""Exact metrics of one task in vectorised numpy, with row weights.

A weight of 2 equals the row twice, a weight of 0 the row's absence, and a common factor of all
weights changes nothing.

Unless said otherwise, functions take one-dimensional arrays of equal length [R] and return one
float. A metric that is not defined (no rows, one class only, no spread) is NaN, never an error and
never a guess. `task_metrics` decides which metrics a task has and on which rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recmtl.evaluate.groups import grouped_rows
from recmtl.evaluate.heads.grouped_order import GroupedOrder
from recmtl.evaluate.pairwise_order import FloatArray, PairwiseOrder, product_sum, tie_blocks

__all__ = [
    "ReliabilityCurve",
    "accuracy",
    "auc",
    "brier",
    "calibration_ratio",
    "ece",
    "gauc",
    "log_loss",
    "mae",
    "mean_of_defined",
    "mean_over_tasks",
    "multiclass_auc",
    "multiclass_log_loss",
    "normalized_entropy",
    "pr_auc",
    "r2",
    "reliability_curve",
    "rmse",
    "spearman",
    "varies",
]

# Scores are float32: a probability nearer to 0 or 1 than this may have been rounded to it.
SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)


def auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Area under the ROC curve: P(score of a positive > score of a negative), a tie counts half.

    Args:
        labels: 0 or 1, shape [R].
        scores: any real numbers, larger for likelier positives, shape [R].
        weights: non-negative row weights, shape [R].

    Returns:
        The area, NaN if one class is absent.

    >>> auc(np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.5, 0.5]))  # 3 and a half pairs of 4
    0.875
    """
    return PairwiseOrder(labels, scores).auc(weights)


def gauc(
    labels: np.ndarray, scores: np.ndarray, group: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Grouped AUC: mean over groups of the AUC inside the group, weighted by the group's rows.

    With graded labels the AUC is that of all pairs with different labels, see `xauc`.

    A group without both classes has no AUC and is left out, and so are rows without a group. One
    sort of all rows is the whole cost, whatever the number of groups. Weights are divided by their
    mean within the group, which no group's AUC notices, so that light groups keep their digits
    beside heavy ones. Source: Zhu et al. 2017 (OCPC).

    Args:
        labels: 0 or 1, or grades of which a larger one is better, shape [R].
        scores: shape [R].
        group: integer code of the row's group (user, request), shape [R]; see `grouped_rows`.
        weights: row weights, shape [R]; a group counts with the sum of its rows' weights.

    Returns:
        The mean, NaN if no group has both classes.
    """
    has_group = grouped_rows(group)
    if not has_group.any():
        return float("nan")
    if not np.isin(labels, (0, 1)).all():
        every = np.ones(len(labels)) if weights is None else _float(weights)
        of_groups = GroupedOrder(labels, scores, group=group, weights=every)
        return float(of_groups.means(every[:, np.newaxis])[0])
    if not has_group.all():
        labels, scores, group = labels[has_group], scores[has_group], group[has_group]
        weights = None if weights is None else weights[has_group]
    order = np.lexsort((scores, group))
    label, score, member = labels[order] == 1, scores[order], group[order]
    weight = np.ones(len(order)) if weights is None else _float(weights)[order]
    new_group = np.flatnonzero(np.r_[True, member[1:] != member[:-1]])
    rows = np.add.reduceat(weight, new_group)
    if weights is not None:
        sizes = np.diff(np.r_[new_group, len(order)])
        weight = weight / np.repeat(np.where(rows > 0, rows / sizes, 1.0), sizes)
    positive, negative = weight * label, weight * ~label
    new_block = np.r_[True, (member[1:] != member[:-1]) | (score[1:] != score[:-1])]
    block = np.flatnonzero(new_block)
    block_positive = np.add.reduceat(positive, block)
    block_negative = np.add.reduceat(negative, block)
    below = np.cumsum(block_negative) - block_negative
    first_block = (np.cumsum(new_block) - 1)[new_group]  # of each group
    group_of_block = np.cumsum(np.isin(block, new_group, assume_unique=True)) - 1
    wins = block_positive * (below - below[first_block][group_of_block] + 0.5 * block_negative)
    group_wins = np.add.reduceat(wins, first_block)
    pairs = np.add.reduceat(positive, new_group) * np.add.reduceat(negative, new_group)
    both = pairs > 0
    if not both.any():
        return float("nan")
    return float(np.average(group_wins[both] / pairs[both], weights=rows[both]))


def pr_auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Average precision: sum over thresholds of (gain in recall) x (precision at the threshold).

    This is the area under the precision-recall curve as a step function, without interpolation.
    Rows with equal scores share a threshold. NaN without a positive.
    """
    if not np.any(labels == 1):
        return float("nan")
    order, block = tie_blocks(-_float(scores))
    weight = np.ones(len(order)) if weights is None else _float(weights)[order]
    positive = np.add.reduceat(weight * (labels[order] == 1), block)
    seen = np.cumsum(np.add.reduceat(weight, block))
    total = positive.sum()
    if total <= 0:
        return float("nan")
    precision = np.divide(np.cumsum(positive), seen, out=np.zeros_like(seen), where=seen > 0)
    return float(np.sum(positive * precision) / total)


def log_loss(labels: np.ndarray, p: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean of -log(predicted probability of the label), in nats; p is kept off 0 and 1."""
    return _mean(log_loss_by_row(labels, p), weights)


def log_loss_by_row(labels: np.ndarray, p: np.ndarray) -> FloatArray:
    """The terms of `log_loss`, shape [R]; labels 0 or 1, `p` the probability of 1."""
    p = np.clip(_float(p), SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return np.asarray(np.where(labels == 1, -np.log(p), -np.log1p(-p)))


def brier(labels: np.ndarray, p: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean squared difference between probability and label (Brier 1950)."""
    return _mean((_float(p) - _float(labels)) ** 2, weights)


def normalized_entropy(
    labels: np.ndarray, p: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Log loss over the log loss of predicting the base rate; 1 = no better than the base rate.

    NaN if one class is absent. Source: He et al. 2014, section 3.
    """
    base = _mean(_float(labels), weights)
    if not (varies(labels, weights) and 0 < base < 1):
        return float("nan")
    entropy = -(base * np.log(base) + (1 - base) * np.log1p(-base))
    return log_loss(labels, p, weights) / float(entropy)


def calibration_ratio(
    labels: np.ndarray, p: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Mean prediction over mean label: 1 = right on average, 2 = predictions twice too high."""
    happened = _mean(_float(labels), weights)
    return _mean(_float(p), weights) / happened if happened > 0 else float("nan")


def ece(
    labels: np.ndarray, p: np.ndarray, weights: np.ndarray | None = None, *, bins: int = 20
) -> float:
    """Expected calibration error: mean of |mean prediction - mean label| over equal-mass bins.

    `reliability_curve` cuts the rows into bins; each bin counts with its weight.
    """
    curve = reliability_curve(labels, p, weights, bins=bins)
    return _mean(np.abs(curve.predicted - curve.observed), curve.weight)


@dataclass(frozen=True)
class ReliabilityCurve:
    """Predicted beside observed rate in bins of ascending prediction; empty bins are left out.

    Attributes:
        predicted: mean prediction of each bin, shape [bins].
        observed: mean label of each bin.
        weight: sum of the row weights of each bin.
        low: lower bound of the 95 % Wilson interval of `observed`.
        high: upper bound of it.
    """

    predicted: FloatArray
    observed: FloatArray
    weight: FloatArray
    low: FloatArray
    high: FloatArray


def reliability_curve(
    labels: np.ndarray, p: np.ndarray, weights: np.ndarray | None = None, *, bins: int = 10
) -> ReliabilityCurve:
    """Cut the rows by rank of `p` into `bins` bins of equal weight and average inside each.

    Rows with equal predictions stay in one bin, so the curve does not depend on the order of the
    rows, and a constant prediction gives one point. A calibrated model lies on the diagonal.

    Args:
        labels: 0 or 1, shape [R].
        p: probabilities, shape [R].
        weights: row weights, shape [R].
        bins: number of bins, at least 1.
    """
    if len(labels) == 0:
        return ReliabilityCurve(*(np.empty(0) for _ in range(5)))
    order = np.argsort(p, kind="stable")
    ordered = np.asarray(p, dtype=np.float64)[order]
    label = np.asarray(labels, dtype=np.float64)[order]
    weight = np.ones(len(order)) if weights is None else np.asarray(weights, np.float64)[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    mass = np.add.reduceat(weight, starts)
    middle = np.cumsum(mass) - 0.5 * mass  # equal predictions go to the bin of their middle
    # A middle on the bound of two bins may come out of the division just below it.
    position = middle / max(mass.sum(), 1e-300) * bins + 1e-9
    bin_of_run = np.minimum(position.astype(np.int64), bins - 1)

    def total(values: FloatArray) -> FloatArray:
        return np.bincount(bin_of_run, np.add.reduceat(values, starts), bins).astype(np.float64)

    in_bin = total(weight)
    used = in_bin > 0
    in_bin = in_bin[used]
    observed = total(weight * label)[used] / in_bin
    rows = in_bin**2 / total(weight**2)[used]  # effective number of rows under weights
    low, high = _wilson(observed, rows)
    return ReliabilityCurve(total(weight * ordered)[used] / in_bin, observed, in_bin, low, high)


def _wilson(share: FloatArray, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    z = 1.959964
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2)) / (1 + z**2 / rows)
    # The interval contains the share; at 0 or 1 rounding could put the share outside.
    return np.minimum(centre - half, share), np.maximum(centre + half, share)


def multiclass_log_loss(
    labels: np.ndarray, p: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Mean of -log(probability of the true class), in nats.

    Args:
        labels: class indices, shape [R].
        p: probabilities, shape [R, C].
        weights: shape [R].
    """
    return _mean(multiclass_log_loss_by_row(labels, p), weights)


def multiclass_log_loss_by_row(labels: np.ndarray, p: np.ndarray) -> FloatArray:
    """The terms of `multiclass_log_loss`, shape [R]."""
    true = _float(p)[np.arange(len(labels)), labels.astype(np.int64)]
    return -np.log(np.clip(true, SMALLEST_PROBABILITY, 1.0))


def accuracy(labels: np.ndarray, p: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Share of rows [R] whose most probable class (first of equals, p [R, C]) is the true one."""
    return _mean(_float(p.argmax(axis=1) == labels), weights)


def multiclass_auc(labels: np.ndarray, p: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Plain mean over classes of the AUC "this class against the rest".

    Classes that do not occur among the rows have no AUC and are left out; NaN if none is left.
    """
    return mean_of_defined([auc(labels == k, p[:, k], weights) for k in range(p.shape[1])])


def rmse(labels: np.ndarray, values: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Root of the mean squared error, in the label's own unit."""
    return float(np.sqrt(_mean((_float(values) - _float(labels)) ** 2, weights)))


def mae(labels: np.ndarray, values: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean absolute error, in the label's own unit."""
    return _mean(np.abs(_float(values) - _float(labels)), weights)


def r2(labels: np.ndarray, values: np.ndarray, weights: np.ndarray | None = None) -> float:
    """1 - squared error / squared error of the mean label; NaN if the labels do not vary."""
    label = _float(labels)
    spread = _mean((label - _mean(label, weights)) ** 2, weights)
    if not (varies(label, weights) and spread > 0):
        return float("nan")
    return 1 - rmse(labels, values, weights) ** 2 / spread


def spearman(labels: np.ndarray, values: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Correlation of the ranks of labels and values, equal values sharing their mean rank.

    NaN if either does not vary.
    """
    if not (varies(labels, weights) and varies(values, weights)):
        return float("nan")
    weight = np.ones(len(labels)) if weights is None else _float(weights)
    x, y = (_middle_ranks(_float(v), weight) for v in (labels, values))
    x, y = x - _mean(x, weight), y - _mean(y, weight)
    scale = np.sqrt(_mean(x * x, weight) * _mean(y * y, weight))
    return _mean(x * y, weight) / float(scale) if scale > 0 else float("nan")


def varies(values: np.ndarray, weights: np.ndarray | None = None) -> bool:
    """Whether values [R] differ among the rows of a weight above 0.

    A weighted variance cannot tell: under fractional weights, rounding leaves a constant some.
    """
    counted = values if weights is None else values[np.asarray(weights) > 0]
    return len(counted) > 0 and bool(counted.min() < counted.max())


def mean_of_defined(values: Sequence[float]) -> float:
    """Mean of the values that are not NaN; NaN if there is none."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def mean_over_tasks(scores: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Means `[N]` over the tasks of scores `[N, T]`.

    Tasks that are not defined in the first row are left out; NaN if none is defined.

    Args:
        scores: of the tasks, on all rows and perhaps on parts of them.
        weights: what each task counts; all the same if None.
    """
    weights = np.ones(scores.shape[1]) if weights is None else weights
    is_defined = ~np.isnan(scores[0]) & (weights > 0.0)
    if not is_defined.any():
        return np.full(len(scores), np.nan)
    shares = weights[is_defined] / weights[is_defined].sum()
    mean: FloatArray = scores[:, is_defined] @ shares
    return mean


def _middle_ranks(values: FloatArray, weight: FloatArray) -> FloatArray:
    if len(values) == 0:
        return values
    order, block = tie_blocks(values)
    mass = np.add.reduceat(weight[order], block)
    middle = np.cumsum(mass) - 0.5 * mass
    ranks = np.empty_like(values)
    ranks[order] = np.repeat(middle, np.diff(np.r_[block, len(values)]))
    return ranks


def _mean(values: FloatArray, weights: np.ndarray | None) -> float:
    if len(values) == 0:
        return float("nan")
    if weights is None:
        return float(values.mean())
    total = float(np.sum(weights, dtype=np.float64))
    return product_sum(values, _float(weights)) / total if total > 0 else float("nan")


def _float(values: np.ndarray) -> FloatArray:
    return np.asarray(values, dtype=np.float64)
