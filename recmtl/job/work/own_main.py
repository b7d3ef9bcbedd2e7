"""Start a process that does not run the caller's script again.

`multiprocessing` lets a spawned process import the main module of the first one, for functions that
are defined there. A worker needs none of them. A script without `if __name__ == "__main__":`, which
is what people write first, would begin its whole job once more in every worker, and fail.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

__all__ = ["without_main_module"]


@contextmanager
def without_main_module() -> Iterator[None]:
    """Let processes that are started in the block begin with an empty main module."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
