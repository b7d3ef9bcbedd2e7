"""What the process keeps of the system's memory: freed tensors stay, pages of files go."""

import ctypes
import mmap
import sys

import numpy as np
import numpy.typing as npt

__all__ = ["keep_freed_memory", "release_pages"]

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Options of glibc's `mallopt`."""
LARGEST = 32 << 20
"""Bytes from which a block is mapped for itself: the most to which glibc raises it on its own."""
KEPT = 1 << 30
"""Bytes at the end of the heap that are not given back to the system."""


def keep_freed_memory() -> None:
    """Let the C library keep what is freed; where it is not glibc, nothing happens.

    The activations of a step are blocks of megabytes. By default, glibc returns them to the system
    between two steps, and the system clears and maps every page again: a tenth of a step, more on
    a machine that is short of memory.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST)
        mallopt(TRIM_THRESHOLD, KEPT)


def release_pages(array: npt.NDArray[np.generic]) -> None:
    """Unload the pages of a memory-mapped array: the system caches them, the process stays small.

    Arrays in memory are left as they are; of one that is made of others, these have the pages.
    """
    for part in getattr(array, "parts", ()):
        release_pages(part)
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)
