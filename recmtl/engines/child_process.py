"""Processes that this one starts: they end with it, get no signals, and do not run its script.

`multiprocessing` lets a spawned process import the main module of the first one, for functions that
are defined there. Ours need none of them. A script without `if __name__ == "__main__":`,
which is what people write first, would begin its whole job once more in every process, and fail.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from threading import Thread
from types import ModuleType
from typing import Any

from recmtl.interrupts import without_signals

__all__ = ["start_child", "without_main_module"]


def start_child(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A new process that calls a function of a module."""
    child = (function, *arguments)
    process = get_context("spawn").Process(target=_serve, args=child, daemon=True)
    # Signals may reach all processes of a terminal or a service; the first one ends the others.
    with without_signals(), without_main_module():
        process.start()
    return process


@contextmanager
def without_main_module() -> Iterator[None]:
    """Let processes that are started in the block begin with an empty main module."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve(function: Callable[..., None], *arguments: Any) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    function(*arguments)


def _end_with_parent() -> None:
    """End this process with the first one, however that ends: the folder is then another job's."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
