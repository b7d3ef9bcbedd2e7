"""A task's metric of every model and seed: on the rows as they are, and on draws of them.

A bootstrap draw is nothing but whole-number row weights. Each metric is therefore prepared once for
fixed labels and scores (one sort for the AUC, one pass over squared errors for the RMSE) and then
measured under many weightings at a time, the same ones for all models.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recmtl.evaluate.heads.grouped_order import GroupedOrder, ordered_groups
from recmtl.evaluate.label_space import defined_rows, scores_of, task_position, weight_of
from recmtl.evaluate.metrics import multiclass_log_loss_by_row, varies
from recmtl.evaluate.pairwise_order import FloatArray, PairwiseOrder
from recmtl.evaluate.task_metrics import PRIMARY, check_scores
from recmtl.schema import TaskSpec

__all__ = [
    "FEWEST_OF_A_CLASS",
    "Grouped",
    "JudgedRows",
    "Measure",
    "Measured",
    "SeedPredictions",
    "constant_loss",
    "measured_on",
    "paired_bootstrap",
    "primary_measure",
]

# With fewer rows of either class, a bootstrap cannot estimate its own spread: no verdict.
FEWEST_OF_A_CLASS = 10
# So many draws at a time that the weights of a row fill one cache line.
DRAWS_AT_A_TIME = 8

Measure = Callable[[FloatArray], FloatArray]
"""A metric of fixed labels and scores: row weights `[R, D]` -> values `[D]`."""
SeedPredictions = Mapping[int, Mapping[str, np.ndarray]]
"""Seed -> scored column -> values `[R]`."""


@dataclass(frozen=True)
class JudgedRows:
    """Labels `[R, T]`, units that are resampled `[R]`, weights `[R]` or `[R, T]` of test rows."""

    labels: np.ndarray
    tasks: Sequence[TaskSpec]
    unit: NDArray[np.int64]
    weights: FloatArray

    def weight(self, task: TaskSpec) -> FloatArray:
        """The weights `[R]` of a task."""
        return weight_of(self.weights, task_position(self.tasks, task.name))

    def facts(self, task: TaskSpec) -> dict[str, Any]:
        """The metric of a task, and the number of rows on which it is taken."""
        primary = PRIMARY[task.judged_as]
        return {
            "metric": primary.name,
            "higher_is_better": primary.higher_is_better,
            "rows": int(defined_rows(self.labels, self.tasks, task).sum()),
        }


@dataclass(frozen=True)
class Measured:
    """A task's metric of every model and seed, one model after another; higher is better.

    Attributes:
        values: `[1 + resamples, models and seeds]`: row 0 on the rows as they are, then one row a
            draw.
        scaled: the same on the scale on which tasks are averaged.
        enough: whether there are enough rows for a bootstrap to estimate its spread.
        units: number of units that hold rows of the task, of a binary one rows of its rarer class,
            of one that ranks rows with different labels.
    """

    values: FloatArray
    scaled: FloatArray
    enough: bool
    units: int


def measured_on(
    test: JudgedRows,
    task: TaskSpec,
    models: Mapping[str, SeedPredictions],
    draw: Callable[..., FloatArray],
) -> Measured:
    """Measure every model and seed on the rows on which a task is defined, and on draws of them.

    Args:
        test: the rows, their labels, weights and units.
        task: what is measured.
        models: model -> seed -> scored columns.
        draw: makes the values on draws, `[resamples, models and seeds]`, as `paired_bootstrap`.

    Raises:
        DataError: scores cannot be judged.
    """
    rows = defined_rows(test.labels, test.tasks, task)
    label = test.labels[rows, task_position(test.tasks, task.name)]
    weights = test.weight(task)
    measures, groups = [], Grouped(test.unit[rows], weights[rows])
    for columns in (columns for seeds in models.values() for columns in seeds.values()):
        scores = scores_of(columns, test.tasks, task)
        check_scores(task.name, task.kind, scores, rows)
        measures.append(primary_measure(task.judged_as, label, scores[rows], groups))
    weight = weights[rows]
    undrawn = np.array([measure(weight[:, np.newaxis])[0] for measure in measures])
    values = np.vstack([undrawn, draw(measures, test.unit, weights, rows=rows)])
    of_constant, unit = constant_loss(task.kind, label, weight), test.unit[rows]
    if task.kind == "binary":
        fewer = min(np.count_nonzero(label == 0), np.count_nonzero(label == 1))
        units = min(len(np.unique(unit[label == value])) for value in (0, 1))
        return Measured(values, values, enough=bool(fewer >= FEWEST_OF_A_CLASS), units=units)
    if task.ranks:
        units = ordered_groups(label, unit)
        return Measured(values, values, enough=units >= FEWEST_OF_A_CLASS, units=units)
    power, units = 2 if task.kind == "regression" else 1, len(np.unique(unit))
    return Measured(-values, 1.0 - values**power / of_constant, enough=True, units=units)


@dataclass(frozen=True)
class Grouped:
    """Groups `[R]` of rows, drawn as wholes, and the weights `[R]` of the rows before any draw."""

    group: np.ndarray
    weight: np.ndarray


def primary_measure(
    kind: str, labels: np.ndarray, scores: np.ndarray, groups: Grouped | None = None
) -> Measure:
    """The primary metric of a kind of task (see `PRIMARY`), prepared for any row weights.

    Args:
        kind: `binary`, `regression`, `multiclass` or `rank`.
        labels: shape [R], on the rows on which the task is defined.
        scores: shape [R], or [R, C] for multiclass.
        groups: of the rows, for `rank`.
    """
    if kind == "rank" and groups is not None:
        return GroupedOrder(labels, scores, group=groups.group, weights=groups.weight).means
    if kind == "binary":
        return PairwiseOrder(labels, scores).aucs
    if kind == "multiclass":
        loss = multiclass_log_loss_by_row(labels, scores)
        return lambda weights: _mean(loss, weights)
    square = (np.asarray(scores, np.float64) - np.asarray(labels, np.float64)) ** 2
    return lambda weights: np.sqrt(_mean(square, weights))


def _mean(terms: FloatArray, weights: FloatArray) -> FloatArray:
    """Weighted mean of terms [R] under weights [R, D]; NaN where the weights are 0."""
    total = weights.sum(axis=0)
    # Not `@`: BLAS wakes all its threads for it, which on a busy machine costs more than the sum.
    sums = np.einsum("r,rd->d", terms, weights)
    return np.where(total > 0, sums / np.where(total > 0, total, 1.0), np.nan)


def constant_loss(kind: str, label: np.ndarray, weight: FloatArray) -> float:
    """Variance (regression) or entropy (multiclass) of labels [R]: a constant's loss, or NaN."""
    if not varies(label, weight):
        return float("nan")
    if kind == "regression":
        mean = np.average(label, weights=weight)
        return float(np.average((label - mean) ** 2, weights=weight)) or float("nan")
    share = np.bincount(label.astype(np.int64), weight) / weight.sum()
    return float(-np.sum(share[share > 0] * np.log(share[share > 0]))) or float("nan")


def paired_bootstrap(
    measures: Sequence[Measure],
    unit: NDArray[np.int64],
    weights: FloatArray,
    *,
    rows: NDArray[np.bool_],
    resamples: int,
    seed: int,
) -> FloatArray:
    """Every measure under the same `resamples` draws of units with replacement.

    Args:
        measures: each takes weights [rows where `rows` is true, D].
        unit: dense code 0..U-1 of what is drawn (the row itself, or its group), shape [R].
        weights: row weights [R], multiplied with the number of times the unit was drawn.
        rows: the rows on which the task is defined, bool [R].
        resamples: number of draws.
        seed: of the draws; with one seed for all tasks, the tasks share their draws.

    Returns:
        Values of shape [resamples, measures]; NaN where a draw leaves a metric undefined.
    """
    generator = np.random.default_rng(seed)
    units = int(unit.max()) + 1 if len(unit) else 0
    unit, weights = unit[rows], weights[rows]
    values = np.full((resamples, len(measures)), np.nan)
    if not len(unit):
        return values
    for first in range(0, resamples, DRAWS_AT_A_TIME):
        times = [_draw(generator, units) for _ in range(min(DRAWS_AT_A_TIME, resamples - first))]
        drawn = weights[:, np.newaxis] * np.stack([drawn[unit] for drawn in times], axis=1)
        for number, measure in enumerate(measures):
            values[first : first + len(times), number] = measure(drawn)
    return values


def _draw(generator: np.random.Generator, units: int) -> NDArray[np.int64]:
    """How often each unit is drawn in one resample."""
    return np.bincount(generator.integers(0, units, units), minlength=units)
