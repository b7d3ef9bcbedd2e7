"""How a search goes on: its steps, when the policy learns, how sharp and how deep it decides."""

from recmtl.grid import Layout
from recmtl.train.config import Config
from recmtl.train.space import skip_layers
from recmtl.train.two_split import TwoSplit

__all__ = ["Schedule"]


class Schedule:
    """Numbers of steps, and what depends on the step.

    Attributes:
        steps_an_epoch: steps of the weights a pass over their rows.
        total: steps of the weights in all.
        warm_up: the first of them, in which the policy does not learn.
        ratio: steps of the weights for one of the policy.
        policy_steps: steps of the policy in all.
    """

    def __init__(self, layout: Layout, rows: TwoSplit, *, config: Config) -> None:
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
