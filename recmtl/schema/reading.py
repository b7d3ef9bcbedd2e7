"""Values to settings by pydantic, and what it refuses in recmtl's words.

`load` reads YAML into a class of settings. All mistakes are raised at once, each with its line, its
place and a remedy: an unknown key with the nearest one that exists. A `ValueError` of the class
itself stands at the line of the key with which its message begins, or else at that of the mapping.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from recmtl.errors import RecmtlError, did_you_mean
from recmtl.schema.yaml_text import Located, Problems, join, parse

__all__ = ["adapter", "classes_in", "collect", "fields_at", "load", "with_lines", "without_lines"]

T = TypeVar("T")

WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping",
}
"""What a value should have been, by the kind of pydantic's error."""
BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}
UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
LONGEST = 30


def load(
    cls: type[T],
    text: str,
    *,
    source: str,
    error: type[RecmtlError],
    defaults: Mapping[str, Any] | None = None,
) -> T:
    """Read YAML `text` into a class of settings.

    Args:
        cls: the class, see `recmtl.schema.settings`.
        text: the YAML document.
        source: its name in messages.
        error: the class to raise, with every mistake.
        defaults: values of the keys that the text does not give, in place of the class's own.
    """
    problems = Problems(source)
    root = parse(text, problems)
    built = None
    if root is not None:
        root = _completed(root, defaults or {})
        try:
            built = adapter(cls).validate_python(without_lines(root))  # type: ignore[arg-type] # a class is hashable
        except ValidationError as fault:
            collect(fault, root, problems, names=partial(fields_at, cls))
    problems.raise_as(error)
    if built is None:
        raise error(f"{source}:1: nothing could be read")
    return built  # type: ignore[no-any-return] # pydantic builds what it was asked for


@lru_cache(maxsize=64)
def adapter(cls: Any) -> TypeAdapter[Any]:
    """What reads plain values as a class."""
    return TypeAdapter(cls)


def _completed(node: Located, defaults: Mapping[str, Any]) -> Located:
    """A mapping with the defaults of the keys that it lacks; mappings within are completed, too."""
    if not isinstance(node.value, dict):
        return node
    entries = dict(node.value)
    for name, default in defaults.items():
        if isinstance(default, Mapping):
            entries[name] = _completed(entries.get(name, Located({}, node.line)), default)
        elif name not in entries:
            entries[name] = with_lines(default, node.line)
    return Located(entries, node.line)


def with_lines(value: Any, line: int | None) -> Located:
    """A plain value as if all of it stood in that line."""
    if isinstance(value, Mapping):
        return Located({str(key): with_lines(item, line) for key, item in value.items()}, line)
    if isinstance(value, list | tuple):
        return Located([with_lines(item, line) for item in value], line)
    return Located(value, line)


def without_lines(node: Located) -> Any:
    """The plain value of a located one."""
    if isinstance(node.value, dict):
        return {key: without_lines(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [without_lines(item) for item in node.value]
    return node.value


def collect(
    fault: ValidationError,
    root: Located,
    problems: Problems,
    *,
    names: Callable[[Sequence[int | str]], list[str]],
) -> None:
    """Add every mistake that pydantic names to `problems`.

    Args:
        fault: what pydantic says of `root`.
        root: the values that were given.
        problems: collects the mistakes.
        names: the keys that exist at a place, for "did you mean".
    """
    mistakes = [_Mistake(error, root) for error in fault.errors(include_url=False)]
    mistakes.sort(key=lambda mistake: mistake.kind not in UNKNOWN)
    # That a second form, which may stand there too, was not used is no news beside what is wrong
    # in the form that was.
    deeper = {m.union for m in mistakes if m.kind not in WANTED or m.keys != m.union}
    forms: dict[str, list[str]] = {}
    for mistake in mistakes:
        if mistake.kind in WANTED:
            forms.setdefault(mistake.path, []).append(mistake.kind)
    for mistake in mistakes:
        if mistake.kind not in WANTED:
            problems.add(mistake.line, mistake.path, mistake.message(names))
        elif mistake.union is None or mistake.keys != mistake.union or mistake.union not in deeper:
            text = _not_as_wanted(mistake.node.value, forms[mistake.path])
            problems.add(mistake.line, mistake.path, text)


def _not_as_wanted(value: object, kinds: Sequence[str]) -> str:
    """That a value has none of the forms which the errors of these kinds name."""
    words = dict.fromkeys(WANTED[kind] for kind in kinds)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    hint = f"; write '{value}' in quotes" if list(words) == ["text"] and is_number else ""
    return f"must be {' or '.join(words)}, not {_describe(value)}{hint}"


class _Mistake:
    """One error of pydantic, and the place in the settings of which it tells."""

    def __init__(self, error: ErrorDetails, root: Located) -> None:
        self.error, self.kind, self.loc = error, error["type"], error["loc"]
        keys, self.node, self.union = [], root, None
        for part in self.loc:
            child = _child(self.node, part)
            if child is not None:
                keys.append(child[0])
                self.node = child[1]
            elif self.union is None:  # the name of a member of a union, or a key that is missing
                self.union = tuple(keys)
        self.keys, self.path = tuple(keys), ""
        for key in keys:
            is_index = isinstance(key, int)
            self.path = f"{self.path}[{key}]" if is_index else join(self.path, str(key))
        self.line = self.node.line
        if self.kind in UNKNOWN:
            self.path = self.path.removesuffix(str(keys[-1])).removesuffix(".")
        elif self.kind == "value_error":
            first = re.split(r"[:. ]", str(error["ctx"]["error"]), maxsplit=1)[0]
            child = _child(self.node, first)
            self.line = self.line if child is None else child[1].line

    def message(self, names: Callable[[Sequence[int | str]], list[str]]) -> str:
        """What is wrong, and the remedy."""
        ctx = self.error.get("ctx", {})
        if self.kind in ("missing", "missing_argument"):
            key = self.loc[-1]
            return f"missing key {key!r}" if isinstance(key, str) else "has too few values"
        if self.kind in UNKNOWN:
            hint = did_you_mean(str(self.loc[-1]), names(self.loc[:-1]))
            return f"unknown key {self.loc[-1]!r}{hint}"
        if self.kind in BOUNDS:
            word, key = BOUNDS[self.kind]
            bound = int(ctx[key]) if float(ctx[key]).is_integer() else ctx[key]
            return f"must be {word} {bound:,}, not {_short(self.node.value)}"
        if self.kind == "literal_error":
            return self._not_among(ctx["expected"])
        if self.kind == "finite_number":
            return "must be a finite number"
        if self.kind == "value_error":
            return str(ctx["error"])
        return self.error["msg"]

    def _not_among(self, expected: str) -> str:
        options = [quoted or plain for quoted, plain in re.findall(r"'([^']*)'|(\w+)", expected)]
        options = [option for option in options if option != "or"]
        value = self.node.value
        quoted = "; drop the quotes" if value in options else ""
        hint = quoted or did_you_mean(str(value), options)
        return f"must be one of {', '.join(options)}, not {_describe(value)}{hint}"


def fields_at(cls: type[Any], loc: Sequence[int | str]) -> list[str]:
    """The fields of the class of settings that stands at a place within `cls`."""
    classes = [cls]
    for part in loc:
        types = [f.type for c in classes for f in dataclasses.fields(c) if f.name == part]
        if types:
            classes = [c for kind in types for c in classes_in(kind)]
        else:  # the name of a member of a union, a key or a position
            classes = [c for c in classes if c.__name__ == part] or classes
    return [field.name for c in classes for field in dataclasses.fields(c)]


def _child(node: Located, part: int | str) -> tuple[int | str, Located] | None:
    """Key and value at `part` of a mapping or list; of a mapping a number names the position."""
    value = node.value
    if isinstance(value, dict):
        key = list(value)[part] if isinstance(part, int) and part < len(value) else part
        return (key, value[key]) if isinstance(key, str) and key in value else None
    inside = isinstance(value, list) and isinstance(part, int) and part < len(value)
    return (part, value[part]) if inside else None


def classes_in(annotation: Any) -> Iterator[type[Any]]:
    """The classes of settings in an annotation."""
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from classes_in(part)


def _describe(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _short(repr(value))


def _short(value: object) -> str:
    text = str(value)
    digits = text.lstrip("-").isdigit()
    return f"{text[:20]}... ({len(text)} digits)" if digits and len(text) > LONGEST else text
