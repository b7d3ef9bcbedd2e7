"""An encoded log as a `Problem`: its splits, its tasks, and the networks and metrics that fit."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial, reduce
from typing import TYPE_CHECKING

import numpy as np

from recmtl.data.arrays.groups import drawn_rows
from recmtl.data.columns.funnel import funnel_path
from recmtl.data.columns.labels import LabelStatistics
from recmtl.data.columns.numeric import Moments
from recmtl.data.columns.sources import Sources, sources_of
from recmtl.data.encoded_log import EncodedLog, LogSplit
from recmtl.data.encoding import Encoding
from recmtl.errors import ConfigError
from recmtl.evaluate.groups import resampled_units
from recmtl.evaluate.label_space import defined_rows, task_position, weight_of
from recmtl.evaluate.task_metrics import PRIMARY, Metrics, evaluate
from recmtl.grid import Decision, Layout
from recmtl.model import ModelSizes, Network, TabularModel, predict
from recmtl.model.heads import HeadSpec, fitted_heads, head_specs
from recmtl.model.rare_ids import RareIds
from recmtl.ranks import ranks
from recmtl.schema import TaskSpec
from recmtl.schema.names import joint_column, task_column
from recmtl.train.config import Grid, StopMetric
from recmtl.train.problem import LaneShape, Part, Predictions, TrainingTask
from recmtl.train.recipe.layouts import layout_of
from recmtl.train.stop_metric import (
    check_stop_tasks,
    counted_tasks,
    folds_of_rows,
    scores_without_folds,
    stop_metrics,
    stop_score,
    task_weights,
)

if TYPE_CHECKING:
    from recmtl.forest.grown import GrownForests  # it imports LightGBM

__all__ = ["TabularProblem"]

SAMPLE_SEED = 20
"""Of the sample of train rows: no seed of a study changes it."""


@dataclass(frozen=True)
class TabularProblem:
    """Rows of a table, their encoding, their tasks and the heads of those; see `Problem`.

    Attributes:
        train: rows from which weights and policies learn.
        validation: rows on which every choice is made.
        test: rows that are scored once and never used for a choice.
        encoding: of the columns.
        tasks: in the order of the columns of `labels`.
        heads: one for each task.
        stop_metrics: of every task, that by which networks are chosen; see `stop_metric`.
        stop_tasks: the tasks over which it is averaged; none for all.
        rare_ids: replaces rare ids while networks are trained; None leaves all ids.
        sources: of the encoding; none where nobody has named them.
    """

    train: LogSplit
    validation: LogSplit
    test: LogSplit
    encoding: Encoding
    tasks: tuple[TaskSpec, ...]
    heads: tuple[HeadSpec, ...]
    stop_metrics: Mapping[str, StopMetric] | None = None
    rare_ids: RareIds | None = None
    sources: Sources = field(default_factory=dict)
    stop_tasks: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        log: EncodedLog,
        stop_metric: StopMetric | Mapping[str, StopMetric] = "default",
        rare_ids: float = 0.0,
        trees: "GrownForests | None" = None,
        stop_tasks: Sequence[str] = (),
    ) -> "TabularProblem":
        """All tasks of an encoded log.

        Args:
            log: the log.
            stop_metric: see `Training`.
            rare_ids: see `Training`.
            trees: forests of the log, whose logits are numeric features then.
            stop_tasks: see `Training`.

        Raises:
            ConfigError: the stop metric or the stop tasks do not fit the tasks.
        """
        tasks = tuple(log.schema.tasks)
        has_groups = log.schema.roles.group is not None
        metrics = stop_metrics(stop_metric, tasks, has_groups=has_groups)
        check_stop_tasks(stop_tasks, tasks)
        rows = log if trees is None else trees
        heads = head_specs(tasks, log.label_statistics, log.schema.roles.position)
        parts = [rows.split(part) for part in ("train", "validation", "test")]
        train, validation, test = (_with_members(part, heads) for part in parts)
        heads = fitted_heads(heads, train, rows.encoding)
        shrunk = None
        if rare_ids:
            encoder = log.encoder()
            shrunk = RareIds(encoder.id_counts(), encoder.unknown_rows()[1], k=rare_ids)
        sources = sources_of(log.schema, rows.encoding)
        facts = (rows.encoding, tasks, heads, metrics, shrunk, sources, tuple(stop_tasks))
        return cls(train, validation, test, *facts)

    def sampled(self, rows: int | None) -> "TabularProblem":
        """The problem with at most so many train rows: a random sample, in their order.

        Where losses compare the rows of a group, whole groups are drawn, but for the last one.
        """
        if rows is None or rows >= len(self.train):
            return self
        random = np.random.default_rng(SAMPLE_SEED)
        drawn = drawn_rows(rows, len(self.train), self.train.units, random)
        return replace(self, train=self.train.take(drawn))

    def resampled(self, number: int) -> "TabularProblem":
        """The problem on a bootstrap sample of its train rows, in their order, held in memory.

        Whole groups are drawn with replacement, and rows without one each for itself, so that a
        sample has about as many rows as there are. Counts of rare ids, statistics and forests stay
        those of all train rows.

        Args:
            number: of the sample; each is another, and the same for every model.
        """
        group = np.asarray(self.train.group)
        has_groups = len(group) > 0 and group.min() < group.max()
        unit = resampled_units(group if has_groups else None, len(group))
        units, random = int(unit.max(initial=-1)) + 1, np.random.default_rng([SAMPLE_SEED, number])
        times = np.bincount(random.integers(0, max(units, 1), units), minlength=units)
        return replace(self, train=self.train.take(np.repeat(np.arange(len(unit)), times[unit])))

    def hearing(self, sources: Collection[str]) -> "TabularProblem":
        """The problem of networks that hear these sources alone, on the same rows.

        Raises:
            ConfigError: the problem has no such source, or no field is left.
        """
        if set(sources) == set(self.sources):
            return self
        for source in sources:
            if source not in self.sources:
                names = ", ".join(self.sources)
                raise ConfigError(f"there is no source {source!r} to hear; there are {names}")
        if not sources:
            raise ConfigError("a network has to hear a source; name one")
        if "histories" in sources and "ids" not in sources:
            raise ConfigError("histories are read against ids; hear both, or neither")
        heard = {name: of for name, of in self.sources.items() if name in sources}
        fields = {field for of_source in heard.values() for field in of_source}
        # What a head reads stays, whatever the network hears.
        fields |= {head.duration for head in self.heads if head.duration is not None}
        encoding = self.encoding.part(fields)
        ids, numeric = self.encoding.columns_of(encoding)
        rows = [part.columns(ids, numeric) for part in (self.train, self.validation, self.test)]
        return replace(
            self,
            train=rows[0],
            validation=rows[1],
            test=rows[2],
            encoding=encoding,
            rare_ids=None if self.rare_ids is None else self.rare_ids.part(ids),
            sources=heard,
        )

    def weighed(self, factors: Mapping[str, float]) -> "TabularProblem":
        """The problem with the losses of these tasks multiplied by factors."""
        heads = (replace(h, weight=h.weight * factors.get(h.name, 1.0)) for h in self.heads)
        return replace(self, heads=tuple(heads))

    def only(self, task: TrainingTask) -> "TabularProblem":
        """One task alone, with the train and validation rows on which it is defined.

        A funnel child becomes a plain task on the rows whose parent event happened. All test rows
        stay, so that predictions align with those of other models; their labels are not used.
        """
        position = task_position(self.tasks, task.name)
        spec = self.tasks[position]
        alone = replace(spec, parent=None)
        train = _restrict(self.train, self.tasks, spec, open_too=True)
        validation = _restrict(self.validation, self.tasks, spec)
        test = _of_task(self.test, position)
        statistics = {spec.name: _statistics(alone, train, self.heads)}
        heads = head_specs((alone,), statistics, self.heads[position].position)
        train, validation, test = (_with_members(p, heads) for p in (train, validation, test))
        heads = fitted_heads(heads, train, self.encoding)
        return replace(
            self, train=train, validation=validation, test=test, tasks=(alone,), heads=heads
        )

    def network(self, layout: Layout, sizes: ModelSizes) -> TabularModel:
        """A new network of a layout."""
        model = TabularModel(self.encoding, self.heads, layout=layout, sizes=sizes)
        model.encoder.rare_ids = self.rare_ids
        return model

    def lane_shape(self, sizes: ModelSizes) -> LaneShape:
        """A lane holds the embeddings of all fields."""
        return LaneShape(self.encoding.lane_width(sizes.embedding))

    def layout(self, name: str, grid: Grid) -> Layout:
        """The catalog's layout of this name, in the widths, depth and kind of experts of `grid`."""
        return layout_of(name, grid, self.encoding, self.tasks)

    def levels(self, grid: Grid) -> tuple[tuple[int, ...], ...]:
        """One linear layer a depth, with the widths of a column of the search space."""
        return tuple((width,) for width in (*grid.widths, *grid.widths[-1:] * (grid.depth - 1)))

    def evaluate(
        self,
        model: Network,
        part: Part = "validation",
        decisions: Sequence[Decision] | None = None,
    ) -> Metrics:
        """Every metric of every task, each on the rows on which the task is defined.

        Metrics within groups are made only where one of them chooses networks.
        """
        rows = {"train": self.train, "validation": self.validation, "test": self.test}[part]
        predictions = predict(model, rows, decisions=decisions)
        group = np.asarray(rows.group) if "gauc" in self._chosen_by.values() else None
        labels, weight = np.asarray(rows.labels), rows.varying_weight_by_task
        return ranks().first(lambda: evaluate(predictions, labels, self.tasks, group, weight))

    @cached_property
    def _counted(self) -> list[int]:
        """Positions of the tasks over which stop metrics are averaged."""
        return counted_tasks(self.stop_tasks, [task.name for task in self.tasks])

    @cached_property
    def _chosen_by(self) -> Mapping[str, StopMetric]:
        """The stop metric of every task."""
        if self.stop_metrics is None:
            return stop_metrics("default", self.tasks, has_groups=False)
        return {task.name: self.stop_metrics[task.name] for task in self.tasks}

    def scored(self, model: Network) -> tuple[Predictions, Metrics]:
        """Predictions on the test rows; `judged` makes their metrics."""
        return predict(model, self.test), {}

    def scored_validation(self, model: Network) -> Predictions:
        """Predictions on the validation rows."""
        return predict(model, self.validation)

    def together(self, parts: Mapping[str, Predictions]) -> Predictions:
        """Predictions of single-task networks under the columns of one network for all tasks.

        A funnel child's network predicts p(child | parent); the joint probability is its product
        with the probability of the parent.
        """
        columns: Predictions = {}
        for task in self.tasks:
            if task.kind != "binary":
                columns |= parts[task.name]
                continue
            # Children may stand before their parents.
            path = funnel_path(self.tasks, task)
            alone = [parts[event.name][task_column(replace(event, parent=None))] for event in path]
            columns[task_column(task)] = alone[-1]
            if task.parent is not None:
                columns[joint_column(task)] = reduce(lambda above, event: event * above, alone)
        return columns

    def judged(self, predictions: Predictions) -> Metrics:
        """Metrics of predictions on the test rows."""
        labels, weight = np.asarray(self.test.labels), self.test.varying_weight_by_task
        return evaluate(predictions, labels, self.tasks, self.ranked(self.test), weight)

    def ranked(self, rows: LogSplit) -> np.ndarray | None:
        """The groups `[R]` of rows if a task is judged by its order within them, else None."""
        return np.asarray(rows.group) if any(task.ranks for task in self.tasks) else None

    @cached_property
    def score_weights(self) -> dict[str, float]:
        """The stop tasks, and what each counts in `score`; see `task_weights`."""
        weights = task_weights(np.asarray(self.validation.labels), self.tasks)
        return {self.tasks[t].name: float(weights[t]) for t in self._counted}

    def score(self, metrics: Metrics) -> float:
        """Mean over the stop tasks of their stop metrics; see `stop_score`."""
        heads = [self.heads[t] for t in self._counted]
        weights = np.array([*self.score_weights.values()])
        return stop_score(metrics, heads, self._chosen_by, weights)

    def task_scores(self, metrics: Metrics) -> dict[str, float]:
        """The stop metric of every task, on the scale of `score`."""
        return {head.name: stop_score(metrics, [head], self._chosen_by) for head in self.heads}

    def fold_scores(self, model: Network, folds: int) -> np.ndarray:
        """The stop tasks' metrics on validation rows, all and without each fold `[1 + F, T]`."""
        rows = self.validation
        group = np.asarray(rows.group)
        scores = partial(
            scores_without_folds,
            predict(model, rows),
            np.asarray(rows.labels),
            self.tasks,
            heads=self.heads,
            chosen=self._chosen_by,
            folds=folds_of_rows(group, folds),
            group=group,
            weight=rows.varying_weight_by_task,
        )
        return ranks().first(scores)[:, self._counted]

    def primary(self, metrics: Metrics) -> dict[str, float]:
        """The metric on which each task is judged, by task."""
        return {task.name: metrics[task.name][PRIMARY[task.judged_as].name] for task in self.tasks}


def _with_members(split: LogSplit, heads: Sequence[HeadSpec]) -> LogSplit:
    """The rows with the numbers of their groups if a head's loss compares rows, else without."""
    if all(head.within is None for head in heads):
        return replace(split, member=split.member[:, :0]) if split.member.shape[1] else split
    return split if split.member.shape[1] else split.with_members()


def _restrict(
    split: LogSplit, tasks: Sequence[TaskSpec], task: TaskSpec, *, open_too: bool = False
) -> LogSplit:
    """The rows on which a task is defined, with its label alone.

    With `open_too`, also those on which a late label will be: their label is NaN.
    """
    labels, waits = np.asarray(split.labels), np.asarray(split.waits)[:, :0]
    position = task_position(tasks, task.name)
    defined = defined_rows(labels, tasks, task)
    if task.label.is_late:
        number = 2 * sum(other.label.is_late for other in tasks[:position])
        waits = np.asarray(split.waits)[:, number : number + 2]
        if open_too:
            parent = None if task.parent is None else task_position(tasks, task.parent)
            before = True if parent is None else labels[:, parent] == 1
            defined |= before & np.isnan(labels[:, position]) & ~np.isnan(waits[:, 0])
    rows = np.flatnonzero(defined)
    picked = split if len(rows) == len(split) else split.take(rows)
    return replace(_of_task(picked, position), waits=waits[rows])


def _of_task(split: LogSplit, position: int) -> LogSplit:
    """The rows with the label of one task alone, and with what they count for it."""
    labels, weights = np.asarray(split.labels), np.asarray(split.weights)
    weights = weights[:, [position]] if weights.shape[1] else weights
    return replace(split, labels=labels[:, [position]], weights=weights)


def _statistics(task: TaskSpec, train: LogSplit, heads: Sequence[HeadSpec]) -> LabelStatistics:
    """What the train rows of a single task say of its label."""
    label = train.labels[:, 0].astype(np.float64)
    weight = weight_of(train.varying_weight_by_task, 0)
    labelled = ~np.isnan(label)
    label, weight = label[labelled], None if weight is None else weight[labelled]
    positives = int(label.sum()) if task.kind == "binary" else 0
    moments = Moments()
    moments.add(
        np.log1p(label) if task.transform == "log1p" else label,
        None if weight is None else weight.astype(np.float64),
    )
    classes = next(head.classes for head in heads if head.name == task.name)
    return LabelStatistics(len(label), positives, moments.mean, moments.std, classes)
