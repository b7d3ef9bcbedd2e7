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

__all__ = ["Encoding", "ListField", "NumericField", "OwnSize", "SizedPart", "VectorField"]


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
class OwnSize:
    """Fields whose embeddings have another size than the network gives to all others.

    Attributes:
        size: features of such a field in a lane.
        fields: their names, in the order of the encoding.
        blocks: first row and number of rows of each block of the embedding table whose rows have
            this size.
    """

    size: int
    fields: tuple[str, ...]
    blocks: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Encoding:
    """The columns of an encoded log.

    Attributes:
        table_rows: rows of the embedding table.
        single: the categorical features; feature i is column i of `ids`.
        lists: the list features, in the columns of `ids` after those.
        numeric: the numeric features; feature i is column i of `numeric`.
        vectors: the vector features, in the columns of `numeric` after those.
        own_sizes: the fields with embeddings of other sizes, by size.
    """

    table_rows: int
    single: tuple[str, ...]
    lists: tuple[ListField, ...]
    numeric: tuple[NumericField, ...]
    vectors: tuple[VectorField, ...] = ()
    own_sizes: tuple[OwnSize, ...] = ()

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

    def lane_width(self, size: int) -> int:
        """Features of a lane, if fields without a size of their own have embeddings of `size`."""
        more = sum(len(sized.fields) * (sized.size - size) for sized in self.own_sizes)
        return self.num_fields * size + more

    def columns_of_fields(self, size: int) -> dict[str, range]:
        """Of each field its columns of a lane, in their order: fields of `size` first.

        Those of each other size follow, by size.
        """
        apart = {name for sized in self.own_sizes for name in sized.fields}
        sizes = {name: size for name in self.fields if name not in apart}
        sizes |= {name: sized.size for sized in self.own_sizes for name in sized.fields}
        ends = np.cumsum([0, *sizes.values()]).tolist()
        return {name: range(*ends[n : n + 2]) for n, name in enumerate(sizes)}

    def by_size(self, size: int) -> "list[SizedPart]":
        """The fields of each size, those of `size` first, each with a table of its own."""
        parts, others = [], set(self.fields)
        is_other = np.ones(self.table_rows, np.bool_)
        for sized in self.own_sizes:
            blocks = [np.arange(first, first + count) for first, count in sized.blocks]
            rows = np.concatenate([np.zeros(1, np.int64), *blocks])
            is_other[rows[1:]] = False
            others -= set(sized.fields)
            parts.append(SizedPart(sized.size, self.part(sized.fields), rows))
        parts.insert(0, SizedPart(size, self.part(others), np.flatnonzero(is_other)))
        return [
            replace(p, encoding=replace(p.encoding, table_rows=len(p.rows), own_sizes=()))
            for p in parts
            if p.encoding.fields
        ]

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
        kept = (replace(o, fields=tuple(f for f in o.fields if f in names)) for o in self.own_sizes)
        own_sizes = tuple(sized for sized in kept if sized.fields or sized.blocks)
        return Encoding(self.table_rows, single, tuple(lists), numeric, vectors, own_sizes)

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
        """This encoding as JSON text; without vectors and sizes, as of a release that knew none."""
        document = asdict(self)
        for name in ("vectors", "own_sizes"):
            if not document[name]:
                del document[name]
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
                own_sizes=tuple(_own_size(entry) for entry in raw.get("own_sizes", ())),
            )
        except (KeyError, TypeError, ValueError) as fault:
            raise DataError(f"not an encoding: {fault}; prepare the data again") from fault


@dataclass(frozen=True)
class SizedPart:
    """The fields of one size, with a table of their own.

    Attributes:
        size: features of a field in a lane.
        encoding: of these fields.
        rows: of each row of their table its row in the one table of all fields; the first is
            padding.
    """

    size: int
    encoding: Encoding
    rows: npt.NDArray[np.int64]


def _own_size(entry: dict[str, Any]) -> OwnSize:
    blocks = tuple((int(first), int(rows)) for first, rows in entry["blocks"])
    return OwnSize(int(entry["size"]), tuple(entry["fields"]), blocks)
