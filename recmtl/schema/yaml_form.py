"""A `Schema` as YAML text, read and written.

pydantic reads each part, by the classes of `recmtl.schema.definition`; then the parts are checked
against one another, even if some of them cannot be read. Writing leaves out what equals the
default, so that a dumped schema stays readable.
"""

import dataclasses
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from recmtl.errors import SchemaError, did_you_mean
from recmtl.schema.definition import (
    Condition,
    ExactValues,
    Feature,
    ListOf,
    PastStatistics,
    Schema,
    TaskSpec,
)
from recmtl.schema.features import KINDS
from recmtl.schema.names import name_faults
from recmtl.schema.reading import adapter, collect, fields_at, without_lines
from recmtl.schema.rules import contradictions
from recmtl.schema.yaml_text import Located, Problems, parse, plain_scalar, read_text

__all__ = ["dump_schema", "load_schema", "parse_schema"]

FIELDS = tuple(field.name for field in dataclasses.fields(Schema))
NOTHING = {"name": "unnamed", "features": {}, "tasks": {}, "split": {"by": "random"}}


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
    schema, problems = _read(text, stored)
    problems.of(source).raise_as(SchemaError)
    if schema is None:
        raise SchemaError(f"{source}:1: nothing could be read")
    return schema


@lru_cache(maxsize=16)
def _read(text: str, stored: bool) -> tuple[Schema | None, Problems]:
    """What a text says, and what is wrong with it.

    A log, its encoder and a bundle each hold the schema, and a job opens several of them.
    """
    problems = Problems("")
    root = parse(text, problems)
    return _build_schema(root, problems, stored) if root is not None else None, problems


def _build_schema(root: Located, problems: Problems, stored: bool) -> Schema | None:
    entries = _top_level(root, problems)
    if entries is None:
        return None
    if stored:
        entries = _as_it_was_written(entries)
    document = Located({key: node for key, node in entries.items() if key in FIELDS}, root.line)
    schema, broken = _as_far_as_readable(document, problems)
    faults = list(contradictions(schema, broken=frozenset(broken)))
    if not stored:
        faults += name_faults(schema)
    for path, message in faults:
        # Without roles, a split that needs one would be blamed for a mistake made there.
        if not (path[0] == "split" and "roles" in broken):
            problems.add(_line_of(root, path), ".".join(path), message)
    return schema


def _top_level(root: Located, problems: Problems) -> dict[str, Located] | None:
    """The sections of the file, without those that are unknown."""
    if not isinstance(root.value, dict):
        problems.add(root.line, "", "a schema is a mapping with features, tasks and split")
        return None
    for key, node in root.value.items():
        if key not in ("version", *FIELDS):
            hint = did_you_mean(key, ("version", *FIELDS))
            problems.add(node.line, "", f"unknown key {key!r}{hint}")
    version = root.value.get("version")
    if version is None:
        problems.add(root.line, "", "missing key 'version'")
    elif type(version.value) is not int or version.value != 1:
        problems.add(version.line, "version", f"must be one of 1, not {version.value!r}")
    return root.value


def _as_it_was_written(entries: dict[str, Located]) -> dict[str, Located]:
    """The sections with what an earlier release meant where it wrote nothing: lists uncounted."""
    features = entries.get("features", Located({}, 1))
    parts = dict(features.value) if isinstance(features.value, dict) else {}
    for name, node in parts.items():
        fields = node.value if isinstance(node.value, dict) else {}
        if "kind" in fields and fields["kind"].value == "list":
            parts[name] = Located({"count": Located(False, node.line)} | fields, node.line)
    return entries | {"features": Located(parts, features.line)}


def _as_far_as_readable(document: Located, problems: Problems) -> tuple[Schema, set[str]]:
    """The schema without the parts that cannot be read, and the names of these parts."""
    plain = without_lines(document)
    try:
        return adapter(Schema).validate_python(plain), set()
    except ValidationError as fault:
        collect(fault, document, problems, names=partial(fields_at, Schema))
        places = [error["loc"] for error in fault.errors(include_url=False)]
    broken: set[str] = set()
    for section, *rest in places:
        part = rest[0] if rest else None
        if section in ("features", "tasks") and isinstance(part, int):
            broken.add(list(plain[section])[part])
        else:
            broken.add(str(section))
    # What cannot be read is left out or replaced, so that the other parts are still checked.
    kept = {key: value for key, value in plain.items() if key not in broken}
    for section in {"features", "tasks"} & set(kept):
        kept[section] = {k: part for k, part in kept[section].items() if k not in broken}
    return adapter(Schema).validate_python(NOTHING | kept), broken


def _line_of(root: Located, path: tuple[str, ...]) -> int | None:
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
        stored: leave out what `parse_schema(..., stored=True)` adds, as earlier releases did, and
            the limits of the watch, on which no row depends. The text is then the same as theirs,
            and so are fingerprints of it.
    """
    if stored not in schema.texts:
        schema.texts[stored] = _dumped(schema, stored)
    return schema.texts[stored]


def _dumped(schema: Schema, stored: bool) -> str:
    document: dict[str, Any] = {"version": 1, "name": schema.name}
    if schema.files is not None:
        document["files"] = _changed_fields(schema.files)
    if schema.tables:
        document["tables"] = [_changed_fields(table) for table in schema.tables]
    if schema.formulas:
        document["formulas"] = {column.name: column.formula for column in schema.formulas}
    document["features"] = {f.name: _feature_entry(f, stored) for f in schema.features}
    document["tasks"] = {t.name: _task_entry(t) for t in schema.tasks}
    roles = _changed_fields(schema.roles)
    if roles:
        document["roles"] = roles
    document["split"] = _changed_fields(schema.split)
    if schema.statistics:
        document["statistics"] = [_statistics_entry(entry) for entry in schema.statistics]
    if schema.sample:
        document["sample"] = {s.name: _changed_fields(s, without=("name",)) for s in schema.sample}
    watch = _changed_fields(schema.watch)
    if watch and not stored:
        document["watch"] = watch
    if schema.ignore:
        document["ignore"] = list(schema.ignore)
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _feature_entry(feature: Feature, stored: bool) -> dict[str, Any]:
    kind = next(name for name, cls in KINDS.items() if isinstance(feature, cls))
    entries = _changed_fields(feature, without=("name",))
    if feature.column == feature.name:
        entries.pop("column", None)
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
    entries = _changed_fields(condition)
    return entries if len(entries) > 1 else condition.column


def _changed_fields(part: Any, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults; tuples as lists."""
    shown: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.name in without or _is_default(value, field.default):
            continue
        shown[field.name.rstrip("_")] = _plain(value)
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
    """Quotes every text that the reader would take for a number, a constant or null."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if isinstance(plain_scalar(text), str) else "'"
    if not text.isprintable():
        # YAML folds some control characters into line breaks unless they are escaped.
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
