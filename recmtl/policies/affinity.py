"""How alike two networks represent the same rows: representation similarity analysis (RSA).

The affinities of single-task networks decide which tasks share a branch of a tree (`tree.py`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recmtl.errors import DataError

__all__ = ["dissimilarity_ranks", "rank_affinity", "rsa_affinity"]

FloatArray = NDArray[np.float64]


def rsa_affinity(features: Sequence[Sequence[NDArray[np.floating[Any]]]]) -> FloatArray:
    """Affinity `[D, T, T]` of T tasks at D depths, from their networks' features of K rows.

    `RDM_dt[a, b] = 1 - Pearson(features_dt[a], features_dt[b])` over the features of two rows;
    `affinity[d, i, j]` is the Spearman correlation of the strict upper triangles of `RDM_di` and
    `RDM_dj`, on true ranks with ties averaged (Branched Multi-Task Networks, arXiv 1904.02920,
    section 3; some ports also rank the zero half and the diagonal, which inflates every value).

    A row whose features are all equal correlates with nothing: its dissimilarity to every other row
    is 1. A network that tells no rows apart at some depth has affinity 0 to all others there.
    Memory for one depth: `T * K * (K - 1) / 2` ranks of 8 bytes (40 tasks: 40 MB for 500 rows,
    160 MB for 1000).

    Args:
        features: `features[d][t]` is `[K, ...]`, the output of task t's network at depth d for the
            same K rows in the same order; all axes but the first are flattened.

    Raises:
        DataError: there are fewer than 3 rows, tasks have different numbers of rows, or features
            are not finite.
    """
    depths = []
    for depth, tasks in enumerate(features):
        places = [f"affinity: depth {depth}, task {task}" for task in range(len(tasks))]
        if len({len(array) for array in tasks}) > 1:
            raise DataError(
                f"affinity: depth {depth}: tasks have different numbers of rows; they need the same"
            )
        pairs = zip(tasks, places, strict=True)
        depths.append([dissimilarity_ranks(array, place) for array, place in pairs])
    return rank_affinity(depths)


def dissimilarity_ranks(
    features: NDArray[np.floating[Any]],
    place: str = "affinity",
    *,
    weight: NDArray[np.floating[Any]] | None = None,
) -> FloatArray:
    """Ranks `[K (K - 1) / 2]` of the dissimilarities of K rows `[K, ...]`, centred, of norm 1.

    With weights of the rows `[K]`, a pair counts with the product of its rows' weights, in the
    ranks and in the correlation that is their product with those of other features.

    Raises:
        DataError: there are fewer than 3 rows, or features are not finite; `place` names them.
    """
    return _unit_ranks(_rows(features, place), weight)


def rank_affinity(ranks: Sequence[Sequence[FloatArray]]) -> FloatArray:
    """Affinity `[D, T, T]` from `ranks[d][t]`, the `dissimilarity_ranks` of the same rows."""
    return np.stack([_correlation(np.stack(tasks)) for tasks in ranks])


def _rows(array: NDArray[np.floating[Any]], place: str) -> FloatArray:
    rows = np.asarray(array, np.float64).reshape(len(array), -1)
    if len(rows) < 3:
        raise DataError(f"{place}: {len(rows)} rows; give at least 3")
    if not np.isfinite(rows).all():
        raise DataError(f"{place}: features are not finite; train with a lower learning rate")
    return rows


def _unit_ranks(rows: FloatArray, weight: NDArray[np.floating[Any]] | None) -> FloatArray:
    """Ranks of the dissimilarities `[K (K - 1) / 2]`, centred, of norm 1 or all 0."""
    above = ~np.tri(len(rows), dtype=np.bool_)
    # Rounded so that equal rows tie, whatever the order of the sums in a matrix product.
    values = np.round(_dissimilarity(rows)[above], 12)
    _, place, ties = np.unique(values, return_inverse=True, return_counts=True)
    if weight is None:
        ranks = (np.cumsum(ties) - ties / 2.0)[place]
        return _scaled(ranks - ranks.mean())
    share = np.asarray(weight, np.float64) / np.max(weight)
    pair = np.outer(share, share)[above]
    mass = np.bincount(place, pair)
    ranks = (np.cumsum(mass) - mass / 2.0)[place]
    if len(mass) == 1:
        return np.zeros_like(ranks)
    return _scaled((ranks - np.average(ranks, weights=pair)) * np.sqrt(pair))


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
