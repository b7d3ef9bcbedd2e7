"""`Schema` -> text: only what differs from the defaults, so that a dumped schema stays readable."""

import dataclasses
from typing import Any

import yaml

from recmtl.schema.definition import Condition, Feature, Schema, Task
from recmtl.schema.load import KINDS
from recmtl.strict import plain_scalar

__all__ = ["dump_schema"]


def dump_schema(schema: Schema) -> str:
    """The schema as YAML text; `parse_schema` of it gives an equal schema."""
    document: dict[str, Any] = {"version": 1, "name": schema.name}
    if schema.tables:
        document["tables"] = [dataclasses.asdict(table) for table in schema.tables]
    document["features"] = {f.name: _feature(f) for f in schema.features}
    document["tasks"] = {t.name: _task(t) for t in schema.tasks}
    roles = _changed(schema.roles)
    if roles:
        document["roles"] = roles
    document["split"] = _changed(schema.split)
    if schema.ignore:
        document["ignore"] = list(schema.ignore)
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _feature(feature: Feature) -> dict[str, Any]:
    kind = next(name for name, cls in KINDS.items() if isinstance(feature, cls))
    entries = _changed(feature, without=("name",))
    if feature.column == feature.name:
        del entries["column"]
    return {"kind": kind, **entries}


def _task(task: Task) -> dict[str, Any]:
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
