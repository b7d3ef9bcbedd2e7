"""What a person says of a log before it is described: its tasks, its groups, its time.

A wish goes before what `describe` would read off names and values. A task that is not wished is
ignored, since an outcome must not be a feature.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from recmtl.data.draft.placing import Draft
from recmtl.data.draft.profile import ColumnProfile
from recmtl.errors import DataError, did_you_mean

__all__ = ["Wishes", "apply_wishes"]

WISHED = "as you said"


@dataclass(frozen=True)
class Wishes:
    """Columns whose part in the schema is known; what is empty is left to the draft.

    Attributes:
        tasks: task -> the column of its label.
        group: the column of `roles.group`.
        time: the column of `roles.time`.
    """

    tasks: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    time: str = ""

    @classmethod
    def of(
        cls, tasks: Mapping[str, str] | Sequence[str] = (), *, group: str = "", time: str = ""
    ) -> "Wishes":
        """Wishes whose tasks may be a list of columns: each is then called like its column.

        >>> Wishes.of(["is_click", "watch time"]).tasks
        {'is_click': 'is_click', 'watch_time': 'watch time'}
        """
        if isinstance(tasks, str):
            raise DataError(f"tasks is {tasks!r}; give a list of columns, or a dict of names")
        if not isinstance(tasks, Mapping):
            tasks = {re.sub(r"\W", "_", column, flags=re.ASCII): column for column in tasks}
        return cls(dict(tasks), group, time)


def apply_wishes(draft: Draft, profiles: Sequence[ColumnProfile], wishes: Wishes) -> None:
    """Put the wished columns where they are wished, whatever the draft had made of them.

    Raises:
        DataError: the log has no such column.
    """
    columns = {profile.name: profile for profile in profiles}
    for name in (*wishes.tasks.values(), wishes.group, wishes.time):
        if name and name not in columns:
            raise DataError(f"the log has no column {name!r}{did_you_mean(name, columns)}")
    if wishes.tasks:
        _set_tasks(draft, columns, wishes.tasks)
    if wishes.group:
        _leave_roles(draft, wishes.group)
        draft.roles["group"] = (wishes.group, WISHED)
        draft.ignore.pop(wishes.group, None)
    if wishes.time:
        _set_time(draft, columns[wishes.time])


def _set_tasks(
    draft: Draft, columns: Mapping[str, ColumnProfile], tasks: Mapping[str, str]
) -> None:
    for column in draft.tasks:
        draft.ignore[column] = "named like an outcome, and no task"
    draft.tasks, draft.names = {}, {column: task for task, column in tasks.items()}
    for column in tasks.values():
        _leave_roles(draft, column)
        for part in (draft.features, draft.ignore):
            part.pop(column, None)
        draft.categorical = [other for other in draft.categorical if other.name != column]
        draft.kinds[column] = _kind(columns[column])
        draft.tasks[column] = (columns[column], WISHED)


def _kind(profile: ColumnProfile) -> str:
    """Two values: binary; texts: classes; all else is a number to predict."""
    if profile.event is not None or profile.shape == "bool":
        return "binary"
    return "multiclass" if profile.shape == "text" else "regression"


def _set_time(draft: Draft, column: ColumnProfile) -> None:
    before = draft.roles.get("time")
    _leave_roles(draft, column.name)
    for part in (draft.features, draft.ignore):
        part.pop(column.name, None)
    if before is not None and before[0] != column.name:
        draft.ignore[before[0]] = "another time"
    draft.time = column
    draft.roles["time"] = (column.name, WISHED)


def _leave_roles(draft: Draft, column: str) -> None:
    draft.roles = {role: entry for role, entry in draft.roles.items() if entry[0] != column}
    if draft.time is not None and draft.time.name == column:
        draft.time = None
