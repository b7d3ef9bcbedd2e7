"""What differs between two schemas, in the words of the file."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from recmtl.schema.definition import Schema

__all__ = ["differences"]

MOST_NAMED = 5


def differences(before: Schema, after: Schema) -> list[str]:
    """What was added, removed and changed from one schema to another; empty if they are equal.

    >>> from recmtl.schema import Categorical, Numeric, SplitRule
    >>> a = Schema("shop", (Numeric("price", "price"),), (), SplitRule("random"))
    >>> b = Schema("shop", (Categorical("price", "price"),), (), SplitRule("group"))
    >>> differences(a, b)
    ['features: price was numeric, is categorical', "split: by was 'random', is 'group'"]
    """
    lines = [] if before.name == after.name else [f"name: was {before.name!r}, is {after.name!r}"]
    for section in ("features", "tasks"):
        parts = [{part.name: part for part in getattr(s, section)} for s in (before, after)]
        lines += [f"{section}: {text}" for text in _of_parts(*parts)]
    for section in ("roles", "split"):
        texts = _of_fields(getattr(before, section), getattr(after, section))
        lines += [f"{section}: {text}" for text in texts]
    for section in ("files", "formulas", "tables", "ignore"):
        if getattr(before, section) != getattr(after, section):
            lines.append(f"{section} differ")
    return lines


def _of_parts(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    for word, names in (
        ("added", [name for name in after if name not in before]),
        ("removed", [name for name in before if name not in after]),
    ):
        if names:
            yield f"{word} {_named(names)}"
    changed = [name for name in before if name in after and before[name] != after[name]]
    for name in changed[:MOST_NAMED]:
        yield f"{name} {', '.join(_of_fields(before[name], after[name]))}"
    if len(changed) > MOST_NAMED:
        yield f"changed {len(changed) - MOST_NAMED} more"
    common = [name for name in before if name in after]
    if not changed and common != [name for name in after if name in before]:
        yield "stand in another order"


def _of_fields(before: Any, after: Any) -> Iterator[str]:
    """Each setting that differs between two parts; of two kinds of feature only the kinds."""
    if type(before) is not type(after):
        kinds = (type(part).__name__.lower().removesuffix("of") for part in (before, after))
        yield "was {}, is {}".format(*kinds)
        return
    for field in dataclasses.fields(before):
        values = [getattr(part, field.name) for part in (before, after)]
        if values[0] != values[1] or type(values[0]) is not type(values[1]):
            yield "{} was {}, is {}".format(field.name, *map(_shown, values))


def _shown(value: Any) -> str:
    """A setting as a message shows it; of a rule what it says."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        entries = dataclasses.asdict(value).items()
        return f"{{{', '.join(f'{key}: {item}' for key, item in entries if item is not None)}}}"
    return "none" if value is None else repr(value)


def _named(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    text = ", ".join(names[:MOST_NAMED])
    return text if more <= 0 else f"{text} and {more} more"
