"""Reliability curve: in bins of equal weight, what was promised beside what happened."""

from dataclasses import dataclass

import numpy as np

from recmtl.evaluate.ranks import FloatArray

__all__ = ["ReliabilityCurve", "reliability_curve"]


@dataclass(frozen=True)
class ReliabilityCurve:
    """One point a bin, in ascending order of the prediction; empty bins are left out.

    `predicted` and `observed` are the bin's mean prediction and mean label, `weight` the weight of
    its rows, `low` and `high` the 95 % Wilson interval of `observed`; all of shape [bins].
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

    Rows with equal predictions stay in one bin, so the curve does not depend on the rows' order
    and a constant prediction gives one point. Reading: on the diagonal = calibrated.

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
    middle = np.cumsum(mass) - 0.5 * mass  # a run of equal predictions goes where its middle lies
    place = np.minimum((middle / max(mass.sum(), 1e-300) * bins).astype(np.int64), bins - 1)

    def total(values: FloatArray) -> FloatArray:
        return np.bincount(place, np.add.reduceat(values, starts), bins).astype(np.float64)

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
    # The interval holds the share; at a share of 0 or 1 rounding alone could put it outside.
    return np.minimum(centre - half, share), np.maximum(centre + half, share)
