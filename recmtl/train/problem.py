"""What a network is trained on, whatever its rows are: how to feed it, build it and judge it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np
import torch

from recmtl.data.batches import Rows
from recmtl.grid import Cost, Decision, Layout
from recmtl.model import ModelSizes, Network
from recmtl.train.config import Grid
from recmtl.train.training_state import Metrics

__all__ = ["Area", "Predictions", "Problem", "TrainingTask", "network_cost"]

Predictions = dict[str, np.ndarray]
Area = dict[str, Any]
"""`input_width` and `pixels` of an input lane, as the grid's functions take them."""


class TrainingTask(Protocol):
    """A task, of which the training only needs the name."""

    @property
    def name(self) -> str:
        """Unique among the tasks."""


class Problem(Protocol):
    """Train, validation and test rows and their tasks: tables (`TabularProblem`) or images.

    Test rows are scored and never used for a choice.
    """

    @property
    def train(self) -> Rows:
        """Rows that weights and policies learn from."""

    @property
    def validation(self) -> Rows:
        """Rows on which everything is chosen."""

    @property
    def test(self) -> Rows:
        """Rows that are measured once."""

    @property
    def tasks(self) -> Sequence[TrainingTask]:
        """The tasks, in the order of a network's outputs."""

    def only(self, task: Any) -> Self:
        """One task alone."""

    def network(self, layout: Layout, sizes: ModelSizes) -> Network:
        """A fresh network of a layout, on the device on which batches arrive."""

    def lane(self, sizes: ModelSizes) -> Area:
        """Width and pixels of a network's input lane."""

    def layout(self, name: str, grid: Grid) -> Layout:
        """A way to share of the catalog, by name, in the sizes of this problem's networks."""

    def levels(self, grid: Grid) -> Sequence[Any]:
        """Experts of each depth at which the tasks of a tree may part."""

    def evaluate(
        self, model: Any, rows: Any, decisions: Sequence[Decision] | None = None
    ) -> Metrics:
        """Every metric of every task on a part, in evaluation mode."""

    def scored(self, model: Any) -> tuple[Predictions, Metrics]:
        """Scored columns of the test rows; or nothing, where they would be large, and metrics."""

    def together(self, parts: Mapping[str, Predictions]) -> Predictions:
        """Columns of tasks trained alone, under the names that one network for all has."""

    def judged(self, predictions: Predictions) -> Metrics:
        """Metrics of scored columns of the test rows."""

    def score(self, metrics: Metrics) -> float:
        """What "best" means: one number, more is better, NaN where nothing is defined."""

    def primary(self, metrics: Metrics) -> dict[str, float]:
        """Of each task the one metric on which it is judged."""


def network_cost(problem: Problem, layout: Layout, sizes: ModelSizes) -> Cost:
    """What `Network.cost` would be, with no network built."""
    with torch.device("meta"):  # shapes alone: no memory, no random numbers
        return problem.network(layout, sizes).cost()
