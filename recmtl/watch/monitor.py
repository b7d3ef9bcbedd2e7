"""Drift watch: how a day that a bundle has scored differs from the test rows of its training.

Every check compares one number with its reference and with a limit (`WatchLimits`), after what
chance explains has been taken off: three standard deviations. Those of a population stability index
follow from the numbers of rows; those of a metric from a jackknife over twenty parts of the day,
which divide no group.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recmtl.data.columns.funnel import task_position
from recmtl.data.encoded_log import NO_GROUP
from recmtl.evaluate.gain import jackknife_error
from recmtl.evaluate.label_space import defined_rows, scores_of, weight_of
from recmtl.evaluate.measured import FEWEST_OF_A_CLASS
from recmtl.evaluate.metrics import (
    auc,
    calibration_ratio,
    gauc,
    multiclass_log_loss,
    rmse,
    varies,
)
from recmtl.evaluate.results import plain
from recmtl.evaluate.stability import Histogram
from recmtl.schema import TaskSpec
from recmtl.schema.daily.watch import WatchLimits
from recmtl.serve.bundle import Bundle
from recmtl.train.stop_metric import folds_of_rows
from recmtl.watch.day import ScoredDay, score_day

__all__ = ["Check", "DayReport", "monitor"]

FOLDS = 20
CHANCE = 3.0
"""Standard deviations that are taken for chance."""
ONLY = "day"
"""Name of the one bundle."""
Rows = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Measure = Callable[[Rows], float]
"""A metric of the rows of a mask `[R]`."""


@dataclass(frozen=True)
class Check:
    """One number of a day beside that of the training.

    Attributes:
        kind: `unknown`, `feature`, `score`, `calibration`, `auc`, `gauc` or `loss`.
        name: the feature, scored column or task.
        value: of the day: a share, a population stability index or a metric.
        reference: of the training; None of an index, which compares the two.
        excess: how far the value is on the wrong side of the reference.
        chance: what of that chance explains.
        limit: what the rest may be.
        shapes: of an index the shares of the bins in the training and on the day.
    """

    kind: str
    name: str
    value: float
    reference: float | None
    excess: float
    chance: float
    limit: float
    shapes: tuple[tuple[float, ...], ...] = ()

    @property
    def is_beyond(self) -> bool:
        """Whether more than the limit is left after chance."""
        return self.excess - self.chance > self.limit


@dataclass(frozen=True)
class DayReport:
    """What was found on a day.

    Attributes:
        source: the day.
        bundle: the folder and fingerprint of what scored it.
        rows: of the day.
        labelled: task -> rows on which its label is known.
        checks: the most striking first.
        notes: what could not be checked, and why.
    """

    source: str
    bundle: tuple[str, str]
    rows: int
    labelled: Mapping[str, int]
    checks: tuple[Check, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        names = ", ".join(f"{check.name} ({check.kind})" for check in self.beyond) or "none"
        return f"DayReport of {self.source}: {self.rows:,} rows, beyond their limits: {names}"

    @property
    def beyond(self) -> tuple[Check, ...]:
        """The checks that are beyond their limits."""
        return tuple(check for check in self.checks if check.is_beyond)

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON data."""
        checks = [{**asdict(check), "is_beyond": check.is_beyond} for check in self.checks]
        content: dict[str, Any] = plain({**asdict(self), "checks": checks})
        return content | {"drifted": bool(self.beyond)}

    def metrics(self) -> dict[str, float]:
        """One number a check, by `watch.<kind>.<name>`, for a tracker."""
        named = {f"watch.{check.kind}.{check.name}": check.value for check in self.checks}
        return {**named, "watch.beyond": float(len(self.beyond)), "watch.rows": float(self.rows)}


def monitor(
    bundle: Bundle,
    data: str | Path,
    *,
    limits: WatchLimits | None = None,
    known_until: str | None = None,
) -> DayReport:
    """Compare a day with the training of a bundle.

    Args:
        bundle: scores the day.
        data: file, folder or glob of raw rows, with labels or without.
        limits: in place of those of the bundle's schema.
        known_until: up to when the day knows of late events; its latest time if None.

    Raises:
        DataError: the day has no row, or a column is missing or holds what it may not.
    """
    limits = bundle.encoder.schema.watch if limits is None else limits
    day = score_day({ONLY: bundle}, data, unknown_limit=limits.unknown, known_until=known_until)
    checks = [*_unknown(day, bundle, limits), *_distances(day, bundle, limits)]
    notes = []
    if bundle.reference is None:
        notes.append(
            "the bundle holds no reference (it is of an earlier release): unknown ids alone are "
            "compared; train or bundle again for the rest"
        )
    labelled = {}
    for task in bundle.encoder.schema.tasks:
        quality = _Quality(day, task, bundle=bundle)
        labelled[task.name] = int(np.count_nonzero(quality.defined))
        checks += quality.checks(limits)
        notes += quality.notes()
    checks.sort(key=lambda check: -(check.excess - check.chance) / check.limit)
    identity = str(bundle.folder), bundle.fingerprint
    return DayReport(day.source, identity, len(day), labelled, tuple(checks), tuple(notes))


def _unknown(day: ScoredDay, bundle: Bundle, limits: WatchLimits) -> Iterator[Check]:
    usual = bundle.unknown or {}
    for name, share in day.shares[ONLY].items():
        if name in usual and name not in limits.ignore:
            # A day has at least as many values as rows, but for lists that are empty.
            error = math.sqrt(share * (1 - share) / max(len(day), 1))
            growth = share - usual[name]
            yield Check("unknown", name, share, usual[name], growth, CHANCE * error, limits.unknown)


def _distances(day: ScoredDay, bundle: Bundle, limits: WatchLimits) -> Iterator[Check]:
    reference = bundle.reference
    if reference is None:
        return
    for name, now in day.features[ONLY].items():
        if name not in limits.ignore:
            yield _distance("feature", name, reference.features[name], now, limits.features)
    for name, before in reference.scores.items():
        scores = before.bins.histogram(day.scores[ONLY][name], day.weight)
        yield _distance("score", name, before, scores, limits.scores)


def _distance(kind: str, name: str, before: Histogram, now: Histogram, limit: float) -> Check:
    mean, deviation = before.chance(now)
    distance = before.distance(now)
    shapes = tuple(histogram.shares for histogram in (before, now))
    return Check(kind, name, distance, None, distance, mean + CHANCE * deviation, limit, shapes)


class _Quality:
    """The metrics of one task on the rows on which it is known."""

    def __init__(self, day: ScoredDay, task: TaskSpec, *, bundle: Bundle) -> None:
        tasks = bundle.encoder.schema.tasks
        self.task, self._day = task, day
        labels = day.labels
        self.defined = defined_rows(labels, tasks, task)
        self._label = labels[self.defined, task_position(tasks, task.name)].astype(np.float64)
        self._scores = scores_of(day.scores[ONLY], tasks, task)[self.defined]
        weight = weight_of(day.weight_by_task, task_position(tasks, task.name))
        self._weight = None if weight is None else weight[self.defined]
        self._group = None if day.group is None else day.group[self.defined]
        before = {} if bundle.reference is None else bundle.reference.quality.get(task.name, {})
        self._before = {name: value for name, value in before.items() if math.isfinite(value)}

    @property
    def _is_enough(self) -> bool:
        if self.task.kind != "binary":
            return len(self._label) >= FEWEST_OF_A_CLASS and varies(self._label, self._weight)
        positives = int(self._label.sum())
        return min(positives, len(self._label) - positives) >= FEWEST_OF_A_CLASS

    def notes(self) -> Iterator[str]:
        """Why the quality of the task is not checked, if it is not."""
        name = self.task.name
        if name in self._day.without_labels:
            yield f"{name}: the day has no labels of it yet"
        elif not self._is_enough:
            late = ", the windows of others are open" if self.task.label.is_late else ""
            few = "too few of a kind to judge"
            yield f"{name}: {len(self._label):,} rows have a label{late}: {few}"

    def checks(self, limits: WatchLimits) -> Iterator[Check]:
        """Calibration, AUC and GAUC of a binary task, GAUC of a ranked one, the loss of another."""
        if not self._is_enough:
            return
        groups = self._group
        if self.task.kind == "binary":
            yield self._calibration(limits.calibration)
            if "auc" in self._before:
                yield self._fall("auc", self._metric(auc), limits.auc)
        elif not self.task.ranks:
            name = "rmse" if self.task.kind == "regression" else "log_loss"
            if name in self._before:
                yield self._growth(name, limits.loss)
        if groups is not None and "gauc" in self._before and np.any(groups != NO_GROUP):
            yield self._fall("gauc", self._within_groups(groups), limits.auc)

    def _calibration(self, limit: float) -> Check:
        measure = self._metric(calibration_ratio)
        value, error = _jackknife(lambda rows: math.log(max(measure(rows), 1e-9)), self._folds())
        excess = math.expm1(abs(value))
        chance = excess - math.expm1(max(abs(value) - CHANCE * error, 0.0))
        return Check(
            "calibration",
            self.task.name,
            math.exp(value),
            self._before.get("calibration_ratio"),
            excess,
            chance,
            limit,
        )

    def _fall(self, kind: str, measure: Measure, limit: float) -> Check:
        value, error = _jackknife(measure, self._folds())
        fall = self._before[kind] - value
        return Check(kind, self.task.name, value, self._before[kind], fall, CHANCE * error, limit)

    def _growth(self, name: str, limit: float) -> Check:
        measure = self._metric(rmse if name == "rmse" else multiclass_log_loss)
        value, error = _jackknife(measure, self._folds())
        before = max(self._before[name], 1e-12)
        growth, chance = value / before - 1, CHANCE * error / before
        return Check("loss", self.task.name, value, self._before[name], growth, chance, limit)

    def _metric(self, function: Callable[..., float]) -> Measure:
        def measure(rows: Rows) -> float:
            weight = None if self._weight is None else self._weight[rows]
            return function(self._label[rows], self._scores[rows], weight)

        return measure

    def _within_groups(self, groups: npt.NDArray[np.int64]) -> Measure:
        def measure(rows: Rows) -> float:
            weight = None if self._weight is None else self._weight[rows]
            return gauc(self._label[rows], self._scores[rows], groups[rows], weight)

        return measure

    def _folds(self) -> npt.NDArray[np.int64]:
        groups = np.zeros(len(self._label), np.int64) if self._group is None else self._group
        return folds_of_rows(groups, FOLDS)


def _jackknife(measure: Measure, folds: npt.NDArray[np.int64]) -> tuple[float, float]:
    """A metric of all rows, and its standard error from those without each fold.

    A fold without which the metric is not defined is left out; the error is 0 if all are.
    """
    value = measure(np.ones(len(folds), np.bool_))
    without = np.array([measure(folds != fold) for fold in range(FOLDS)])
    without = without[np.isfinite(without)]
    error = jackknife_error(np.append(value, without)) if len(without) > 1 else 0.0
    return value, float(error)
