"""Features of one value: a category or a number."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from recmtl.errors import SchemaError
from recmtl.schema.settings import (
    BUCKETS,
    COUNT,
    FINITE,
    SIZE,
    check_default,
    check_shared_size,
    check_vocabulary,
    settings,
)

__all__ = ["Categorical", "Dim", "ExactValues", "Numeric"]


Missing = Literal["keep", "refuse"]
"""What a feature makes of missing values, if it has no default."""
Dim = Annotated[int, SIZE] | Literal["auto"] | None
"""Size of a feature's embeddings, or `auto`: the fourth root of its number of values, as a power of
two; None for that of the network."""
Limit = Annotated[float, FINITE] | None


@settings(SchemaError)
class Categorical:
    """One value out of a vocabulary: an id, a city, a brand.

    Attributes:
        name: the feature.
        column: the column that holds its values; by default it has the feature's name.
        min_count: values seen in fewer train rows share the unknown row.
        hash_buckets: number of rows into which values are hashed; None fits a vocabulary.
        table: the categorical feature whose vocabulary and embedding rows this one shares; with
            None it has its own.
        missing: whether the unknown row stands for missing values (`keep`), or one is an error.
        default: stands for missing values; one that no row has is a value of its own.
        dim: size of its embeddings: a number, `auto` for a rule
            (`recmtl.data.columns.embedding_sizes`), or None for `sizes.embedding`.
    """

    name: str = ""
    column: str = ""
    min_count: Annotated[int, COUNT] = 1
    hash_buckets: Annotated[int, BUCKETS] | None = None
    table: str | None = None
    missing: Missing = "keep"
    default: str | int | None = None
    dim: Dim = None

    def __post_init__(self) -> None:
        """A column has the feature's name unless it says otherwise."""
        check_default(self.default, self.missing)
        object.__setattr__(self, "column", self.column or self.name)
        shared = None if self.table is None else "table"
        check_vocabulary(self.min_count, self.hash_buckets, shared)
        if shared is not None:
            check_shared_size(self.dim, shared)

    @property
    def vocabulary(self) -> str:
        """The feature whose vocabulary it reads: itself, or that whose table it shares."""
        return self.table or self.name

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.column,)


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
        clip: the least and the greatest value, beyond which numbers count as these; null for none.
        buckets: increasing numbers; each interval between two has a vector of its own, in place of
            an encoding. A number that is one of them begins an interval.
        missing: whether a vector of its own stands for missing values (`keep`), or one is an error.
        default: stands for missing values.
        dim: features that it has in a lane; None for `sizes.embedding`.
    """

    name: str = ""
    column: str = ""
    encoding: Literal["piecewise", "quantile", "standard"] = "piecewise"
    bins: Annotated[int, Field(ge=1, le=4096)] = 32
    log: bool = False
    values: ExactValues | None = None
    clip: tuple[Limit, Limit] | None = None
    buckets: tuple[Annotated[float, FINITE], ...] = ()
    missing: Missing = "keep"
    default: Annotated[float, FINITE] | None = None
    dim: Annotated[int, SIZE] | None = None

    def __post_init__(self) -> None:
        """Refuse limits and buckets out of order, and an encoding beside buckets."""
        object.__setattr__(self, "column", self.column or self.name)
        check_default(self.default, self.missing)
        if self.clip is not None:
            _check_limits(*self.clip)
        if any(low >= high for low, high in pairwise(self.buckets)):
            raise ValueError("buckets: each must be greater than the one before")
        if self.buckets and (self.encoding, self.bins, self.log) != ("piecewise", 32, False):
            raise ValueError("buckets are an encoding of their own; drop encoding, bins and log")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.column,)

    def derived(self) -> Iterator[tuple[Categorical, tuple[str, ...]]]:
        """The feature of its exact values, with the columns by which that is computed."""
        if self.values is not None:
            name = f"{self.name}.value"
            yield Categorical(name, name, min_count=self.values.min_count), self.columns


def _check_limits(low: float | None, high: float | None) -> None:
    if low is None and high is None:
        raise ValueError("clip: give at least one of the two limits")
    if low is not None and high is not None and low >= high:
        raise ValueError("clip: give the least value first")
