"""The way of the data through the rooms (modules) of the package, counted while it runs.

`python -m benchmarks.way` follows four calls on a small simulated log and prints for each the
rooms that it enters, in order. A room is a module of `recmtl` one of whose functions is called; a
return is a call into a room that had been left before, so that a reader who follows the calls has
to go back to a file. `docs/architecture.md` holds the figures.

    column to logit     one categorical column: a batch of the log, its ids, the network, a logit
    score to verdict    scores of the test rows of two models: metrics, intervals, the verdict
    Scorer.load         a bundle on disk becomes a scorer
    first step          frames of `recmtl` on the stack when `pipelines/main.py` takes its first
                        training step

The rooms are found with Python's profiler, so the page needs no list of functions by hand.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import recmtl

ROOT = str(Path(recmtl.__file__).parent)


@dataclass
class Way:
    """The rooms that calls entered, in order, and how often a call went back to one."""

    calls: list[str] = field(default_factory=list)

    @property
    def rooms(self) -> list[str]:
        """Each room once, in the order of the first call."""
        return list(dict.fromkeys(self.calls))

    @property
    def returns(self) -> int:
        """Calls from another room into one that was entered before."""
        seen: set[str] = set()
        back, previous = 0, ""
        for room in self.calls:
            back += room != previous and room in seen
            seen.add(room)
            previous = room
        return back


@contextmanager
def followed(way: Way) -> Iterator[None]:
    """Within, every call of a function of the package is written down by its room."""

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(ROOT) and frame.f_code.co_name[0] != "<":
            way.calls.append(path[len(ROOT) + 1 :])

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)


def follow(call: Callable[[], object]) -> Way:
    """The way of one call; it is made once before, so that what is built once is not counted."""
    call()
    way = Way()
    with followed(way):
        call()
    return way
