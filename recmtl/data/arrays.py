"""Writes the arrays of one split as .npy files whose number of rows is known beforehand.

Plain appending writes, not memory maps: pages do not pile up in the process, and a full disk is an
error instead of a crash. To be read they are mapped; who has read a part gives it back.
"""

import mmap
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

__all__ = ["ARRAYS", "ArrayWriter", "release", "row_bytes"]

ARRAYS: dict[str, Any] = {
    "ids": np.int32,
    "numeric": np.float32,
    "labels": np.float32,
    "weight": np.float32,
    "group": np.int64,
    "row": np.int64,
}


def row_bytes(widths: Mapping[str, int]) -> int:
    """Bytes that one row takes on disk; `widths` as for `ArrayWriter`."""
    return sum(np.dtype(kind).itemsize * widths.get(name, 1) for name, kind in ARRAYS.items())


class ArrayWriter:
    """Appends batches of rows to `<folder>/<name>.npy` for each of `ARRAYS`."""

    def __init__(self, folder: Path, rows: int, *, widths: Mapping[str, int]) -> None:
        """Open the files.

        Args:
            folder: is made.
            rows: rows that will be written in all.
            widths: columns of the two-dimensional arrays.
        """
        folder.mkdir(parents=True)
        self._files: dict[str, BinaryIO] = {}
        for name, kind in ARRAYS.items():
            shape = (rows, widths[name]) if name in widths else (rows,)
            stream = (folder / f"{name}.npy").open("wb")
            self._files[name] = stream
            header = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)

    def append(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Write one batch: an array of `ARRAYS`' type for each name, rows first."""
        for name, kind in ARRAYS.items():
            self._files[name].write(np.ascontiguousarray(arrays[name], dtype=kind).data)

    def __enter__(self) -> "ArrayWriter":
        """Nothing more to open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files, whatever happened."""
        for stream in self._files.values():
            stream.close()


def release(column: npt.NDArray[Any]) -> None:
    """Give a map's pages back: they stay in the system's cache, the process does not grow."""
    if isinstance(column.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        column.base.madvise(mmap.MADV_DONTNEED)
