"""What columns of text hold: the narrowest type that every value of the whole data set has.

A column keeps the set of types that all its values so far can be; a set only shrinks, in whatever
order files are read, and those of several files are intersected. An empty set is text.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["ALL_TYPES", "NO_NUMBER", "arrow_type", "chosen_type", "possible_types", "typed"]

NO_NUMBER = pa.array(
    ["NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "none", "-nan"], pa.string()
)
"""Words that are missing values among numbers, times, true and false; elsewhere they are text."""
WHOLE = r"^-?(0|[1-9][0-9]*)$"
CODE = r"^[+-]?(0[0-9_]|0[xX]|[0-9]{16,}$)"
"""Leading zeros, and digits beyond what a float holds: such a number is a name."""
TYPES = {
    "integer": pa.int64(),
    "unsigned": pa.uint64(),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "zoned": pa.timestamp("us", "UTC"),
}
"""By name, the narrow ones first."""
ALL_TYPES = frozenset(TYPES)


def possible_types(values: Any, types: frozenset[str], *, decimal: str = ".") -> frozenset[str]:
    """Those of `types` that all values of an array of text can be; null says nothing.

    >>> sorted(possible_types(pa.array(["7", "-1", None, "NA"]), ALL_TYPES))
    ['float', 'integer']
    >>> sorted(possible_types(pa.array(["007"]), ALL_TYPES))
    []
    """
    if not types:
        return types
    values = values.drop_null()
    values = values.filter(pc.invert(pc.is_in(values, value_set=NO_NUMBER)))
    if not len(values):
        return types
    if values.type == pa.string() and len(values) > 1000 and not _of_head(values, types, decimal):
        return frozenset()  # most columns of text show it at once
    return frozenset(name for name in types if TESTS[name](values, decimal=decimal))


def _of_head(values: Any, types: frozenset[str], decimal: str) -> frozenset[str]:
    return possible_types(values.slice(0, 1000), types, decimal=decimal)


def chosen_type(types: frozenset[str]) -> str:
    """The type of a column: the narrowest left, `text` if none is, `null` if nothing was seen."""
    if types == ALL_TYPES:
        return "null"
    return next((name for name in TYPES if name in types), "text")


def arrow_type(name: str) -> Any:
    """The Arrow type of a chosen type."""
    return TYPES.get(name, pa.null() if name == "null" else pa.string())


def typed(values: Any, name: str, *, decimal: str = ".") -> Any:
    """Text as values of a chosen type; null where it says that there is none."""
    if name == "text":
        return values
    values = pc.if_else(pc.is_in(values, value_set=NO_NUMBER), pa.scalar(None, pa.string()), values)
    if name == "null":
        return pa.nulls(len(values))
    if name == "float" and decimal != ".":
        values = pc.replace_substring(values, decimal, ".")
    return pc.cast(values, TYPES[name])


def _are_whole(values: Any, *, decimal: str, arrow: Any) -> bool:
    return _all(pc.match_substring_regex(values, WHOLE)) and _casts(values, arrow)


def _are_fractions(values: Any, *, decimal: str) -> bool:
    if pc.any(pc.match_substring_regex(values, CODE)).as_py():
        return False
    if decimal != ".":
        values = pc.replace_substring(values, decimal, ".")
    return _casts(values, pa.float64())


def _are_answers(values: Any, *, decimal: str) -> bool:
    words = pa.array(["true", "false"], pa.string())
    return _all(pc.is_in(pc.ascii_lower(values), value_set=words))


def _are_times(values: Any, *, decimal: str, arrow: Any) -> bool:
    return _all(pc.match_substring_regex(values, r"^\d{4}-\d\d-\d\d")) and _casts(values, arrow)


def _all(flags: Any) -> bool:
    return bool(pc.all(flags).as_py())


def _casts(values: Any, arrow: Any) -> bool:
    try:
        pc.cast(values, arrow)
    except pa.ArrowInvalid:
        return False
    return True


TESTS: dict[str, Callable[..., bool]] = {
    "integer": partial(_are_whole, arrow=pa.int64()),
    "unsigned": partial(_are_whole, arrow=pa.uint64()),
    "float": _are_fractions,
    "boolean": _are_answers,
    **{name: partial(_are_times, arrow=TYPES[name]) for name in ("date", "timestamp", "zoned")},
}
