"""Contradictions between the parts of a schema, which no part can see alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recmtl.errors import SchemaError, SourceLocation, did_you_mean
from recmtl.schema.condition import seconds_of
from recmtl.schema.definition import (
    Categorical,
    Cross,
    Datetime,
    ListOf,
    Numeric,
    Schema,
    TaskSpec,
    Vector,
)
from recmtl.schema.names import column_faults, name_faults
from recmtl.schema.statistics import PastStatistics

__all__ = ["contradictions", "refuse_contradictions", "refuse_same_columns"]

Contradictions = Iterator[tuple[tuple[str, ...], str]]
"""Of each contradiction the keys that lead to it in the file, and what is wrong."""


def contradictions(schema: Schema, *, broken: frozenset[str] = frozenset()) -> Contradictions:
    """Every contradiction of a schema.

    Args:
        schema: the schema, possibly without the parts that could not be read.
        broken: features and tasks that could not be read; references to them are not judged.
    """
    if not schema.features and not broken:
        yield ("features",), "needs at least one feature"
    if not schema.tasks and not broken:
        yield ("tasks",), "needs at least one task"
    yield from _outcomes_among_features(schema)
    yield from _ignored_features(schema)
    yield from _position(schema, broken)
    yield from _shared_tables(schema, broken)
    yield from _vectors(schema, broken)
    yield from _histories(schema, broken)
    yield from _sizes_of_events(schema)
    yield from _crosses(schema)
    yield from _funnels(schema, broken)
    yield from _durations(schema, broken)
    yield from _group_losses(schema)
    yield from _late_labels(schema, broken)
    yield from _samples(schema, broken)
    yield from _split_roles(schema)
    yield from _side_tables(schema)
    yield from _statistics(schema, broken)
    yield from _formulas(schema)


def refuse_contradictions(schema: Schema) -> None:
    """Raise one `SchemaError` with every contradiction of a schema that was built in Python."""
    faults = [*contradictions(schema), *name_faults(schema)]
    lines = [f"{schema.name}: {'.'.join(path)}: {text}" for path, text in faults]
    if lines:
        raise SchemaError("\n".join(lines))


def refuse_same_columns(
    schema: Schema, classes: Mapping[str, Sequence[Any]], place: SourceLocation
) -> None:
    """Raise a `DataError` if two scored columns have one name, once the classes are known.

    Args:
        schema: the tasks.
        classes: of each multiclass task.
        place: the data with these classes.
    """
    for task, text in column_faults(schema, classes):
        fault, remedy = f"task {task!r}: {text}".rsplit("; ", 1)
        raise place.error(fault, remedy, column=schema.task(task).label.column)


def _outcomes_among_features(schema: Schema) -> Contradictions:
    outcomes = _outcome_columns(schema)
    for feature in schema.features:
        columns = feature.columns
        for column in dict.fromkeys((*columns, *schema.in_the_log(columns))):
            if column in outcomes:
                yield (
                    ("features", feature.name),
                    f"column {column!r} is {outcomes[column]} and would give the "
                    "answer away; drop this feature",
                )


def _outcome_columns(schema: Schema) -> dict[str, str]:
    """What each column is that may be known only after the outcome."""
    outcomes: dict[str, str] = {}
    for task in schema.tasks:
        outcomes.setdefault(task.label.column, f"the label of task {task.name!r}")
        reads = schema.in_the_log([task.label.column])
        if len(reads) == 1:
            outcomes.setdefault(reads[0], f"the label of task {task.name!r}")
        if task.label.time is not None:
            outcomes.setdefault(task.label.time, f"the time of the label of task {task.name!r}")
        if task.rows is not None:
            outcomes.setdefault(task.rows.column, f"the rows rule of task {task.name!r}")
    if schema.split.by == "column" and schema.split.column is not None:
        outcomes.setdefault(schema.split.column, "the split")
    return outcomes


def _ignored_features(schema: Schema) -> Contradictions:
    for feature in schema.features:
        for column in feature.columns:
            if column in schema.ignore:
                yield (
                    ("features", feature.name),
                    f"column {column!r} is also under ignore; drop one of the two",
                )


def _position(schema: Schema, broken: frozenset[str]) -> Contradictions:
    role = schema.roles.position
    if role is None:
        return
    for feature in schema.features:
        if role.column in schema.in_the_log(feature.columns):
            text = f"column {role.column!r} is roles.position, which serving does not know"
            yield ("features", feature.name), f"{text}; drop this feature"
    if not broken and not any(t.kind == "binary" and t.parent is None for t in schema.tasks):
        text = "places explain binary tasks without a parent, and there is none; drop this role"
        yield ("roles", "position"), text


def _shared_tables(schema: Schema, broken: frozenset[str]) -> Contradictions:
    kinds = {feature.name: feature for feature in schema.features}
    categorical = {name: f for name, f in kinds.items() if isinstance(f, Categorical)}
    for feature in schema.features:
        if not isinstance(feature, Categorical | ListOf):
            continue
        if feature.table is None or feature.table in broken:
            continue
        is_target = isinstance(feature, ListOf) and feature.target is not None
        place = ("features", feature.name, "target" if is_target else "table")
        if feature.table not in kinds:
            hint = did_you_mean(feature.table, categorical)
            yield place, f"there is no feature {feature.table!r}{hint}"
        elif feature.table not in categorical:
            yield place, f"{feature.table!r} is not categorical, so it has no vocabulary to share"
        elif categorical[feature.table].table is not None:
            text = f"shares that of {categorical[feature.table].table!r}"
            text = "is its own table" if feature.table == feature.name else text
            yield place, f"{feature.table!r} {text}; name a feature with a vocabulary of its own"


def _vectors(schema: Schema, broken: frozenset[str]) -> Contradictions:
    kinds = {feature.name: feature for feature in schema.features}
    for feature in schema.features:
        if not isinstance(feature, Vector) or feature.of is None or feature.of in broken:
            continue
        owner, place = kinds.get(feature.of), ("features", feature.name, "of")
        if not isinstance(owner, Categorical):
            hint = did_you_mean(feature.of, kinds)
            yield place, f"there is no categorical feature {feature.of!r}{hint}"
        elif owner.hash_buckets is not None:
            yield place, f"values of {feature.of!r} are hashed, and share rows; fit a vocabulary"


def _histories(schema: Schema, broken: frozenset[str]) -> Contradictions:
    lists = {f.name: f for f in schema.features if isinstance(f, ListOf)}
    histories = [name for name, feature in lists.items() if feature.history == name]
    for name, feature in lists.items():
        if feature.times is not None and schema.roles.time is None:
            text = "times needs roles.time, until which events have an age"
            yield ("features", name, "times"), text
        if feature.align is None or feature.align in broken:
            continue
        place = ("features", name, "align")
        if feature.align not in histories:
            hint = did_you_mean(feature.align, histories)
            text = f"{feature.align!r} is no list with pooling: attention and a target{hint}"
            yield place, text
            continue
        kept = lists[feature.align].max_length, lists[feature.align].keep
        if (feature.max_length, feature.keep) != kept:
            text = f"write max_length: {kept[0]} and keep: {kept[1]}, as {feature.align!r} has"
            yield place, f"aligned lists keep the same events; {text}"


def _sizes_of_events(schema: Schema) -> Contradictions:
    """Histories whose events have embeddings of several sizes."""
    features = {feature.name: feature for feature in schema.features}
    for history in schema.features:
        if not isinstance(history, ListOf) or history.history != history.name:
            continue
        aligned = [
            f for f in features.values() if isinstance(f, ListOf) and f.align == history.name
        ]
        owners = dict.fromkeys(f.table for f in (history, *aligned) if f.table in features)
        sizes = {getattr(features[str(owner)], "dim", None) for owner in owners}
        if len(sizes) > 1 or (len(owners) > 1 and "auto" in sizes):
            names = ", ".join(map(str, owners))
            text = f"an event is read at one size; give {names} the same number as dim, or none"
            yield ("features", history.name), text


def _crosses(schema: Schema) -> Contradictions:
    features = {feature.name: feature for feature in schema.features}
    derived = {entry.feature.name: entry for entry in schema.computed}
    for cross in schema.features:
        if not isinstance(cross, Cross):
            continue
        for name in cross.columns:
            place, entry, feature = (
                ("features", cross.name, "columns"),
                derived.get(name),
                features.get(name),
            )
            if entry is not None and not isinstance(entry.feature, Categorical):
                yield place, f"{name!r} is no category, so it cannot be crossed"
            elif entry is not None and isinstance(entry.source, Cross):
                yield place, f"{name!r} is a cross itself; name its columns here"
            elif isinstance(feature, Datetime):
                parts = [n for n, e in derived.items() if e.source is feature]
                yield place, f"{name!r} is a time; name one of its parts: {', '.join(parts)}"
            elif entry is None and feature is not None and feature.column != name:
                yield place, f"{name!r} reads the column {feature.column!r}; name that"


def _funnels(schema: Schema, broken: frozenset[str]) -> Contradictions:
    tasks = {task.name: task for task in schema.tasks}
    for task in schema.tasks:
        if task.parent is None or task.parent in broken:
            continue
        place = ("tasks", task.name, "parent")
        if task.parent not in tasks:
            yield place, f"there is no task {task.parent!r}{did_you_mean(task.parent, tasks)}"
        elif tasks[task.parent].kind != "binary":
            yield place, f"{task.parent!r} is not binary, so nothing can follow from it"
        elif _in_cycle(task, tasks):
            yield place, f"{task.name!r} is its own ancestor"


def _durations(schema: Schema, broken: frozenset[str]) -> Contradictions:
    numbers = {f.name: f for f in schema.features if isinstance(f, Numeric)}
    for task in schema.tasks:
        duration = None if task.head is None else task.head.duration
        if duration is not None and duration not in numbers and not broken:
            text = f"there is no numeric feature {duration!r}{did_you_mean(duration, numbers)}"
            yield ("tasks", task.name, "head"), text


def _group_losses(schema: Schema) -> Contradictions:
    for task in schema.tasks:
        key = "head" if task.ranks else "group_loss"
        if (task.ranks or task.group_loss is not None) and schema.roles.group is None:
            text = "needs roles.group, the column of those whose rows are compared"
            yield ("tasks", task.name, key), text


def _late_labels(schema: Schema, broken: frozenset[str]) -> Contradictions:
    tasks = {task.name: task for task in schema.tasks}
    for task in schema.tasks:
        place, window = ("tasks", task.name, "label"), task.label.window
        if window is not None and schema.roles.time is None:
            yield place, "a late label needs roles.time, after which its window begins"
        parent = tasks.get(task.parent or "")
        if parent is None or parent.label.window is None or parent.name in broken:
            continue
        longest = parent.label.window
        if window is None or _is_longer(window, longest):
            text = f"{parent.name!r} counts within {longest}, so its child cannot count later"
            yield place, f"{text}; give it a time and a window of at most {longest}"
    for index, entry in enumerate(schema.statistics):
        for name in entry.of:
            late = tasks[name].label.window if isinstance(name, str) and name in tasks else None
            if late is not None and not entry.waits_for(late):
                text = f"of: whether {name!r} happened is known {late} after a row"
                yield ("statistics", str(index)), f"{text}; write delay: {late}"


def _samples(schema: Schema, broken: frozenset[str]) -> Contradictions:
    tasks = {task.name: task for task in schema.tasks}
    for sample in schema.sample:
        place, name = ("sample", sample.name), sample.name
        if name in broken:
            continue
        if name not in tasks:
            yield place, f"there is no task {name!r}{did_you_mean(name, tasks)}"
        elif tasks[name].kind != "binary":
            yield place, f"{name!r} is not binary, so it has no negative rows"
        if sample.seed != schema.sample[0].seed:
            text = "one hash decides for all tasks; give them the seed"
            yield place, f"{text} {schema.sample[0].seed}"


def _is_longer(window: str | int, longest: str | int) -> bool:
    """Whether a window is longer than another; true where their units differ."""
    if isinstance(window, int) != isinstance(longest, int):
        return True
    lengths = [
        length if isinstance(length, int) else seconds_of(length) for length in (window, longest)
    ]
    return lengths[0] > lengths[1]


def _in_cycle(task: TaskSpec, tasks: dict[str, TaskSpec]) -> bool:
    seen: set[str] = set()
    parent = task.parent
    while parent in tasks and parent not in seen:
        seen.add(parent)
        parent = tasks[parent].parent
    return task.name in seen


def _split_roles(schema: Schema) -> Contradictions:
    split = schema.split
    if split.by == "time" and schema.roles.time is None:
        yield ("split", "by"), "by: time needs roles.time, the column to go by"
    if split.by == "group" and split.column is None and schema.roles.group is None:
        yield ("split", "by"), "by: group needs roles.group or split.column"
    both = (split.validation_from, split.test_from)
    if type(both[0]) is type(both[1]) and both[0] is not None and not both[0] < both[1]:  # type: ignore[operator] # same type, checked on this line
        yield ("split", "validation_from"), "must be before test_from"


def _side_tables(schema: Schema) -> Contradictions:
    seen: set[tuple[str, str]] = set()
    for index, table in enumerate(schema.tables):
        if (table.path, table.key) in seen:
            yield ("tables", str(index)), f"{table.path!r} is joined twice by {table.key!r}"
        seen.add((table.path, table.key))


def _statistics(schema: Schema, broken: frozenset[str]) -> Contradictions:
    names = {feature.name for feature in schema.features}
    columns = _outcome_columns(schema)
    for index, entry in enumerate(schema.statistics):
        place = ("statistics", str(index))
        if schema.roles.time is None and entry.needs_time:
            yield place, "windows, last, delay and freeze need roles.time"
        for column in entry.keys:
            if column in columns:
                yield (
                    (*place, "key"),
                    f"column {column!r} is {columns[column]}, which is not known beforehand",
                )
        mistakes = list(_mistaken_tasks(schema, entry, broken))
        yield from ((place, text) for text in mistakes)
        if mistakes or broken & set(entry.of):
            continue
        for number in entry.numbers(schema.outcomes(entry)):
            if number.name in names:
                yield place, f"{number.name!r} is already the name of a feature; rename this entry"
            names.add(number.name)


def _mistaken_tasks(schema: Schema, entry: PastStatistics, broken: frozenset[str]) -> Iterator[str]:
    tasks = {task.name: task for task in schema.tasks}
    for what in entry.of:
        if not isinstance(what, str) or what in broken:
            continue
        if what not in tasks:
            hint = did_you_mean(what, tasks)
            yield f"of: there is no task {what!r}{hint}; a column is written {{column: {what}}}"
        elif tasks[what].kind == "multiclass":
            column = tasks[what].label.column
            yield (
                f"of: {what!r} has classes, of which no rate can be taken; write a rule, such as "
                f"{{column: {column}, equals: ...}}"
            )


def _formulas(schema: Schema) -> Contradictions:
    formulas = {column.name: column for column in schema.formulas}
    for column in schema.formulas:
        for name in column.parsed.names:
            if name in formulas:
                text = f"reads {name!r}, which is computed itself; write that formula out"
                yield ("formulas", column.name), text
    readers: list[tuple[tuple[str, ...], str]] = [
        (("features", feature.name), name)
        for feature in schema.features
        if not isinstance(feature, Numeric)
        for name in feature.columns
    ]
    split, roles = schema.split.column, schema.roles
    readers += [
        (("statistics", str(i)), k) for i, e in enumerate(schema.statistics) for k in e.keys
    ]
    readers += [(("roles", r), getattr(roles, r) or "") for r in ("group", "time", "row_id")]
    readers += [(("split", "column"), split or "")]
    readers += [(("tasks", t.name, "label"), t.label.time or "") for t in schema.tasks]
    for place, name in readers:
        if name in formulas:
            yield (
                place,
                f"{name!r} is a computed number; write kind: numeric, or a column of the log",
            )
