"""What training found: its checks on the validation rows, and which of them was the best."""

import math
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from recmtl.evaluate.task_metrics import Metrics
from recmtl.grid.expert_health import ExpertHealth

__all__ = ["TrainingState", "ValidationCheck"]


@dataclass(frozen=True)
class ValidationCheck:
    """One validation pass: where training stood, what it scored, how the experts were.

    `held` says that instance gates were held open: no network that is asked for.
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
    """What training found, and where it stands.

    Attributes:
        checks: made so far.
        best: position of the best of them; -1 before the first.
        seconds: trained so far.
        rows: seen so far.
        loss: sum of the losses of the steps since the newest check.
        steps: their number.
    """

    checks: list[ValidationCheck] = field(default_factory=list)
    best: int = -1
    seconds: float = 0.0
    rows: int = 0
    loss: Tensor | float = 0.0
    steps: int = 0

    @property
    def newest_is_best(self) -> bool:
        """Whether the newest check scored more than the best before it; undefined is least.

        A check with gates held open gives way to any later one.
        """
        newest = self.checks[-1].score
        if self.best < 0 or self.checks[self.best].held:
            return True
        best = self.checks[self.best].score
        return newest > best or (math.isnan(best) and not math.isnan(newest))

    @property
    def stale(self) -> int:
        """Checks since the best one."""
        return len(self.checks) - 1 - self.best if self.checks else 0
