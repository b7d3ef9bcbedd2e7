"""Labels: the column or rule of each task as float32, NaN on rows where the task is not defined.

One pass over all rows checks and fits (classes, mean, positives); a second encodes. A rule is a
schema's `Condition` on a column. Columns are canonical, see `recmtl.data.columns.logical_type`.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.funnel import Orphans, defined_rows, joint_labels
from recmtl.data.columns.keys import Keys
from recmtl.data.columns.numeric import Moments
from recmtl.data.columns.vocabulary import VocabularyFit
from recmtl.data.labelled.position import read_positions
from recmtl.data.labelled.reading import read_class, read_label, written_label
from recmtl.data.labelled.weights import joined_weights, task_weight
from recmtl.data.labelled.windows import late_rows
from recmtl.errors import SourceLocation
from recmtl.schema import Schema, TaskSpec

__all__ = ["LabelFit", "LabelStatistics", "Labels"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
MOST_CLASSES = 1000
MOST_ROUNDING = 0.01
"""Rounding to float32 may move a label by this share of the labels' deviation."""


@dataclass(frozen=True)
class LabelStatistics:
    """What the train rows say of one task.

    Attributes:
        rows: number of train rows on which the label is defined.
        positives: of those, how many are 1 (binary); 0 for other kinds.
        mean: of the label after its transform (of the class index for multiclass), by weight.
        std: of the same.
        classes: values of a multiclass label, sorted; empty for other kinds.
        given_parent: mean of a funnel child's label on train rows on which its parent happened;
            None for other tasks, and in logs of 0.1.

    The label of a funnel child is that of the joint event, see `recmtl.data.columns.funnel`.
    """

    rows: int
    positives: int
    mean: float
    std: float
    classes: tuple[int | str, ...] = ()
    given_parent: float | None = None

    @staticmethod
    def from_json(raw: dict[str, Any]) -> "LabelStatistics":
        """Read one entry of a manifest."""
        return LabelStatistics(**{**raw, "classes": tuple(raw["classes"])})

    def to_json(self) -> dict[str, Any]:
        """The entry for a manifest; `given_parent` is left out of tasks without a parent."""
        fields = {name: value for name, value in asdict(self).items() if value is not None}
        return {**fields, "classes": list(self.classes)}


class Labels:
    """Encodes the labels of all tasks."""

    def __init__(self, schema: Schema, statistics: dict[str, LabelStatistics]) -> None:
        """Take what was fitted.

        Args:
            schema: says which tasks there are.
            statistics: of each task's label, by task.
        """
        self.schema = schema
        self.statistics = statistics

    def encode(self, columns: pa.RecordBatch, place: SourceLocation) -> npt.NDArray[np.float32]:
        """float32 [rows, T]: 0/1, class index or raw value; NaN where not defined.

        Labels of funnel children are those of joint events, see `recmtl.data.columns.funnel`. A
        task is not defined where its own weight is 0.
        """
        tasks = self.schema.tasks
        out = np.empty((columns.num_rows, len(tasks)), np.float32)
        for i, task in enumerate(tasks):
            if task.kind == "multiclass":
                out[:, i] = self._classes(task, columns, place)
            else:
                out[:, i] = read_label(task, self.schema, columns, place)
        for i, task in enumerate(tasks):
            if task.parent is not None:
                out[:, i] = joint_labels(out, tasks, task)
        for i, task in enumerate(tasks):
            weight = task_weight(task, out[:, i], columns, place)
            if weight is not None:
                out[weight == 0, i] = np.nan
        return out

    def weights(
        self,
        labels: npt.NDArray[np.float32],
        columns: pa.RecordBatch,
        place: SourceLocation,
        weight: Floats | None,
    ) -> Floats:
        """What each row counts for each task, [rows, T]; [rows, 0] if no task has its own weight.

        Args:
            labels: what `encode` made of the same rows.
            columns: as for `encode`.
            place: where the rows come from.
            weight: of the rows; None counts each once.
        """
        tasks = self.schema.tasks
        if all(task.sample_weight is None for task in tasks):
            return np.empty((columns.num_rows, 0))
        every = np.ones(columns.num_rows) if weight is None else weight
        out = np.empty((columns.num_rows, len(tasks)))
        for i, task in enumerate(tasks):
            of_task = task_weight(task, labels[:, i], columns, place)
            joined = joined_weights(every, of_task)
            # Where it is 0 the task is not defined, and a weight of 0 would leave out the row.
            out[:, i] = every if joined is None else np.where(joined > 0, joined, every)
        return out

    def waits(
        self, labels: npt.NDArray[np.float32], columns: pa.RecordBatch, place: SourceLocation
    ) -> npt.NDArray[np.float32]:
        """What is known of late labels, float32 [rows, 2 L]: `waited` and `delay` of each.

        See `LateRows`. Where a label is known, so is all of its window: `waited` is 1.

        Args:
            labels: what `encode` made of the same rows.
            columns: as for `encode`.
            place: where the rows come from.
        """
        tasks, waits = self.schema.tasks, list[Floats]()
        for i, task in enumerate(tasks):
            if task.label.is_late:
                written = written_label(task, tasks, columns, place)
                late = late_rows(task, self.schema, columns, written, place)
                of_task = [np.where(np.isnan(labels[:, i]), late.waited, 1.0), late.delay]
                weight = task_weight(task, labels[:, i], columns, place)
                left_out = False if weight is None else weight == 0
                waits += [np.where(left_out, np.nan, values) for values in of_task]
        out = np.stack(waits, 1) if waits else np.empty((columns.num_rows, 0))
        return out.astype(np.float32)

    def _classes(self, task: TaskSpec, columns: pa.RecordBatch, place: SourceLocation) -> Floats:
        keys = read_class(task, columns, place)
        index = {value: float(i) for i, value in enumerate(self.statistics[task.name].classes)}
        # A class that no train row has cannot be predicted: such a row is not used.
        positions = [index.get(value, math.nan) for value in keys.values.to_pylist()]
        return np.array([*positions, math.nan])[keys.codes]


class LabelFit:
    """Checks every label and collects statistics of the train rows."""

    def __init__(self, schema: Schema, source: str) -> None:
        """Start without rows.

        Args:
            schema: says which tasks there are.
            source: what to call the whole data in messages.
        """
        self.schema = schema
        self.place = SourceLocation(source)
        tasks = schema.tasks
        self._moments = {task.name: Moments() for task in tasks}
        self._given_parent = {task.name: Moments() for task in tasks if task.parent is not None}
        self._rounding = {task.name: Moments() for task in tasks}
        self._positives = dict.fromkeys(self._moments, 0)
        self._class_weights: dict[str, list[dict[int | str, float]]] = {}
        self._orphans = Orphans(tasks)
        self._classes = {
            task.name: VocabularyFit(task.name, min_count=1, buckets=None)
            for task in tasks
            if task.kind == "multiclass"
        }

    def add(
        self,
        columns: pa.RecordBatch,
        train: Bools,
        place: SourceLocation,
        *,
        row: npt.NDArray[np.int64] | None = None,
        weight: Floats | None = None,
    ) -> None:
        """Check one batch; count its train rows.

        Args:
            columns: a record batch with the columns of the labels.
            train: bool [rows].
            place: where the rows come from.
            row: numbers of the rows in the whole log; None counts from 0.
            weight: of the rows, above 0; None counts each once.
        """
        tasks = self.schema.tasks
        read_positions(self.schema, columns, place)  # refuses what encoding could not read
        labels = np.full((columns.num_rows, len(tasks)), np.nan, order="F")
        for i, task in enumerate(tasks):
            if task.kind == "multiclass":
                keys = read_class(task, columns, place)
                class_known = np.where(keys.codes < 0, np.nan, 0.0)
                counts, weights = _counted(task, class_known, columns, place, train, weight)
                kept = Keys(np.where(counts, keys.codes, -1), keys.values)
                self._classes[task.name].add(kept, task.label.column, place)
                self._weigh_classes(task.name, kept, weights)
            else:
                labels[:, i] = read_label(task, self.schema, columns, place)
        self._orphans.add(labels, np.arange(len(labels)) if row is None else row, place)
        for i, task in enumerate(tasks):
            if task.kind == "multiclass":
                continue
            label = joint_labels(labels, tasks, task)
            counts, weights = _counted(task, label, columns, place, train, weight)
            self._add_label(task, label, counts & ~np.isnan(label), weights)
            if task.parent is not None:
                rows = counts & defined_rows(labels, tasks, task)
                of_rows = None if weights is None else weights[rows]
                self._given_parent[task.name].add(labels[rows, i], of_rows)

    def _weigh_classes(self, name: str, keys: Keys, weight: Floats | None) -> None:
        """Sum up the weights of a class's rows; without weights, their counts are enough."""
        if weight is None:
            return
        sums = np.bincount(keys.codes + 1, weight, len(keys.values) + 1)[1:]
        of_batch = zip(keys.values.to_pylist(), sums.tolist(), strict=True)
        self._class_weights.setdefault(name, []).append(_added(of_batch))

    def _add_label(
        self, task: TaskSpec, values: Floats, rows: Bools, weight: Floats | None
    ) -> None:
        label, of_rows = values[rows], None if weight is None else weight[rows]
        if task.kind == "binary":
            self._positives[task.name] += int(np.count_nonzero(label == 1))
            self._moments[task.name].add(label, of_rows)
            return
        rounded = label.astype(np.float32).astype(np.float64)
        if task.transform == "log1p":
            label, rounded = np.log1p(label), np.log1p(rounded)
        self._moments[task.name].add(label, of_rows)
        self._rounding[task.name].add(np.square(rounded - label), of_rows)

    def merge(self, later: "LabelFit") -> None:
        """Take what was counted of rows that follow."""
        for moments, of_later in (
            (self._moments, later._moments),
            (self._given_parent, later._given_parent),
            (self._rounding, later._rounding),
        ):
            for name, of_task in moments.items():
                of_task.merge(of_later[name])
        for name, positives in later._positives.items():
            self._positives[name] += positives
        for name, classes in self._classes.items():
            classes.merge(later._classes[name])
        for name, weights in later._class_weights.items():
            self._class_weights.setdefault(name, []).extend(weights)
        self._orphans.merge(later._orphans)

    def finish(self) -> Labels:
        """The fitted labels.

        Raises:
            DataError: a label is constant on the train rows, has too many classes, or a funnel
                child is 1 where its parent is 0.
        """
        statistics = {}
        for task in self.schema.tasks:
            self._orphans.refuse(task)
        for task in self.schema.tasks:
            statistics[task.name] = self._statistics(task)
            self._refuse_constant(task, statistics[task.name])
            self._refuse_rounded(task)
        return Labels(self.schema, statistics)

    def _statistics(self, task: TaskSpec) -> LabelStatistics:
        if task.kind == "multiclass":
            return self._class_statistics(task)
        moments = self._moments[task.name]
        given_parent = self._given_parent[task.name].mean if task.parent is not None else None
        return LabelStatistics(
            moments.count,
            self._positives[task.name],
            moments.mean,
            moments.std,
            given_parent=given_parent,
        )

    def _class_statistics(self, task: TaskSpec) -> LabelStatistics:
        counted = self._classes[task.name].counts()
        classes = tuple(sorted(counted))
        if len(classes) > MOST_CLASSES:
            fault = f"has {len(classes)} classes, more than {MOST_CLASSES}"
            remedy = f"make task {task.name!r} a regression, or group the classes"
            raise self.place.error(fault, remedy, column=task.label.column)
        if task.head is not None and any(isinstance(value, str) for value in classes):
            fault = f"has classes of text, {classes[0]!r} the first, whose order is not known"
            remedy = f"write them as whole numbers, or drop head: ordinal of task {task.name!r}"
            raise self.place.error(fault, remedy, column=task.label.column)
        counts = np.array([counted[value] for value in classes])
        index = np.repeat(np.arange(len(classes), dtype=np.float64), counts)
        moments, weights = Moments(), self._class_weights.get(task.name)
        if weights is None:
            moments.add(index)
        else:
            totals = _added(pair for of_batch in weights for pair in of_batch.items())
            by_class = np.array([totals[value] for value in classes])
            moments.add(np.arange(len(classes), dtype=np.float64), by_class)
        return LabelStatistics(len(index), 0, moments.mean, moments.std, classes)

    def _refuse_constant(self, task: TaskSpec, label: LabelStatistics) -> None:
        column = task.label.column
        remedy = f"drop task {task.name!r}, or correct its label or the split"
        if label.rows == 0:
            raise self.place.error("has no label on any train row", remedy, column=column)
        if label.std == 0 or len(label.classes) == 1:
            value = label.classes[0] if label.classes else f"{label.mean:g}"
            raise self.place.error(
                f"the label of task {task.name!r} is {value} on every train row on which it is "
                "defined",
                remedy,
                column=column,
            )
        if task.parent is not None and self._given_parent[task.name].std == 0:
            fault = f"is constant on the train rows where {task.parent!r} is 1"
            raise self.place.error(fault, remedy, column=column)

    def _refuse_rounded(self, task: TaskSpec) -> None:
        """Refuse labels whose differences float32 does not hold."""
        label, error = self._moments[task.name], math.sqrt(self._rounding[task.name].mean)
        if error > MOST_ROUNDING * label.std:
            fault = (
                f"the labels of task {task.name!r} lie around {label.mean:g} with a deviation of "
                f"{label.std:g}, and float32 would move each by {error:g}"
            )
            remedy = "subtract a constant from them, or give them in another unit"
            raise self.place.error(fault, remedy, column=task.label.column)


def _counted(
    task: TaskSpec,
    label: Floats,
    columns: pa.RecordBatch,
    place: SourceLocation,
    train: Bools,
    weight: Floats | None,
) -> tuple[Bools, Floats | None]:
    """The train rows that a task's own weight does not leave out, and the weights of all rows."""
    of_task = task_weight(task, label, columns, place)
    return train if of_task is None else train & (of_task > 0), joined_weights(weight, of_task)


def _added(pairs: Iterable[tuple[int | str, float]]) -> dict[int | str, float]:
    """The sum of each class, its terms added in their order."""
    sums: dict[int | str, float] = {}
    for value, term in pairs:
        sums[value] = sums.get(value, 0.0) + term
    return sums
