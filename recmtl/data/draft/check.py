"""The text of a draft, in which what `prepare` would refuse of the sampled rows is a comment."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from recmtl.data.draft.placing import FEW, Draft, name_words
from recmtl.data.draft.profile import ColumnProfile
from recmtl.data.draft.proposals import (
    history_lines,
    position_lines,
    task_lines,
    time_lines,
)
from recmtl.data.draft.sample import Sample
from recmtl.data.prepare import check_rows
from recmtl.data.statistics.draft import statistics_draft
from recmtl.errors import RecmtlError, SchemaError
from recmtl.schema import (
    Categorical,
    Feature,
    ListOf,
    Roles,
    Schema,
    SplitRule,
    TaskSpec,
    parse_schema,
)
from recmtl.schema.names import MOST_CHARACTERS, RESERVED
from recmtl.schema.yaml_text import quoted

__all__ = ["checked_lines"]

FEW_ROWS = 10_000
"""Rows up to which other splits are tried for a label that `prepare` would refuse."""


@dataclass
class _Entry:
    """A line of a section of the draft; a refused one is a comment."""

    section: str
    key: str
    text: str
    refused: bool = False

    def refuse(self, reason: str) -> None:
        """Turn the line into a comment, with the reason why it cannot stand."""
        self.text = f"  # {self.text.strip()}  # refused: {' '.join(reason.split())}"
        self.refused = True


def checked_lines(draft: Draft, sample: Sample, columns: Sequence[ColumnProfile] = ()) -> list[str]:
    """The lines of the draft, those that `prepare` would refuse of the sample as comments.

    Args:
        draft: every column in its part of the schema.
        sample: the rows.
        columns: their profiles, by which tasks and histories are proposed.
    """
    splits, tried = _splits(draft), list[list[_Entry]]()
    for first in range(len(splits)):
        entries = _checked([*_entries(draft, columns)], splits[first:], sample)
        tried.append(entries)
        # In few rows a rare label may fall beside train by chance: another split may have it.
        if sample.rows > FEW_ROWS or not _refused_tasks(entries):
            break
    return _lines(min(tried, key=_refused_tasks), final=True)


def _refused_tasks(entries: list[_Entry]) -> int:
    return sum("# refused: " in entry.text for entry in entries if entry.section == "tasks")


def _checked(entries: list[_Entry], splits: list[_Entry], sample: Sample) -> list[_Entry]:
    entries.append(replace(splits.pop(0)))
    while True:
        faults = _faults_of_text(entries) or _faults_of_rows(entries, sample)
        for entry, reason in faults:
            if entry.section != "split":
                entry.refuse(reason)
            elif splits:
                # The next way of splitting says why the one before it cannot stand.
                following = replace(splits.pop(0))
                following.text += f"  # refused: {' '.join(reason.split())}"
                entries[entries.index(entry)] = following
            else:
                return entries
        if not faults:
            return entries


def _faults_of_text(entries: list[_Entry]) -> list[tuple[_Entry, str]]:
    """The entries that contradict one another, and why."""
    try:
        _schema(entries)
    except SchemaError as fault:
        numbered = re.findall(r"^draft:(\d+): (.*)$", str(fault), re.MULTILINE)
        by_text = {entry.text: entry for entry in entries if not entry.refused}
        lines = ["version", "name", *_lines(entries)]
        at = [(by_text.get((lines[int(n) - 1 :] or [""])[0]), text) for n, text in numbered]
        return [(entry, text) for entry, text in at if entry is not None]
    return []


def _schema(entries: list[_Entry]) -> Schema:
    """The schema of the draft, without tasks or features where it has none."""
    lines = ["version: 1", "name: draft", *_lines(entries)]
    live = {entry.section for entry in entries if not entry.refused}
    stand_ins = {
        "features": 'features: {"": {kind: numeric, column: "no column"}}',
        "tasks": 'tasks: {stand_in: {kind: regression, label: "no label"}}',
    }
    lines += [text for section, text in stand_ins.items() if section not in live]
    schema = parse_schema("\n".join(lines), source="draft")
    features = schema.features if "features" in live else ()
    return replace(schema, features=features, tasks=schema.tasks if "tasks" in live else ())


def _faults_of_rows(entries: list[_Entry], sample: Sample) -> list[tuple[_Entry, str]]:
    """The entries that the sampled rows refuse, and why: roles first, then split, then the rest."""
    try:
        schema = _schema(entries)
    except SchemaError:
        return []
    if _fault(sample, schema) is None:
        return []
    by_key = {(entry.section, entry.key): entry for entry in entries if not entry.refused}
    for parts in _parts(schema):
        reasons = [(by_key[key], _fault(sample, part)) for key, part in parts]
        faults = [(entry, reason) for entry, reason in reasons if reason is not None]
        if faults:
            return faults
    return []


def _parts(schema: Schema) -> Iterator[list[tuple[tuple[str, str], Schema]]]:
    """Schemas of one entry each, by section and key."""
    bare = replace(schema, features=(), tasks=())
    random = replace(bare, split=SplitRule("random"))
    roles: dict[str, Any] = dict(schema.roles.columns)
    yield [
        (("roles", name), replace(random, roles=Roles(**{name: column})))
        for name, column in roles.items()
        if name != "row_id"
    ]
    yield [(("split", ""), bare)]
    named = {feature.name: feature for feature in schema.features}
    features = [
        (("features", f.name), replace(bare, features=(*_table(f, named), f)))
        for f in schema.features
    ]
    tasks = [
        (("tasks", task.name), replace(bare, tasks=(*_ancestors(task, schema), task)))
        for task in schema.tasks
    ]
    yield [*features, *tasks]


def _table(feature: Feature, named: Mapping[str, Feature]) -> tuple[Feature, ...]:
    """The feature whose vocabulary another shares."""
    table = feature.table if isinstance(feature, Categorical | ListOf) else None
    return () if table is None else (named[table],)


def _ancestors(task: TaskSpec, schema: Schema) -> tuple[TaskSpec, ...]:
    if task.parent is None:
        return ()
    parent = schema.task(task.parent)
    return (*_ancestors(parent, schema), parent)


def _fault(sample: Sample, schema: Schema) -> str | None:
    """What `prepare` says against the sampled rows, if anything."""
    try:
        check_rows(sample, schema)
    except RecmtlError as fault:
        return str(fault).removeprefix(f"{sample.data}: ")
    return None


def _entries(draft: Draft, columns: Sequence[ColumnProfile]) -> list[_Entry]:
    entries = []
    for column, (text, why) in draft.features.items():
        entries.append(_entry("features", column, text, why))
        histories = history_lines(column, draft, columns)
        entries += [_Entry("features", "", line, refused=True) for line in histories]
    entries += [_Entry("features", "", line, refused=True) for line in time_lines(draft, columns)]
    entries += _task_entries(draft)
    entries += [_Entry("tasks", "", line, refused=True) for line in task_lines(draft, columns)]
    entries += [
        _entry("roles", role, quoted(column), why) for role, (column, why) in draft.roles.items()
    ]
    entries += [_Entry("roles", "", line, refused=True) for line in position_lines(draft, columns)]
    tasks = [e.key for e in entries if e.section == "tasks" and not e.refused]
    entries += [_Entry("statistics", "", line, refused=True) for line in _statistics(draft, tasks)]
    return entries + [
        _Entry("ignore", name, f"  - {quoted(name)}  # {why}") for name, why in draft.ignore.items()
    ]


def _statistics(draft: Draft, tasks: list[str]) -> Iterator[str]:
    """Statistics of the past that the log might bear, as comments."""
    rows_of = {c.name: c.rows / c.distinct for c in draft.categorical if c.distinct > FEW}
    if draft.time is None and "group" in draft.roles:
        rows_of.pop(draft.roles["group"][0], None)  # the split keeps its values apart
    return statistics_draft(rows_of, tasks, None if draft.time is None else draft.time.values)


def _entry(section: str, key: str, text: str, why: str) -> _Entry:
    return _Entry(section, key, f"  {quoted(key)}: {text}  # {why}")


def _lines(entries: list[_Entry], *, final: bool = False) -> list[str]:
    """The sections in the order of a schema; one of comments alone has no heading.

    But in the `final` lines, tasks that are proposed alone have one, so that they need only be
    uncommented.
    """
    lines: list[str] = []
    for section in ("features", "tasks", "roles", "split", "statistics", "ignore"):
        inside = [entry for entry in entries if entry.section == section]
        if any(not entry.refused for entry in inside) and section != "split":
            lines.append(f"{section}:")
        elif section in MISSING:
            is_proposed = final and section == "tasks" and bool(inside)
            lines += PROPOSED if is_proposed else MISSING[section]
        lines += [entry.text for entry in inside]
    return lines


PROPOSED = ["tasks:  # none is named like an outcome: uncomment those that are"]
MISSING = {
    "features": [
        "# No feature was found. For example:",
        "# features:",
        "#   price: {kind: numeric}",
    ],
    "tasks": [
        "# No task was found: no column of 0 and 1 is named like an outcome. For example:",
        "# tasks:",
        "#   click: {kind: binary, label: is_click}",
    ],
}


def _task_entries(draft: Draft) -> list[_Entry]:
    entries, names = [], dict[str, str]()
    for column in draft.tasks:
        if column in draft.names:
            names[column] = draft.names[column]
            continue
        name = re.sub(r"\W", "_", re.sub(r"^is_", "", column), flags=re.ASCII).lstrip("0123456789")
        name = name[: MOST_CHARACTERS - 10]
        taken = {*(task.lower() for task in names.values()), *RESERVED}
        while name.lower() in taken or not name:
            name += "_"
        names[column] = name
    for column, (values, why) in draft.tasks.items():
        kind = draft.kinds.get(column, "binary")
        parent = _parent(values, draft) if kind == "binary" else None
        parent_key = f", parent: {names[parent.name]}" if parent is not None else ""
        if parent is not None:
            why += f"; never 1 where {parent.name!r} is 0"
        gaps = ", missing: ignore" if values.missing else ""
        text = f"{{kind: {kind}, label: {_label(values, kind)}{parent_key}{gaps}}}"
        entries.append(_entry("tasks", names[column], text, why))
    return entries


def _label(profile: ColumnProfile, kind: str) -> str:
    column = quoted(profile.name)
    if profile.shape != "text" or kind != "binary":
        return column
    return f"{{column: {column}, equals: {quoted(str(profile.event))}}}"


def _parent(child: ColumnProfile, draft: Draft) -> ColumnProfile | None:
    """The click task in whose positive rows all positive rows of this outcome lie, if any."""
    for column, _ in draft.tasks.values():
        is_click = name_words(column.name) & {"click", "clicked"}
        if is_click and child.name != column.name and child.positive < column.positive:
            return column
    return None


def _splits(draft: Draft) -> list[_Entry]:
    """Ways to split, the best one first."""
    ways = [] if draft.split is None else [draft.split]
    if "time" in draft.roles:
        ways.append((_by("time", 0.1), "there is a time: judge on later rows"))
    if "group" in draft.roles:
        ways.append((_by("group", 0.1), "no time, but a group: keep groups whole"))
        ways += [(_by("group", share), "few groups: keep them whole") for share in (0.2, 0.3)]
    ways.append((_by("random", 0.1), "neither a time nor a group to split by"))
    ways += [(_by("random", share), "few rows") for share in (0.2, 0.3)]
    ways += [(_by("random", 0.2, seed), "few rows, rare labels") for seed in (1, 2, 3)]
    return [_Entry("split", "", f"split: {text}  # {why}") for text, why in ways]


def _by(rule: str, share: float, seed: int = 0) -> str:
    seeded = f", seed: {seed}" if seed else ""
    return f"{{by: {rule}, validation: {share}, test: {share}{seeded}}}"
