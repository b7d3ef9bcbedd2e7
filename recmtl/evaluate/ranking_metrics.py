"""Ranking metrics by group, without a loop over groups: one sort, then running sums.

Equal scores have no order, so every metric is its expected value over all orders of the ties
(McSherry and Najork, ECIR 2008, "Computing information retrieval performance measures efficiently
in the presence of tied scores"). It therefore neither depends on the order of the rows nor rewards
a constant score. Groups without a relevant row have no metric; they are left out and counted.
"""

from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from recmtl.errors import DataError
from recmtl.evaluate.groups import grouped_rows
from recmtl.evaluate.pairwise_order import FloatArray

__all__ = ["GroupedRanking", "ranking_metrics"]


def ranking_metrics(
    gains: np.ndarray,
    scores: np.ndarray,
    group: np.ndarray,
    *,
    k: int | None = 10,
    weights: np.ndarray | None = None,
) -> dict[str, float]:
    """Mean over groups of every ranking metric; each group counts with its rows' mean weight.

    A weight is that of the group: whatever it is, a row takes one place of the ranking. Rows
    without a group are left out.

    Args:
        gains: how good a row is, 0 or more, shape [R]; a row with a gain above 0 is relevant.
        scores: shape [R], larger is ranked higher.
        group: rows with equal values compete (request, user); any sortable values, shape [R]; see
            `grouped_rows` for rows without one.
        k: number of rows of a group that are shown; None for all.
        weights: of the rows [R]; rows of weight 0 are left out. None counts every group once.

    Returns:
        `ndcg`, `map`, `mrr`, `hit_rate`, `recall` (NaN if no group has a relevant row), the number
        of groups over which they are means (`groups`) and of those left out (`groups_left_out`).

    Raises:
        DataError: lengths differ, a gain is negative or not finite, a score is NaN, k below 1.
    """
    has_group = grouped_rows(group)
    if len(has_group) == len(scores) == len(gains) and not has_group.all():
        gains, scores, group = gains[has_group], scores[has_group], group[has_group]
        weights = None if weights is None else weights[has_group]
    if weights is not None:
        counted = weights > 0
        gains, scores, group, weights = (v[counted] for v in (gains, scores, group, weights))
    ranking = GroupedRanking(scores, group, k=k)
    by_group = {
        "ndcg": ranking.ndcg(gains),
        "map": ranking.average_precision(gains),
        "mrr": ranking.reciprocal_rank(gains),
        "hit_rate": ranking.hit(gains),
        "recall": ranking.recall(gains),
    }
    ranked = ~np.isnan(by_group["ndcg"])
    weight = ranking.group_means(np.ones(len(scores)) if weights is None else weights)[ranked]
    means = {
        name: float(np.average(values[ranked], weights=weight)) if ranked.any() else float("nan")
        for name, values in by_group.items()
    }
    counts = {"groups": ranked.sum(), "groups_left_out": (~ranked).sum()}
    return means | {name: float(count) for name, count in counts.items()}


@final
class GroupedRanking:
    """The rows of every group, best score first, prepared for any number of labels.

    Every method takes gains [R] in the order of the rows and gives one value a group [G], groups in
    ascending order of `group`, NaN where no row of the group is relevant.

    Args:
        scores: shape [R], larger is ranked higher.
        group: shape [R].
        k: number of ranks that count; None for all.
    """

    def __init__(self, scores: np.ndarray, group: np.ndarray, *, k: int | None = None) -> None:
        """Sort the rows; find where groups and runs of equal scores begin."""
        scores = np.asarray(scores, dtype=np.float64)
        if len(scores) != len(group):
            raise DataError(f"there are {len(scores)} scores and {len(group)} groups; give a pair")
        if np.isnan(scores).any():
            raise DataError("a score to rank by is NaN; fill missing values before ranking")
        if k is not None and k < 1:
            raise DataError(f"k is {k}; a ranking shows at least one row a group")
        self._group, self._k = np.asarray(group), k
        self._order = np.lexsort((-scores, self._group))
        member, score = self._group[self._order], scores[self._order]
        new_group = _changes(member)
        new_block = new_group | _changes(score)
        rows = np.arange(len(scores))
        self._group_starts, self._block_starts = (
            np.flatnonzero(new_group),
            np.flatnonzero(new_block),
        )
        self._block = np.cumsum(new_block) - 1
        self._first_block = self._block[self._group_starts][np.cumsum(new_group) - 1]
        self._rank = rows - np.repeat(self._group_starts, self._lengths(self._group_starts)) + 1
        self._place = rows - self._block_starts[self._block] + 1  # within the run of ties
        self._ties = self._lengths(self._block_starts)[self._block]
        self._shown = self._rank <= (len(scores) if k is None else k)

    def group_means(self, values: np.ndarray) -> FloatArray:
        """Mean of row values [R] over each group [G]."""
        rows = np.asarray(values, dtype=np.float64)[self._order]
        means: FloatArray = self._total(rows) / self._lengths(self._group_starts)
        return means

    def dcg(self, gains: np.ndarray) -> FloatArray:
        """Sum of gain / log2(1 + rank) over the shown ranks; 0, not NaN, without relevant rows."""
        gain = self._checked(gains)
        discounted = self._shown / np.log2(1.0 + self._rank)
        return self._total(self._blocks(gain)[self._block] / self._ties * discounted)

    def ndcg(self, gains: np.ndarray) -> FloatArray:
        """DCG over that of the best possible order; graded gains count as they are.

        Source: Järvelin and Kekäläinen 2002, with the discount log2(1 + rank). For the exponential
        gains of Burges et al. 2005 give `2 ** grade - 1`.
        """
        self._checked(gains)
        ideal = GroupedRanking(gains, self._group, k=self._k)
        return _share(self.dcg(gains), ideal.dcg(gains))

    def average_precision(self, gains: np.ndarray) -> FloatArray:
        """Mean precision at the ranks of relevant rows, over the relevant rows that k can show.

        AP@k = sum over ranks i <= k of relevant(i) * precision(i) / min(k, relevant rows).
        """
        relevant, ties, place = self._relevant(gains)
        above = self._above(gains)
        # If the row at this place is relevant, the other relevant - 1 rows of its run are spread
        # over ties - 1 places, of which place - 1 lie above it.
        others = (place - 1) * (relevant - 1) / np.maximum(ties - 1, 1)
        precision = relevant / ties * (above + others + 1) / self._rank
        possible = self._count(gains)
        if self._k is not None:
            possible = np.minimum(possible, self._k)
        return _share(self._total(precision * self._shown), possible)

    def reciprocal_rank(self, gains: np.ndarray) -> FloatArray:
        """One over the rank of the first relevant row, 0 if it is not shown."""
        return self._defined(gains, self._total(self._first(gains) * self._shown / self._rank))

    def hit(self, gains: np.ndarray) -> FloatArray:
        """Whether a relevant row is shown; with ties the probability that one is."""
        return self._defined(gains, self._total(self._first(gains) * self._shown))

    def recall(self, gains: np.ndarray) -> FloatArray:
        """Share of the relevant rows that is shown."""
        relevant, ties, _ = self._relevant(gains)
        return _share(self._total(relevant / ties * self._shown), self._count(gains))

    def _first(self, gains: np.ndarray) -> FloatArray:
        """Probability that the first relevant row of the group stands at this rank, [R] sorted.

        In the first run with relevant rows (r of n) it stands at place i with probability
        C(n - i, r - 1) / C(n, r): the other r - 1 lie behind it.
        """
        relevant, ties, place = self._relevant(gains)
        possible = (self._above(gains) == 0) & (relevant > 0) & (ties - place >= relevant - 1)
        probability = np.zeros(len(ties))
        r, n, i = relevant[possible], ties[possible], place[possible]
        probability[possible] = np.exp(_log_choose(n - i, r - 1) - _log_choose(n, r))
        return probability

    def _relevant(self, gains: np.ndarray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """For every sorted row: relevant rows of its run, rows of its run, its place in the run."""
        relevant = self._blocks(self._checked(gains) > 0)[self._block]
        return relevant, self._ties.astype(np.float64), self._place.astype(np.float64)

    def _above(self, gains: np.ndarray) -> FloatArray:
        """Number of relevant rows of the group in the runs above that of a row, [R] sorted."""
        relevant = self._blocks(self._checked(gains) > 0)
        before: FloatArray = np.cumsum(relevant) - relevant
        above: FloatArray = before[self._block] - before[self._first_block]
        return above

    def _defined(self, gains: np.ndarray, values: FloatArray) -> FloatArray:
        return np.where(self._count(gains) > 0, values, np.nan)

    def _count(self, gains: np.ndarray) -> FloatArray:
        """Relevant rows of each group."""
        return self._total(self._checked(gains) > 0)

    def _checked(self, gains: np.ndarray) -> FloatArray:
        gain = np.asarray(gains, dtype=np.float64)
        if len(gain) != len(self._order):
            raise DataError(f"there are {len(gain)} gains and {len(self._order)} scores")
        if not (np.isfinite(gain).all() and (gain >= 0).all()):
            raise DataError("a gain is negative or missing; give 0 where nothing good happened")
        return gain[self._order]

    def _total(self, values: NDArray[np.float64] | NDArray[np.bool_]) -> FloatArray:
        sums: FloatArray = np.add.reduceat(values.astype(np.float64), self._group_starts)
        return sums

    def _blocks(self, values: NDArray[np.float64] | NDArray[np.bool_]) -> FloatArray:
        sums: FloatArray = np.add.reduceat(values.astype(np.float64), self._block_starts)
        return sums

    def _lengths(self, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.diff(np.append(starts, len(self._order)))


def _changes(values: np.ndarray) -> NDArray[np.bool_]:
    changed: NDArray[np.bool_] = np.append(True, values[1:] != values[:-1])
    return changed[: len(values)]


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    share: FloatArray = np.full(len(part), np.nan)
    return np.divide(part, whole, out=share, where=whole > 0)


def _log_choose(n: FloatArray, r: FloatArray) -> FloatArray:
    chosen: FloatArray = gammaln(n + 1) - gammaln(r + 1) - gammaln(n - r + 1)
    return chosen
