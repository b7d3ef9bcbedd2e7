"""The side of a measured process: it does what lines of its input name, and answers in JSON.

Lines in: a name and whole numbers; lines out: what that order returns. Nothing but the standard
library is imported, so that a peer's process needs no part of recmtl.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ANSWER = "answer: "
"""What libraries print is no answer."""

Order = Callable[..., object]


def work(orders: Mapping[str, Order], facts: Mapping[str, object]) -> None:
    """Announce the facts, then obey lines until the input ends."""
    _answer(facts)
    for line in sys.stdin:
        name, *numbers = line.split()
        _answer(orders[name](*map(int, numbers)))


def _answer(what: object) -> None:
    sys.stdout.write(f"{ANSWER}{json.dumps(what)}\n")
    sys.stdout.flush()


def nanoseconds(request: Callable[[int], object]) -> Order:
    """An order `first count`: how long each of these requests takes."""

    def timed(first: int, count: int) -> list[int]:
        times = []
        for number in range(first, first + count):
            began = time.perf_counter_ns()
            request(number)
            times.append(time.perf_counter_ns() - began)
        return times

    return timed


def seconds(of: Callable[[], object]) -> dict[str, float]:
    """How long a call takes: wall and processor seconds, and page faults."""
    wall, processor, faults = time.perf_counter(), time.process_time(), _faults()
    of()
    return {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - processor,
        "page_faults": _faults() - faults,
    }


def seconds_of_all(of: Callable[[], object]) -> dict[str, float]:
    """As `seconds`, but processor seconds are of the process and of all that it started."""
    processor = _processor_of_all()
    told = seconds(of)
    return {**told, "cpu_s": _processor_of_all() - processor}


def _processor_of_all() -> float:
    """Processor seconds of this process and its descendants, the ended ones included."""
    parents, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        pid = int(stat.parent.name)
        parents[pid], ticks[pid] = int(fields[1]), sum(map(int, fields[11:15]))
    own, grown = {os.getpid()}, 0
    while grown < len(own):
        grown = len(own)
        own |= {pid for pid, parent in parents.items() if parent in own}
    return sum(ticks[pid] for pid in own & ticks.keys()) / os.sysconf("SC_CLK_TCK")


def peak_mb() -> float:
    """The most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
