"""Funnels: which labels follow from those of the events before, and on which rows one is judged.

In click -> cart -> pay nothing happens without the event before it. Logs write 0 or nothing where
the parent did not happen; both say the same. One rule makes them equal, for a chain or tree of any
depth: the event of a task, with all before it, did not happen where that of its parent did not, and
is otherwise what its own label says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recmtl.errors import SourceLocation
from recmtl.schema import TaskSpec

__all__ = ["Orphans", "defined_rows", "funnel_path", "joint_labels", "task_position"]

SHOWN_ROWS = 5


def task_position(tasks: Sequence[TaskSpec], name: str) -> int:
    """Position of a task in `tasks`, and of its column in `labels`."""
    return [task.name for task in tasks].index(name)


def funnel_path(tasks: Sequence[TaskSpec], task: TaskSpec) -> list[TaskSpec]:
    """The tasks from the first event of a funnel down to `task`, which is the last of them."""
    path = [task]
    while path[0].parent is not None:
        path.insert(0, tasks[task_position(tasks, path[0].parent)])
    return path


def joint_labels(
    labels: np.ndarray, tasks: Sequence[TaskSpec], task: TaskSpec
) -> NDArray[np.float64]:
    """Label [R] of the event of `task` together with all events before it, NaN if unknown.

    It is 0 where an event before is known not to have happened, and otherwise the task's own label:
    a child that happened proves its parents, and one that did not decides the joint event, whether
    or not the parents were recorded. Labels that are joint already stay as they are.

    Args:
        labels: shape [R, T] in the order of `tasks`, NaN where unknown.
        tasks: the schema's tasks.
        task: a binary one of them.
    """
    path = funnel_path(tasks, task)
    label = np.asarray(labels[:, task_position(tasks, path[0].name)], dtype=np.float64)
    for child in path[1:]:
        label = np.where(label == 0, 0.0, labels[:, task_position(tasks, child.name)])
    return label


def defined_rows(
    labels: np.ndarray, tasks: Sequence[TaskSpec], task: TaskSpec
) -> NDArray[np.bool_]:
    """Rows [R] on which `task` is defined: label known and, in a funnel, its parent happened.

    A parent that was not recorded did not "happen" for this purpose, even where the child's 1
    proves it: rows would otherwise be judged if, and only if, the answer is 1.
    """
    defined: NDArray[np.bool_] = ~np.isnan(labels[:, task_position(tasks, task.name)])
    if task.parent is not None:
        parent = tasks[task_position(tasks, task.parent)]
        defined &= joint_labels(labels, tasks, parent) == 1
    return defined


class Orphans:
    """Rows of a log on which a child happened and an event before it did not.

    Args:
        tasks: the schema's tasks.
    """

    def __init__(self, tasks: Sequence[TaskSpec]) -> None:
        self._tasks = tasks
        self._by_task: dict[str, _OrphanRows] = {}

    def add(
        self, labels: NDArray[np.float64], row: NDArray[np.int64], place: SourceLocation
    ) -> None:
        """Look through labels [rows, T] as they are written, of rows with these numbers."""
        for task in self._tasks:
            *before, _ = funnel_path(self._tasks, task)
            happened = labels[:, task_position(self._tasks, task.name)] == 1
            for ancestor in reversed(before):
                failed = labels[:, task_position(self._tasks, ancestor.name)] == 0
                rows = row[happened & failed].tolist()
                happened &= ~failed
                if rows:
                    orphans = _OrphanRows(ancestor.name, place)
                    self._by_task.setdefault(task.name, orphans).add(rows)

    def merge(self, later: "Orphans") -> None:
        """Take the rows that follow."""
        for name, orphans in later._by_task.items():
            if name in self._by_task:
                self._by_task[name].merge(orphans)
            else:
                self._by_task[name] = orphans

    def refuse(self, task: TaskSpec) -> None:
        """Raise a `DataError` that names the rows on which `task` is such a child."""
        orphans = self._by_task.get(task.name)
        if orphans is None:
            return
        first = ", ".join(map(str, orphans.first))
        more = ", ..." if orphans.count > len(orphans.first) else ""
        parent = "its parent " if orphans.ancestor == task.parent else ""
        raise orphans.place.error(
            f"{orphans.count} rows have {task.name} = 1 where {parent}{orphans.ancestor} = 0",
            f"correct those rows ({first}{more} of the log, counted from 0), or drop `parent` "
            "from the task",
            column=task.label.column,
        )


@dataclass
class _OrphanRows:
    """Rows of one task: the event before it that failed, and where, on the first of them."""

    ancestor: str
    place: SourceLocation
    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, rows: list[int]) -> None:
        self.count += len(rows)
        self.first += rows[: SHOWN_ROWS - len(self.first)]

    def merge(self, later: "_OrphanRows") -> None:
        self.count += later.count
        self.first += later.first[: SHOWN_ROWS - len(self.first)]
