"""Arguments of the public calls, checked where they come in.

Each `as_...` function returns the value that it accepts, or raises an error of one line that
names the argument, shows what it was, and says what to give instead.
"""

from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from recmtl.errors import ConfigError, DataError

__all__ = [
    "as_array",
    "as_column_list",
    "as_instance",
    "as_mapping",
    "as_path",
    "as_share",
    "as_whole_number",
    "short_repr",
]

T = TypeVar("T")
LONGEST_REPR = 80


def short_repr(value: object) -> str:
    r"""The `repr` of any value on one line of at most 80 characters, for messages.

    >>> short_repr("two\nlines"), len(short_repr(list(range(1000))))
    ("'two\\nlines'", 80)
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST_REPR else f"{text[: LONGEST_REPR - 3]}..."


def as_whole_number(name: str, value: Any, *, least: int, most: int) -> int:
    """A whole number within bounds, or a ConfigError.

    >>> as_whole_number("threads", 4, least=1, most=8)
    4
    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or not least <= value <= most:
        raise ConfigError(
            f"{name} is {short_repr(value)}; give a whole number from {least} to {most:,}"
        )
    return int(value)


def as_share(name: str, value: Any) -> float:
    """A number from 0 to 1, or a ConfigError."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name} is {short_repr(value)}; give a share in 0..1")
    return float(value)


def as_column_list(name: str, value: Any) -> list[str]:
    """A list of column names, or a DataError.

    A single string is refused: it would be read as a list of one-letter columns.
    """
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        columns = list(value)
        if all(isinstance(column, str) for column in columns):
            return columns
    raise DataError(f"{name} is {short_repr(value)}; give a list of column names")


def as_mapping(name: str, value: Any) -> Mapping[str, Any]:
    """A mapping whose keys are strings, or a DataError."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise DataError(
            f"{name} is {short_repr(value)}, no mapping; give a dict of names to values"
        )
    return value


def as_array(name: str, value: Any) -> npt.NDArray[Any]:
    """A column of values `[R]`, or a DataError."""
    try:
        column = np.asarray(value)
    except (ValueError, TypeError):
        column = np.zeros(())
    if column.ndim != 1:
        raise DataError(f"{name} is {short_repr(value)}; give one value a row")
    return column


def as_path(name: str, value: Any) -> str | Path:
    """A path or URL without line breaks, or a ConfigError."""
    text = str(value) if isinstance(value, str | Path) else ""
    if not text or not set(text).isdisjoint("\0\r\n"):
        raise ConfigError(f"{name} is {short_repr(value)}; give a path")
    return value  # type: ignore[no-any-return]


def as_instance(name: str, value: Any, kind: type[T]) -> T:
    """An instance of `kind`, or a ConfigError."""
    if not isinstance(value, kind):
        raise ConfigError(f"{name} is {short_repr(value)}; give a {kind.__name__}")
    return value
