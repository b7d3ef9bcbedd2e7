"""Sort once, then ask for the AUC under as many row weights as you like.

The AUC needs only one thing of the scores: for each positive, how many negatives lie below it and
how many tie with it. Both are positions in the sorted negatives, so a bootstrap resample (a new
set of weights on the same rows) costs one gather and one running sum, and no sort.
"""

from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = ["FloatArray", "PairwiseOrder", "product_sum", "tie_blocks"]

FloatArray = NDArray[np.float64]


def product_sum(left: FloatArray, right: FloatArray) -> float:
    """Sum of left * right over all rows, both of shape [R].

    Not `np.dot`: BLAS wakes all its threads for a vector of this length, which on a busy machine
    costs twenty times the sum itself, and bootstraps take thousands of such sums.
    """
    return float(np.einsum("i,i", left, right))


def tie_blocks(values: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ascending order of `values` [R], and where in that order each run of equal values starts."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    changed = np.r_[True, ordered[1:] != ordered[:-1]] if len(values) else np.empty(0, bool)
    return order, np.flatnonzero(changed)


@final
class PairwiseOrder:
    """Which negatives each positive beats, kept for any number of weightings.

    Args:
        labels: 0 or 1, shape [R].
        scores: shape [R].
    """

    def __init__(self, labels: np.ndarray, scores: np.ndarray) -> None:
        """Sort the negatives and place the positives among them."""
        positive = np.asarray(labels) == 1
        self._positive = np.flatnonzero(positive)
        negative = np.flatnonzero(~positive)
        self._negative = negative[np.argsort(scores[negative], kind="stable")]
        ordered = scores[self._negative]
        wins = scores[self._positive]
        self._below = np.searchsorted(ordered, wins, side="left")
        self._not_above = np.searchsorted(ordered, wins, side="right")

    def auc(self, weights: np.ndarray | None = None) -> float:
        """The AUC under row weights [R] (None: all 1); NaN if one class has no weight."""
        if weights is None:
            pairs = len(self._positive) * len(self._negative)
            wins = 0.5 * float(np.sum(self._below + self._not_above))
            return wins / pairs if pairs else float("nan")
        mass = np.concatenate(([0.0], np.cumsum(weights[self._negative], dtype=np.float64)))
        positive = np.asarray(weights[self._positive], dtype=np.float64)
        total = float(positive.sum() * mass[-1])
        if total <= 0:
            return float("nan")
        wins = product_sum(positive, mass[self._below] + mass[self._not_above])
        return 0.5 * wins / total
