"""Classes of settings -> JSON Schemas in the form of the YAML files, with what docstrings say."""

import dataclasses
import re
from textwrap import dedent
from typing import Any

from pydantic import TypeAdapter

from recmtl.schema import Schema
from recmtl.schema.features import KINDS
from recmtl.schema.reading import classes_in

__all__ = ["attributes", "of_class", "of_schema", "summary"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Json = dict[str, Any]


def of_class(cls: type[Any]) -> Json:
    """The JSON Schema of a class of settings, described by its docstring and those of its parts."""
    document = TypeAdapter(cls).json_schema()
    classes = {part.__name__: part for part in _parts_of(cls)}
    for name, part in {cls.__name__: document, **document.get("$defs", {})}.items():
        part.pop("title", None)
        part["description"] = summary(classes[name])
        meanings = attributes(classes[name])
        for key, entry in part["properties"].items():
            entry.pop("title", None)
            meaning = meanings.get(key, meanings.get(f"{key}_", ""))
            part["properties"][key] = {"description": meaning, **entry} if meaning else entry
            if "description" not in part["properties"][key] and "$ref" in entry:
                target = entry["$ref"].rpartition("/")[2]
                part["properties"][key] = {"description": summary(classes[target]), **entry}
    return {"$schema": DIALECT, **document}


def of_schema() -> Json:
    """The JSON Schema of a schema's YAML, in which names stand before the parts."""
    document = of_class(Schema)
    parts, keys = document["$defs"], document["properties"]
    entries: list[Json] = [{"enum": list(KINDS), "description": "this kind with its defaults"}]
    for kind, cls in KINDS.items():
        _named(parts[cls.__name__])
        parts[cls.__name__]["properties"] = {
            "kind": {"const": kind},
            **parts[cls.__name__]["properties"],
        }
        parts[cls.__name__]["required"] = ["kind"]
        entries.append(_ref(cls.__name__))
    task = parts["TaskSpec"]
    _named(task)
    for key, form in (("label", "Label"), ("rows", "Condition")):
        column = {"type": "string", "description": "a column"}
        entry = task["properties"][key]
        task["properties"][key] = {
            "description": entry["description"],
            "anyOf": [column, _ref(form)],
        }
    head, kinds = task["properties"]["head"], parts["Head"]["properties"]["kind"]["enum"]
    task["properties"]["head"] = {**head, "anyOf": [{"enum": kinds}, *head["anyOf"]]}
    place = parts["Roles"]["properties"]["position"]
    column = {"type": "string", "description": "a column"}
    parts["Roles"]["properties"]["position"] = {**place, "anyOf": [column, *place["anyOf"]]}
    by = parts["SplitRule"]["properties"]["by"]["enum"]
    keys["features"] = _mapping("features by name", {"anyOf": entries})
    keys["tasks"] = _mapping("tasks by name", _ref("TaskSpec"))
    keys["formulas"] = _mapping("arithmetic on columns, by the column made", {"type": "string"})
    keys["split"] = {"description": keys["split"]["description"]} | {
        "anyOf": [{"enum": by}, _ref("SplitRule")]
    }
    del parts["ComputedColumn"]
    document["properties"] = {"version": {"const": 1}, **keys}
    document["required"] = ["version", *document["required"]]
    return document


def summary(cls: type[Any]) -> str:
    """The first paragraph of a class's docstring."""
    return " ".join(dedent(cls.__doc__ or "").strip().split("\n\n")[0].split())


def attributes(cls: type[Any]) -> dict[str, str]:
    """What the docstrings of a class and its bases say of each attribute."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        _, _, section = (base.__doc__ or "").partition("Attributes:\n")
        section = dedent(section).split("\n\n")[0]
        for match in re.finditer(r"^(\w+): (.*(?:\n[ \t]+.*)*)", section, re.MULTILINE):
            texts[match[1]] = " ".join(match[2].split())
    return texts


def _parts_of(cls: type[Any]) -> list[type[Any]]:
    parts, todo = [], [cls]
    while todo:
        part = todo.pop()
        if part not in parts:
            parts.append(part)
            for field in dataclasses.fields(part):
                todo += classes_in(field.type)
    return parts


def _named(part: Json) -> None:
    """Leave the name out of a part: it stands before the entry."""
    del part["properties"]["name"]
    part["required"] = [key for key in part.get("required", []) if key != "name"]


def _mapping(description: str, values: Json) -> Json:
    return {"description": description, "type": "object", "additionalProperties": values}


def _ref(name: str) -> Json:
    return {"$ref": f"#/$defs/{name}"}
