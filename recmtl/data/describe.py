"""Draft a schema from the columns of a log, with the reason beside every line.

The rules are simple on purpose: they read names and count values (`ColumnProfile`). A person who
knows which columns are known before the outcome has to read the draft and correct it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.columns.logical_type import Kind, LogicalType, arrow_form
from recmtl.data.reader import Log, open_log
from recmtl.data.split import PARTS
from recmtl.data.statistics.draft import statistics_draft
from recmtl.schema.yaml_text import plain_scalar

__all__ = ["ColumnProfile", "column_profiles", "describe"]

Shape = Literal["bool", "int", "float", "text", "time", "list", "other"]
SHAPES: dict[Kind, Shape] = {
    "boolean": "bool",
    "integer": "int",
    "float": "float",
    "text": "text",
    "timestamp": "time",
    "date": "time",
    "time of day": "time",
    "duration": "time",
    "list": "list",
}
SAMPLE_ROWS = 200_000
"""Rows from the start of the log that are looked at."""


@dataclass(frozen=True)
class ColumnProfile:
    """What the sample says about one column.

    Attributes:
        name: the column.
        shape: what it holds.
        rows: rows of the sample.
        missing: rows where the value is null or NaN.
        values: the distinct values of the column (of its elements, for a list), as an Arrow array.
        event: the value that means yes, in a column with exactly two values: 1 of 0 and 1, the
            rarer of two texts; None in any other column.
        positive: numbers of the rows that hold `event`.
    """

    name: str
    shape: Shape
    rows: int
    missing: int
    values: Any
    event: int | str | None
    positive: frozenset[int]

    @property
    def distinct(self) -> int:
        """Number of distinct values, missing ones aside."""
        return len(self.values)

    @property
    def unique(self) -> bool:
        """Whether every row has a value of its own."""
        return self.missing == 0 and self.distinct == self.rows > 1


def _words(text: str) -> frozenset[str]:
    """The words of a name, and the name itself in lower case."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower()
    return frozenset(word for word in [*re.split(r"[^a-z0-9]+", spaced), spaced] if word)


OUTCOMES = _words(
    "click clicked like liked dislike purchase purchased buy bought order ordered pay paid "
    "conversion convert converted install label target follow share comment favorite favourite "
    "cart hate forward finish finished view viewed skip subscribe enter download apply churn "
    "success income"
)
AFTERWARDS = _words("watch watched play played dwell stay revenue spent gmv")
TIMES = _words("time ts timestamp datetime date")
GROUPS = _words("request session search query")
PEOPLE = _words("user uid userid member customer visitor")
ROWS = _words("row impression event index exposure")
WEIGHTS = frozenset({"w", "weight", "sample_weight", "instance_weight", "row_weight"})
IDS = _words("id no key uid userid")
CODES = IDS | _words("code recode zip item category type")
FEW = 50
"""Distinct values up to which whole numbers are taken for codes."""


def describe(path: str) -> str:
    """A commented schema for the Parquet file, folder or glob at `path`.

    `load_schema` reads it if at least one task was found; if none was, the text says so.

    Raises:
        DataError: the data cannot be read.
    """
    log = open_log(path)
    profiles = list(column_profiles(log))
    draft = _Draft()
    for column in profiles:
        _place(column, draft)
    for column in draft.lists:
        _place_list(column, draft)
    sampled = profiles[0].rows if profiles else 0
    head = [
        f"# Drafted from {sampled:,} of {log.rows:,} rows of {path}.",
        "# Read every line: a column that is known only after the outcome must not be a feature.",
    ]
    return "\n".join([*head, *_lines(draft, _schema_name(path))]) + "\n"


class _Draft:
    """The parts of the schema, filled column by column; a reason stands beside every entry."""

    def __init__(self) -> None:
        self.features: dict[str, tuple[str, str]] = {}
        self.tasks: dict[str, tuple[ColumnProfile, str]] = {}
        self.roles: dict[str, tuple[str, str]] = {}
        self.ignore: dict[str, str] = {}
        self.split: tuple[str, str] | None = None
        self.lists: list[ColumnProfile] = []
        self.categorical: list[ColumnProfile] = []
        self.times: Any = None


def _place(column: ColumnProfile, draft: _Draft) -> None:
    """Put one column into the part of the schema that its name and values suggest."""
    words = _words(column.name)
    if column.shape == "other":
        draft.ignore[column.name] = "neither a value nor a list of values"
    elif column.distinct == 0 or (column.distinct == 1 and not column.missing):
        draft.ignore[column.name] = "constant"
    elif column.event is not None and words & OUTCOMES:
        share = len(column.positive) / column.rows
        draft.tasks[column.name] = (column, f"two values, named like an outcome, {share:.2%} are 1")
    elif words & AFTERWARDS and column.shape in ("int", "float"):
        draft.ignore[column.name] = "may be known only afterwards; perhaps a regression task"
    elif column.shape == "list":
        draft.lists.append(column)
    elif column.shape == "text" and set(column.values.to_pylist()) <= set(PARTS):
        why = f"holds {', '.join(column.values.to_pylist())}"
        draft.split = (f"{{by: column, column: {_quoted(column.name)}}}", why)
    elif not _place_role(column, words, draft):
        _place_feature(column, words, draft)


def _place_role(column: ColumnProfile, words: frozenset[str], draft: _Draft) -> bool:
    """Give the column a role, or ignore it; False if it may be a feature."""
    if column.shape == "time" or (words & TIMES and column.distinct > FEW):
        if "time" not in draft.roles and column.missing == 0 and column.shape != "text":
            draft.roles["time"] = (column.name, "named or typed like a time")
            draft.times = column.values
        else:
            draft.ignore[column.name] = "another time"
        return True
    if words & WEIGHTS and column.shape in ("int", "float"):
        draft.roles["sample_weight"] = (column.name, "named like a weight of the row")
        return True
    if column.unique and column.shape != "float" and words & (ROWS | IDS):
        if "row_id" in draft.roles:
            draft.ignore[column.name] = "different in every row"
        else:
            draft.roles["row_id"] = (column.name, "different in every row, named like an id")
        return True
    if words & GROUPS and words & IDS:
        draft.roles["group"] = (column.name, "named like the request whose rows compete")
        return True
    return False


def _place_feature(column: ColumnProfile, words: frozenset[str], draft: _Draft) -> None:
    name = column.name
    missing = f", {column.missing / column.rows:.1%} missing" if column.missing else ""
    count = f"{column.distinct:,} distinct values{missing}"
    if column.shape == "text" and column.unique:
        draft.ignore[name] = "text that is different in every row"
    elif column.shape == "float":
        draft.features[name] = ("{kind: numeric}", f"fractions, {count}")
    elif column.shape == "int" and column.distinct > FEW and not words & CODES:
        draft.features[name] = ("{kind: numeric}", f"whole numbers, {count}")
    else:
        min_count = ", min_count: 2" if column.distinct > FEW else ""
        draft.features[name] = (f"{{kind: categorical{min_count}}}", count)
        draft.categorical.append(column)
        if words & PEOPLE and (words & IDS or name.lower() in PEOPLE):
            draft.roles.setdefault("group", (name, "named like a user; rows of one user compete"))


def _place_list(column: ColumnProfile, draft: _Draft) -> None:
    """Add a list, which shares the vocabulary of the categorical column with most of its values."""
    best, share = None, 0.5
    for other in draft.categorical:
        if other.distinct > 2 and _comparable(other, column):
            values = column.values.cast(other.values.type, safe=False)
            shared = pc.sum(pc.is_in(values, value_set=other.values)).as_py() or 0
            if shared / max(column.distinct, 1) > share:
                best, share = other.name, shared / column.distinct
    if best is None:
        why = f"{column.distinct:,} distinct values in lists"
        draft.features[column.name] = ("{kind: list, min_count: 2}", why)
    else:
        why = f"{share:.0%} of its values are values of {best}"
        draft.features[column.name] = (f"{{kind: list, table: {_quoted(best)}}}", why)


def _comparable(a: ColumnProfile, b: ColumnProfile) -> bool:
    kinds = (str(a.values.type), str(b.values.type))
    return any(all(word in kind for kind in kinds) for word in ("int", "string"))


def _lines(draft: _Draft, name: str) -> list[str]:
    lines = ["version: 1", f"name: {_quoted(name)}", "features:"]
    lines += [_line(column, text, why) for column, (text, why) in draft.features.items()]
    if draft.tasks:
        lines += ["tasks:", *_task_lines(draft)]
    else:
        lines += [
            "# No task was found: no column of 0 and 1 is named like an outcome. For example:",
            "# tasks:",
            "#   click: {kind: binary, label: is_click}",
        ]
    if draft.roles:
        lines.append("roles:")
        lines += [_line(role, _quoted(column), why) for role, (column, why) in draft.roles.items()]
    split, why = draft.split or _split(draft)
    lines.append(f"split: {split}  # {why}")
    rows_of = {c.name: c.rows / c.distinct for c in draft.categorical if c.distinct > FEW}
    if draft.times is None and "group" in draft.roles:
        rows_of.pop(draft.roles["group"][0], None)  # the split keeps its values apart
    lines += statistics_draft(rows_of, list(_task_names(draft).values()), draft.times)
    if draft.ignore:
        lines.append("ignore:")
        lines += [f"  - {_quoted(column)}  # {why}" for column, why in draft.ignore.items()]
    return lines


def _line(name: str, text: str, why: str) -> str:
    return f"  {_quoted(name)}: {text}  # {why}"


def _task_names(draft: _Draft) -> dict[str, str]:
    """The name of the task of each label column."""
    names: dict[str, str] = {}
    for column in draft.tasks:
        name = re.sub(r"\W", "_", re.sub(r"^is_", "", column), flags=re.ASCII).lstrip("0123456789")
        while name in names.values() or not name:
            name += "_"
        names[column] = name
    return names


def _task_lines(draft: _Draft) -> list[str]:
    lines, names = [], _task_names(draft)
    for column, (profile, why) in draft.tasks.items():
        parent = _parent(profile, draft)
        parent_key = f", parent: {names[parent.name]}" if parent is not None else ""
        if parent is not None:
            why += f"; never 1 where {parent.name} is 0"
        gaps = ", missing: ignore" if profile.missing else ""
        text = f"{{kind: binary, label: {_label(profile)}{parent_key}{gaps}}}"
        lines.append(_line(names[column], text, why))
    return lines


def _label(profile: ColumnProfile) -> str:
    column = _quoted(profile.name)
    if profile.shape != "text":
        return column
    return f"{{column: {column}, equals: {_quoted(str(profile.event))}}}"


def _parent(child: ColumnProfile, draft: _Draft) -> ColumnProfile | None:
    """The click task in whose positive rows all positive rows of this outcome lie, if any."""
    for column, _ in draft.tasks.values():
        is_click = _words(column.name) & {"click", "clicked"}
        if is_click and child.name != column.name and child.positive < column.positive:
            return column
    return None


def _split(draft: _Draft) -> tuple[str, str]:
    if "time" in draft.roles:
        return "{by: time, validation: 0.1, test: 0.1}", "there is a time: judge on later rows"
    if "group" in draft.roles:
        return "{by: group, validation: 0.1, test: 0.1}", "no time, but a group: keep groups whole"
    return "{by: random, validation: 0.1, test: 0.1}", "neither a time nor a group was found"


def _schema_name(path: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", re.sub(r"\.parquet$", "", path.rstrip("/")).split("/")[-1])
    return "_".join(words) or "log"


def _quoted(text: str) -> str:
    """The YAML scalar that is read back as this text."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text) and isinstance(plain_scalar(text), str)
    return text if plain else json.dumps(text)


def column_profiles(log: Log) -> Iterator[ColumnProfile]:
    """A profile of every column of the log, from its first rows (about 200,000)."""
    names = log.column_names()
    batches, rows = [], 0
    for batch in log.batches(names):
        batches.append(batch.columns)
        rows += batch.rows
        if rows >= SAMPLE_ROWS:
            break
    types = log.logical_types(names)
    for i, name in enumerate(names):
        yield _profile(name, types[name], [batch.column(i) for batch in batches])


def _profile(name: str, kind: LogicalType, parts: list[Any]) -> ColumnProfile:
    column = _in_one_form(kind, parts)
    shape = SHAPES.get(kind.kind, "other")
    missing = pc.sum(pc.is_null(column, nan_is_null=True)).as_py() or 0
    inner = pc.list_flatten(column) if shape == "list" else column
    if pa.types.is_nested(inner.type):
        return ColumnProfile(name, "other", len(column), missing, pa.nulls(0), None, frozenset())
    values = pc.unique(inner).drop_null()
    if pa.types.is_floating(values.type):
        values = values.filter(pc.invert(pc.is_nan(values)))
    event, positive = _event(column, shape, values) if len(values) == 2 else (None, frozenset())
    return ColumnProfile(name, shape, len(column), missing, values, event, positive)


def _event(column: Any, shape: Shape, values: Any) -> tuple[int | str | None, frozenset[int]]:
    if shape == "text":
        counts = [pc.sum(pc.equal(column, value)).as_py() for value in values]
        event: int | str = values[counts.index(min(counts))].as_py()
        hits = pc.equal(column, event)
    elif shape in ("bool", "int", "float") and set(map(float, values.to_pylist())) == {0.0, 1.0}:
        event = 1
        hits = pc.equal(column.cast(pa.float64()), 1.0)  # as true or false, NaN would be true
    else:
        return None, frozenset()
    rows = pc.indices_nonzero(hits.combine_chunks().fill_null(False))
    return event, frozenset(rows.to_pylist())


def _in_one_form(kind: LogicalType, parts: list[Any]) -> Any:
    """Canonical parts of a column as one column: they may differ in width, and hold codes."""
    plain = [
        part.dictionary_decode() if pa.types.is_dictionary(part.type) else part for part in parts
    ]
    same = len({part.type for part in plain}) == 1
    return pa.chunked_array(plain if same else [part.cast(arrow_form(kind)) for part in plain])
