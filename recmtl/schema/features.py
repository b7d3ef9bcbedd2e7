"""The kinds of feature, and how the entries of a mapping become features with names."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Tag

from recmtl.errors import did_you_mean
from recmtl.schema.kinds.crosses import Cross
from recmtl.schema.kinds.lists import ListOf
from recmtl.schema.kinds.single import Categorical, Numeric
from recmtl.schema.kinds.texts import Text
from recmtl.schema.kinds.times import Datetime
from recmtl.schema.kinds.vectors import Vector

__all__ = [
    "BY_NAME",
    "KINDS",
    "AFeature",
    "EncodedFeature",
    "Feature",
    "derived_of",
    "fields_of",
    "renamed",
]

EncodedFeature = Categorical | Numeric | ListOf | Vector
"""What has ids, numbers or vectors of its own; the other kinds only derive such features."""
Feature = EncodedFeature | Datetime | Cross | Text
KINDS: dict[str, type[Any]] = {
    "categorical": Categorical,
    "numeric": Numeric,
    "list": ListOf,
    "vector": Vector,
    "datetime": Datetime,
    "cross": Cross,
    "text": Text,
}


def derived_of(
    features: Sequence[Feature], row_time: str | None
) -> Iterator[tuple[EncodedFeature, Feature, tuple[str, ...]]]:
    """What features derive of a row alone, the feature it is derived of, and the columns for it.

    Crosses are the last: they may read what others derive, and then need the columns of these.
    """
    columns: dict[str, tuple[str, ...]] = {}
    for source in sorted(features, key=lambda source: isinstance(source, Cross)):
        for feature, reads in _derived(source, row_time, features):
            every = (column for name in reads for column in columns.get(name, (name,)))
            columns[feature.name] = tuple(dict.fromkeys(every))
            yield feature, source, columns[feature.name]


def _derived(
    source: Feature, row_time: str | None, features: Sequence[Feature]
) -> Iterator[tuple[EncodedFeature, tuple[str, ...]]]:
    if isinstance(source, Categorical):
        return iter(())
    if isinstance(source, Vector):
        return source.derived(f for f in features if isinstance(f, ListOf))
    return source.derived(row_time) if isinstance(source, ListOf) else source.derived()


def _by_name(value: Any) -> Any:
    """A mapping of names to parts as pairs, of which each is checked at its own place."""
    if isinstance(value, Mapping):
        return tuple(value.items())
    if not isinstance(value, list | tuple) or not all(map(is_dataclass, value)):
        raise ValueError("must be a mapping of names")
    return value


def _feature(value: Any) -> Any:
    """A feature, or the entry of one as the name of its class and the values of its fields."""
    if not isinstance(value, tuple):
        return value
    name, entry = value
    if isinstance(entry, str):
        entry = {"kind": entry}
    if not isinstance(entry, Mapping):
        return renamed(name, entry, Feature)
    if "kind" not in entry:
        raise ValueError(f"missing key 'kind': one of {', '.join(KINDS)}")
    kind = str(entry["kind"])
    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS)
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}{hint}")
    fields = {key: item for key, item in entry.items() if key != "kind"}
    return KINDS[kind].__name__, fields_of(name, fields)


def fields_of(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a part that an entry of a mapping gives, with the name before it."""
    if "name" in entry:
        raise ValueError("name stands before the entry already; drop this key")
    return {"name": name, **entry}


def renamed(name: str, part: Any, kind: Any) -> Any:
    """A part that was built without a name, with the one of its entry."""
    if not isinstance(part, kind):
        raise ValueError("must be a mapping of settings, such as {kind: ...}")
    if part.name not in ("", name):
        raise ValueError(f"is called {part.name!r}; build it without a name, or with this one")
    return replace(part, name=name)


BY_NAME = BeforeValidator(_by_name)
_FIELDS = BeforeValidator(lambda value: value[1] if isinstance(value, tuple) else value)
AFeature = Annotated[
    Annotated[Categorical, _FIELDS, Tag("Categorical")]
    | Annotated[Numeric, _FIELDS, Tag("Numeric")]
    | Annotated[ListOf, _FIELDS, Tag("ListOf")]
    | Annotated[Vector, _FIELDS, Tag("Vector")]
    | Annotated[Datetime, _FIELDS, Tag("Datetime")]
    | Annotated[Cross, _FIELDS, Tag("Cross")]
    | Annotated[Text, _FIELDS, Tag("Text")],
    Discriminator(lambda value: value[0] if isinstance(value, tuple) else type(value).__name__),
    BeforeValidator(_feature),
]
"""A feature, or an entry of the mapping of features."""
