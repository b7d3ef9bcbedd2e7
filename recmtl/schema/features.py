"""The kinds of feature, and how the entries of a mapping become features with names."""

from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from recmtl.errors import SchemaError, did_you_mean
from recmtl.schema.list_feature import ListOf, Vector
from recmtl.schema.settings import BUCKETS, COUNT, check_vocabulary, settings

__all__ = [
    "BY_NAME",
    "KINDS",
    "AFeature",
    "Categorical",
    "ExactValues",
    "Feature",
    "Numeric",
    "fields_of",
    "renamed",
]


@settings(SchemaError)
class Categorical:
    """One value out of a vocabulary: an id, a city, a brand.

    Attributes:
        name: the feature.
        column: the column that holds its values; by default it has the feature's name.
        min_count: values seen in fewer train rows share the unknown row.
        hash_buckets: number of rows into which values are hashed; None fits a vocabulary.
    """

    name: str = ""
    column: str = ""
    min_count: Annotated[int, COUNT] = 1
    hash_buckets: Annotated[int, BUCKETS] | None = None

    def __post_init__(self) -> None:
        """A column has the feature's name unless it says otherwise."""
        object.__setattr__(self, "column", self.column or self.name)
        check_vocabulary(self.min_count, self.hash_buckets)


@settings(SchemaError)
class ExactValues:
    """Ids of the frequent values of a number, beside its scale: spikes that ramps smooth over.

    Attributes:
        min_count: values seen in fewer train rows share the unknown row.
    """

    min_count: Annotated[int, COUNT] = 20


@settings(SchemaError)
class Numeric:
    """A number, possibly missing.

    Attributes:
        name: the feature.
        column: the column that holds its values; by default it has the feature's name.
        encoding: how the number is scaled, see `recmtl.data.encoding.NumericField`.
        bins: quantile bins to fit; fewer where values repeat.
        log: apply sign(x) * log(1 + |x|) first.
        values: whether frequent values are a categorical feature as well, and which are frequent.
    """

    name: str = ""
    column: str = ""
    encoding: Literal["piecewise", "quantile", "standard"] = "piecewise"
    bins: Annotated[int, Field(ge=1, le=4096)] = 32
    log: bool = False
    values: ExactValues | None = None

    def __post_init__(self) -> None:
        """A column has the feature's name unless it says otherwise."""
        object.__setattr__(self, "column", self.column or self.name)


Feature = Categorical | Numeric | ListOf | Vector
KINDS: dict[str, type[Categorical] | type[Numeric] | type[ListOf] | type[Vector]] = {
    "categorical": Categorical,
    "numeric": Numeric,
    "list": ListOf,
    "vector": Vector,
}


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
    | Annotated[Vector, _FIELDS, Tag("Vector")],
    Discriminator(lambda value: value[0] if isinstance(value, tuple) else type(value).__name__),
    BeforeValidator(_feature),
]
"""A feature, or an entry of the mapping of features."""
