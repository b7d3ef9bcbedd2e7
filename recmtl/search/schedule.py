"""The course of a search: which rows train what, when, how sharply, and against which baseline.

`bilevel_split` divides the train rows between weights and policy, `SearchSchedule` says what each
step does, `ReinforceBaseline` keeps the variance of REINFORCE low.
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
    """Numbers of the rows that train the weights, and of those that train the policy.

    Both are sorted and no row is in both: on rows that the weights have seen, a policy would prefer
    routes that overfit (the two levels of DARTS, ICLR 2019, which MTNAS and AdaShare keep).

    Raises:
        ConfigError: a part is empty, or a row is in both.
    """

    weights: np.ndarray
    policy: np.ndarray

    def __post_init__(self) -> None:
        """Refuse parts that overlap or are empty."""
        if len(self.weights) == 0 or len(self.policy) == 0:
            raise ConfigError(
                f"search.policy_rows leaves {len(self.weights)} train rows to the weights and "
                f"{len(self.policy)} to the policy; choose it in (0, 1), or give more rows"
            )
        shared = len(np.intersect1d(self.weights, self.policy))
        if shared:
            raise ConfigError(
                f"weights and policy share rows ({shared} of them), which would bias the search; "
                "divide them with bilevel_split"
            )


def bilevel_split(
    num_rows: int, policy_share: float, *, seed: int, units: np.ndarray | None = None
) -> BilevelRows:
    """Draw each of the rows `0..num_rows-1` for the policy with probability `policy_share`.

    The weights get the other rows. Rows of one of the `units` `[num_rows]` are drawn together.

    >>> rows = bilevel_split(10, 0.3, seed=0)
    >>> sorted([*rows.weights, *rows.policy]) == list(range(10))
    True
    """
    generator = np.random.default_rng(seed)
    drawn = num_rows if units is None else int(units.max(initial=-1)) + 1
    is_policy = generator.random(drawn) < policy_share
    is_policy = is_policy if units is None else is_policy[units]
    return BilevelRows(np.flatnonzero(~is_policy), np.flatnonzero(is_policy))


class ReinforceBaseline:
    """What REINFORCE subtracts from the value of a draw, so that it learns from differences.

    Of several draws on the same rows, each has the mean of the others as baseline (leave one out).
    A single draw has the moving average of earlier ones. Neither depends on the draw from which it
    is subtracted, so the gradient stays unbiased.

    >>> import torch
    >>> ReinforceBaseline(0.9).advantage(torch.tensor([1.0, 2.0, 6.0]))
    tensor([-3.0000, -1.5000,  4.5000])

    Args:
        decay: of the moving average.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.mean: float | None = None

    def advantage(self, values: Tensor) -> Tensor:
        """Values `[n]` of draws on the same rows minus their baselines; 0 for the first value."""
        if len(values) > 1:
            return (values - values.mean()) * len(values) / (len(values) - 1)
        value = float(values)
        before = value if self.mean is None else self.mean
        self.mean = self.decay * before + (1.0 - self.decay) * value
        return values - before


class SearchSchedule:
    """Numbers of steps, and what depends on the step.

    Attributes:
        epochs: passes over the rows of the weights.
        steps_an_epoch: steps of the weights in one pass over their rows.
        saved_every: number of steps after which the state is saved, as at the end of a pass.
        total: steps of the weights in all.
        warm_up: the first of them, during which the policy does not learn.
        ratio: steps of the weights for one step of the policy.
        policy_steps: steps of the policy in all.
    """

    def __init__(self, layout: Layout, rows: BilevelRows, *, config: Config) -> None:
        self.search, self.skip_layers = config.search, skip_layers(layout)
        self.steps_an_epoch = -(-len(rows.weights) // config.training.batch_size)
        train_rows = len(rows.weights) + len(rows.policy)
        self.epochs = config.search_passes(train_rows)
        self.saved_every = max(self.steps_an_epoch, config.training.least_apart(train_rows))
        self.total = self.steps_an_epoch * self.epochs
        self.warm_up = int(self.total * self.search.warm_up)
        self.ratio = max(1, round(len(rows.weights) / len(rows.policy)))
        self.policy_steps = (self.total - self.warm_up) // self.ratio

    def temperature(self, step: int) -> float:
        """Temperature of the draws: geometric from first to last over the steps after warm-up."""
        first, last = self.search.temperature
        return float(first * (last / first) ** self._progress(step))

    def open_layers(self, step: int) -> int:
        """Number of layers, counted from the last, that may skip; 0 in warm-up.

        This is the curriculum of AdaShare (NeurIPS 2020): layers open one by one. Our reading: they
        open evenly over the first `search.skips.curriculum` of the steps after warm-up.
        """
        share = self.search.skips.curriculum
        if not share:
            return self.skip_layers
        opened = 1 + int(self._progress(step) / share * self.skip_layers)
        return 0 if step < self.warm_up else min(opened, self.skip_layers)

    def _progress(self, step: int) -> float:
        """Share of the steps after warm-up that are done."""
        share = (step - self.warm_up) / max(1, self.total - self.warm_up)
        return min(max(share, 0.0), 1.0)
