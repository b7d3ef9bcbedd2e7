"""List features: pooled as they are, or read against the candidate as the history of a user."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from recmtl.errors import SchemaError
from recmtl.schema.kinds.single import Dim, Numeric
from recmtl.schema.settings import BUCKETS, COUNT, check_shared_size, check_vocabulary, settings

__all__ = ["ListOf"]


@settings(SchemaError)
class ListOf:
    """A list of category values (a history, tags), pooled into one vector.

    With pooling `attention` the candidate decides how much each value counts: the list is the
    history of the row, one value an event. Other lists may be aligned with it. Value i of each then
    belongs to event i, and one weight an event pools all of them (`recmtl.model.attention`).

    Attributes:
        name: the feature.
        column: the column that holds the lists.
        table: the categorical feature whose vocabulary and embedding rows the list shares;
            with None the list has its own, unless it has a target.
        max_length: values of a list that are kept.
        pooling: `mean`, `sum` or `max` over the embeddings of the kept values, or `attention`.
        keep: which end of a longer list is kept.
        count: whether the number of values, before any are cut off, is a numeric feature as well.
            An aligned list has none: its number is that of the history.
        min_count: as in `Categorical`, where `table` is None.
        hash_buckets: as in `Categorical`, where `table` is None.
        target: the categorical feature of the candidate with which the values are compared, whose
            vocabulary and embedding rows the list shares. A history needs one, an aligned list
            may have one.
        align: the history with which the list is aligned.
        times: the column with the times of a history's events, lists as well; the age of each
            event, until `roles.time` of the row, is then an aligned list `<history>.age`.
        dim: as in `Categorical`, where `table` is None. An aligned list has that of its history.
    """

    name: str = ""
    column: str = ""
    table: str | None = None
    max_length: Annotated[int, Field(ge=1, le=10_000)] = 20
    pooling: Literal["mean", "sum", "max", "attention"] = "mean"
    keep: Literal["last", "first"] = "last"
    count: bool = True
    min_count: Annotated[int, COUNT] = 1
    hash_buckets: Annotated[int, BUCKETS] | None = None
    target: str | None = None
    align: str | None = None
    times: str | None = None
    dim: Dim = None

    def __post_init__(self) -> None:
        """Check what concerns this list alone; a target is the table, too."""
        object.__setattr__(self, "column", self.column or self.name)
        self._check_attention()
        if self.target is not None:
            object.__setattr__(self, "table", self.target)
        key = "table" if self.target is None else "target"
        shared = None if self.table is None else key
        check_vocabulary(self.min_count, self.hash_buckets, shared)
        if shared is not None or self.align is not None:
            check_shared_size(self.dim, shared or "align")

    def _check_attention(self) -> None:
        reads_candidate = self.pooling == "attention"
        for key in ("target", "align", "times"):
            if getattr(self, key) is not None and not reads_candidate:
                raise ValueError(f"{key} is for pooling: attention")
        if reads_candidate and self.target is None and self.align is None:
            raise ValueError(
                "pooling: attention needs target, the categorical feature of the candidate, or "
                "align, the history whose events these are"
            )
        if self.align is not None and self.times is not None:
            raise ValueError("times belongs to the history that align names; move it there")
        if self.target is not None and self.table not in (None, self.target):
            raise ValueError("target is the table, too; drop table, or name the same feature")

    @property
    def vocabulary(self) -> str:
        """The feature whose vocabulary it reads: itself, or that whose table it shares."""
        return self.table or self.name

    @property
    def history(self) -> str | None:
        """The list that stands for the whole history: itself, or what it is aligned with."""
        return (self.align or self.name) if self.pooling == "attention" else None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of lists that it reads."""
        return (self.column,) if self.times is None else (self.column, self.times)

    @property
    def ages(self) -> "ListOf | None":
        """The aligned list of the ages of the events, which no column of the log holds."""
        if self.times is None:
            return None
        name = f"{self.name}.age"
        return ListOf(
            name,
            name,
            max_length=self.max_length,
            pooling="attention",
            keep=self.keep,
            count=False,
            align=self.name,
        )

    def derived(self, row_time: str | None) -> Iterator[tuple["Numeric | ListOf", tuple[str, ...]]]:
        """The features of its length and of its ages, with the columns by which each is computed.

        Args:
            row_time: the column of the rows' times; without one there are no ages.
        """
        if self.count and self.align is None:
            name = f"{self.name}.count"
            yield Numeric(name, name, log=True), (self.column,)
        if self.ages is not None and self.times is not None and row_time is not None:
            yield self.ages, (self.times, row_time)
