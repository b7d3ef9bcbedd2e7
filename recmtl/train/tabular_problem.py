"""What a network is trained on: encoded splits and the tasks of their label columns.

What a network of tables makes of rows, and the one number by which networks are chosen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recmtl.data.columns.labels import LabelStatistics
from recmtl.data.encoded_log import EncodedLog, LogSplit
from recmtl.data.encoding import Encoding
from recmtl.evaluate.label_space import defined_rows, joint_column, task_column, task_position
from recmtl.evaluate.task_metrics import PRIMARY, Metrics, evaluate, validation_score
from recmtl.grid import Decision, Layout, recmtl_grid
from recmtl.grid.catalog import CATALOG
from recmtl.model import ModelSizes, Network, TabularModel, predict
from recmtl.model.heads import HeadSpec, head_specs
from recmtl.schema import TaskSpec
from recmtl.train.config import Grid
from recmtl.train.problem import LaneShape, Part, Predictions, TrainingTask

__all__ = ["TabularProblem"]


@dataclass(frozen=True)
class TabularProblem:
    """Train, validation and test rows, their encoding, their tasks and the heads that fit them.

    The columns of `labels` follow `tasks`. `test` is scored and never used for a choice.
    """

    train: LogSplit
    validation: LogSplit
    test: LogSplit
    encoding: Encoding
    tasks: tuple[TaskSpec, ...]
    heads: tuple[HeadSpec, ...]

    @classmethod
    def of(cls, log: EncodedLog) -> "TabularProblem":
        """All tasks of an encoded log."""
        tasks = tuple(log.schema.tasks)
        train, validation, test = map(log.split, ("train", "validation", "test"))
        heads = head_specs(tasks, log.label_statistics)
        return cls(train, validation, test, log.encoding, tasks, heads)

    def network(self, layout: Layout, sizes: ModelSizes) -> TabularModel:
        """A fresh network of a layout."""
        return TabularModel(self.encoding, self.heads, layout=layout, sizes=sizes)

    def lane_shape(self, sizes: ModelSizes) -> LaneShape:
        """A lane holds the embeddings of all fields."""
        return LaneShape(self.encoding.num_fields * sizes.embedding)

    def layout(self, name: str, grid: Grid) -> Layout:
        """A way to share of the catalog."""
        count = len(self.tasks)
        cells = grid.cells or count + 2
        if name != "recmtl_grid":
            return CATALOG[name].layout(count, cells=cells, widths=grid.widths, depth=grid.depth)
        return recmtl_grid(
            count,
            cells=cells,
            widths=grid.widths,
            depth=grid.depth,
            embeddings=grid.embeddings,
            experts=grid.experts,
        )

    def levels(self, grid: Grid) -> tuple[tuple[int, ...], ...]:
        """One product a depth: those of a column of the search space."""
        return tuple((width,) for width in (*grid.widths, *grid.widths[-1:] * (grid.depth - 1)))

    def evaluate(
        self,
        model: Network,
        part: Part = "validation",
        decisions: Sequence[Decision] | None = None,
    ) -> Metrics:
        """Every metric of every task, each on its own rows."""
        rows = {"train": self.train, "validation": self.validation, "test": self.test}[part]
        scores = predict(model, rows, decisions=decisions)
        return evaluate(scores, np.asarray(rows.labels), self.tasks)

    def scored(self, model: Network) -> tuple[Predictions, Metrics]:
        """Scored columns of the test rows; their metrics are made where they are wanted."""
        return predict(model, self.test), {}

    def together(self, parts: Mapping[str, Predictions]) -> Predictions:
        """Scores of tasks trained alone, under the columns that a funnel has."""
        columns: Predictions = {}
        happened: Predictions = {}
        for task in self.tasks:
            own = parts[task.name]
            if task.kind != "binary":
                columns |= own
                continue
            probability = own[f"p_{task.name}"]
            columns[task_column(task)] = probability
            happened[task.name] = probability
            if task.parent is not None:
                happened[task.name] = probability * happened[task.parent]
                columns[joint_column(task)] = happened[task.name]
        return columns

    def judged(self, predictions: Predictions) -> Metrics:
        """Metrics of scored columns of the test rows."""
        return evaluate(predictions, np.asarray(self.test.labels), self.tasks)

    def score(self, metrics: Metrics) -> float:
        """Mean over the tasks of AUC or R2."""
        return validation_score(metrics, self.tasks)

    def primary(self, metrics: Metrics) -> dict[str, float]:
        """Of each task the one metric on which it is judged."""
        return {task.name: metrics[task.name][PRIMARY[task.kind].name] for task in self.tasks}

    def only(self, task: TrainingTask) -> "TabularProblem":
        """One task alone, on its own population: train and validation rows where it is defined.

        A funnel child becomes a plain task on the rows where its parent happened. All test rows
        stay, so that scores line up with those of other models; their labels do not matter.
        """
        position = task_position(self.tasks, task.name)
        spec = self.tasks[position]
        alone = replace(spec, parent=None)
        train, validation = (
            _restrict(split, self.tasks, spec) for split in (self.train, self.validation)
        )
        column = [position]
        test = replace(self.test, labels=np.asarray(self.test.labels)[:, column])
        statistics = {spec.name: _statistics(alone, train.labels[:, 0], self.heads)}
        heads = head_specs((alone,), statistics)
        return TabularProblem(train, validation, test, self.encoding, (alone,), heads)


def _restrict(split: LogSplit, tasks: Sequence[TaskSpec], task: TaskSpec) -> LogSplit:
    labels = np.asarray(split.labels)
    rows = np.flatnonzero(defined_rows(labels, tasks, task))
    own = labels[rows][:, [task_position(tasks, task.name)]]
    if len(rows) == len(split):
        return replace(split, labels=own)
    taken = {n: np.asarray(getattr(split, n))[rows] for n in ("ids", "numeric", "weight", "group")}
    return replace(split, **taken, labels=own, row=np.asarray(split.row)[rows])


def _statistics(task: TaskSpec, labels: np.ndarray, heads: Sequence[HeadSpec]) -> LabelStatistics:
    label = labels.astype(np.float64)
    if task.transform == "log1p":
        label = np.log1p(label)
    classes = next(head.classes for head in heads if head.name == task.name)
    positives = int(label.sum()) if task.kind == "binary" else 0
    return LabelStatistics(len(label), positives, float(label.mean()), float(label.std()), classes)
