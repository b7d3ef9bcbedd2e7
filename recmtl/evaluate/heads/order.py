"""XAUC: how often two rows with different values are predicted in the right order."""

import numpy as np

__all__ = ["xauc"]


def xauc(labels: np.ndarray, values: np.ndarray, weights: np.ndarray | None = None) -> float:
    """P(the prediction of the row with the larger label is larger), a tie counts half.

    It is the AUC of numbers (used for watch time by Zhan et al., KDD 2022, D2Q); pairs of equal
    labels do not count. A pair counts with the product of its weights.

    Args:
        labels: shape [R].
        values: shape [R].
        weights: shape [R], 0 or more.

    Returns:
        The share of pairs, NaN if all labels are equal.

    >>> xauc(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.3, 0.2]))  # one of three pairs is wrong
    0.6666666666666666
    """
    # Numba is slow to import, and most of what evaluates has no number to predict.
    from recmtl.evaluate.heads.order_loop import ordered_pairs

    if len(labels) == 0:
        return float("nan")
    order = np.argsort(labels, kind="stable")
    _, place = np.unique(np.asarray(values), return_inverse=True)
    weight = np.ones(len(order)) if weights is None else np.asarray(weights, np.float64)
    right, pairs = ordered_pairs(np.asarray(labels)[order], place[order] + 1, weight[order])
    return float(right / pairs) if pairs > 0 else float("nan")
