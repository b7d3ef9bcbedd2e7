"""The bounds of every number of a schema and a configuration, written beside its type.

A field says `Annotated[int, Within(1, 4096)]`, alone or inside `X | None`, `tuple` and `dict`, and
its class calls `check_numbers` when it is built, in Python as from YAML.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from numbers import Integral, Real
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

__all__ = [
    "BUCKETS",
    "COUNT",
    "COUNT_OR_NONE",
    "EXPONENT",
    "FINITE",
    "RATE",
    "SHARE",
    "SIZE",
    "WEIGHT",
    "Within",
    "check_numbers",
    "check_vocabulary",
    "numeric_fields",
]


@dataclass(frozen=True)
class Within:
    """What a number may be.

    Attributes:
        low: the least value.
        high: the greatest value.
        above: whether `low` itself is out of bounds.
        below: whether `high` itself is out of bounds.
    """

    low: float
    high: float
    above: bool = False
    below: bool = False

    def check(self, name: str, value: Any, *, whole: bool) -> None:
        """Raise a `ValueError` that begins with `name` if the value is out of bounds.

        >>> Within(0, 1).check("rate", 0.5, whole=False)
        >>> Within(0, 1, above=True).check("rate", 0, whole=False)
        Traceback (most recent call last):
        ValueError: rate must be above 0, not 0
        """
        kind: Any = Integral if whole else Real
        if isinstance(value, bool) or not isinstance(value, kind):
            word = "a whole number" if whole else "a number"
            raise ValueError(f"{name} must be {word}, not {value!r}")
        if self.above and not value > self.low:
            raise ValueError(f"{name} must be above {self.low:,}, not {_short(value)}")
        if not value >= self.low:
            raise ValueError(f"{name} must be at least {self.low:,}, not {_short(value)}")
        if not value <= self.high:
            raise ValueError(f"{name} must be at most {self.high:,}, not {_short(value)}")
        if self.below and not value < self.high:
            raise ValueError(f"{name} must be below {self.high:,}, not {_short(value)}")


SHARE = Within(0, 1)
SIZE = Within(1, 65_536)
"""Of one layer: wider than any network of this kind, and its products still fit in memory."""
COUNT = Within(1, 10**12)
BUCKETS = Within(1, 10**9)
COUNT_OR_NONE = Within(0, 10**12)
RATE = Within(0, 1000, above=True)
WEIGHT = Within(0, 10**9)
EXPONENT = Within(-10, 10)
FINITE = Within(-sys.float_info.max, sys.float_info.max)


def check_vocabulary(min_count: int, hash_buckets: int | None) -> None:
    """Raise a `ValueError` if values are both counted and hashed."""
    if hash_buckets is not None and min_count != 1:
        raise ValueError("give min_count (a vocabulary) or hash_buckets (hashing), not both")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 30 else f"{text[:20]}... ({len(text)} digits)"


def check_numbers(settings: Any) -> None:
    """Raise a `ValueError` for the first number of a dataclass that is out of its bounds."""
    for name, (whole, bounds) in numeric_fields(type(settings)).items():  # type: ignore[arg-type] # mypy: no class of unknown type is hashable
        for place, value in _numbers_in(name, getattr(settings, name)):
            if bounds is not None:
                bounds.check(place, value, whole=whole)


@lru_cache(maxsize=256)
def numeric_fields(cls: type[Any]) -> dict[str, tuple[bool, Within | None]]:
    """Of each field of a dataclass that holds numbers: whether whole ones, and the bounds."""
    hints = get_type_hints(cls, include_extras=True)
    kinds = {field.name: _numeric(hints[field.name]) for field in fields(cls)}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def _numeric(annotation: Any) -> tuple[bool, Within | None] | None:
    if get_origin(annotation) is Annotated:
        inner, *extras = get_args(annotation)
        kind = _numeric(inner)
        bounds = next((extra for extra in extras if isinstance(extra, Within)), None)
        return None if kind is None else (kind[0], bounds or kind[1])
    if annotation in (int, float):
        return annotation is int, None
    if get_origin(annotation) in (Union, UnionType, tuple, dict):
        kinds = [_numeric(part) for part in get_args(annotation) if part is not Ellipsis]
        return next((kind for kind in kinds if kind is not None), None)
    return None


def _numbers_in(name: str, value: object) -> Iterator[tuple[str, object]]:
    """A number alone, or those of a tuple or a mapping, each with its name; None is no number."""
    if isinstance(value, tuple | list):
        yield from ((name, item) for item in value)
    elif isinstance(value, Mapping):
        yield from ((f"{name}.{key}", item) for key, item in value.items())
    elif value is not None:
        yield name, value
