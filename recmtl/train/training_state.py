"""How far a training has come: its validation checks so far, and which of them is the best."""

import math
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from recmtl.evaluate.task_metrics import Metrics
from recmtl.grid.expert_health import ExpertHealth

__all__ = ["TrainingState", "ValidationCheck"]


@dataclass(frozen=True)
class ValidationCheck:
    """One pass over the validation rows during training.

    Attributes:
        epoch: passes over the train rows so far, with a fraction.
        score: the number by which checks are compared; more is better.
        loss: mean training loss of the steps since the previous check.
        metrics: task -> metric -> value.
        health: state of the experts, or None if it was not measured.
        held: whether instance gates were still held open. Such weights belong to another network
            than the one that is wanted, so any later check replaces this one as the best.
    """

    epoch: float
    score: float
    loss: float
    metrics: Metrics
    health: ExpertHealth | None = None
    held: bool = False

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ValidationCheck":
        """Rebuild a check from its fields as JSON."""
        health = data.get("health")
        return cls(**{**data, "health": None if health is None else ExpertHealth(**health)})


@dataclass
class TrainingState:
    """Everything that a training counts, apart from weights and moments.

    Attributes:
        checks: all checks so far.
        best: position of the best of them; -1 before the first.
        seconds: time spent in training.
        cpu_seconds: processor time of all threads in training.
        rows: train rows processed, repetitions included.
        loss: sum of the losses of the steps since the newest check.
        steps: number of those steps.
        weights: of the tasks, averaged over stretches of equally many steps; none if they are
            fixed.
        stretch: number of steps since the last stretch, then the sums of their weights.
        weighting: what a weighting says beside the weights.
    """

    checks: list[ValidationCheck] = field(default_factory=list)
    best: int = -1
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    rows: int = 0
    loss: Tensor | float = 0.0
    steps: int = 0
    weights: list[list[float]] = field(default_factory=list)
    stretch: list[float] = field(default_factory=list)
    weighting: dict[str, Any] = field(default_factory=dict)

    def note_weights(self, weights: Tensor, every: int) -> None:
        """Count the weights `[T]` of a step; `every` steps make a stretch."""
        values = [1.0, *weights.tolist()]
        before = self.stretch or [0.0] * len(values)
        self.stretch = [total + value for total, value in zip(before, values, strict=True)]
        if self.stretch[0] >= every:
            self.weights.append([total / self.stretch[0] for total in self.stretch[1:]])
            self.stretch = []

    @property
    def newest_is_best(self) -> bool:
        """Whether the newest check beats the best one before it.

        A score of NaN loses to every number, and a check with held gates to every later check.
        """
        newest = self.checks[-1].score
        if self.best < 0 or self.checks[self.best].held:
            return True
        best = self.checks[self.best].score
        return newest > best or (math.isnan(best) and not math.isnan(newest))

    @property
    def stale(self) -> int:
        """Number of checks since the best one."""
        return len(self.checks) - 1 - self.best if self.checks else 0
