"""What the network that is served should be best at, and at what price to the other tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from recmtl.errors import ConfigError, refuse_unknown_tasks
from recmtl.schema.settings import SHARE, WEIGHT, settings

__all__ = ["Aim"]


@settings(ConfigError)
class Aim:
    """What the served network should be best at; a front of a few networks says what that costs.

    Networks of the searched wiring are trained with each task's loss `emphasis` times, and with
    none of them; the one that meets the aim best on validation rows says how losses are weighed in
    all trainings of the searched network. Scores are stop metrics (`training.stop_metric`).

    Attributes:
        enabled: whether the front is trained; otherwise losses count as they are.
        task: the task whose score is to be best; empty: the mean by `weights`.
        weights: of the tasks' scores by name; tasks that are not named have 0. Empty: all equal.
        others: whether tasks outside the aim may be worse than without an emphasis: `free`, or
            `not worse` by more than `within`.
        within: of the score of a task; see `others`.
        emphasis: factor of a task's loss.
        seeds: trainings of each network of the front, whose scores are averaged.
    """

    enabled: bool = False
    task: str = ""
    weights: dict[str, Annotated[float, WEIGHT]] = field(default_factory=dict)
    others: Literal["free", "not worse"] = "free"
    within: Annotated[float, SHARE] = 0.001
    emphasis: Annotated[float, Field(gt=1, le=1000)] = 4.0
    seeds: Annotated[int, Field(ge=1, le=100)] = 2

    def __post_init__(self) -> None:
        """Refuse two aims at once, and one at nothing."""
        if self.task and self.weights:
            raise ValueError("give task or weights, not both")
        if self.weights and not any(self.weights.values()):
            raise ValueError("weights: all are 0; give one task at least a weight above 0")

    def check(self, tasks: Sequence[str]) -> None:
        """Refuse names of tasks that do not exist.

        Raises:
            ConfigError: there is no such task.
        """
        refuse_unknown_tasks("aim", filter(None, (self.task, *self.weights)), tasks)

    def shares(self, tasks: Sequence[str]) -> dict[str, float]:
        """The share of each task's score in the aim; they sum to 1.

        >>> Aim(weights={"click": 1.0, "buy": 3.0}).shares(["click", "like", "buy"])
        {'click': 0.25, 'like': 0.0, 'buy': 0.75}
        """
        weights: Mapping[str, float] = self.weights or dict.fromkeys(tasks, 1.0)
        if self.task:
            weights = {self.task: 1.0}
        total = sum(weights.values())
        return {name: weights.get(name, 0.0) / total for name in tasks}

    def value(self, scores: Mapping[str, float]) -> float:
        """The mean of the tasks' scores by their shares; tasks without a share count nothing."""
        shares = self.shares(list(scores))
        return sum(share * scores[name] for name, share in shares.items() if share)

    def is_met(self, scores: Mapping[str, float], even: Mapping[str, float]) -> bool:
        """Whether scores keep the promise to the other tasks, measured at those without emphasis.

        >>> aim = Aim(task="click", others="not worse", within=0.01)
        >>> aim.is_met({"click": 0.7, "buy": 0.795}, {"click": 0.6, "buy": 0.8})
        True
        >>> aim.is_met({"click": 0.7, "buy": 0.785}, {"click": 0.6, "buy": 0.8})
        False
        """
        shares = self.shares(list(scores))
        others = [name for name, share in shares.items() if not share]
        return self.others == "free" or all(
            not scores[name] < even[name] - self.within for name in others
        )
