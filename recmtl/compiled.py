"""Loops that Numba compiles on their first run and keeps for later processes.

They do in one pass over memory what no library does. Only the modules that hold such loops import
this one, and they are imported when a loop is about to run: a process that only scores should not
wait for Numba to load.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

__all__ = ["Array", "compiled"]

Array = Any
"""A NumPy array in a loop; Numba derives its type from each call."""
Loop = TypeVar("Loop", bound=Callable[..., Any])
FAST_MATH = {"contract", "reassoc", "nsz", "arcp"}
"""What `fastmath` may do: round otherwise, as sums in another order do. NaN and infinity keep
their meaning."""


def compiled(loop: Loop) -> Loop:
    """The loop as machine code, compiled for each combination of argument types."""

    def compile_loop(*, cache: bool) -> Any:
        decorate = njit(cache=cache, nogil=True, error_model="numpy", fastmath=FAST_MATH)
        return decorate(loop)

    try:
        machine_code: Loop = compile_loop(cache=True)
    except RuntimeError:  # no folder can be written to: every process compiles
        machine_code = compile_loop(cache=False)
    return machine_code
