"""The negative-transfer test: did sharing help a task, hurt it, or is neither proven?

For each task the searched network is compared with a network trained for that task alone (and with
every other opponent) on the task's primary metric, on the same test rows. In plain words:

- The gain is the mean over seeds of the searched network's metric minus the mean over seeds of the
  opponent's, with the sign turned where lower is better: a positive gain is always good.
- A gain can be luck in two ways: through the test rows that happened to be drawn, and through the
  training seeds that happened to be used. Each has a standard error.
- Rows: a paired bootstrap. The test rows are drawn again with replacement, and both models are
  measured on the same draw; the error is the standard deviation of the gain over the draws. What
  makes both models good or bad together cancels. If there is a group role, whole groups are drawn,
  since rows of one user or request are not independent.
- Seeds: sqrt(s1^2/n1 + s2^2/n2) from the sample variances over the seeds of the two models. A
  model with a single seed has the variance of the other, as if its seeds scattered alike. With a
  single seed each the luck of the seeds is unknown, and nothing is proven. Models without such luck
  (`fixed`), such as logistic regression, add nothing.
- The two errors are independent, so their squares add. The interval is gain +- q * error, where q
  is Student's quantile with the degrees of freedom of Welch and Satterthwaite. The rows have one
  less than there are units that were drawn (of a binary task, that hold its rarer class) or draws.
- The verdict is `helped` if the whole interval lies above 0, `hurt` if it lies below 0, and
  otherwise `not proven`.

Each interval is for one task: among twenty tasks without any true difference, expect one verdict
other than `not proven`, unless `false_discovery` bounds their share among all verdicts.
`tests/properties/test_stated_level.py` simulates studies of copies.

The mean over the tasks is judged in the same way, with every task measured on a scale on which 1 is
perfect and a constant prediction gets a fixed value: AUC (0.5), 1 - squared error over variance
(0), 1 - log loss over entropy (0).

A bootstrap draw is nothing but whole-number row weights. Each metric is therefore prepared once for
fixed labels and scores (one sort for the AUC, one pass over squared errors for the RMSE) and then
measured under many weightings at a time, the same ones for all models.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recmtl.errors import DataError
from recmtl.evaluate.gain import NOT_PROVEN, Gain, control_false_discoveries, gain_of
from recmtl.evaluate.groups import resampled_units
from recmtl.evaluate.label_space import defined_rows, scores_of, task_position
from recmtl.evaluate.metrics import multiclass_log_loss_by_row, varies
from recmtl.evaluate.pairwise_order import FloatArray, PairwiseOrder
from recmtl.evaluate.task_metrics import PRIMARY, check_scores
from recmtl.schema import TaskSpec

__all__ = [
    "FEWEST_OF_A_CLASS",
    "Measure",
    "TransferVerdict",
    "judge_transfer",
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
class TransferVerdict:
    """The subject against each opponent, ready for JSON.

    Attributes:
        tasks: task -> {metric, higher_is_better, confidence, resamples, unit, false_discovery,
            rows, verdict} and the fields of `Gain` under each opponent's name. Without the decisive
            opponent the verdict is `not proven`.
        mean: `tasks` over which the mean is taken (those that can be judged), `verdict`, and the
            fields of `Gain` under each opponent's name.
    """

    tasks: dict[str, dict[str, Any]]
    mean: dict[str, Any]


def judge_transfer(
    predictions: Mapping[str, SeedPredictions],
    labels: np.ndarray,
    tasks: Sequence[TaskSpec],
    *,
    group: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    subject: str = "searched",
    decisive: str = "single_task",
    resamples: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
    fixed: Collection[str] = (),
    false_discovery: float = 0.0,
) -> TransferVerdict:
    """Judge `subject` against every other model, task by task and on the mean.

    Args:
        predictions: model -> seed -> scored column -> values [R], all on the same test rows.
        labels: shape [R, T], NaN = not defined.
        tasks: the schema's tasks.
        group: integer codes [R]; whole groups are resampled, and rows without one (`NO_GROUP`)
            each for itself. None: rows are resampled.
        weight: row weights [R], used in every metric. They are those of a survey: a row of weight 2
            stands for two rows like it but is drawn as one, so that weights move the metrics and
            never make the interval narrower by their sum. A row of weight 0 is as if it were
            absent.
        subject: the model that is judged.
        decisive: the opponent against which a task is helped or hurt.
        resamples: number of bootstrap draws.
        confidence: of the interval, between 0 and 1.
        seed: of the draws.
        fixed: models without the luck of a training seed: those that no seed changes, and those
            that are judged as they are, however they came about.
        false_discovery: the share of false ones among the verdicts of all tasks against one
            opponent that is allowed (`control_false_discoveries`); 0: each task for itself.

    Raises:
        DataError: `subject` has no predictions, or scores cannot be judged.
    """
    if not predictions.get(subject):
        raise DataError(f"no predictions of {subject!r} to judge; found {', '.join(predictions)}")
    weights = np.ones(len(labels)) if weight is None else np.asarray(weight, dtype=np.float64)
    others = {name: seeds for name, seeds in predictions.items() if seeds and name != subject}
    models: Mapping[str, SeedPredictions] = {subject: predictions[subject], **others}
    if not np.all(weights > 0):
        counted = np.flatnonzero(weights > 0)
        models = {name: _rows_of(seeds, counted) for name, seeds in models.items()}
        labels, weights = labels[counted], weights[counted]
        group = None if group is None else group[counted]
    unit = resampled_units(group, len(labels))
    test = _TestRows(labels, tasks, unit, weights)
    draw = partial(paired_bootstrap, resamples=resamples, seed=seed)
    judge = partial(_gains, models=models, confidence=confidence, fixed=frozenset(fixed))
    gains: dict[str, dict[str, Gain]] = {}
    scaled: dict[str, _Measured] = {}
    for task in tasks:
        measured = _measured(test, task, models, draw)
        gains[task.name] = of_task = judge(measured.values, units=measured.units)
        if not measured.enough:
            gains[task.name] = _unproven(of_task)
        elif np.isfinite(measured.scaled[0]).all():
            scaled[task.name] = measured
    if false_discovery:
        gains |= _controlled({task: gains[task] for task in scaled}, false_discovery)
    settings: dict[str, Any] = {"confidence": confidence, "resamples": resamples}
    settings["unit"] = "row" if group is None else "group"
    settings["false_discovery"] = false_discovery
    report = {
        task.name: {**test.facts(task), **settings, **_entry(gains[task.name], decisive)}
        for task in tasks
    }
    return TransferVerdict(report, _mean_entry(scaled, judge, decisive))


def _mean_entry(
    scaled: Mapping[str, "_Measured"], judge: Callable[..., dict[str, Gain]], decisive: str
) -> dict[str, Any]:
    """The verdict on the mean over the tasks that can be judged, and their names."""
    if not scaled:
        return {"tasks": []}
    means = np.mean([measured.scaled for measured in scaled.values()], axis=0)
    units = min(measured.units for measured in scaled.values())
    return {"tasks": list(scaled), **_entry(judge(means, units=units), decisive)}


def _rows_of(seeds: SeedPredictions, rows: NDArray[np.int64]) -> SeedPredictions:
    return {
        seed: {name: scores[rows] for name, scores in columns.items()}
        for seed, columns in seeds.items()
    }


@dataclass(frozen=True)
class _TestRows:
    """Labels `[R, T]`, units that are resampled `[R]` and weights `[R]` of the test rows."""

    labels: np.ndarray
    tasks: Sequence[TaskSpec]
    unit: NDArray[np.int64]
    weights: FloatArray

    def facts(self, task: TaskSpec) -> dict[str, Any]:
        """The metric of a task, and the number of rows on which it is taken."""
        primary = PRIMARY[task.kind]
        return {
            "metric": primary.name,
            "higher_is_better": primary.higher_is_better,
            "rows": int(defined_rows(self.labels, self.tasks, task).sum()),
        }


@dataclass(frozen=True)
class _Measured:
    """A task's metric of every model and seed, one model after another; higher is better.

    Attributes:
        values: `[1 + resamples, models and seeds]`: row 0 on the rows as they are, then one row a
            draw.
        scaled: the same on the scale on which tasks are averaged.
        enough: whether there are enough rows for a bootstrap to estimate its spread.
        units: number of units that hold rows of the task, of a binary one rows of its rarer class.
    """

    values: FloatArray
    scaled: FloatArray
    enough: bool
    units: int


def _measured(
    test: _TestRows,
    task: TaskSpec,
    models: Mapping[str, SeedPredictions],
    draw: Callable[..., FloatArray],
) -> _Measured:
    rows = defined_rows(test.labels, test.tasks, task)
    label = test.labels[rows, task_position(test.tasks, task.name)]
    measures = []
    for columns in (columns for seeds in models.values() for columns in seeds.values()):
        scores = scores_of(columns, test.tasks, task)
        check_scores(task.name, task.kind, scores, rows)
        measures.append(primary_measure(task.kind, label, scores[rows]))
    weight = test.weights[rows]
    undrawn = np.array([measure(weight[:, np.newaxis])[0] for measure in measures])
    values = np.vstack([undrawn, draw(measures, test.unit, test.weights, rows=rows)])
    constant_loss, unit = _constant_loss(task.kind, label, weight), test.unit[rows]
    if task.kind == "binary":
        fewer = min(np.count_nonzero(label == 0), np.count_nonzero(label == 1))
        units = min(len(np.unique(unit[label == value])) for value in (0, 1))
        return _Measured(values, values, enough=bool(fewer >= FEWEST_OF_A_CLASS), units=units)
    power, units = 2 if task.kind == "regression" else 1, len(np.unique(unit))
    return _Measured(-values, 1.0 - values**power / constant_loss, enough=True, units=units)


def primary_measure(kind: str, labels: np.ndarray, scores: np.ndarray) -> Measure:
    """The primary metric of a kind of task (see `PRIMARY`), prepared for any row weights.

    Args:
        kind: `binary`, `regression` or `multiclass`.
        labels: shape [R], on the rows on which the task is defined.
        scores: shape [R], or [R, C] for multiclass.
    """
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


def _constant_loss(kind: str, label: np.ndarray, weight: FloatArray) -> float:
    """Variance (regression) or entropy (multiclass) of the labels: the loss of a constant."""
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


def _gains(
    values: FloatArray,
    models: Mapping[str, SeedPredictions],
    confidence: float,
    *,
    units: int,
    fixed: Collection[str],
) -> dict[str, Gain]:
    """The first of `models` against each of the others, by the other's name."""
    ends = np.cumsum([len(seeds) for seeds in models.values()])[:-1]
    ours, *others = np.split(values, ends, axis=1)
    subject, *names = models
    return {
        name: gain_of(
            ours,
            theirs,
            confidence=confidence,
            units=units,
            fixed=(subject in fixed, name in fixed),
        )
        for name, theirs in zip(names, others, strict=True)
    }


def _unproven(gains: Mapping[str, Gain]) -> dict[str, Gain]:
    return {name: replace(gain, verdict=NOT_PROVEN) for name, gain in gains.items()}


def _controlled(gains: Mapping[str, Mapping[str, Gain]], rate: float) -> dict[str, dict[str, Gain]]:
    """The gains of each task by opponent, with false discoveries controlled for each opponent."""
    opponents = next(iter(gains.values()), {})
    by_opponent = {
        name: control_false_discoveries({task: gains[task][name] for task in gains}, rate)
        for name in opponents
    }
    return {task: {name: by_opponent[name][task] for name in opponents} for task in gains}


def _entry(gains: Mapping[str, Gain], decisive: str) -> dict[str, Any]:
    verdict = gains[decisive].verdict if decisive in gains else NOT_PROVEN
    return {"verdict": verdict, **{name: asdict(gain) for name, gain in gains.items()}}
