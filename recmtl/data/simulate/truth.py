"""What was planted in a log, and how well the truth itself scores on it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recmtl.data.simulate.impressions import Block
from recmtl.data.simulate.shop import Floats

__all__ = ["RELATED", "Score", "Truth"]

RELATED = (("click", "watch_time"), ("purchase", "dislike"))
BINS = 4096


@dataclass(frozen=True)
class Truth:
    """What was planted: related tasks, and rates and best scores measured on the rows written.

    `best` holds the AUC of the true probabilities (purchase: given a click, on clicked rows) and
    the R2 of the true mean of log watch seconds, on clicked rows. `correlation` is that of the two
    interests over the rows: near 0, and not 0, because a few users and items have many of the rows.
    """

    rows: int
    seed: int
    related: tuple[tuple[str, str], ...]
    rates: dict[str, float]
    best: dict[str, float]
    correlation: float


class Score:
    """Rates, and the AUC and R2 of the truth itself, added up block by block.

    Probabilities are counted in bins of equal width in the logit; ties within a bin count half.
    """

    def __init__(self) -> None:
        self._counts = {name: np.zeros((2, BINS)) for name in ("click", "purchase", "dislike")}
        self._watch = np.zeros(4)
        self._interests = np.zeros((3, 3))

    def add(self, block: Block) -> None:
        """Count the rows of one block."""
        chances, clicked = block.chances, block.click
        interests = np.stack([np.ones(len(clicked)), chances.taste, chances.value])
        self._interests += interests @ interests.T
        self._count("click", chances.click, block.click)
        self._count("purchase", chances.purchase_given_click[clicked], block.purchase[clicked])
        self._count("dislike", chances.dislike, block.dislike)
        actual = np.log(block.watch_s[clicked])
        miss = actual - chances.log_watch[clicked]
        self._watch += [len(actual), actual.sum(), (actual**2).sum(), (miss**2).sum()]

    def rates(self) -> dict[str, float]:
        """Share of positive rows of each task's population; of rows with a watch time."""
        rates = {name: float(c[1].sum() / max(c.sum(), 1.0)) for name, c in self._counts.items()}
        return rates | {"watch_time": rates["click"]}

    def best(self) -> dict[str, float]:
        """What the truth itself scores."""
        rows, total, squares, missed = self._watch
        spread = squares - total**2 / max(rows, 1.0)
        best = {f"{name}_auc": binned_auc(*counts) for name, counts in self._counts.items()}
        return best | {"watch_time_log_r2": float(1.0 - missed / max(spread, 1e-12))}

    def correlation(self) -> float:
        """Correlation of TASTE and VALUE over the rows."""
        means = self._interests[0] / self._interests[0, 0]
        spread = self._interests / self._interests[0, 0] - np.outer(means, means)
        return float(spread[1, 2] / np.sqrt(max(spread[1, 1] * spread[2, 2], 1e-24)))

    def _count(self, name: str, chance: Floats, label: NDArray[np.bool_]) -> None:
        logit = np.log(chance) - np.log1p(-chance)
        place = np.clip((logit + 16.0) / 32.0 * BINS, 0, BINS - 1).astype(np.int64)
        for value in (0, 1):
            self._counts[name][value] += np.bincount(place[label == value], minlength=BINS)


def binned_auc(negative: Floats, positive: Floats) -> float:
    """AUC of counts by bin, in order of score; 0.5 where one side is empty."""
    pairs = negative.sum() * positive.sum()
    below = np.cumsum(negative) - 0.5 * negative
    return float((positive * below).sum() / pairs) if pairs else 0.5
