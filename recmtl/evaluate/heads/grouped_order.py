"""The order of graded labels within groups, measured once for any weights of whole groups."""

from typing import final

import numpy as np
import numpy.typing as npt

from recmtl.evaluate.groups import grouped_rows

__all__ = ["GroupedOrder", "ordered_groups"]

Floats = npt.NDArray[np.float64]


@final
class GroupedOrder:
    """The AUC of each group: how often, of two of its rows, the one with the larger label is ahead.

    Args:
        labels: grades `[R]`, the larger the better.
        scores: `[R]`.
        group: of each row `[R]`; see `grouped_rows` for rows without one.
        weights: of the rows within their group `[R]`; None for equal ones.

    Attributes:
        aucs: of each group `[G]`, NaN where all its labels are equal.
    """

    def __init__(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        *,
        group: np.ndarray,
        weights: np.ndarray | None = None,
    ) -> None:
        """Sort the rows of every group once, by score and by label."""
        # Numba is slow to import, and most of what evaluates ranks nothing.
        from recmtl.evaluate.heads.order_loop import ordered_pairs_of_groups

        rows = np.flatnonzero(grouped_rows(group))
        label, score, member = labels[rows], scores[rows], group[rows]
        weight = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)[rows]
        by_score = np.lexsort((score, member))
        new_group = _changes(member[by_score])
        steps = np.cumsum(new_group | _changes(score[by_score]))
        starts = np.flatnonzero(new_group)
        code = np.cumsum(new_group) - 1
        place, of_row = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        place[by_score] = steps - steps[starts][code] + 1
        of_row[by_score] = code
        order = np.lexsort((label, of_row))
        right, pairs = np.zeros((2, len(starts)))
        ends = np.append(starts[1:], len(rows))
        ordered_pairs_of_groups(
            starts, ends, label[order].astype(np.float64), place[order], weight[order], right, pairs
        )
        self.aucs = np.where(pairs > 0, right / np.where(pairs > 0, pairs, 1.0), np.nan)
        self._rows, self._of_row = rows, of_row

    def means(self, weights: np.ndarray) -> Floats:
        """Mean AUC `[D]` of the groups under weights of the rows `[R, D]`; NaN if none has one.

        A group counts with the sum of its rows' weights. Within a group weights are those that were
        given before, so that this is right for draws of whole groups.
        """
        counted = np.flatnonzero(~np.isnan(self.aucs))
        means = np.full(weights.shape[1], np.nan)
        for draw, weight in enumerate(np.asarray(weights, np.float64)[self._rows].T):
            mass = np.bincount(self._of_row, weight, len(self.aucs))[counted]
            if mass.sum() > 0:
                means[draw] = np.average(self.aucs[counted], weights=mass)
        return means


def ordered_groups(labels: np.ndarray, group: np.ndarray) -> int:
    """Number of groups in which labels differ, so that there is an order.

    >>> ordered_groups(np.array([1, 1, 0, 2]), np.array([5, 5, 7, 7]))
    1
    """
    if not len(labels):
        return 0
    order = np.lexsort((labels, group))
    starts = np.flatnonzero(_changes(group[order]))
    ends = np.append(starts[1:], len(order)) - 1
    return int(np.count_nonzero(labels[order][starts] < labels[order][ends]))


def _changes(values: np.ndarray) -> npt.NDArray[np.bool_]:
    changed: npt.NDArray[np.bool_] = np.append(True, values[1:] != values[:-1])
    return changed[: len(values)]
