"""Columns of vectors -> blocks of numbers: one row as a million, rounded as the log holds them."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.columns.canonical import AnyArray, kind_of
from recmtl.data.columns.keys import list_lengths
from recmtl.data.columns.logical_type import value_type_name
from recmtl.data.columns.numeric import finite_numbers
from recmtl.errors import DataError, SourceLocation
from recmtl.schema import Vector

__all__ = ["VectorFit", "as_held", "vector_block"]

LARGEST_HALF = float(np.finfo(np.float16).max)


class VectorFit:
    """Finds how many numbers the vectors of a feature have, in the train rows.

    Attributes:
        feature: the feature.
        size: numbers of a vector; 0 as long as no row has one.
    """

    def __init__(self, feature: Vector) -> None:
        self.feature, self.size = feature, 0

    def add(self, column: AnyArray, place: SourceLocation) -> None:
        """Take a canonical column of train rows.

        Raises:
            DataError: it holds no vectors, or vectors of several sizes.
        """
        lengths = _lengths(column, self.feature, place)
        sizes = np.unique(lengths[lengths > 0]).tolist()
        self._agree(sizes, place)

    def merge(self, later: "VectorFit") -> None:
        """Take what was seen in rows that follow."""
        self._agree([later.size] if later.size else [], SourceLocation())

    def finish(self) -> int:
        """The size.

        Raises:
            DataError: no train row has a vector.
        """
        if not self.size:
            raise DataError(
                f"column {self.feature.column!r} has no vector in any train row; drop the feature "
                f"{self.feature.name!r}, or fill the column"
            )
        return self.size

    def _agree(self, sizes: list[int], place: SourceLocation) -> None:
        every = sorted({*sizes, self.size} - {0})
        if len(every) > 1:
            fault = f"holds vectors of {every[0]} and of {every[1]} numbers"
            remedy = "give all vectors one size, or declare kind: list if these are ids"
            raise place.error(fault, remedy, column=self.feature.column)
        self.size = every[0] if every else 0


def vector_block(
    column: AnyArray, feature: Vector, size: int, place: SourceLocation
) -> npt.NDArray[np.float32]:
    """A canonical column of vectors as float32 [rows, size], all NaN where a vector is missing.

    A vector is missing where it is null or empty, or where one of its numbers is null or NaN.

    Raises:
        DataError: the column holds no vectors, vectors of another size, infinite numbers, or with
            `precision: half` numbers beyond 65,504.

    >>> pairs = pa.array([[3.0, 4.0], None])
    >>> vector_block(pairs, Vector("v", precision="single"), 2, SourceLocation()).tolist()
    [[0.6000000238418579, 0.800000011920929], [nan, nan]]
    """
    lengths = _lengths(column, feature, place)
    present = lengths > 0
    wrong = np.flatnonzero(present & (lengths != size))
    if len(wrong):
        fault = f"holds {lengths[wrong[0]]} numbers in row {wrong[0]} of these, not {size}"
        remedy = "give vectors of the size that training had"
        raise place.error(fault, remedy, column=feature.column)
    block = np.full((len(lengths), size), np.nan, np.float32)
    if present.any():
        numbers = finite_numbers(pc.list_flatten(column), feature.column, place)
        block[present] = as_held(numbers.reshape(-1, size), feature, place)
    return block


def _lengths(column: AnyArray, feature: Vector, place: SourceLocation) -> npt.NDArray[np.int64]:
    if pa.types.is_null(column.type):
        return np.zeros(len(column), np.int64)
    item = kind_of(column.values) if kind_of(column) == "list" else None
    if item not in ("null", "float", "integer"):
        fault = f"holds {value_type_name(column.type)}, not vectors"
        remedy = "declare another kind, or store lists of floats"
        raise place.error(fault, remedy, column=feature.column)
    return list_lengths(column, feature.column, place)


def as_held(
    vectors: npt.NDArray[np.float64], feature: Vector, place: SourceLocation
) -> npt.NDArray[np.float32]:
    """Vectors [rows, size] as the log holds them."""
    vectors = np.where(np.isnan(vectors).any(1, keepdims=True), np.nan, vectors)
    if feature.normalise == "unit":
        # Scaled by the largest first, so that no square overflows.
        largest = np.abs(vectors).max(1, keepdims=True)
        scaled = vectors / np.where(largest > 0, largest, 1.0)
        length = np.sqrt(np.square(scaled).sum(1, keepdims=True))
        vectors = scaled / np.where(length > 0, length, 1.0)
    elif feature.precision == "half" and (np.abs(vectors) > LARGEST_HALF).any():
        fault = f"holds numbers beyond {LARGEST_HALF:,.0f}, the largest of half precision"
        remedy = "write precision: single, or normalise: unit"
        raise place.error(fault, remedy, column=feature.column)
    narrow = np.float16 if feature.precision == "half" else np.float32
    return vectors.astype(narrow).astype(np.float32)
