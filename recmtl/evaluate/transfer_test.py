"""The primary metric as a function of row weights, and the paired bootstrap that turns on it.

A bootstrap resample is nothing but whole-number row weights. A metric prepared once for fixed
labels and scores (sorted once for the AUC, squared errors once for the RMSE) is then measured
under many weightings, the same for all models, several at a time.

The negative-transfer verdict: did sharing help, hurt, or is neither proven?

For each task the searched network is compared with a network trained for that task alone (and with
LightGBM) on the task's primary metric, on the same test rows. The statistics, in plain words:

- Gain = mean over seeds of the searched network's metric - mean over seeds of the opponent's, with
  the sign turned where lower is better: a positive gain is always good.
- Two things could have made the gain by luck: the test rows that happened to be drawn, and the
  training seeds that happened to be used. Each gets a standard error.
- Rows: a paired bootstrap. The test rows (whole groups where there is a group role, since rows of
  one user or request are not independent) are drawn again with replacement, and both models are
  measured on the same draw; the standard deviation of the gain over the draws is the error. What
  makes both models good or bad together cancels.
- Seeds: sqrt(s1^2/n1 + s2^2/n2) from the sample variances over the seeds of the two models.
  A model with a single seed adds nothing here: its luck is unknown, not zero, and the report
  says so.
- The errors are independent, so they add in squares. Interval = gain +- q * error, where q is the
  Student quantile with Welch and Satterthwaite's degrees of freedom (the rows' part, made of many
  draws, counts as known exactly); with one seed each, q is the normal 1.96.
- helped: the interval lies wholly above 0. hurt: wholly below. Otherwise: not proven.

Each interval is for one task; among twenty tasks without any true difference, one verdict in one
direction or the other is to be expected. The mean over the tasks is judged in the same way, with
every task measured so that 1 is perfect and 0 says nothing: AUC (there .5 says nothing), 1 -
squared error over variance, 1 - log loss over entropy.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from recmtl.errors import DataError
from recmtl.evaluate.label_space import defined_rows, scores_of, task_position
from recmtl.evaluate.metrics import multiclass_log_loss_by_row
from recmtl.evaluate.pairwise_order import FloatArray, PairwiseOrder
from recmtl.evaluate.task_metrics import PRIMARY, check_scores
from recmtl.schema import TaskSpec

__all__ = [
    "FEWEST_OF_A_CLASS",
    "NOT_PROVEN",
    "Gain",
    "Measure",
    "TransferVerdict",
    "gain_of",
    "judge_transfer",
    "paired_bootstrap",
    "primary_measure",
]

Measure = Callable[[FloatArray], FloatArray]

# So many draws at a time that the weights of a row fill one cache line.
AT_ONCE = 8


def primary_measure(kind: str, labels: np.ndarray, scores: np.ndarray) -> Measure:
    """The primary metric of a task of this kind (see `score.PRIMARY`): weights [R, D] -> [D].

    Args:
        kind: `binary`, `regression` or `multiclass`.
        labels: shape [R], on the task's own rows.
        scores: shape [R], or [R, C] for multiclass.
    """
    if kind == "binary":
        return PairwiseOrder(labels, scores).aucs
    if kind == "multiclass":
        loss = multiclass_log_loss_by_row(labels, scores)
        return lambda weights: _mean(loss, weights)
    square = (np.asarray(scores, np.float64) - np.asarray(labels, np.float64)) ** 2
    return lambda weights: np.sqrt(_mean(square, weights))


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
        rows: the task's own rows, bool [R].
        resamples: number of draws.
        seed: of the draws; the same for every task, so that tasks are drawn together.

    Returns:
        Values of shape [resamples, measures]; NaN where a draw leaves a metric undefined.
    """
    generator = np.random.default_rng(seed)
    units = int(unit.max()) + 1 if len(unit) else 0
    unit, weights = unit[rows], weights[rows]
    values = np.full((resamples, len(measures)), np.nan)
    if not len(unit):
        return values
    for first in range(0, resamples, AT_ONCE):
        times = [_drawn(generator, units) for _ in range(min(AT_ONCE, resamples - first))]
        drawn = weights[:, np.newaxis] * np.stack([drawn[unit] for drawn in times], axis=1)
        for number, measure in enumerate(measures):
            values[first : first + len(times), number] = measure(drawn)
    return values


def _drawn(generator: np.random.Generator, units: int) -> NDArray[np.int64]:
    """How often each unit is drawn in one resample."""
    return np.bincount(generator.integers(0, units, units), minlength=units)


def _mean(terms: FloatArray, weights: FloatArray) -> FloatArray:
    """Weighted mean of terms [R] under weights [R, D]; NaN where there is no weight."""
    total = weights.sum(axis=0)
    # Not `@`: BLAS wakes all its threads for it, which on a busy machine costs more than the sum.
    sums = np.einsum("r,rd->d", terms, weights)
    return np.where(total > 0, sums / np.where(total > 0, total, 1.0), np.nan)


# Below this many rows of either class a bootstrap cannot know its own spread: no verdict.
FEWEST_OF_A_CLASS = 10
NOT_PROVEN = "not proven"

SeedPredictions = Mapping[int, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Gain:
    """How far one model is ahead of another on one task; positive = ahead.

    `low` and `high` bound the interval; `error_rows` and `error_seeds` are its two standard
    errors; `seeds` counts the seeds of the model and of the opponent; `verdict` is `helped`,
    `hurt` or `not proven`.
    """

    gain: float
    low: float
    high: float
    error_rows: float
    error_seeds: float
    seeds: tuple[int, int]
    verdict: str


@dataclass(frozen=True)
class TransferVerdict:
    """The subject against each opponent, ready for JSON.

    Attributes:
        tasks: task -> {metric, higher_is_better, confidence, resamples, unit, rows, verdict} and
            the fields of `Gain` under each opponent's name. Without the deciding opponent the
            verdict is `not proven`.
        mean: `tasks` that the mean is over (those that can be judged), `verdict`, and the fields of
            `Gain` under each opponent's name.
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
) -> TransferVerdict:
    """Judge `subject` against every other model, task by task and on the mean.

    Args:
        predictions: model -> seed -> scored column -> values [R], all on the same test rows.
        labels: shape [R, T], NaN = not defined.
        tasks: the schema's tasks.
        group: integer codes [R]; whole groups are resampled. None: rows are resampled.
        weight: row weights [R], used in every metric.
        subject: the model that is judged.
        decisive: the opponent against which a task is helped or hurt.
        resamples: bootstrap draws.
        confidence: of the interval, between 0 and 1.
        seed: of the draws.

    Raises:
        DataError: `subject` has no predictions, or scores cannot be judged.
    """
    if not predictions.get(subject):
        raise DataError(f"no predictions of {subject!r} to judge; found {', '.join(predictions)}")
    unit = np.arange(len(labels)) if group is None else np.unique(group, return_inverse=True)[1]
    weights = np.ones(len(labels)) if weight is None else np.asarray(weight, dtype=np.float64)
    others = {name: seeds for name, seeds in predictions.items() if seeds and name != subject}
    test = _TestRows(labels, tasks, unit, weights)
    draw = partial(paired_bootstrap, resamples=resamples, seed=seed)
    models = {subject: predictions[subject], **others}
    report: dict[str, dict[str, Any]] = {}
    scaled: dict[str, FloatArray] = {}
    for task in tasks:
        found = _measured(test, task, models, draw)
        gains = _gains(found.values, models, confidence)
        if not found.enough:
            gains = {name: replace(gain, verdict=NOT_PROVEN) for name, gain in gains.items()}
        elif np.isfinite(found.scaled[0]).all():
            scaled[task.name] = found.scaled
        settings: dict[str, Any] = {"confidence": confidence, "resamples": resamples}
        settings["unit"] = "row" if group is None else "group"
        report[task.name] = {**test.facts(task), **settings, **_told(gains, decisive)}
    mean = np.mean(list(scaled.values()), axis=0) if scaled else None
    told = {} if mean is None else _told(_gains(mean, models, confidence), decisive)
    return TransferVerdict(report, {"tasks": list(scaled), **told})


def gain_of(ours: FloatArray, theirs: FloatArray, *, confidence: float) -> Gain:
    """The gain and its interval from metric values in which higher is better.

    Args:
        ours: shape [1 + resamples, seeds]: row 0 on the rows as they are, then one row a draw.
        theirs: the opponent's, [1 + resamples, its seeds], measured on the same draws.
        confidence: of the interval.
    """
    difference = ours.mean(axis=1) - theirs.mean(axis=1)
    gain, drawn = float(difference[0]), difference[1:][np.isfinite(difference[1:])]
    # Draws without one of the classes have no value; were they many, the spread would lie.
    known = len(drawn) > 1 and 2 * len(drawn) >= len(difference) - 1
    error_rows = float(np.std(drawn, ddof=1)) if known else float("nan")
    several = [m[0] for m in (ours, theirs) if m.shape[1] > 1]
    parts = np.array([np.var(seeds, ddof=1) / len(seeds) for seeds in several])
    error = float(np.sqrt(error_rows**2 + parts.sum()))
    share = sum(p**2 / (len(seeds) - 1) for p, seeds in zip(parts, several, strict=True))
    freedom = error**4 / share if share > 0 else np.inf
    half = float(stdtrit(freedom, 0.5 + confidence / 2)) * error
    low, high = gain - half, gain + half
    return Gain(
        gain,
        low,
        high,
        error_rows,
        error_seeds=float(np.sqrt(parts.sum())),
        seeds=(ours.shape[1], theirs.shape[1]),
        verdict="helped" if low > 0 else "hurt" if high < 0 else NOT_PROVEN,
    )


@dataclass(frozen=True)
class _TestRows:
    labels: np.ndarray
    tasks: Sequence[TaskSpec]
    unit: NDArray[np.int64]
    weights: FloatArray

    def facts(self, task: TaskSpec) -> dict[str, Any]:
        """What a task is measured by, and on how many rows."""
        primary = PRIMARY[task.kind]
        return {
            "metric": primary.name,
            "higher_is_better": primary.higher_is_better,
            "rows": int(defined_rows(self.labels, self.tasks, task).sum()),
        }


@dataclass(frozen=True)
class _Measured:
    """A task's metric of every model and seed, one model after another.

    `values` [1 + resamples, models and seeds] and `scaled`, both with higher = better: row 0 on
    the rows as they are, then one row a draw. `enough`: a bootstrap can know its spread.
    """

    values: FloatArray
    scaled: FloatArray
    enough: bool


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
    now = np.array([measure(weight[:, np.newaxis])[0] for measure in measures])
    values = np.vstack([now, draw(measures, test.unit, test.weights, rows=rows)])
    nothing = _of_nothing(task.kind, label, weight)
    if task.kind == "binary":
        few = min(np.count_nonzero(label == 0), np.count_nonzero(label == 1))
        return _Measured(values, values, enough=bool(few >= FEWEST_OF_A_CLASS))
    power = 2 if task.kind == "regression" else 1
    return _Measured(-values, 1.0 - values**power / nothing, enough=True)


def _of_nothing(kind: str, label: np.ndarray, weight: FloatArray) -> float:
    """Variance (regression) or entropy (multiclass) of the labels: the loss of a constant."""
    if not weight.sum() > 0:
        return float("nan")
    if kind == "regression":
        mean = np.average(label, weights=weight)
        return float(np.average((label - mean) ** 2, weights=weight)) or float("nan")
    share = np.bincount(label.astype(np.int64), weight) / weight.sum()
    return float(-np.sum(share[share > 0] * np.log(share[share > 0]))) or float("nan")


def _told(gains: Mapping[str, Gain], decisive: str) -> dict[str, Any]:
    verdict = gains[decisive].verdict if decisive in gains else NOT_PROVEN
    return {"verdict": verdict, **{name: asdict(gain) for name, gain in gains.items()}}


def _gains(
    values: FloatArray, models: Mapping[str, SeedPredictions], confidence: float
) -> dict[str, Gain]:
    """The first of `models` against each of the others, by the other's name."""
    ends = np.cumsum([len(seeds) for seeds in models.values()])[:-1]
    ours, *others = np.split(values, ends, axis=1)
    return {
        name: gain_of(ours, theirs, confidence=confidence)
        for name, theirs in zip(list(models)[1:], others, strict=True)
    }
