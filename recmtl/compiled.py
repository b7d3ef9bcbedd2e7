"""Loops that Numba compiles when they are first run, and keeps for the processes that follow.

For what no library does in one pass over memory. Imported where such a loop is about to run and
nowhere else, since Numba takes a moment to load, which a process that scores would pay for nothing.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

__all__ = ["Array", "compiled"]

Array = Any
"""Of NumPy, in a loop; Numba derives its type from each call."""
Loop = TypeVar("Loop", bound=Callable[..., Any])
EXACT = {"contract", "reassoc", "nsz", "arcp"}
"""What is allowed of `fastmath`: sums in any order; NaN and infinity stay what they are."""


def compiled(loop: Loop) -> Loop:
    """The loop as machine code, for each combination of types with which it is called."""

    def machine_code(*, cache: bool) -> Any:
        how = njit(cache=cache, nogil=True, error_model="numpy", fastmath=EXACT)
        return how(loop)

    try:
        kept: Loop = machine_code(cache=True)
    except RuntimeError:  # no folder can be written to: every process compiles
        kept = machine_code(cache=False)
    return kept
