"""How much the rows of a task tell: what its metric, or what is fitted on it, may decide."""

import numpy as np
import numpy.typing as npt

__all__ = ["telling_share"]

HALF_SHARE = 100
"""Telling rows of a task that is believed half as much as one with plenty of them."""


def telling_share(label: npt.NDArray[np.floating], kind: str) -> float:
    """The share n / (n + 100) by which an estimate shrinks whose error goes with 1 / n.

    n are the telling rows: of a regression all that are labelled, else those outside the commonest
    class. The AUC of a task with two dozen positive rows differs by .03 between equal networks.

    Args:
        label: `[R]` of the rows on which the task is defined.
        kind: of the task.

    >>> telling_share(np.array([0.0] * 900 + [1.0] * 100), "binary")
    0.5
    """
    telling = len(label)
    if kind != "regression" and telling:
        telling -= int(np.unique(label, return_counts=True)[1].max())
    return telling / (telling + HALF_SHARE)
