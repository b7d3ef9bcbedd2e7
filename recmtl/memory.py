"""Memory that tensors gave back stays with the process, so that the next step finds it mapped."""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Options of glibc's `mallopt`."""
LARGEST = 32 << 20
"""Bytes from which a block is mapped for itself: the most to which glibc raises it on its own."""
KEPT = 1 << 30
"""Bytes at the end of the heap that are not given back to the system."""


def keep_freed_memory() -> None:
    """Let the C library keep what is freed; where it is not glibc, nothing happens.

    Activations of a step are blocks of megabytes. glibc gives them back to the system between two
    steps, and every page is cleared and mapped again: a tenth of a step, more on a machine that is
    short of memory.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST)
        mallopt(TRIM_THRESHOLD, KEPT)
