"""What a sample of a log says about each column: kind, distinct values, missing share."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.reader import Log

__all__ = ["Facts", "column_facts"]

Shape = Literal["bool", "int", "float", "text", "time", "list", "other"]
SAMPLE_ROWS = 200_000


@dataclass(frozen=True)
class Facts:
    """What was seen of one column.

    Attributes:
        name: the column.
        shape: what it holds.
        rows: rows looked at.
        missing: of those, null or NaN.
        values: the distinct values of the column (of its elements, for a list), as an Arrow array.
        event: of a column with exactly two values the one that means yes: 1 of 0 and 1, the rarer
            of two texts; None for any other column.
        positive: row numbers where that value stands.
    """

    name: str
    shape: Shape
    rows: int
    missing: int
    values: Any
    event: int | str | None
    positive: frozenset[int]

    @property
    def distinct(self) -> int:
        """Number of distinct values, missing aside."""
        return len(self.values)

    @property
    def unique(self) -> bool:
        """Whether no value came twice."""
        return self.missing == 0 and self.distinct == self.rows > 1


def column_facts(log: Log) -> Iterator[Facts]:
    """Facts about every column of the log, from its first rows (at most 200,000)."""
    names = log.column_names()
    batches, rows = [], 0
    for batch in log.batches(names):
        batches.append(batch.columns)
        rows += batch.rows
        if rows >= SAMPLE_ROWS:
            break
    for i, name in enumerate(names):
        yield _facts(name, [_plain(batch.column(i)) for batch in batches])


def _plain(array: Any) -> Any:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _facts(name: str, parts: list[Any]) -> Facts:
    column = pa.chunked_array([part.cast(parts[0].type) for part in parts])
    shape = _shape(column.type)
    missing = pc.sum(pc.is_null(column, nan_is_null=True)).as_py() or 0
    inner = pc.list_flatten(column) if shape == "list" else column
    if pa.types.is_nested(inner.type):
        return Facts(name, "other", len(column), missing, pa.nulls(0), None, frozenset())
    values = pc.unique(inner).drop_null()
    if pa.types.is_floating(values.type):
        values = values.filter(pc.invert(pc.is_nan(values)))
    event, positive = _event(column, shape, values) if len(values) == 2 else (None, frozenset())
    return Facts(name, shape, len(column), missing, values, event, positive)


def _event(column: Any, shape: Shape, values: Any) -> tuple[int | str | None, frozenset[int]]:
    if shape == "text":
        counts = [pc.sum(pc.equal(column, value)).as_py() for value in values]
        event: int | str = values[counts.index(min(counts))].as_py()
        hits = pc.equal(column, event)
    elif shape in ("bool", "int", "float") and set(map(float, values.to_pylist())) == {0.0, 1.0}:
        event = 1
        hits = column.cast(pa.bool_())
    else:
        return None, frozenset()
    rows = pc.indices_nonzero(hits.combine_chunks().fill_null(False))
    return event, frozenset(rows.to_pylist())


def _shape(kind: Any) -> Shape:
    tests: list[tuple[Shape, Any]] = [
        ("bool", pa.types.is_boolean),
        ("int", pa.types.is_integer),
        ("float", pa.types.is_floating),
        ("float", pa.types.is_decimal),
        ("text", pa.types.is_string),
        ("text", pa.types.is_large_string),
        ("time", pa.types.is_temporal),
        ("list", pa.types.is_list),
        ("list", pa.types.is_large_list),
        ("list", pa.types.is_fixed_size_list),
    ]
    return next((shape for shape, test in tests if test(kind)), "other")
