"""A day of raw rows, scored by one or several bundles in one pass, with the labels that are there.

Labels are those of the bundle's schema. A task whose columns the day does not have, or whose late
windows are open, is unknown: the scores are watched all the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.labels import Labels, LabelStatistics
from recmtl.data.counted_log import CountedBatch, CountedLog
from recmtl.data.labelled.windows import with_known_times
from recmtl.data.passes.encode import group_codes
from recmtl.data.reader import Log, open_log
from recmtl.data.row_encoder import Encoded
from recmtl.errors import BundleError, DataError, SourceLocation
from recmtl.evaluate.stability import Histogram
from recmtl.schema import Schema, TaskSpec
from recmtl.serve.bundle import Bundle
from recmtl.serve.bundle.reference import watched_features
from recmtl.serve.scoring.drift import Drift
from recmtl.serve.scoring.scorer import Scorer

__all__ = ["OnBatch", "ScoredDay", "score_day"]

Floats = npt.NDArray[np.float64]
OnBatch = Callable[[CountedBatch, Mapping[str, npt.NDArray[np.float32]]], None]
"""Called with a batch of the day and the scores `[rows, C]` of each bundle, by its name."""


@dataclass(frozen=True)
class ScoredDay:
    """The rows of a day, in their order.

    Attributes:
        source: the day, as messages name it.
        scores: bundle -> scored column -> values `[R]`.
        labels: `[R, T]` in the order of the schema's tasks, NaN where not known.
        group: codes `[R]`, as `recmtl.data.passes.encode.group_codes`; None without groups.
        weight: `[R]`, or None where all rows weigh the same.
        weight_by_task: `[R, T]` where tasks have weights of their own that the day has; else as
            `weight`.
        features: bundle -> feature -> histogram in the bins of the bundle's reference.
        shares: bundle -> feature -> share of values without a known id.
        without_labels: tasks whose columns the day does not have.
    """

    source: str
    scores: Mapping[str, Mapping[str, Floats]]
    labels: npt.NDArray[np.float32]
    group: npt.NDArray[np.int64] | None
    weight: Floats | None
    weight_by_task: Floats | None
    features: Mapping[str, Mapping[str, Histogram]]
    shares: Mapping[str, Mapping[str, float]]
    without_labels: tuple[str, ...]

    def __len__(self) -> int:
        """Number of rows R."""
        return len(self.labels)


def score_day(
    bundles: Mapping[str, Bundle],
    data: str | Path,
    *,
    unknown_limit: float = 0.1,
    known_until: str | None = None,
    columns: Sequence[str] = (),
    on_batch: OnBatch | None = None,
) -> ScoredDay:
    """Score a day by every bundle; each batch is read once.

    Args:
        bundles: by name; the labels are those of the first one's schema.
        data: file, folder or glob, see `open_log`.
        unknown_limit: see `recmtl.serve.scoring.drift.Drift`.
        known_until: up to when the day knows of late events, in place of its latest time.
        columns: further ones that batches shall have.
        on_batch: sees every batch with its scores, for instance to write them.

    Raises:
        DataError: the day has no row, or a column is missing or holds what it may not.
    """
    first = next(iter(bundles.values()))
    schema, log = first.encoder.schema, _open(first, data)
    present = set(log.column_names())
    weight = schema.roles.sample_weight
    counted = CountedLog(log, weight if weight in present else None)
    labels = _labels(first, log, counted, known_until)
    watched = {name: _Watched(bundle, unknown_limit) for name, bundle in bundles.items()}
    read = dict.fromkeys(c for w in watched.values() for c in w.scorer.columns_to_read(present))
    roles = (schema.roles.group, schema.roles.time, schema.roles.row_id)
    read |= dict.fromkeys(name for name in roles if name is not None and name in present)
    read |= dict.fromkeys([*_label_columns(labels.schema.tasks), *columns])
    rows = _Rows(schema, has_group=schema.roles.group in present)
    for batch in counted.batches(list(read)):
        rows.add(batch, labels)
        scores = {name: w.score(batch) for name, w in watched.items()}
        if on_batch is not None:
            on_batch(batch, scores)
    if not rows.labels:
        raise DataError(f"{data}: has no row to watch; give a day with rows")
    labelled = [task.name for task in labels.schema.tasks]
    return ScoredDay(
        str(data),
        {name: w.by_column() for name, w in watched.items()},
        rows.all_labels(labelled),
        np.concatenate(rows.groups) if rows.groups else None,
        np.concatenate(rows.weights) if rows.weights else None,
        rows.weights_by_task(labelled),
        {name: w.features for name, w in watched.items()},
        {name: w.shares() for name, w in watched.items()},
        tuple(task.name for task in schema.tasks if task.name not in labelled),
    )


class _Rows:
    """Labels `[rows, T]`, groups and weights of the batches of a day."""

    def __init__(self, schema: Schema, *, has_group: bool) -> None:
        self._schema, self._has_group = schema, has_group
        self.labels: list[npt.NDArray[np.float32]] = []
        self.groups: list[npt.NDArray[np.int64]] = []
        self.weights: list[Floats] = []
        self._by_task: list[Floats] = []

    def add(self, batch: CountedBatch, labels: Labels) -> None:
        self.labels.append(labels.encode(batch.columns, batch.place))
        if self._has_group:
            self.groups.append(group_codes(self._schema, batch))
        if batch.weight is not None:
            self.weights.append(batch.weight)
        by_task = labels.weights(self.labels[-1], batch.columns, batch.place, batch.weight)
        self._by_task.append(by_task)

    def weights_by_task(self, labelled: Sequence[str]) -> Floats | None:
        """See `ScoredDay`; the tasks that are not `labelled` have the weights of the rows."""
        weight = np.concatenate(self.weights) if self.weights else None
        by_task = np.concatenate(self._by_task)
        if not by_task.shape[1]:
            return weight
        every = np.ones(len(by_task)) if weight is None else weight
        columns = dict(zip(labelled, by_task.T, strict=True))
        return np.stack([columns.get(task.name, every) for task in self._schema.tasks], 1)

    def all_labels(self, labelled: Sequence[str]) -> npt.NDArray[np.float32]:
        """The labels `[R, T]` of all tasks of the schema, NaN for those that are not there."""
        labels = np.concatenate(self.labels)
        out = np.full((len(labels), len(self._schema.tasks)), np.nan, np.float32)
        for place, task in enumerate(self._schema.tasks):
            if task.name in labelled:
                out[:, place] = labels[:, labelled.index(task.name)]
        return out


def _labels(bundle: Bundle, log: Log, counted: CountedLog, known_until: str | None) -> Labels:
    """Labels of the tasks that the day has."""
    schema = bundle.encoder.schema
    present = {*log.column_names(), *(column.name for column in schema.formulas)}
    tasks = _labelled(schema, present)
    if known_until is not None:
        tasks = tuple(
            replace(t, label=replace(t.label, known_until=known_until)) if t.label.is_late else t
            for t in tasks
        )
    labelled = replace(schema, tasks=tasks, statistics=())
    labelled = with_known_times(labelled, counted.batches, SourceLocation(log.data))
    return Labels(labelled, _statistics(labelled, bundle, log))


def _open(bundle: Bundle, data: str | Path) -> Log:
    encoder = bundle.encoder
    return open_log(
        data,
        bundle.tables(),
        fitted=encoder.types,
        layout=encoder.schema.files,
        formulas=encoder.schema.formulas,
    )


def _labelled(schema: Schema, present: set[str]) -> tuple[TaskSpec, ...]:
    """The tasks all of whose columns are there, and those of their parents."""

    def is_there(task: TaskSpec) -> bool:
        above = task.parent is None or is_there(schema.task(task.parent))
        return above and present.issuperset(schema.in_the_log(_label_columns([task])))

    return tuple(filter(is_there, schema.tasks))


def _label_columns(tasks: Sequence[TaskSpec]) -> list[str]:
    columns = []
    for task in tasks:
        rule = [] if task.rows is None else [task.rows.column]
        late = [] if task.label.time is None else [task.label.time]
        weight = [] if task.sample_weight is None else [task.sample_weight]
        columns += [task.label.column, *rule, *late, *weight]
    return columns


def _statistics(schema: Schema, bundle: Bundle, log: Log) -> dict[str, LabelStatistics]:
    """Statistics of the labels of which only the classes are known: those of the heads."""
    heads = {head.name: head for head in bundle.model.heads.specs}
    statistics = {}
    for task in schema.tasks:
        if task.name not in heads:
            raise BundleError(f"{bundle.folder}: has no head of task {task.name!r}; save it again")
        classes: tuple[Any, ...] = heads[task.name].classes
        column = task.label.column
        if classes and log.logical_types([column])[column].kind in ("integer", "boolean"):
            classes = tuple(map(int, classes))
        statistics[task.name] = LabelStatistics(0, 0, 0.0, 1.0, classes)
    return statistics


class _Watched:
    """A bundle that scores the day, and what its features look like."""

    def __init__(self, bundle: Bundle, unknown_limit: float) -> None:
        self.scorer = Scorer(bundle)
        self.drift = Drift(bundle, limit=unknown_limit)
        self.features: dict[str, Histogram] = {}
        self._scores: list[npt.NDArray[np.float32]] = []
        self._weight: Floats | None = None
        self._done = 0

    def score(self, batch: CountedBatch) -> npt.NDArray[np.float32]:
        """The scores `[rows, C]` of a batch, whose features are counted."""
        self._weight, self._done = batch.weight, 0
        table = pa.table(batch.columns)
        scores = self.scorer.scores(table, place=batch.place, check=self._check)
        self._scores.append(scores)
        return scores

    def _check(self, encoded: Encoded, place: SourceLocation) -> None:
        self.drift.check(encoded, place)
        reference = self.scorer.bundle.reference
        rows = slice(self._done, self._done + len(encoded.ids))
        self._done = rows.stop
        weight = None if self._weight is None else self._weight[rows]
        encoder = self.scorer.bundle.encoder
        for feature in watched_features(encoder, encoded.ids, encoded.numeric):
            if reference is not None and feature.name in reference.features:
                bins = reference.features[feature.name].bins
                histogram = bins.histogram(feature.values, weight)
                earlier = self.features.get(feature.name)
                self.features[feature.name] = (
                    histogram if earlier is None else earlier.plus(histogram)
                )

    def by_column(self) -> dict[str, Floats]:
        """Every scored column of all rows."""
        scores = np.concatenate(self._scores).astype(np.float64)
        return dict(zip(self.scorer.columns, scores.T, strict=True))

    def shares(self) -> dict[str, float]:
        """Of each categorical and list feature the share of values without a known id."""
        return dict(self._shares())

    def _shares(self) -> Iterator[tuple[str, float]]:
        for name, unknown, values in zip(
            self.drift.names, *self.drift.totals.tolist(), strict=True
        ):
            yield name, unknown / max(values, 1)
