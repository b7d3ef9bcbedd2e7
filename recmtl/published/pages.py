"""JSON Schemas of settings -> Markdown pages with a table of the keys of every part."""

from collections.abc import Iterator
from typing import Any

__all__ = ["page"]

Json = dict[str, Any]
TYPES = {"string": "text", "boolean": "`true` or `false`", "null": "none", "object": "mapping"}


def page(title: str, intro: str, document: Json) -> str:
    """The page of a JSON Schema: its own keys first, then those of each part in their order."""
    lines = [f"# {title}", "", intro, "", *_table(document)]
    for name in _order(document):
        part = document["$defs"][name]
        lines += ["", f"## {name}", "", part["description"], "", *_table(part)]
    return "\n".join(lines) + "\n"


def _order(document: Json) -> Iterator[str]:
    """The parts in the order in which a reader meets them."""
    todo, seen = _refs(document["properties"]), set[str]()
    while todo:
        name = todo.pop(0)
        if name not in seen:
            seen.add(name)
            yield name
            todo = _refs(document["$defs"][name]["properties"]) + todo


def _refs(value: Any) -> list[str]:
    if isinstance(value, dict):
        here = [value["$ref"].rpartition("/")[2]] if "$ref" in value else []
        return here + [name for item in value.values() for name in _refs(item)]
    return [name for item in value for name in _refs(item)] if isinstance(value, list) else []


def _table(part: Json) -> list[str]:
    lines = ["| key | default | values | meaning |", "|---|---|---|---|"]
    for key, entry in part["properties"].items():
        required = key in part.get("required", [])
        default = "required" if required else _default(entry)
        cells = (f"`{key}`", default, _values(entry), entry.get("description", ""))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return lines


def _default(entry: Json) -> str:
    value = entry.get("default")
    if value is None or value in ([], ""):
        return "" if "default" not in entry else "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list):
        return f"`[{', '.join(map(str, value))}]`"
    return "" if isinstance(value, dict) else f"`{value}`"


def _values(entry: Json) -> str:
    if "$ref" in entry:
        name = entry["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in entry:
        options = [_values(option) for option in entry["anyOf"]]
        return " or ".join(dict.fromkeys(options))
    if "const" in entry:
        return f"`{entry['const']}`"
    if "enum" in entry:
        return ", ".join(f"`{option}`" for option in entry["enum"])
    if entry.get("type") == "array":
        inner = entry.get("items") or (entry.get("prefixItems") or [{}])[0]
        return f"list of {_values(inner)}"
    if isinstance(entry.get("additionalProperties"), dict):
        return f"mapping of names to {_values(entry['additionalProperties'])}"
    if entry.get("type") in ("integer", "number"):
        return _bounds(entry)
    return TYPES.get(str(entry.get("type")), "any")


def _bounds(entry: Json) -> str:
    word = "whole number" if entry["type"] == "integer" else "number"
    lows = (("from", entry.get("minimum")), ("above", entry.get("exclusiveMinimum")))
    highs = (("to", entry.get("maximum")), ("below", entry.get("exclusiveMaximum")))
    bounds = [f"{w} {_number(v)}" for w, v in (*lows, *highs) if v is not None and abs(v) < 1e18]
    return " ".join([word, *bounds])


def _number(value: float) -> str:
    return f"{int(value):,}" if float(value).is_integer() else str(value)
