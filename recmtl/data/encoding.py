"""What a model must know about an encoded log: its columns, and the rows of the embedding table.

All categorical features and all lists share one embedding table. Row 0 is padding. Every vocabulary
owns a contiguous block of rows; the first row of the block stands for unknown values. The ids in an
encoded log are rows of the table: the offset of the block is already added.
"""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from recmtl.errors import DataError

__all__ = ["Encoding", "ListField", "NumericField", "VectorField"]


@dataclass(frozen=True)
class ListField:
    """A list feature: the columns `first` to `first + length` of `ids`, padded with row 0.

    Attributes:
        name: the feature.
        first: its first column.
        length: values of a list that are kept.
        pooling: how the embeddings of its values become one, as in the schema.
        target: the categorical feature with which attention compares the values.
        align: the list with which this one is aligned: both hold the same events.
    """

    name: str
    first: int
    length: int
    pooling: str
    target: str | None = None
    align: str | None = None

    @property
    def columns(self) -> slice:
        """Its columns of `ids`."""
        return slice(self.first, self.first + self.length)


@dataclass(frozen=True)
class NumericField:
    """A numeric feature, stored as one float32; NaN means missing.

    The encoding `standard` stores (x - mean) / std, `quantile` u / bins and `piecewise` u, where u
    in [0, bins] is the position of x among the fitted edges, linear between neighbours.
    """

    name: str
    encoding: str
    bins: int


@dataclass(frozen=True)
class VectorField:
    """A vector feature: `size` columns of `numeric`, all of them NaN where it is missing."""

    name: str
    size: int


@dataclass(frozen=True)
class Encoding:
    """The columns of an encoded log.

    Attributes:
        table_rows: rows of the embedding table.
        single: the categorical features; feature i is column i of `ids`.
        lists: the list features, in the columns of `ids` after those.
        numeric: the numeric features; feature i is column i of `numeric`.
        vectors: the vector features, in the columns of `numeric` after those.
    """

    table_rows: int
    single: tuple[str, ...]
    lists: tuple[ListField, ...]
    numeric: tuple[NumericField, ...]
    vectors: tuple[VectorField, ...] = ()

    @property
    def id_columns(self) -> int:
        """Width I of `ids`: one column a categorical feature, `length` columns a list."""
        return len(self.single) + sum(field.length for field in self.lists)

    @property
    def numeric_columns(self) -> int:
        """Width N of `numeric`: one column a numeric feature, `size` columns a vector."""
        return len(self.numeric) + sum(field.size for field in self.vectors)

    @property
    def num_fields(self) -> int:
        """Number of features of any kind."""
        return len(self.single) + len(self.lists) + len(self.numeric) + len(self.vectors)

    @property
    def fields(self) -> tuple[str, ...]:
        """The features in the order in which a lane holds them."""
        lists, numbers = (field.name for field in self.lists), (f.name for f in self.numeric)
        return (*self.single, *lists, *numbers, *(field.name for field in self.vectors))

    def vector_columns(self) -> dict[str, slice]:
        """By vector its columns of `numeric`."""
        columns, first = {}, len(self.numeric)
        for field in self.vectors:
            columns[field.name] = slice(first, first + field.size)
            first += field.size
        return columns

    def with_numbers(
        self, numeric: npt.NDArray[np.float32], more: npt.NDArray[Any]
    ) -> npt.NDArray[np.float32]:
        """Rows `[R, N]` of this encoding with numbers `[R, M]` of further features.

        They come after the numeric features, before the vectors.
        """
        numbers = len(self.numeric)
        parts = [numeric[:, :numbers], more, numeric[:, numbers:]]
        return np.concatenate(parts, 1, dtype=np.float32)

    @property
    def histories(self) -> dict[str, tuple[ListField, ...]]:
        """The lists of each history that is read against the candidate, those with a target first.

        The first is the history itself, by whose name they stand here.
        """
        lists: dict[str, tuple[ListField, ...]] = {}
        for field in self.lists:
            if field.pooling == "attention" and field.align is None:
                aligned = [other for other in self.lists if other.align == field.name]
                aligned.sort(key=lambda other: other.target is None)
                lists[field.name] = (field, *aligned)
        return lists

    def part(self, names: Collection[str]) -> "Encoding":
        """The encoding of the named features alone; their order and the table stay."""
        single, lists = tuple(name for name in self.single if name in names), []
        first = len(single)
        for field in self.lists:
            if field.name in names:
                lists.append(replace(field, first=first))
                first += field.length
        numeric = tuple(field for field in self.numeric if field.name in names)
        vectors = tuple(field for field in self.vectors if field.name in names)
        return Encoding(self.table_rows, single, tuple(lists), numeric, vectors)

    def columns_of(self, part: "Encoding") -> tuple[list[int], list[int]]:
        """The columns of `ids` and of `numeric` that a `part` of this encoding keeps."""
        ids = [self.single.index(name) for name in part.single]
        by_name = {field.name: field for field in self.lists}
        for field in part.lists:
            first = by_name[field.name].first
            ids += range(first, first + field.length)
        numbers, vectors = [self.numeric.index(f) for f in part.numeric], self.vector_columns()
        for vector in part.vectors:
            numbers += range(vectors[vector.name].start, vectors[vector.name].stop)
        return ids, numbers

    def to_json(self) -> str:
        """This encoding as JSON text; without vectors, that of a release that knew none."""
        document = asdict(self)
        if not self.vectors:
            del document["vectors"]
        return json.dumps(document, indent=1)

    @staticmethod
    def from_json(text: str) -> "Encoding":
        """Read what `to_json` wrote.

        Raises:
            DataError: the text is something else.
        """
        try:
            raw = json.loads(text)
            return Encoding(
                table_rows=int(raw["table_rows"]),
                single=tuple(raw["single"]),
                lists=tuple(ListField(**field) for field in raw["lists"]),
                numeric=tuple(NumericField(**field) for field in raw["numeric"]),
                vectors=tuple(VectorField(**field) for field in raw.get("vectors", ())),
            )
        except (KeyError, TypeError, ValueError) as fault:
            raise DataError(f"not an encoding: {fault}; prepare the data again") from fault
