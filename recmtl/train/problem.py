"""What the loop and the search need to know of a problem, whatever its rows are.

`TabularProblem` and `recmtl.vision.problem.ImageProblem` implement `Problem`: they hold the rows,
build networks for them, and measure what a network predicts.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

import numpy as np
import torch

from recmtl.data.batches import Rows
from recmtl.evaluate.task_metrics import Metrics
from recmtl.grid import Cost, Decision, Layout
from recmtl.grid.catalog.shared import Level
from recmtl.grid.layout import Pixels
from recmtl.model import ModelSizes, Network
from recmtl.train.config import Grid

__all__ = ["LaneShape", "Part", "Predictions", "Problem", "TrainingTask", "network_cost"]

Predictions = dict[str, np.ndarray]
"""Scored column -> values `[R]`."""
Part = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class LaneShape:
    """Shape of an input lane of the grid.

    Attributes:
        input_width: features of a table's lane, channels of an image's.
        pixels: height and width; (1, 1) for tables.
    """

    input_width: int
    pixels: Pixels = (1, 1)


class TrainingTask(Protocol):
    """A task as the training sees it: a name."""

    @property
    def name(self) -> str:
        """Unique among the tasks."""


class Problem(Protocol):
    """Train, validation and test rows, their tasks, and the networks that fit them."""

    @property
    def train(self) -> Rows:
        """Rows from which weights and policies learn."""

    @property
    def validation(self) -> Rows:
        """Rows on which every choice is made."""

    @property
    def test(self) -> Rows:
        """Rows that are scored once and never used for a choice."""

    @property
    def tasks(self) -> Sequence[TrainingTask]:
        """The tasks, in the order of a network's outputs."""

    @property
    def sources(self) -> Mapping[str, Sequence[str]]:
        """The sources of knowledge that networks hear, with the fields of each; perhaps none."""

    def resampled(self, number: int) -> Self:
        """The problem on a bootstrap sample of its train rows; each number is another sample."""

    def hearing(self, sources: Collection[str]) -> Self:
        """The problem of networks that hear these sources alone, on the same rows."""

    def weighed(self, factors: Mapping[str, float]) -> Self:
        """The problem with the losses of these tasks multiplied by factors."""

    def only(self, task: TrainingTask) -> Self:
        """The problem of one task alone."""

    def network(self, layout: Layout, sizes: ModelSizes) -> Network:
        """A new network of a layout, on the device on which batches arrive."""

    def lane_shape(self, sizes: ModelSizes) -> LaneShape:
        """Shape of a network's input lanes."""

    def layout(self, name: str, grid: Grid) -> Layout:
        """The catalog's layout of this name, in the sizes that suit this problem."""

    def levels(self, grid: Grid) -> Sequence[Level]:
        """The experts of each depth at which the tasks of a branched tree may part."""

    def evaluate(
        self,
        model: Network,
        part: Part = "validation",
        decisions: Sequence[Decision] | None = None,
    ) -> Metrics:
        """Every metric of every task on a part of the rows, in evaluation mode."""

    def scored(self, model: Network) -> tuple[Predictions, Metrics]:
        """Predictions on the test rows and their metrics; either may be left empty.

        Problems with large predictions keep the metrics alone; those with small ones keep the
        predictions, from which `judged` makes the metrics.
        """

    def scored_validation(self, model: Network) -> Predictions:
        """Predictions on the validation rows; nothing where predictions are large."""

    def together(self, parts: Mapping[str, Predictions]) -> Predictions:
        """Predictions of networks for one task each, under the columns of one network for all."""

    def judged(self, predictions: Predictions) -> Metrics:
        """Metrics of predictions on the test rows."""

    def score(self, metrics: Metrics) -> float:
        """The number by which networks are chosen: more is better, NaN if nothing is defined."""

    @property
    def score_weights(self) -> dict[str, float]:
        """The tasks that count in `score`, and how much each does."""

    def fold_scores(self, model: Network, folds: int) -> np.ndarray:
        """The numbers of which `score` is the mean, on parts of the validation rows: `[1 + F, T]`.

        First on all rows, then on all but one of F folds, which divide no group of rows.
        """

    def primary(self, metrics: Metrics) -> dict[str, float]:
        """The metric on which each task is judged, by task."""


def network_cost(problem: Problem, layout: Layout, sizes: ModelSizes) -> Cost:
    """`Network.cost` of a layout's network, without the memory of building it."""
    with torch.device("meta"):  # shapes alone: no memory, no random numbers
        return problem.network(layout, sizes).cost()
