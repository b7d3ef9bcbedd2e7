"""Rows that do not count for something (a task, a group, a side table): found, counted, judged.

Every such row is counted by split, so that none is lost in silence. From a tenth on there is a
warning: up to there an interval widens by at most 5 percent (one over the root of .9), and what is
missing more often is seldom missing at random. A split in which nothing is left is refused.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.canonical import missing_rows
from recmtl.data.columns.funnel import funnel_path, task_position
from recmtl.data.columns.numeric import numbers
from recmtl.data.columns.rules import rule_rows
from recmtl.data.labelled.reading import written_label
from recmtl.data.labelled.windows import late_rows
from recmtl.errors import DataError, SourceLocation
from recmtl.schema import Schema, TaskSpec

__all__ = [
    "WARNED_SHARE",
    "Gap",
    "GapCount",
    "GapCounts",
    "gap_warnings",
    "join_gaps",
    "label_gaps",
    "refuse_empty_splits",
]

Bools = npt.NDArray[np.bool_]
Reason = Literal[
    "label_unknown",
    "window_open",
    "weight_zero",
    "class_unseen",
    "rule_unknown",
    "parent_unknown",
    "group_missing",
    "key_unmatched",
    "id_unknown",
    "vector_missing",
    "position_missing",
]
WARNED_SHARE = 0.1
"""Share of rows (of ids: growth over the share in train) above which there is a warning."""
TEXTS: dict[Reason, tuple[str, str]] = {
    "label_unknown": (
        "have no label and do not count for the task",
        "fill the column, or say with `rows` where the label is defined",
    ),
    "window_open": (
        "do not count for the task, since the window of their label is still open",
        "wait, end the split earlier, or train with sizes.late_labels, which reads them too",
    ),
    "weight_zero": (
        "have weight 0 for the task and do not count for it",
        "correct the weights, if these rows should count",
    ),
    "class_unseen": (
        "hold a class that no train row has and do not count for the task",
        "choose a split whose train rows have all classes, or group rare classes",
    ),
    "rule_unknown": (
        "do not count for the task, since the column of its `rows` rule is missing",
        "fill the column",
    ),
    "parent_unknown": (
        "count for the joint event alone, since the label of the parent is missing",
        "fill the parent's column",
    ),
    "group_missing": (
        "have no group: each is split and drawn alone, and metrics by group leave it out",
        "fill the column, or name another in roles.group or split.column",
    ),
    "key_unmatched": (
        "have no row in the side table, whose columns are null there",
        "complete the table, or correct its key",
    ),
    "id_unknown": (
        "are missing, unseen in train or rarer than min_count",
        "train on later days, or use hash_buckets",
    ),
    "vector_missing": (
        "have no vector, and share the one that stands for all of them",
        "fill the column, in which one null or NaN makes a whole vector missing",
    ),
    "position_missing": (
        "have no position, and are learnt as if they had the one that is scored",
        "fill the column, or drop roles.position",
    ),
}
"""Of each reason what it says of the rows, and the remedy."""


@dataclass(frozen=True)
class Gap:
    """Rows of a batch that do not count for something.

    Attributes:
        reason: why.
        name: the task, feature or side table for which they do not count, or the role.
        column: the column at fault.
        rows: bool [rows].
        among: the rows that could count, bool [rows]; None for all.
    """

    reason: Reason
    name: str
    column: str
    rows: Bools
    among: Bools | None = None


@dataclass(frozen=True)
class GapCount:
    """How many rows of a split do not count, an entry of `counts` in a log's manifest.

    Attributes:
        split: train, validation or test.
        reason: see `TEXTS`.
        name: the task, feature or side table, or `group`.
        column: the column at fault.
        rows: rows that do not count; values, of an `id_unknown`.
        of: rows that could.
    """

    split: str
    reason: Reason
    name: str
    column: str
    rows: int
    of: int

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> "GapCount":
        """Read one entry of a manifest."""
        return GapCount(**raw)

    def to_json(self) -> dict[str, Any]:
        """The entry for a manifest."""
        return asdict(self)

    @property
    def key(self) -> tuple[Reason, str, str]:
        """What is counted, in any split."""
        return self.reason, self.name, self.column

    @property
    def fault(self) -> str:
        """What is said of the rows."""
        return TEXTS[self.reason][0]

    @property
    def share(self) -> float:
        """Rows that do not count among those that could."""
        return self.rows / max(self.of, 1)


def label_gaps(
    schema: Schema, columns: pa.RecordBatch, labels: npt.NDArray[Any], place: SourceLocation
) -> Iterator[Gap]:
    """The rows of a batch that do not count for a task that they concern.

    A task concerns the rows on which its rule holds and the event before it may have happened.

    Args:
        schema: names the tasks.
        columns: the raw columns, canonical.
        labels: encoded, [rows, T].
        place: where the rows come from.
    """
    tasks = schema.tasks
    for i, task in enumerate(tasks):
        unknown, concerned = np.isnan(labels[:, i]), None
        rules = [t.rows for t in funnel_path(tasks, task) if t.rows is not None]
        if rules:
            # A label that is known everywhere says that its rule holds everywhere.
            concerned, no_rule = ~unknown, np.zeros(len(unknown), np.bool_)
            if unknown.any():
                concerned, no_rule = rule_rows(funnel_path(tasks, task), columns, place)
            yield Gap("rule_unknown", task.name, rules[-1].column, no_rule)
        if task.parent is not None:
            parent = labels[:, task_position(tasks, task.parent)]
            lonely = np.isnan(parent) & ~unknown
            yield Gap("parent_unknown", task.name, task.label.column, lonely, ~unknown)
            possible = parent != 0
            concerned = possible if concerned is None else concerned & possible
        lost = unknown if concerned is None else unknown & concerned
        if task.sample_weight is not None:
            column = task.sample_weight
            left_out = lost & (numbers(columns.column(column), column, place) == 0)
            yield Gap("weight_zero", task.name, column, left_out, concerned)
            lost = lost & ~left_out
        if task.label.is_late:
            written = written_label(task, tasks, columns, place)
            is_open = late_rows(task, schema, columns, written, place).open & lost
            yield Gap("window_open", task.name, task.label.column, is_open, concerned)
            lost = lost & ~is_open
        yield from _lost_labels(task, columns, lost, concerned)


def _lost_labels(
    task: TaskSpec, columns: pa.RecordBatch, lost: Bools, concerned: Bools | None
) -> Iterator[Gap]:
    name, column = task.name, task.label.column
    if task.kind == "multiclass":
        unseen = lost & ~missing_rows(columns.column(column)) if lost.any() else lost
        yield Gap("class_unseen", name, column, unseen, concerned)
        lost = lost & ~unseen
    yield Gap("label_unknown", name, column, lost, concerned)


def join_gaps(
    schema: Schema, rows: int, *, unmatched: Mapping[str, Bools], ungrouped: Mapping[str, Bools]
) -> Iterator[Gap]:
    """The rows of a batch that have no group, and those that have no row in a side table.

    Args:
        schema: names the tables.
        rows: of the batch.
        unmatched: by the file name of a table, the rows that have none there, bool [rows].
        ungrouped: by the column of groups, the rows without one, bool [rows].
    """
    for column, alone in ungrouped.items():
        yield Gap("group_missing", "group", column, alone)
    for table in schema.tables:
        name = table.path.rpartition("/")[2]
        absent = unmatched.get(name, np.zeros(rows, np.bool_))
        yield Gap("key_unmatched", name, table.key, absent)


class GapCounts:
    """Counts gaps by split.

    Args:
        splits: names of the parts by their numbers.
    """

    def __init__(self, splits: Sequence[str]) -> None:
        self._splits = splits
        self._counts: dict[tuple[Reason, str, str], npt.NDArray[np.int64]] = {}

    def add(self, gaps: Iterable[Gap], parts: npt.NDArray[np.uint8]) -> None:
        """Count the gaps of one batch; `parts` [rows] numbers the split of each row."""
        in_split = [parts == number for number in range(len(self._splits))]
        every_row = [int(np.count_nonzero(rows)) for rows in in_split]

        def by_split(rows: Bools) -> list[int]:
            return [int(np.count_nonzero(rows & split)) for split in in_split]

        for gap in gaps:
            rows = by_split(gap.rows) if gap.rows.any() else [0] * len(in_split)
            among = every_row if gap.among is None else by_split(gap.among)
            self.add_counts((gap.reason, gap.name, gap.column), np.array([rows, among]))

    def add_counts(self, key: tuple[Reason, str, str], counts: npt.NDArray[np.int64]) -> None:
        """Add what is counted already, int64 [2, splits]: rows that do not count, and all."""
        self._counts[key] = self._counts.get(key, 0) + counts

    def merge(self, later: "GapCounts") -> None:
        """Add the counts of rows that follow."""
        for key, counts in later._counts.items():
            self.add_counts(key, counts)

    def to_json(self) -> list[Any]:
        """All counts, which `add_json` adds."""
        return [[*key, counts.tolist()] for key, counts in self._counts.items()]

    def add_json(self, raw: Sequence[Any]) -> None:
        """Add the counts of `to_json`."""
        for reason, name, column, counts in raw:
            self.add_counts((reason, name, column), np.array(counts, np.int64))

    def entries(self) -> list[GapCount]:
        """The counts that are not zero, split by split."""
        return [
            GapCount(split, *key, rows=int(rows[part]), of=int(among[part]))
            for part, split in enumerate(self._splits)
            for key, (rows, among) in self._counts.items()
            if rows[part]
        ]


def gap_warnings(counts: Sequence[GapCount]) -> Iterator[str]:
    """One line for each column with a split above `WARNED_SHARE`; of ids, that much above train."""
    train_shares = {count.key: count.share for count in counts if count.split == "train"}
    lines: dict[tuple[Reason, str, str], list[GapCount]] = {}
    for count in counts:
        is_id = count.reason == "id_unknown"
        if count.share > WARNED_SHARE + (train_shares.get(count.key, 0.0) if is_id else 0.0):
            lines.setdefault(count.key, []).append(count)
    return map(_line, lines.values())


def _line(counts: Sequence[GapCount]) -> str:
    """The column, the share of each split, what is missing, and the remedy."""
    first = counts[0]
    fault, remedy = TEXTS[first.reason]
    unit = "values" if first.reason == "id_unknown" else "rows"
    if first.reason == "key_unmatched":
        subject = f"table {first.name!r}, key {first.column}"
    elif first.name in (first.column, "group", "position"):
        subject = f"column {first.column!r}"
    else:
        subject = f"column {first.column!r} ({first.name!r})"
    shares = ", ".join(f"{count.share:.1%} of the {count.split} {unit}" for count in counts)
    return f"{subject}: {shares} {fault}; {remedy}"


def refuse_empty_splits(
    counts: Sequence[GapCount], labelled: Mapping[str, Mapping[str, int]], source: str
) -> None:
    """Refuse a split without a label of a task, without a group, or without a side table.

    Args:
        counts: the gaps of a log.
        labelled: by split and task, the rows with a label.
        source: what to call the data.

    Raises:
        DataError: there is such a split.
    """
    for split, tasks in labelled.items():
        for task in (task for task, rows in tasks.items() if not rows):
            why = [c for c in counts if (c.split, c.name) == (split, task)]
            largest = max(why, key=lambda count: count.rows, default=None)
            reason = "correct the split, or drop the task" if largest is None else _line([largest])
            raise DataError(f"{source}: no {split} row has a label of task {task!r}; {reason}")
    for count in counts:
        if count.reason in ("group_missing", "key_unmatched") and count.rows == count.of:
            raise DataError(f"{source}: {_line([count])}")
