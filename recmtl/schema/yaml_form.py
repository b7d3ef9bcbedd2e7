"""Schema text -> `Schema`: short forms are written out, then the strict reader checks each part.

`Schema` -> text: only what differs from the defaults, so that a dumped schema stays readable.
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from recmtl.errors import SchemaError, did_you_mean
from recmtl.schema import strict_yaml as strict
from recmtl.schema.definition import (
    Categorical,
    Condition,
    Feature,
    ListOf,
    Numeric,
    Roles,
    Schema,
    SideTable,
    SplitRule,
    TaskSpec,
)
from recmtl.schema.rules import contradictions
from recmtl.schema.strict_yaml import Located, Problems, plain_scalar

__all__ = ["dump_schema", "load_schema", "parse_schema"]

KINDS: dict[str, type[Categorical] | type[Numeric] | type[ListOf]] = {
    "categorical": Categorical,
    "numeric": Numeric,
    "list": ListOf,
}
KEYS = ("version", "name", "tables", "features", "tasks", "roles", "split", "ignore")
REQUIRED = ("version", "name", "features", "tasks", "split")
P = TypeVar("P")


def load_schema(path: str | Path) -> Schema:
    """Read a schema file.

    Raises `SchemaError` with every mistake, one line each, as `file:line: place: what is wrong`.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as fault:
        raise SchemaError(f"{path}: no such schema file; check the path") from fault
    except (OSError, UnicodeDecodeError) as fault:
        raise SchemaError(f"{path}: cannot be read as UTF-8 text: {fault}") from fault
    return parse_schema(text, source=str(path))


def parse_schema(text: str, *, source: str) -> Schema:
    """Read schema text; `source` names it in messages. Raises `SchemaError`."""
    problems = Problems(source)
    root = strict.parse(text, problems)
    schema = _build(root, problems) if root is not None else None
    problems.raise_as(SchemaError)
    if schema is None:
        raise SchemaError(f"{source}:1: nothing could be read")
    return schema


def _build(root: Located, problems: Problems) -> Schema | None:
    entries = _top_level(root, problems)
    features, broken_features = _features(entries.get("features"), problems)
    tasks, broken_tasks = _tasks(entries.get("tasks"), problems)
    split = _part(SplitRule, entries, "split", problems)
    roles = _part(Roles, entries, "roles", problems)
    schema = Schema(
        name=_value(str, entries, "name", problems, default=""),
        features=features,
        tasks=tasks,
        # A split that could not be read is replaced, so that the other parts are still checked.
        split=split or SplitRule(by="random"),
        roles=roles or Roles(),
        tables=_value(tuple[SideTable, ...], entries, "tables", problems, default=()),
        ignore=_value(tuple[str, ...], entries, "ignore", problems, default=()),
    )
    for path, message in contradictions(schema, broken=frozenset(broken_features | broken_tasks)):
        # Without roles, a split that needs one would be blamed for a mistake made there.
        if not (path[0] == "split" and roles is None and "roles" in entries):
            problems.add(_line(root, path), ".".join(path), message)
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
    _value(Literal[1], root.value, "version", problems, default=1)
    return root.value


def _features(node: Located | None, problems: Problems) -> tuple[tuple[Feature, ...], set[str]]:
    built: list[Feature] = []
    broken: set[str] = set()
    for name, child in _entries(node, "features", problems).items():
        feature = _feature(name, child, problems)
        if feature is None:
            broken.add(name)
        else:
            built.append(feature)
    return tuple(built), broken


def _feature(name: str, node: Located, problems: Problems) -> Feature | None:
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
    rest = Located(entries, node.line)
    return strict.build(cls, rest, path=path, problems=problems, given={"name": name})


def _tasks(node: Located | None, problems: Problems) -> tuple[tuple[TaskSpec, ...], set[str]]:
    built: list[TaskSpec] = []
    broken: set[str] = set()
    for name, child in _entries(node, "tasks", problems).items():
        full = child
        if isinstance(child.value, dict):
            entries = dict(child.value)
            for key in ("label", "rows"):
                # The short form `label: column` stands for the column's own value.
                if key in entries and isinstance(entries[key].value, str):
                    line = entries[key].line
                    entries[key] = Located({"column": entries[key]}, line)
            full = Located(entries, child.line)
        path = f"tasks.{name}"
        task = strict.build(TaskSpec, full, path=path, problems=problems, given={"name": name})
        if task is None:
            broken.add(name)
        else:
            built.append(task)
    return tuple(built), broken


def _entries(node: Located | None, path: str, problems: Problems) -> dict[str, Located]:
    if node is None:
        return {}
    if isinstance(node.value, dict):
        return node.value
    problems.add(node.line, path, "must be a mapping of names")
    return {}


def _part(cls: type[P], entries: dict[str, Located], key: str, problems: Problems) -> P | None:
    if key not in entries:
        return None
    return strict.build(cls, entries[key], path=key, problems=problems)


def _value(
    annotation: object,
    entries: dict[str, Located],
    key: str,
    problems: Problems,
    *,
    default: P,
) -> P:
    if key not in entries:
        return default
    return strict.convert(annotation, entries[key], key, problems, default=default)


def _line(root: Located, path: tuple[str, ...]) -> int:
    node = root
    for key in path:
        if isinstance(node.value, dict) and key in node.value:
            node = node.value[key]
        elif isinstance(node.value, list) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
        else:
            break
    return node.line


def dump_schema(schema: Schema) -> str:
    """The schema as YAML text; `parse_schema` of it gives an equal schema."""
    document: dict[str, Any] = {"version": 1, "name": schema.name}
    if schema.tables:
        document["tables"] = [dataclasses.asdict(table) for table in schema.tables]
    document["features"] = {f.name: _feature_entry(f) for f in schema.features}
    document["tasks"] = {t.name: _task(t) for t in schema.tasks}
    roles = _changed(schema.roles)
    if roles:
        document["roles"] = roles
    document["split"] = _changed(schema.split)
    if schema.ignore:
        document["ignore"] = list(schema.ignore)
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _feature_entry(feature: Feature) -> dict[str, Any]:
    kind = next(name for name, cls in KINDS.items() if isinstance(feature, cls))
    entries = _changed(feature, without=("name",))
    if feature.column == feature.name:
        del entries["column"]
    return {"kind": kind, **entries}


def _task(task: TaskSpec) -> dict[str, Any]:
    entries = _changed(task, without=("name", "label", "rows"))
    shown: dict[str, Any] = {"kind": entries.pop("kind"), "label": _condition(task.label)}
    if task.rows is not None:
        shown["rows"] = _changed(task.rows)
    return {**shown, **entries}


def _condition(condition: Condition) -> str | dict[str, Any]:
    return _changed(condition) if condition.is_rule else condition.column


def _changed(part: Any, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults, tuples as lists."""
    shown: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.name in without or _same(value, field.default):
            continue
        shown[field.name] = list(value) if isinstance(value, tuple) else value
    return shown


def _same(value: object, default: object) -> bool:
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
