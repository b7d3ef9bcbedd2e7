"""The vectors of a feature's values, learnt from rows that bring both, and lists read through them.

A row brings the id and the vector of its item; its history brings ids alone. What the train rows
say of an id, the first of them, is its vector for every list of such ids, then and ever after.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from recmtl.data.columns.canonical import AnyArray
from recmtl.data.columns.keys import Keys, feature_keys
from recmtl.data.columns.vocabulary import Vocabulary
from recmtl.data.content.vectors import as_held, vector_block
from recmtl.data.derived.missing import filled
from recmtl.errors import SourceLocation
from recmtl.schema import Categorical, Vector

__all__ = ["ValueVectors", "VectorTable", "load_tables", "mean_vectors", "save_tables"]

VectorTable = npt.NDArray[np.floating]
"""The vector of each row of a vocabulary `[rows, size]`, the unknown row's first; NaN for none."""
FILE = "vectors.safetensors"


class ValueVectors:
    """Keeps the first vector of each value of a categorical feature, in the order of the rows."""

    def __init__(self) -> None:
        """Start without rows."""
        self._vectors: dict[int | str, npt.NDArray[np.floating]] = {}

    def add(self, keys: Keys, vectors: npt.NDArray[np.float32], feature: Vector) -> None:
        """Take rows: their values, and their vectors `[rows, size]`, NaN where missing."""
        rows = np.flatnonzero((keys.codes >= 0) & ~np.isnan(vectors[:, 0]))
        codes, first = np.unique(keys.codes[rows], return_index=True)
        held = vectors[rows[first]].astype(_kind(feature))
        for value, vector in zip(keys.values.take(codes).to_pylist(), held, strict=True):
            self._vectors.setdefault(value, vector)

    def merge(self, later: "ValueVectors") -> None:
        """Take the values of rows that follow."""
        self._vectors = later._vectors | self._vectors

    def add_rows(
        self,
        values: AnyArray,
        vectors: AnyArray,
        *,
        owner: Categorical,
        feature: Vector,
        size: int,
        place: SourceLocation,
    ) -> None:
        """Take rows as canonical columns: values of `owner`, and vectors of `size` numbers."""
        keys = feature_keys(filled(values, owner, place), owner, place)
        self.add(keys, vector_block(vectors, feature, size, place), feature)

    def finish(self, vocabulary: Vocabulary, size: int, feature: Vector) -> VectorTable:
        """The vectors of the values that the vocabulary holds."""
        return self.fill(np.full((vocabulary.rows, size), np.nan, _kind(feature)), vocabulary)

    def fill(self, table: VectorTable, vocabulary: Vocabulary) -> VectorTable:
        """A vocabulary's table in which values have their vectors that had none; in place."""
        without = np.isnan(table[:, 0])
        for row, value in enumerate(vocabulary.values.to_pylist(), start=1):
            if without[row] and value in self._vectors:
                table[row] = self._vectors[value]
        return table


def mean_vectors(
    rows: npt.NDArray[np.int32], table: VectorTable, feature: Vector, place: SourceLocation
) -> npt.NDArray[np.float32]:
    """Lists of rows of a vocabulary `[rows, length]` to the means of their vectors `[rows, size]`.

    Values without a vector do not count; where none is left, or the list is empty, it is NaN.

    Args:
        rows: positions in the table, below 0 for padding.
        table: the vectors.
        feature: how the mean is normalised and rounded.
        place: where they come from.
    """
    total = np.zeros((len(rows), table.shape[1]))
    count = np.zeros((len(rows), 1))
    for column in rows.T:  # in one order, whatever rows stand beside
        vectors = table[np.maximum(column, 0)].astype(np.float64)
        is_there = ((column >= 0) & ~np.isnan(vectors[:, 0]))[:, None]
        total += np.where(is_there, vectors, 0.0)
        count += is_there
    means = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return as_held(means, feature, place)


def save_tables(folder: Path, tables: dict[str, VectorTable]) -> None:
    """Write the tables into a folder; nothing if there are none."""
    if tables:
        contiguous = {name: np.ascontiguousarray(table) for name, table in tables.items()}
        save_file(contiguous, str(folder / FILE))


def load_tables(folder: Path) -> dict[str, VectorTable]:
    """Read what `save_tables` wrote."""
    path = folder / FILE
    return dict(load_file(str(path))) if path.is_file() else {}


def _kind(feature: Vector) -> type[np.floating]:
    return np.float16 if feature.precision == "half" else np.float32
