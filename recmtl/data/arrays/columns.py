"""Arrays `[R, C]` that are made of others as rows are read, so that nothing is copied before."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["JoinedColumns", "PickedColumns"]


class _MadeColumns:
    """What NumPy takes for an array of two dimensions; to read all of its rows makes one.

    Attributes:
        shape: rows and columns.
        parts: the arrays that it is made of.
    """

    ndim, base = 2, None
    dtype: np.dtype[Any]

    def __init__(self, shape: tuple[int, int], *parts: npt.NDArray[Any]) -> None:
        self.shape, self.parts = shape, parts

    def __len__(self) -> int:
        """Number of rows R."""
        return self.shape[0]

    def __getitem__(self, rows: Any) -> npt.NDArray[Any]:
        """Of some rows all columns, or with a pair of indices some of the columns."""
        rows, columns = rows if isinstance(rows, tuple) else (rows, slice(None))
        picked: npt.NDArray[Any] = self._read(rows)[..., columns]
        return picked

    def _read(self, rows: Any) -> npt.NDArray[Any]:
        """All columns of some rows."""
        raise NotImplementedError

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """All columns of all rows."""
        return np.asarray(self[:], dtype)


class PickedColumns(_MadeColumns):
    """Some columns of an array `[R, C]`: rows are read, then columns picked."""

    def __init__(self, array: npt.NDArray[Any], columns: Any) -> None:
        self._columns = np.array(columns, np.int64)
        super().__init__((len(array), len(self._columns)), array)
        self.dtype = array.dtype

    def _read(self, rows: Any) -> npt.NDArray[Any]:
        picked: npt.NDArray[Any] = self.parts[0][rows][..., self._columns]
        return picked


class JoinedColumns(_MadeColumns):
    """The columns of two arrays of floats side by side, as float32; the second may be of halves."""

    def __init__(self, first: npt.NDArray[Any], second: npt.NDArray[Any]) -> None:
        super().__init__((len(first), first.shape[1] + second.shape[1]), first, second)
        self.dtype = np.dtype(np.float32)

    def _read(self, rows: Any) -> npt.NDArray[Any]:
        return np.concatenate([part[rows] for part in self.parts], -1, dtype=np.float32)
