"""The names that a schema gives to what is written, and the rule that keeps them apart.

Scored columns are derived here and nowhere else. The names of tasks also stand in those of metrics,
parameters, files and keys of `results.json`, joined by characters that no task name may hold; so
tasks with different names never meet there. Names are compared without regard to case and to the
Unicode form, since file systems, SQL and Spark do not tell such names apart.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol
from unicodedata import normalize

from recmtl.schema.definition import (
    Cross,
    Datetime,
    DerivedFeature,
    ListOf,
    Numeric,
    Schema,
    Text,
    Vector,
)

__all__ = [
    "MOST_CHARACTERS",
    "RESERVED",
    "column_faults",
    "joint_column",
    "name_faults",
    "owner_of",
    "quantile_column",
    "scored_columns",
    "task_column",
]

MOST_CHARACTERS = 100
"""Of a task's and a schema's name: MLflow takes keys of 250, file systems names of 255 bytes."""
RESERVED = {"all", "mean", "verdict"}
"""Words that stand beside the tasks in results and metrics."""
_SCHEMA_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_CLASS_COLUMN = re.compile(r"[^`\x00-\x1f\x7f]{1,210}")
"""A task's name and a class, as a formula and MLflow can hold them."""
Faults = Iterator[tuple[str, str]]
"""The feature or task at fault, and what is wrong."""


class NamedTask(Protocol):
    """What the names of a task's columns depend on."""

    @property
    def name(self) -> str:
        """The task."""

    @property
    def kind(self) -> str:
        """`binary`, `regression` or `multiclass`."""

    @property
    def parent(self) -> str | None:
        """The parent in a funnel."""

    @property
    def ranks(self) -> bool:
        """Whether only the order of the scores within a group has a meaning."""

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Of a regression, the quantiles that are scored beside its value."""


def task_column(task: NamedTask) -> str:
    """The scored column of a binary or regression task, for the rows on which it is defined."""
    if task.ranks:
        return f"score_{task.name}"
    if task.kind == "regression":
        return f"value_{task.name}"
    return f"p_{task.name}" if task.parent is None else f"p_{task.name}_given_{task.parent}"


def joint_column(task: NamedTask) -> str:
    """The scored column of the event "parent and child", for all rows."""
    return f"p_{task.parent}_and_{task.name}"


def quantile_column(task: NamedTask, share: float) -> str:
    """The scored column of a quantile: .5 of a task `watch` is `value_watch_q50`."""
    percent = f"{100 * share:.6f}".rstrip("0").rstrip(".").replace(".", "_")
    return f"value_{task.name}_q{percent}"


def scored_columns(task: NamedTask, classes: Iterable[object] = ()) -> tuple[str, ...]:
    """Every scored column of a task; `classes` are those of a multiclass label, in their order."""
    if task.kind == "multiclass":
        return tuple(f"p_{task.name}_{label}" for label in classes)
    if task.kind == "regression":
        return (task_column(task), *(quantile_column(task, share) for share in task.quantiles))
    return (task_column(task),) if task.parent is None else (task_column(task), joint_column(task))


def owner_of(column: str, tasks: Iterable[NamedTask]) -> str | None:
    """The task to which a column with a class in its name belongs: the longest name that fits.

    `p_rating_full_3` may be class "full_3" of `rating` or class "3" of `rating_full`. The latter
    owns it, and `column_faults` refuses the former.
    """
    names = (task.name for task in tasks)
    fitting = [name for name in names if f"{column}_".startswith(f"p_{name}_")]
    return max(fitting, key=len, default=None)


def name_faults(schema: Schema) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each name of a schema that would break or hide something, with the keys that lead to it."""
    if not _SCHEMA_NAME.fullmatch(schema.name) or len(schema.name) > MOST_CHARACTERS:
        yield (
            ("name",),
            f"{_short(schema.name)} must be letters, digits, _, - and ., at most "
            f"{MOST_CHARACTERS} of them, and not begin with - or .: models are registered under it",
        )
    yield from _alike("features", [feature.name for feature in schema.features], _in_one_form)
    yield from _alike("tasks", [task.name for task in schema.tasks], _folded)
    yield from _derived_names(schema)
    for task in schema.tasks:
        if task.name.lower() in RESERVED:
            text = f"{task.name!r} has a meaning of its own in results; rename the task"
            yield ("tasks", task.name), text
        if len(task.name) > MOST_CHARACTERS:
            text = f"the name has {len(task.name)} characters; {MOST_CHARACTERS} are the most"
            yield ("tasks", task.name), text
    yield from ((("tasks", task), text) for task, text in column_faults(schema))


def _derived_names(schema: Schema) -> Iterator[tuple[tuple[str, ...], str]]:
    """Derived features with the name of a column or feature; `rules` checks statistics."""
    taken = {_in_one_form(name) for name in schema.columns()}
    for column in schema.formulas:
        if column.name in taken - {computed.name for computed in schema.formulas}:
            text = f"{column.name!r} is a column of the log already; choose another name"
            yield ("formulas", column.name), text
    features = {_in_one_form(feature.name) for feature in schema.features}
    for derived in schema.computed:
        name, remedy = _in_one_form(derived.feature.name), _remedy(derived)
        # A cross is the only feature that it derives.
        if name in taken or (name in features and not isinstance(derived.source, Cross)):
            text = f"derives {derived.feature.name!r}, which is a column or a feature already"
            yield ("features", derived.source.name), f"{text}; {remedy}"


def _remedy(derived: DerivedFeature) -> str:
    """How a derived feature gets another name, or is not derived."""
    if isinstance(derived.source, Cross | Text | Vector):
        return "rename this one"
    options = {Numeric: "no values", Datetime: "other parts"}
    option = options.get(type(derived.source), "count: false")
    option = "no times" if isinstance(derived.feature, ListOf) else option
    return f"rename that, or write {option}"


def column_faults(schema: Schema, classes: Mapping[str, Sequence[Any]] | None = None) -> Faults:
    """Each scored column that has the name of another one, or of a column that is carried along.

    Args:
        schema: the tasks and the columns of the data.
        classes: of each multiclass task, once they are known.
    """
    writers: dict[str, tuple[str, str]] = {}
    for place, column in _carried(schema):
        writers.setdefault(_folded(column), (place, column))
    for task in schema.tasks:
        me = f"task {task.name!r}"
        for column in scored_columns(task, (classes or {}).get(task.name, ())):
            place, other = writers.setdefault(_folded(column), (me, column))
            if task.kind == "multiclass" and not _CLASS_COLUMN.fullmatch(column):
                text = f"a class would be scored as {_short(column)}, which no formula can hold"
                yield (
                    task.name,
                    f"{text}; use classes of at most 100 characters, without `",
                )
            reader = _multiclass_reader(column, schema)
            if place != me:
                text = f"its scored column {column!r} has the name of column {other!r} of {place}"
                yield task.name, f"{text}; rename the task"
            elif other is not column:
                text = f"two of its classes would be scored as {other!r} and {column!r}"
                yield task.name, f"{text}; write them alike in the data, or tell them apart"
            elif reader not in (None, task.name):
                text = f"its scored column {column!r} would be read as a class of task {reader!r}"
                yield task.name, f"{text}; rename one of the two"


def _multiclass_reader(column: str, schema: Schema) -> str | None:
    """The multiclass task that reads a column as one of its classes."""
    owner = owner_of(column, schema.tasks)
    return owner if owner is not None and schema.task(owner).kind == "multiclass" else None


def _carried(schema: Schema) -> Iterator[tuple[str, str]]:
    """The columns of the data that stand beside scored ones: of features and of roles."""
    for feature in schema.features:
        yield f"feature {feature.name!r}", feature.column
    roles = schema.roles
    for role, column in (("group", roles.group), ("time", roles.time), ("row_id", roles.row_id)):
        if column is not None:
            yield f"roles.{role}", column


def _alike(section: str, names: Sequence[str], form: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    firsts: dict[str, str] = {}
    for name in names:
        first = firsts.setdefault(form(name), name)
        if first != name:
            how = "case" if first.lower() == name.lower() else "the Unicode form"
            yield (section, name), f"differs from {first!a} in {how} only; rename one of them"


def _in_one_form(name: str) -> str:
    return normalize("NFC", name)


def _folded(name: str) -> str:
    return normalize("NFC", normalize("NFC", name).lower())


def _short(name: str) -> str:
    return repr(name) if len(name) <= MOST_CHARACTERS else f"{name[:20]!r}..."
