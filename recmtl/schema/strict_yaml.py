"""Strict YAML to frozen dataclasses: all mistakes at once, each with its line and a suggestion.

The annotations of the dataclass are the grammar: `str`, `int`, `float` (an int is accepted),
`bool`, `Literal`, `X | None` and other unions of scalars, `tuple[X, ...]`, `dict[str, X]`, nested
dataclasses, and `Any` for what is checked elsewhere. A `ValueError` from `__post_init__` becomes a
mistake at the line of the key with which its message begins, or else at that of the mapping.

`recmtl.schema.yaml_text` turns text into values with their lines, `build` turns those into a
dataclass, and `load` does both.
"""

import dataclasses
import math
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from recmtl.errors import RecmtlError, did_you_mean
from recmtl.schema.yaml_text import Located, Problems, join, parse

__all__ = ["build", "convert", "load"]

T = TypeVar("T")

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


class _Failed:
    """The type of `_FAILED`."""


_FAILED = _Failed()
"""Stands for a value whose mistake has been reported."""


def load(
    cls: type[T],
    text: str,
    *,
    source: str,
    error: type[RecmtlError],
    defaults: Mapping[str, Any] | None = None,
) -> T:
    """Read YAML `text` into the frozen dataclass `cls`.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Settings:
    ...     rate: float = 0.1
    >>> load(Settings, "rate: 1", source="s.yaml", error=RecmtlError)
    Settings(rate=1.0)
    >>> load(Settings, "raet: 1", source="s.yaml", error=RecmtlError)
    Traceback (most recent call last):
    recmtl.errors.RecmtlError: s.yaml:1: unknown key 'raet'; did you mean 'rate'?

    Args:
        cls: a dataclass whose annotations say what is allowed.
        text: the YAML document.
        source: its name in messages.
        error: the class to raise, with every mistake found.
        defaults: values of the keys that the text does not give, in place of the class's own.
    """
    problems = Problems(source)
    root = parse(text, problems)
    if root is not None and defaults:
        root = _completed(root, defaults)
    built = build(cls, root, path="", problems=problems) if root is not None else None
    problems.raise_as(error)
    if built is None:
        raise error(f"{source}:1: nothing could be read")
    return built


def _completed(node: Located, defaults: Mapping[str, Any]) -> Located:
    """A mapping with the defaults of the keys that it lacks; mappings within are completed, too."""
    if not isinstance(node.value, dict):
        return node
    entries = dict(node.value)
    for name, default in defaults.items():
        if isinstance(default, Mapping):
            entries[name] = _completed(entries.get(name, Located({}, node.line)), default)
        elif name not in entries:
            entries[name] = _located(default, node.line)
    return Located(entries, node.line)


def _located(value: Any, line: int) -> Located:
    """A plain value as if it stood in that line."""
    if isinstance(value, list | tuple):
        return Located([_located(item, line) for item in value], line)
    return Located(value, line)


def build(
    cls: type[T],
    node: Located,
    *,
    path: str,
    problems: Problems,
    fixed: Mapping[str, object] | None = None,
) -> T | None:
    """Build dataclass `cls` from a located mapping, or report every mistake and return None.

    Args:
        cls: the dataclass.
        node: the mapping with its lines.
        path: dotted keys that lead to the mapping.
        problems: collects the mistakes.
        fixed: fields that the caller sets; the file may not.
    """
    fixed = dict(fixed or {})
    if not isinstance(node.value, dict):
        problems.add(node.line, path, f"must be a mapping, not {_describe(node.value)}")
        return None
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init and f.name not in fixed}  # type: ignore[arg-type] # T is a dataclass by contract
    failed = _unknown_keys(node, fields, path, problems)
    values = _field_values(get_type_hints(cls), fields, node, path, problems)
    if failed or values is None:
        return None
    try:
        return cls(**fixed, **values)
    except ValueError as fault:
        first = re.split(r"[:. ]", str(fault), maxsplit=1)[0]
        problems.add(node.value.get(first, node).line, path, str(fault))
        return None


def _unknown_keys(node: Located, fields: Iterable[str], path: str, problems: Problems) -> bool:
    """Report the keys that name no field; whether there are any."""
    entries = node.value if isinstance(node.value, dict) else {}
    names = list(fields)
    unknown = [key for key in entries if key not in names]
    for key in unknown:
        hint = did_you_mean(key, names)
        problems.add(entries[key].line, path, f"unknown key {key!r}{hint}")
    return bool(unknown)


def _field_values(
    hints: Mapping[str, object],
    fields: Mapping[str, "dataclasses.Field[Any]"],
    node: Located,
    path: str,
    problems: Problems,
) -> dict[str, Any] | None:
    """The values of the fields that the mapping gives; None after reporting a mistake."""
    entries = node.value if isinstance(node.value, dict) else {}
    values: dict[str, Any] = {}
    failed = False
    for name, field in fields.items():
        if name in entries:
            value = _convert(hints[name], entries[name], join(path, name), problems)
            failed |= value is _FAILED
            values[name] = value
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.add(node.line, path, f"missing key {name!r}")
            failed = True
    return None if failed else values


def convert(annotation: object, node: Located, path: str, problems: Problems, *, default: T) -> T:
    """The value of `node` as `annotation` asks, or `default` after reporting why not."""
    value = _convert(annotation, node, path, problems)
    return default if value is _FAILED else value  # type: ignore[return-value] # the caller's default has the annotated type


def _convert(annotation: object, node: Located, path: str, problems: Problems) -> object:
    """The value of `node` as `annotation` asks, or `_FAILED` after reporting why not."""
    origin = get_origin(annotation)
    if annotation is Any:
        return _without_lines(node)
    if origin in (Union, types.UnionType):
        return _convert_union(annotation, node, path, problems)
    if origin is Literal:
        return _convert_literal(annotation, node, path, problems)
    if origin is tuple:
        return _convert_tuple(annotation, node, path, problems)
    if origin is dict:
        return _convert_dict(annotation, node, path, problems)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        built = build(annotation, node, path=path, problems=problems)
        return _FAILED if built is None else built
    return _convert_scalar(annotation, node, path, problems)


def _without_lines(node: Located) -> object:
    """The bare value, for annotations that leave the check to others."""
    if isinstance(node.value, dict):
        return {key: _without_lines(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [_without_lines(item) for item in node.value]
    return node.value


def _convert_union(annotation: object, node: Located, path: str, problems: Problems) -> object:
    options = [option for option in get_args(annotation) if option is not types.NoneType]
    if node.value is None and len(options) < len(get_args(annotation)):
        return None
    if len(options) == 1:
        return _convert(options[0], node, path, problems)
    scalars = (bool, int, float, str)
    for option in scalars:
        if option in options and type(node.value) is option:
            return _convert_scalar(option, node, path, problems)
    if type(node.value) is int and float in options:
        return float(node.value)
    shapes = [option for option in options if option not in scalars and _fits(option, node.value)]
    if len(shapes) == 1:  # its own messages say more than the union's
        return _convert(shapes[0], node, path, problems)
    for option in shapes:
        attempt = Problems(problems.source)
        value = _convert(option, node, path, attempt)
        if value is not _FAILED:
            return value
    wanted = " or ".join(map(_wanted, options))
    problems.add(node.line, path, f"must be {wanted}, not {_describe(node.value)}")
    return _FAILED


def _fits(annotation: object, value: object) -> bool:
    """Whether a value has the shape of an annotation: a list, a mapping, or one of some words."""
    origin = get_origin(annotation)
    if isinstance(value, list):
        return origin is tuple
    if isinstance(value, dict):
        return origin is dict or dataclasses.is_dataclass(annotation)
    return origin is Literal


def _convert_literal(annotation: object, node: Located, path: str, problems: Problems) -> object:
    options = get_args(annotation)
    for option in options:
        if type(node.value) is type(option) and node.value == option:
            return option
    words = [str(option) for option in options]
    quoted = isinstance(node.value, str) and node.value in words
    hint = "; drop the quotes" if quoted else did_you_mean(str(node.value), words)
    message = f"must be one of {', '.join(words)}, not {_describe(node.value)}{hint}"
    problems.add(node.line, path, message)
    return _FAILED


def _convert_tuple(annotation: object, node: Located, path: str, problems: Problems) -> object:
    if not isinstance(node.value, list):
        problems.add(node.line, path, f"must be a list, not {_describe(node.value)}")
        return _FAILED
    item = get_args(annotation)[0]
    values = [
        _convert(item, child, f"{path}[{index}]", problems)
        for index, child in enumerate(node.value)
    ]
    return _FAILED if any(value is _FAILED for value in values) else tuple(values)


def _convert_dict(annotation: object, node: Located, path: str, problems: Problems) -> object:
    if not isinstance(node.value, dict):
        problems.add(node.line, path, f"must be a mapping, not {_describe(node.value)}")
        return _FAILED
    item = get_args(annotation)[1]
    values = {
        key: _convert(item, child, join(path, key), problems) for key, child in node.value.items()
    }
    return _FAILED if any(value is _FAILED for value in values.values()) else values


def _convert_scalar(annotation: object, node: Located, path: str, problems: Problems) -> object:
    value = node.value
    if annotation is float and type(value) is int:
        value = float(value)
    if annotation is object or type(value) is annotation:
        if isinstance(value, float) and not math.isfinite(value):
            problems.add(node.line, path, "must be a finite number")
            return _FAILED
        return value
    wanted = _wanted(annotation)
    hint = f"; write '{value}' in quotes" if annotation is str and _is_number(value) else ""
    problems.add(node.line, path, f"must be {wanted}, not {_describe(value)}{hint}")
    return _FAILED


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _describe(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def _wanted(annotation: object) -> str:
    """What a value of this annotation is called in a message."""
    if isinstance(annotation, type) and annotation in _WORDS:
        return _WORDS[annotation]
    return "a list" if get_origin(annotation) is tuple else "a mapping"
