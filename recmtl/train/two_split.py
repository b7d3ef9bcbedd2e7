"""The one place that divides train rows between weights and policy, and proves it."""

from dataclasses import dataclass

import numpy as np

from recmtl.errors import ConfigError

__all__ = ["TwoSplit", "two_split"]


@dataclass(frozen=True)
class TwoSplit:
    """Row numbers for the weights and for the policy; sorted, and never the same row."""

    weights: np.ndarray
    policy: np.ndarray

    def __post_init__(self) -> None:
        """Refuse parts that overlap or are empty."""
        if len(self.weights) == 0 or len(self.policy) == 0:
            raise ConfigError("search.policy_rows leaves a part without rows; choose it in (0, 1)")
        if len(np.intersect1d(self.weights, self.policy)):
            raise ConfigError("weights and policy share rows; the search would be biased")


def two_split(num_rows: int, policy_share: float, *, seed: int) -> TwoSplit:
    """Draw `policy_share` of the rows `0..num_rows-1` for the policy, the rest for the weights."""
    generator = np.random.default_rng(seed)
    is_policy = generator.random(num_rows) < policy_share
    return TwoSplit(np.flatnonzero(~is_policy), np.flatnonzero(is_policy))
