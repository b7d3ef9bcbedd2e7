"""Metrics of ordered classes, quantiles and counts, with the conventions of `evaluate.metrics`."""

import numpy as np
from scipy.special import xlogy

__all__ = ["pinball", "poisson_deviance", "weighted_kappa"]

SMALLEST_MEAN = 1e-12


def weighted_kappa(labels: np.ndarray, p: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Quadratically weighted kappa (Cohen 1968) of the expected class, rounded to a class.

    1 is perfect, 0 what chance gives; NaN where label and prediction are one and the same class
    throughout.

    Args:
        labels: class indices in their order, shape [R].
        p: probabilities, shape [R, C].
        weights: shape [R].
    """
    if len(labels) == 0:
        return float("nan")
    weight = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    actual = labels.astype(np.int64)
    expected = np.rint(np.asarray(p, np.float64) @ np.arange(p.shape[1])).astype(np.int64)
    shape = (p.shape[1], p.shape[1])
    flat = np.bincount(actual * shape[0] + expected, weight, shape[0] ** 2)
    table = flat.reshape(shape) / weight.sum()
    distance = np.square(np.subtract.outer(np.arange(shape[0]), np.arange(shape[0])))
    by_chance = np.outer(table.sum(1), table.sum(0))
    worst = float((distance * by_chance).sum())
    return 1.0 - float((distance * table).sum()) / worst if worst > 0 else float("nan")


def pinball(
    labels: np.ndarray, values: np.ndarray, weights: np.ndarray | None = None, *, share: float
) -> float:
    """Mean loss of a quantile (Koenker and Bassett 1978), least where `share` lie below `values`.

    >>> pinball(np.array([4.0]), np.array([2.0]), share=0.75)  # too low by 2
    1.5
    """
    if len(labels) == 0:
        return float("nan")
    gap = np.asarray(labels, np.float64) - np.asarray(values, np.float64)
    return float(np.average(np.maximum(share * gap, (share - 1.0) * gap), weights=weights))


def poisson_deviance(
    labels: np.ndarray, values: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Mean of `2 (y log(y / mu) - y + mu)`, 0 at best; means are kept above 0."""
    if len(labels) == 0:
        return float("nan")
    label = np.asarray(labels, np.float64)
    mean = np.maximum(np.asarray(values, np.float64), SMALLEST_MEAN)
    deviance = 2.0 * (xlogy(label, label / mean) - label + mean)
    return float(np.average(deviance, weights=weights))
