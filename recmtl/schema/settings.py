"""Settings: frozen pydantic dataclasses that refuse what makes no sense, in Python as from YAML.

A field says what it may hold: `Annotated[int, Field(ge=1, le=4096)]`, `Literal`, `X | None`,
`tuple[X, ...]`, `dict[str, X]`, another class of settings, or `Any` for what is checked elsewhere.
Numbers, texts and booleans are not taken for one another, but for a whole number where any number
may stand; a list may stand for a tuple, and a mapping for a class of settings.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial, reduce, wraps
from inspect import Signature, signature
from operator import or_
from pathlib import Path
from types import UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Self,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
)

import yaml
from pydantic import ConfigDict, Field, Strict, ValidationError
from pydantic.dataclasses import dataclass

from recmtl.atomic import write_text
from recmtl.errors import ConfigError, RecmtlError, did_you_mean
from recmtl.schema.reading import collect, fields_at, load, with_lines
from recmtl.schema.yaml_text import Problems, read_text

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
    "ConfigurationFile",
    "changed",
    "check_default",
    "check_shared_size",
    "check_vocabulary",
    "plain",
    "settings",
    "strict",
]

SHARE = Field(ge=0, le=1)
SIZE = Field(ge=1, le=65_536)
"""Of one layer: wider than any network of this kind, and its products still fit in memory."""
COUNT = Field(ge=1, le=10**12)
BUCKETS = Field(ge=1, le=10**9)
COUNT_OR_NONE = Field(ge=0, le=10**12)
RATE = Field(gt=0, le=1000)
WEIGHT = Field(ge=0, le=10**9)
EXPONENT = Field(ge=-10, le=10)
FINITE = Field(ge=-sys.float_info.max, le=sys.float_info.max)
T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, Field))
def settings(error: type[RecmtlError]) -> Callable[[type[T]], type[T]]:
    """Make a class one of settings: a frozen dataclass that checks its values.

    Args:
        error: what it raises, with all mistakes, where it is built in Python.

    >>> from recmtl.errors import ConfigError
    >>> @settings(ConfigError)
    ... class Grid:
    ...     depth: Annotated[int, Field(ge=1, le=64)] = 2
    ...     widths: tuple[int, ...] = (64, 32)
    >>> Grid(widths=[8])
    Grid(depth=2, widths=(8,))
    >>> Grid(depth=0, widths="8")
    Traceback (most recent call last):
    recmtl.errors.ConfigError: Grid: depth: must be at least 1, not 0
    Grid: widths: must be a list, not '8'
    """

    def decorate(cls: type[T]) -> type[T]:
        cls.__annotations__ = {k: strict(v) for k, v in cls.__annotations__.items()}
        config = ConfigDict(extra="forbid", allow_inf_nan=False, populate_by_name=True)
        made: type[T] = dataclass(cls, frozen=True, config=config)  # type: ignore[assignment] # it is the class itself
        made.__signature__ = _shown_signature(made)  # type: ignore[attr-defined] # what help() shows
        made.__init__ = _plain_errors(made.__init__, error)  # type: ignore[method-assign] # only its errors change
        return made

    return decorate


class ConfigurationFile:
    """Settings that are a YAML file of their own, and may build on a preset.

    Attributes:
        presets: the settings that a file leaves open, by the name of the preset.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @classmethod
    def load(cls, path: str | Path | None = None, *, preset: str = "") -> Self:
        """The settings of a YAML file, which go before those of the preset.

        Args:
            path: the file; None for the preset as it is.
            preset: one of `presets`; empty for the defaults.

        Raises:
            ConfigError: there is no such preset, the file cannot be read, or it holds unknown keys
                or wrong values; the message names all of them.
        """
        if preset and preset not in cls.presets:
            raise ConfigError(f"preset {preset!r}: is unknown{did_you_mean(preset, cls.presets)}")
        defaults, source, text = cls.presets.get(preset, {}), preset, "{}"
        if path is not None:
            text, source = read_text(Path(path), ConfigError, what="configuration"), str(path)
        return load(cls, text, source=source, error=ConfigError, defaults=defaults)

    def dump(self, path: str | Path | None = None) -> str:
        """Every setting as YAML, which `load` reads back equal.

        Args:
            path: a file to write, too.
        """
        values: Any = self
        settings = json.loads(json.dumps(dataclasses.asdict(values)))  # tuples as lists
        text: str = yaml.safe_dump(settings, sort_keys=False, default_flow_style=None)
        if path is not None:
            write_text(Path(path), text)
        return text


def check_vocabulary(min_count: int, hash_buckets: int | None, shared: str | None = None) -> None:
    """Raise a `ValueError` if values are both counted and hashed, or neither of it here.

    Args:
        min_count: of a vocabulary.
        hash_buckets: None for a vocabulary.
        shared: the key that names the feature whose vocabulary is shared; None if none is.
    """
    if hash_buckets is not None and min_count != 1:
        raise ValueError("give min_count (a vocabulary) or hash_buckets (hashing), not both")
    if shared is not None and (min_count != 1 or hash_buckets is not None):
        raise ValueError(f"{shared} shares a vocabulary; drop min_count and hash_buckets")


def check_shared_size(dim: object, owner: str) -> None:
    """Raise a `ValueError` if embeddings that belong to another feature are given a size.

    Args:
        dim: None for no size.
        owner: the key that names the other feature.
    """
    if dim is not None:
        raise ValueError(
            f"dim: {owner} names the feature whose embeddings these are; write it there"
        )


def check_default(default: object, missing: str) -> None:
    """Raise a `ValueError` if missing values are both filled and refused."""
    if default is not None and missing == "refuse":
        raise ValueError("default fills what missing: refuse does not let pass; drop one of them")


def strict(annotation: Any) -> Any:
    """The annotation with every scalar in it strict, so that no text is read as a number."""
    if annotation in (bool, int, float, str):
        return Annotated[annotation, Strict()]
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return Annotated[(strict(parts[0]), *parts[1:])]
    if origin in (Union, UnionType):
        return Union[tuple(map(strict, parts))]  # noqa: UP007 # made of a tuple
    if origin in (tuple, dict):
        return origin[tuple(map(strict, parts))]
    return annotation


def plain(annotation: Any) -> Any:
    """The annotation as a reader wants it: types without what checks their values."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return plain(parts[0])
    if origin in (Union, UnionType):
        return reduce(or_, map(plain, parts))
    if origin in (tuple, dict):
        return origin[tuple(map(plain, parts))]
    return annotation


class _Shown:
    """A default that stands in a signature as this text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _shown_signature(cls: Any) -> Signature:
    """The signature of a class of settings, with plain types and factories by what they make."""
    written = signature(cls)
    shown = []
    factories = {f.name: f.default_factory for f in dataclasses.fields(cls)}
    for name, parameter in written.parameters.items():
        make, default = factories[name], parameter.default
        if make is not dataclasses.MISSING:
            value = make()
            is_usual = not dataclasses.is_dataclass(value) or not changed(value)
            text = f"{type(value).__name__}({'' if is_usual else '...'})"
            default = _Shown(text)
        shown.append(parameter.replace(annotation=plain(parameter.annotation), default=default))
    return written.replace(parameters=shown)


def _plain_errors(build: Callable[..., None], error: type[RecmtlError]) -> Callable[..., None]:
    """A constructor whose mistakes are raised in recmtl's words."""
    names = signature(build)

    @wraps(build)
    def init(self: Any, /, *args: Any, **values: Any) -> None:
        try:
            build(self, *args, **values)
        except ValidationError as fault:
            cls = type(self)
            values |= dict(zip(list(names.parameters)[1:], args, strict=False))
            problems = Problems(cls.__name__)
            collect(fault, with_lines(values, None), problems, names=partial(fields_at, cls))
            problems.raise_as(error)

    return init


def changed(part: Any) -> dict[str, Any]:
    """The settings of an object that its class has not by default; parts as mappings.

    >>> from recmtl.errors import ConfigError
    >>> @settings(ConfigError)
    ... class Grid:
    ...     depth: int = 2
    ...     cells: int = 0
    >>> changed(Grid(cells=4))
    {'cells': 4}
    """
    values = {}
    for field in dataclasses.fields(part):
        value, default = getattr(part, field.name), field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if value != default:
            values[field.name] = changed(value) if dataclasses.is_dataclass(value) else value
    return values
