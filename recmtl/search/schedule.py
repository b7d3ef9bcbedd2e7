"""The one place that divides train rows between weights and policy, and proves it.

What a draw of the policy is compared with, so that REINFORCE learns from differences.

How a search goes on: its steps, when the policy learns, how sharp and how deep it decides.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from recmtl.errors import ConfigError
from recmtl.grid import Layout
from recmtl.search.policy_factory import skip_layers
from recmtl.train.config import Config

__all__ = ["BilevelRows", "ReinforceBaseline", "SearchSchedule", "bilevel_split"]


@dataclass(frozen=True)
class BilevelRows:
    """Row numbers for the weights and for the policy; sorted, and never the same row."""

    weights: np.ndarray
    policy: np.ndarray

    def __post_init__(self) -> None:
        """Refuse parts that overlap or are empty."""
        if len(self.weights) == 0 or len(self.policy) == 0:
            raise ConfigError("search.policy_rows leaves a part without rows; choose it in (0, 1)")
        if len(np.intersect1d(self.weights, self.policy)):
            raise ConfigError("weights and policy share rows; the search would be biased")


def bilevel_split(num_rows: int, policy_share: float, *, seed: int) -> BilevelRows:
    """Draw `policy_share` of the rows `0..num_rows-1` for the policy, the rest for the weights."""
    generator = np.random.default_rng(seed)
    is_policy = generator.random(num_rows) < policy_share
    return BilevelRows(np.flatnonzero(~is_policy), np.flatnonzero(is_policy))


class ReinforceBaseline:
    """The other draws on the same rows, or, for a single draw, a moving average of earlier ones.

    Neither depends on the draw that it is subtracted from, so that gradients stay unbiased.

    Args:
        decay: of the moving average.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.mean: float | None = None

    def advantage(self, values: Tensor) -> Tensor:
        """Values `[n]` of draws on the same rows, each less its baseline; the first ever is 0."""
        if len(values) > 1:
            return (values - values.mean()) * len(values) / (len(values) - 1)
        value = float(values)
        before = value if self.mean is None else self.mean
        self.mean = self.decay * before + (1.0 - self.decay) * value
        return values - before


class SearchSchedule:
    """Numbers of steps, and what depends on the step.

    Attributes:
        steps_an_epoch: steps of the weights a pass over their rows.
        total: steps of the weights in all.
        warm_up: the first of them, in which the policy does not learn.
        ratio: steps of the weights for one of the policy.
        policy_steps: steps of the policy in all.
    """

    def __init__(self, layout: Layout, rows: BilevelRows, *, config: Config) -> None:
        self.search, self.skip_layers = config.search, skip_layers(layout)
        self.steps_an_epoch = -(-len(rows.weights) // config.training.batch_size)
        self.total = self.steps_an_epoch * self.search.epochs
        self.warm_up = int(self.total * self.search.warm_up)
        self.ratio = max(1, round(len(rows.weights) / len(rows.policy)))
        self.policy_steps = (self.total - self.warm_up) // self.ratio

    def temperature(self, step: int) -> float:
        """Geometric from the first to the last temperature over the steps after warm-up."""
        first, last = self.search.temperature
        return float(first * (last / first) ** self._progress(step))

    def opened(self, step: int) -> int:
        """Layers, counted from the last, that may skip (AdaShare's curriculum): none in warm-up."""
        share = self.search.skips.curriculum
        if not share:
            return self.skip_layers
        opened = 1 + int(self._progress(step) / share * self.skip_layers)
        return 0 if step < self.warm_up else min(opened, self.skip_layers)

    def _progress(self, step: int) -> float:
        """Share of the steps after warm-up that are done."""
        share = (step - self.warm_up) / max(1, self.total - self.warm_up)
        return min(max(share, 0.0), 1.0)
