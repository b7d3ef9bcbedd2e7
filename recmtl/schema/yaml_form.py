"""A `Schema` as YAML text, read and written.

Reading expands the short forms (a feature's column defaults to its name, `label: column`), then the
strict reader checks each part. Writing leaves out what equals the default, so that a dumped schema
stays readable.
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from recmtl.errors import SchemaError, did_you_mean
from recmtl.schema.definition import (
    Categorical,
    Condition,
    ExactValues,
    Feature,
    ListOf,
    Numeric,
    PastStatistics,
    Roles,
    Schema,
    SideTable,
    SplitRule,
    TaskSpec,
    TextFiles,
)
from recmtl.schema.names import name_faults
from recmtl.schema.rules import contradictions
from recmtl.schema.strict_yaml import build, convert
from recmtl.schema.yaml_text import Located, Problems, parse, plain_scalar, read_text

__all__ = ["dump_schema", "load_schema", "parse_schema"]

KINDS: dict[str, type[Categorical] | type[Numeric] | type[ListOf]] = {
    "categorical": Categorical,
    "numeric": Numeric,
    "list": ListOf,
}
KEYS = (
    *("version", "name", "files", "tables", "features"),
    *("tasks", "roles", "split", "statistics", "ignore"),
)
REQUIRED = ("version", "name", "features", "tasks", "split")
Part = TypeVar("Part")


def load_schema(path: str | Path, *, stored: bool = False) -> Schema:
    """Read a schema file.

    Args:
        path: the file.
        stored: whether a release has written it, which may have known fewer rules about names and
            fewer options: those that it did not write are off.

    Raises:
        SchemaError: every mistake in the file, one line each: `file:line: place: what is wrong`.
    """
    text = read_text(Path(path), SchemaError, what="schema file")
    return parse_schema(text, source=str(path), stored=stored)


def parse_schema(text: str, *, source: str, stored: bool = False) -> Schema:
    """Read schema text, as `load_schema` does; `source` names it in messages.

    >>> text = '''
    ... version: 1
    ... name: shop
    ... features: {price: {kind: numeric}}
    ... tasks: {click: {kind: binary, label: is_click}}
    ... split: {by: random}
    ... '''
    >>> parse_schema(text, source="shop.yaml").task("click").label.column
    'is_click'
    """
    problems = Problems(source)
    root = parse(text, problems)
    schema = _build_schema(root, problems, stored) if root is not None else None
    problems.raise_as(SchemaError)
    if schema is None:
        raise SchemaError(f"{source}:1: nothing could be read")
    return schema


def _build_schema(root: Located, problems: Problems, stored: bool) -> Schema | None:
    entries = _top_level(root, problems)
    features, broken_features = _features(entries.get("features"), problems, stored)
    tasks, broken_tasks = _tasks(entries.get("tasks"), problems)
    split = _section(SplitRule, entries, "split", problems)
    roles = _section(Roles, entries, "roles", problems)
    schema = Schema(
        name=_entry(str, entries, "name", problems, default="unnamed"),
        features=features,
        tasks=tasks,
        # A split that could not be read is replaced, so that the other parts are still checked.
        split=split or SplitRule(by="random"),
        roles=roles or Roles(),
        tables=_entry(tuple[SideTable, ...], entries, "tables", problems, default=()),
        ignore=_entry(tuple[str, ...], entries, "ignore", problems, default=()),
        statistics=_entry(tuple[PastStatistics, ...], entries, "statistics", problems, default=()),
        files=_section(TextFiles, entries, "files", problems),
    )
    faults = list(contradictions(schema, broken=frozenset(broken_features | broken_tasks)))
    if not stored:
        faults += name_faults(schema)
    for path, message in faults:
        # Without roles, a split that needs one would be blamed for a mistake made there.
        if not (path[0] == "split" and roles is None and "roles" in entries):
            problems.add(_line_of(root, path), ".".join(path), message)
    return schema


def _top_level(root: Located, problems: Problems) -> dict[str, Located]:
    if not isinstance(root.value, dict):
        problems.add(root.line, "", "a schema is a mapping with features, tasks and split")
        return {}
    for key, node in root.value.items():
        if key not in KEYS:
            hint = did_you_mean(key, KEYS)
            problems.add(node.line, "", f"unknown key {key!r}{hint}")
    for key in REQUIRED:
        if key not in root.value:
            problems.add(root.line, "", f"missing key {key!r}")
    _entry(Literal[1], root.value, "version", problems, default=1)
    return root.value


def _features(
    node: Located | None, problems: Problems, stored: bool
) -> tuple[tuple[Feature, ...], set[str]]:
    built: list[Feature] = []
    broken: set[str] = set()
    for name, child in _named_entries(node, "features", problems).items():
        feature = _feature(name, child, problems, stored)
        if feature is None:
            broken.add(name)
        else:
            built.append(feature)
    return tuple(built), broken


def _feature(name: str, node: Located, problems: Problems, stored: bool) -> Feature | None:
    path = f"features.{name}"
    if not isinstance(node.value, dict):
        problems.add(node.line, path, "must be a mapping with kind: categorical, numeric or list")
        return None
    entries = dict(node.value)
    if "kind" not in entries:
        problems.add(node.line, path, f"missing key 'kind': one of {', '.join(KINDS)}")
        return None
    kind = entries.pop("kind")
    cls = KINDS.get(str(kind.value))
    if cls is None:
        hint = did_you_mean(str(kind.value), KINDS)
        message = f"must be one of {', '.join(KINDS)}, not {kind.value!r}{hint}"
        problems.add(kind.line, f"{path}.kind", message)
        return None
    entries.setdefault("column", Located(name, node.line))
    if stored and cls is ListOf:
        entries.setdefault("count", Located(False, node.line))
    rest = Located(entries, node.line)
    return build(cls, rest, path=path, problems=problems, fixed={"name": name})


def _tasks(node: Located | None, problems: Problems) -> tuple[tuple[TaskSpec, ...], set[str]]:
    built: list[TaskSpec] = []
    broken: set[str] = set()
    for name, child in _named_entries(node, "tasks", problems).items():
        path, expanded = f"tasks.{name}", _with_full_conditions(child)
        task = build(TaskSpec, expanded, path=path, problems=problems, fixed={"name": name})
        if task is None:
            broken.add(name)
        else:
            built.append(task)
    return tuple(built), broken


def _with_full_conditions(task: Located) -> Located:
    """A task with the short form `label: y` written out as `label: {column: y}`."""
    if not isinstance(task.value, dict):
        return task
    entries = dict(task.value)
    for key in ("label", "rows"):
        if key in entries and isinstance(entries[key].value, str):
            entries[key] = Located({"column": entries[key]}, entries[key].line)
    return Located(entries, task.line)


def _named_entries(node: Located | None, path: str, problems: Problems) -> dict[str, Located]:
    if node is None:
        return {}
    if isinstance(node.value, dict):
        return node.value
    problems.add(node.line, path, "must be a mapping of names")
    return {}


def _section(
    cls: type[Part], entries: dict[str, Located], key: str, problems: Problems
) -> Part | None:
    if key not in entries:
        return None
    return build(cls, entries[key], path=key, problems=problems)


def _entry(
    annotation: object,
    entries: dict[str, Located],
    key: str,
    problems: Problems,
    *,
    default: Part,
) -> Part:
    if key not in entries:
        return default
    return convert(annotation, entries[key], key, problems, default=default)


def _line_of(root: Located, path: tuple[str, ...]) -> int:
    """The line of the deepest entry on a path that the file has."""
    node = root
    for key in path:
        if isinstance(node.value, dict) and key in node.value:
            node = node.value[key]
        elif isinstance(node.value, list) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
        else:
            break
    return node.line


def dump_schema(schema: Schema, *, stored: bool = False) -> str:
    """The schema as YAML text, from which `parse_schema` reads an equal schema.

    Args:
        schema: the schema.
        stored: leave out what `parse_schema(..., stored=True)` adds, as earlier releases did. The
            text is then the same as theirs, and so are fingerprints of it.
    """
    document: dict[str, Any] = {"version": 1, "name": schema.name}
    if schema.files is not None:
        document["files"] = _changed_fields(schema.files)
    if schema.tables:
        document["tables"] = [dataclasses.asdict(table) for table in schema.tables]
    document["features"] = {f.name: _feature_entry(f, stored) for f in schema.features}
    document["tasks"] = {t.name: _task_entry(t) for t in schema.tasks}
    roles = _changed_fields(schema.roles)
    if roles:
        document["roles"] = roles
    document["split"] = _changed_fields(schema.split)
    if schema.statistics:
        document["statistics"] = [_statistics_entry(entry) for entry in schema.statistics]
    if schema.ignore:
        document["ignore"] = list(schema.ignore)
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _feature_entry(feature: Feature, stored: bool) -> dict[str, Any]:
    kind = next(name for name, cls in KINDS.items() if isinstance(feature, cls))
    entries = _changed_fields(feature, without=("name",))
    if feature.column == feature.name:
        del entries["column"]
    if isinstance(feature, ListOf):
        # Always written, since its default is not that of earlier releases.
        entries |= {"count": feature.count}
        if feature.target is not None:
            del entries["table"]
        if stored and not feature.count:
            del entries["count"]
    return {"kind": kind, **entries}


def _task_entry(task: TaskSpec) -> dict[str, Any]:
    entries = _changed_fields(task, without=("name", "label", "rows"))
    shown: dict[str, Any] = {"kind": entries.pop("kind"), "label": _condition_entry(task.label)}
    if task.rows is not None:
        shown["rows"] = _changed_fields(task.rows)
    return {**shown, **entries}


def _statistics_entry(entry: PastStatistics) -> dict[str, Any]:
    entries = _changed_fields(entry)
    of = [what if isinstance(what, str) else _changed_fields(what) for what in entry.of]
    return {**entries, "of": of} if of else entries


def _condition_entry(condition: Condition) -> str | dict[str, Any]:
    return _changed_fields(condition) if condition.is_rule else condition.column


def _changed_fields(part: Any, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults; tuples as lists."""
    shown: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.name in without or _is_default(value, field.default):
            continue
        shown[field.name] = _plain(value)
    return shown


def _plain(value: Any) -> Any:
    """A value as YAML writes it: dataclasses as mappings, tuples as lists."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, ExactValues):
        return dataclasses.asdict(value)
    return _changed_fields(value) if dataclasses.is_dataclass(value) else value


def _is_default(value: object, default: object) -> bool:
    # Fingerprints hash the text, so that a whole 1 stays apart from the default 1.0.
    return type(value) is type(default) and value == default


class _Dumper(yaml.SafeDumper):
    """Quotes every text that the strict reader would take for a number, a constant or null."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if isinstance(plain_scalar(text), str) else "'"
    if not text.isprintable():
        # YAML folds some control characters into line breaks unless they are escaped.
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
