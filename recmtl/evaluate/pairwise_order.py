"""Sort once, then compute the AUC under any number of row weights.

The AUC depends on the scores only through the number of negatives below and equal to each positive.
Negatives are therefore assigned once to the gaps between the positives' scores. A resample of a
bootstrap (new weights for the same rows) then costs one sum for each gap and one running sum over
the gaps, and no sort. Several resamples at a time share one pass through memory.
"""

from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

__all__ = ["FloatArray", "PairwiseOrder", "product_sum", "tie_blocks"]

FloatArray = NDArray[np.float64]


def product_sum(left: FloatArray, right: FloatArray) -> float:
    """Sum of left * right over all rows, both of shape [R].

    Not `np.dot`: for a vector of this length BLAS wakes all its threads, which on a busy machine
    costs twenty times as much as the sum itself, and a bootstrap takes thousands of such sums.
    """
    return float(np.einsum("i,i", left, right))


def tie_blocks(values: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ascending order of `values` [R], and where in that order each run of equal values starts.

    >>> [part.tolist() for part in tie_blocks(np.array([5, 3, 5]))]
    [[1, 0, 2], [0, 1]]
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    changed = np.r_[True, ordered[1:] != ordered[:-1]] if len(values) else np.empty(0, bool)
    return order, np.flatnonzero(changed)


@final
class PairwiseOrder:
    """The negatives that each positive beats, stored for any number of weightings.

    Args:
        labels: 0 or 1, shape [R].
        scores: shape [R].
    """

    def __init__(self, labels: np.ndarray, scores: np.ndarray) -> None:
        """Assign the negatives to the gaps between the distinct scores of the positives."""
        positive = np.asarray(labels) == 1
        wins, losses = np.flatnonzero(positive), np.flatnonzero(~positive)
        steps = np.unique(scores[wins])
        # Half of a negative counts below the first step that is at least its score, half below the
        # first step above its score: in sum all of it, or half where it ties.
        sides = [np.searchsorted(steps, scores[losses], side=side) for side in ("left", "right")]
        shape = (len(steps) + 1, len(positive))
        self._below = _sums(np.concatenate(sides), np.tile(losses, 2), 0.5, shape)
        self._at = _sums(np.searchsorted(steps, scores[wins]), wins, 1.0, shape)

    def auc(self, weights: np.ndarray | None = None) -> float:
        """The AUC under row weights [R] (None: all 1); NaN if one class has no weight."""
        column = np.ones(self._at.shape[1]) if weights is None else np.asarray(weights)
        return float(self.aucs(column[:, np.newaxis])[0])

    def aucs(self, weights: np.ndarray) -> FloatArray:
        """The AUC [D] under each column of row weights [R, D]."""
        at, between = self._at @ weights, self._below @ weights
        below = np.cumsum(np.ascontiguousarray(between.T), axis=1)
        wins = np.einsum("sd,ds->d", at, below)
        pairs = at.sum(axis=0) * below[:, -1]
        return np.where(pairs > 0, wins / np.where(pairs > 0, pairs, 1.0), np.nan)


def _sums(
    group: NDArray[np.int64], row: NDArray[np.int64], share: float, shape: tuple[int, int]
) -> csr_array:
    """A matrix [groups, R] whose product with row weights sums `share` of them by group."""
    sums = csr_array((np.full(len(row), share), (group, row)), shape=shape)
    sums.sum_duplicates()
    return sums
