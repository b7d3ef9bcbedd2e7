"""Crosses: one category of the values that several columns have together."""

from collections.abc import Iterator
from typing import Annotated

from recmtl.errors import SchemaError
from recmtl.schema.kinds.single import Categorical, Dim, Missing
from recmtl.schema.settings import BUCKETS, COUNT, check_vocabulary, settings

__all__ = ["Cross"]


@settings(SchemaError)
class Cross:
    """The values of two or more columns as one category: a city and a weekday.

    It is missing where one of them is.

    Attributes:
        name: the feature.
        columns: columns of single categories, or features of categories that are derived of one:
            `visited.hour`, `age.value`.
        min_count: combinations seen in fewer train rows share the unknown row.
        hash_buckets: number of rows into which combinations are hashed; None fits a vocabulary.
        missing: whether the unknown row stands for missing ones (`keep`), or one is an error.
        dim: as in `Categorical`.
    """

    name: str = ""
    columns: tuple[str, ...] = ()
    min_count: Annotated[int, COUNT] = 1
    hash_buckets: Annotated[int, BUCKETS] | None = None
    missing: Missing = "keep"
    dim: Dim = None

    def __post_init__(self) -> None:
        """Refuse a cross of less than two columns."""
        check_vocabulary(self.min_count, self.hash_buckets)
        if len(self.columns) < 2 or len(set(self.columns)) < len(self.columns):
            raise ValueError("columns: name two or more different ones")

    @property
    def column(self) -> str:
        """The computed column of the combinations."""
        return self.name

    def derived(self) -> Iterator[tuple[Categorical, tuple[str, ...]]]:
        """The feature of the combinations, with the columns by which it is computed."""
        feature = Categorical(
            self.name,
            self.name,
            min_count=self.min_count,
            hash_buckets=self.hash_buckets,
            missing=self.missing,
            dim=self.dim,
        )
        yield feature, self.columns
