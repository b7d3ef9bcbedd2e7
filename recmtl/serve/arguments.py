"""What callers pass, checked where it comes in: one line that names the argument and its value."""

from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from recmtl.errors import ConfigError, DataError

__all__ = ["array", "mapping", "names", "of_kind", "path_like", "share", "told", "whole"]

T = TypeVar("T")


def told(value: object) -> str:
    """A value of any kind, fit for one line of a message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def whole(name: str, value: Any, *, least: int, most: int) -> int:
    """A whole number within bounds, or a ConfigError."""
    number = isinstance(value, Integral) and not isinstance(value, bool | np.bool_)
    if not number or not least <= value <= most:
        raise ConfigError(f"{name} is {told(value)}; give a whole number from {least} to {most:,}")
    return int(value)


def share(name: str, value: Any) -> float:
    """A number in 0..1, or a ConfigError."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name} is {told(value)}; give a share in 0..1")
    return float(value)


def names(name: str, value: Any) -> list[str]:
    """A list of column names, or a DataError: one text alone would be taken letter by letter."""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        found = list(value)
        if all(isinstance(one, str) for one in found):
            return found
    raise DataError(f"{name} is {told(value)}; give a list of column names")


def mapping(name: str, value: Any) -> Mapping[str, Any]:
    """A mapping with texts for keys, or a DataError."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise DataError(f"{name} is {told(value)}, no mapping; give a dict of names to values")
    return value


def array(name: str, value: Any) -> npt.NDArray[Any]:
    """A column of values, or a DataError."""
    try:
        found = np.asarray(value)
    except (ValueError, TypeError):
        found = np.zeros(())
    if found.ndim != 1:
        raise DataError(f"{name} is {told(value)}; give one value a row")
    return found


def path_like(name: str, value: Any) -> str | Path:
    """A path or URL in one line, or a ConfigError."""
    text = str(value) if isinstance(value, str | Path) else ""
    if not text or not set(text).isdisjoint("\0\r\n"):
        raise ConfigError(f"{name} is {told(value)}; give a path")
    return value  # type: ignore[no-any-return]


def of_kind(name: str, value: Any, kind: type[T]) -> T:
    """A value of a class, or a ConfigError."""
    if not isinstance(value, kind):
        raise ConfigError(f"{name} is {told(value)}; give a {kind.__name__}")
    return value
