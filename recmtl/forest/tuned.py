"""The settings of one task's forest, chosen on validation rows from a short list."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lightgbm
import numpy as np

from recmtl.forest.settings import ForestSettings
from recmtl.forest.task_rows import TaskRows

__all__ = ["CANDIDATES", "tuned"]

CANDIDATES: tuple[dict[str, Any], ...] = (
    {},
    {"leaves": 63, "feature_share": 0.5},
    {"leaves": 127, "smallest_leaf": 20, "feature_share": 0.5, "category_l2": 50.0},
    {"leaves": 63, "smallest_leaf": 200, "feature_share": 0.5, "category_l2": 200.0},
    {"smallest_leaf": 200, "feature_share": 0.3, "category_l2": 100.0},
)
"""What is tried beside the settings as they are."""
FIRST_ROUNDS, SECOND_ROUNDS, GO_ON = 15, 50, 2
"""Trees of all candidates, trees of those that go on, and the number of those."""
QUICK_RATE = 0.1


def tuned(
    settings: ForestSettings,
    grow: Callable[[ForestSettings], lightgbm.Booster],
    validation: TaskRows,
) -> ForestSettings:
    """The candidate of the lowest loss: few trees leave some of them, which more trees compare.

    Args:
        settings: what the candidates change, if they are to be tuned; their rounds and learning
            rate are kept.
        grow: settings to the forest that they give, stopped on validation rows.
        validation: those rows; without any, the settings are as they are.
    """
    if not settings.tune or not len(validation.label):
        return settings
    left = [replace(settings, **candidate) for candidate in CANDIDATES]
    for rounds, count in ((FIRST_ROUNDS, GO_ON), (SECOND_ROUNDS, 1)):
        quick = [replace(candidate, rounds=rounds, learning_rate=QUICK_RATE) for candidate in left]
        losses = [next(iter(grow(q).best_score["valid_0"].values())) for q in quick]
        order = np.argsort(losses, kind="stable")
        left = [left[position] for position in order[:count]]
    return left[0]
