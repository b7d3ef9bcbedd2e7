"""The negative-transfer test: did sharing help a task, hurt it, or is neither proven?

For each task the searched network is compared with a network trained for that task alone (and with
every other opponent) on the task's primary metric, on the same test rows. In plain words:

- The gain is the mean over seeds of the searched network's metric minus the mean over seeds of the
  opponent's, with the sign turned where lower is better: a positive gain is always good.
- A gain can be luck in three ways: through the test rows that happened to be drawn, through the
  training seeds that happened to be used, and through the train rows. Each has a standard error.
- Rows: a paired bootstrap. The test rows are drawn again with replacement, and both models are
  measured on the same draw; the error is the standard deviation of the gain over the draws. What
  makes both models good or bad together cancels. If there is a group role, whole groups are drawn,
  since rows of one user or request are not independent.
- Seeds: sqrt(s1^2/n1 + s2^2/n2) from the sample variances over the seeds of the two models. A
  model with a single seed has the variance of the other, as if its seeds scattered alike. With a
  single seed each the luck of the seeds is unknown, and nothing is proven. Models without such luck
  (`fixed`), such as logistic regression, add nothing.
- The train rows: where both models were also trained on bootstrap samples of them (`resampled`),
  the variance of the gain over these samples, less that of one seed of each model, is added. Else
  the interval does not cover the luck of the train rows.
- The errors are independent, so their squares add. The interval is gain +- q * error, where q
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
from recmtl.evaluate.measured import (
    JudgedRows,
    Measure,
    Measured,
    SeedPredictions,
    measured_on,
    paired_bootstrap,
)
from recmtl.evaluate.pairwise_order import FloatArray
from recmtl.schema import TaskSpec

__all__ = ["TransferVerdict", "judge_transfer"]


@dataclass(frozen=True)
class TransferVerdict:
    """The subject against each opponent, ready for JSON.

    Attributes:
        tasks: task -> {metric, higher_is_better, confidence, resamples, unit, false_discovery,
            train_samples, rows, verdict} and the fields of `Gain` under each opponent's name.
            Without the decisive opponent the verdict is `not proven`.
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
    resampled: Mapping[str, SeedPredictions] | None = None,
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
            absent. [R, T] where tasks have their own, all above 0.
        subject: the model that is judged.
        decisive: the opponent against which a task is helped or hurt.
        resamples: number of bootstrap draws.
        confidence: of the interval, between 0 and 1.
        seed: of the draws.
        fixed: models without the luck of a training seed: those that no seed changes, and those
            that are judged as they are, however they came about.
        false_discovery: the share of false ones among the verdicts of all tasks against one
            opponent that is allowed (`control_false_discoveries`); 0: each task for itself.
        resampled: model -> number of a bootstrap sample of the train rows -> scored columns of the
            model that was trained on it; intervals between two such models cover that luck, too.

    Raises:
        DataError: `subject` has no predictions, or scores cannot be judged.
    """
    if not predictions.get(subject):
        raise DataError(f"no predictions of {subject!r} to judge; found {', '.join(predictions)}")
    weights = np.ones(len(labels)) if weight is None else np.asarray(weight, dtype=np.float64)
    others = {name: seeds for name, seeds in predictions.items() if seeds and name != subject}
    models: Mapping[str, SeedPredictions] = {subject: predictions[subject], **others}
    resampled = resampled or {}
    if not np.all(weights > 0):
        counted = np.flatnonzero(weights > 0)
        models, resampled = _rows_of(models, counted), _rows_of(resampled, counted)
        labels, weights = labels[counted], weights[counted]
        group = None if group is None else group[counted]
    test = JudgedRows(labels, tasks, resampled_units(group, len(labels)), weights)
    draw = partial(paired_bootstrap, resamples=resamples, seed=seed)
    judge = partial(_gains, models=models, resampled=resampled, confidence=confidence, fixed=fixed)
    gains, scaled = dict[str, dict[str, Gain]](), dict[str, Measured]()
    on_samples = {task.name: measured_on(test, task, resampled, _no_draws) for task in tasks}
    for task in tasks:
        measured, sampled = measured_on(test, task, models, draw), on_samples[task.name].values
        gains[task.name] = judge(measured.values, sampled, units=measured.units)
        if not measured.enough:
            gains[task.name] = _unproven(gains[task.name])
        elif np.isfinite(measured.scaled[0]).all():
            scaled[task.name] = measured
    if false_discovery:
        gains |= _controlled({task: gains[task] for task in scaled}, false_discovery)
    settings = {
        "confidence": confidence,
        "resamples": resamples,
        "unit": "row" if group is None else "group",
        "false_discovery": false_discovery,
        "train_samples": max(map(len, resampled.values()), default=0),
    }
    mean = _mean_entry(scaled, on_samples, judge, decisive)
    return TransferVerdict(_report(test, gains, decisive, settings), mean)


def _report(
    test: JudgedRows,
    gains: Mapping[str, Mapping[str, Gain]],
    decisive: str,
    settings: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    return {
        task.name: {**test.facts(task), **settings, **_entry(gains[task.name], decisive)}
        for task in test.tasks
    }


def _no_draws(measures: Sequence[Measure], *_: FloatArray, **__: FloatArray) -> FloatArray:
    return np.empty((0, len(measures)))


def _mean_entry(
    scaled: Mapping[str, Measured],
    on_samples: Mapping[str, Measured],
    judge: Callable[..., dict[str, Gain]],
    decisive: str,
) -> dict[str, Any]:
    """The verdict on the mean over the tasks that can be judged, and their names."""
    if not scaled:
        return {"tasks": []}
    means = np.mean([measured.scaled for measured in scaled.values()], axis=0)
    of_samples = np.mean([on_samples[task].scaled for task in scaled], axis=0)
    units = min(measured.units for measured in scaled.values())
    return {"tasks": list(scaled), **_entry(judge(means, of_samples, units=units), decisive)}


def _rows_of(
    models: Mapping[str, SeedPredictions], rows: NDArray[np.int64]
) -> Mapping[str, SeedPredictions]:
    return {
        model: {
            seed: {name: scores[rows] for name, scores in columns.items()}
            for seed, columns in seeds.items()
        }
        for model, seeds in models.items()
    }


def _gains(
    values: FloatArray,
    of_samples: FloatArray,
    *,
    units: int,
    models: Mapping[str, SeedPredictions],
    resampled: Mapping[str, SeedPredictions],
    confidence: float,
    fixed: Collection[str],
) -> dict[str, Gain]:
    """The first of `models` against each of the others, by the other's name.

    Args:
        values: of `models`, as in `Measured`.
        of_samples: `[1, models and samples]` of `resampled`.
        units: as in `Measured`.
        models: model -> seed -> scored columns.
        resampled: model -> number of a sample of the train rows -> scored columns.
        confidence: of the intervals.
        fixed: models without the luck of a training seed.
    """
    subject, *names = models
    by_seed, by_sample = _by_model(values, models), _by_model(of_samples, resampled)
    gains = {}
    for name in names:
        samples = None
        if subject in by_sample and name in by_sample:
            samples = by_sample[subject][0] - by_sample[name][0]
        gains[name] = gain_of(
            by_seed[subject],
            by_seed[name],
            confidence=confidence,
            units=units,
            fixed=(subject in fixed, name in fixed),
            samples=samples,
        )
    return gains


def _by_model(
    values: FloatArray, models: Mapping[str, SeedPredictions]
) -> Mapping[str, FloatArray]:
    ends = np.cumsum([len(seeds) for seeds in models.values()])[:-1]
    return dict(zip(models, np.split(values, ends, axis=1), strict=False))


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
