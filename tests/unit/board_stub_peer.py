"""A peer of the board without a library: logistic regression by gradient steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.board.peer import Log, Part, offline, serve

SETTINGS = ({"rate": 0.001}, {"rate": 0.5})


class Stub:
    """One linear model a task on the numbers alone."""

    def __init__(self, log: Log, train: Part, setting: Any, seed: int) -> None:
        self.log, self.train, self.rate = log, train, setting["rate"]
        self.weights = np.random.default_rng(seed).normal(0, 0.01, (log.numbers, len(log.tasks)))
        self.parameters = self.weights.size

    def epoch(self) -> None:
        """A gradient step on all rows."""
        labels = self.log.labels(self.train)
        wrong = np.where(np.isnan(labels), 0.0, self.scores(self.train) - labels)
        self.weights -= self.rate * self.train["numbers"].T @ wrong / len(wrong) * 10

    def scores(self, part: Part) -> np.ndarray:
        """Probabilities, or values of a regression, `[R, T]`."""
        linear = part["numbers"] @ self.weights
        values = [task["kind"] == "regression" for task in self.log.tasks]
        return np.where(values, linear, 1 / (1 + np.exp(-linear)))

    def state(self) -> object:
        """A copy of the weights."""
        return self.weights.copy()

    def restore(self, state: Any) -> None:
        """Put weights back that `state` gave."""
        self.weights = state


def tasks_of(arm: str, log: Log) -> Sequence[str]:
    """All tasks, or the first alone."""
    names = [task["name"] for task in log.tasks]
    return names[:1] if arm == "first" else names


if __name__ == "__main__":
    offline()
    ARMS = dict.fromkeys(("all", "first"), (Stub, SETTINGS))
    serve(ARMS, tasks_of=tasks_of, package="numpy")
