"""How alike two networks see the same rows: representation similarity analysis."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recmtl.errors import DataError

__all__ = ["dissimilarity_ranks", "rank_affinity", "rsa_affinity"]

FloatArray = NDArray[np.float64]


def rsa_affinity(features: Sequence[Sequence[NDArray[np.floating[Any]]]]) -> FloatArray:
    """Affinity `[D, T, T]` of T tasks at D depths, from what their networks make of K rows.

    `RDM_dt[a, b] = 1 - Pearson(features_dt[a], features_dt[b])` over the features of two rows;
    `affinity[d, i, j]` is the Spearman correlation of the strict upper triangles of `RDM_di` and
    `RDM_dj`, on true ranks with ties averaged (arXiv 1904.02920, section 3; some ports rank the
    zero half and the diagonal as well, which inflates every value).

    A row whose features are all equal correlates with nothing: it lies at dissimilarity 1 from
    every other row. A network that tells no rows apart at some depth has affinity 0 there to all
    others. Memory: of one depth at a time `T * K * (K - 1) / 2` ranks, 8 bytes each (40 tasks:
    40 MB for 500 rows, 160 MB for 1000).

    Args:
        features: `features[d][t]` is `[K, ...]`, what the network of task t puts out at depth d for
            the same K rows in the same order; all but the first axis are flattened.

    Raises:
        DataError: fewer than 3 rows, numbers of rows that differ, or features that are not finite.
    """
    depths = []
    for depth, tasks in enumerate(features):
        places = [f"affinity: depth {depth}, task {task}" for task in range(len(tasks))]
        if len({len(array) for array in tasks}) > 1:
            raise DataError(f"affinity: depth {depth}: not the same number of rows for all tasks")
        pairs = zip(tasks, places, strict=True)
        depths.append([dissimilarity_ranks(array, place) for array, place in pairs])
    return rank_affinity(depths)


def dissimilarity_ranks(features: NDArray[np.floating[Any]], place: str = "affinity") -> FloatArray:
    """Ranks `[K (K - 1) / 2]` of how unlike K rows `[K, ...]` are, centred and of length 1.

    Raises:
        DataError: fewer than 3 rows, or features that are not finite; `place` says which.
    """
    return _unit_ranks(_rows(features, place))


def rank_affinity(ranks: Sequence[Sequence[FloatArray]]) -> FloatArray:
    """Affinity `[D, T, T]` of `ranks[d][t]`, what `dissimilarity_ranks` made of the same rows."""
    return np.stack([_correlation(np.stack(tasks)) for tasks in ranks])


def _rows(array: NDArray[np.floating[Any]], place: str) -> FloatArray:
    rows = np.asarray(array, np.float64).reshape(len(array), -1)
    if len(rows) < 3:
        raise DataError(f"{place}: {len(rows)} rows; give at least 3 to be compared")
    if not np.isfinite(rows).all():
        raise DataError(f"{place}: features are not finite; train with a lower learning rate")
    return rows


def _unit_ranks(rows: FloatArray) -> FloatArray:
    """Ranks of the dissimilarities `[K (K - 1) / 2]`, centred and of length 1, or all 0."""
    above = ~np.tri(len(rows), dtype=np.bool_)
    # Rounded so that equal rows tie, whatever the order of the sums in a product of matrices.
    values = np.round(_dissimilarity(rows)[above], 12)
    _, place, ties = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - ties / 2.0)[place]
    return _scaled(ranks - ranks.mean())


def _dissimilarity(rows: FloatArray) -> FloatArray:
    """`1 - Pearson` of every pair of rows `[K, F]`, as `[K, K]`."""
    centred = rows - rows.mean(1, keepdims=True)
    centred[np.ptp(rows, axis=1) == 0] = 0.0
    scaled = np.stack([_scaled(row) for row in centred])
    return 1.0 - scaled @ scaled.T


def _scaled(vector: FloatArray) -> FloatArray:
    length = np.linalg.norm(vector)
    return vector / length if length else vector


def _correlation(ranks: FloatArray) -> FloatArray:
    product = np.clip(ranks @ ranks.T, -1.0, 1.0)
    product = (product + product.T) / 2.0
    np.fill_diagonal(product, 1.0)
    return product
