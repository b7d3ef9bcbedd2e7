"""What runs inside a measured process: it reads orders from its input and answers in JSON.

A line of input is the name of an order and whole numbers; the answer is a line with what the order
returned. Only the standard library is imported, so that a peer's process needs no part of recmtl.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ANSWER = "answer: "
"""Marks an answer: libraries print lines of their own."""

Order = Callable[..., object]


def work(orders: Mapping[str, Order], facts: Mapping[str, object]) -> None:
    """Announce the facts, then carry out orders until the input ends."""
    _answer(facts)
    for line in sys.stdin:
        name, *numbers = line.split()
        _answer(orders[name](*map(int, numbers)))


def _answer(content: object) -> None:
    sys.stdout.write(f"{ANSWER}{json.dumps(content)}\n")
    sys.stdout.flush()


def nanoseconds(request: Callable[[int], object]) -> Order:
    """An order with numbers `first count`: nanoseconds of each of these requests."""

    def timed(first: int, count: int) -> list[int]:
        times = []
        for number in range(first, first + count):
            began = time.perf_counter_ns()
            request(number)
            times.append(time.perf_counter_ns() - began)
        return times

    return timed


def seconds(call: Callable[[], object]) -> dict[str, float]:
    """Wall seconds, processor seconds and page faults of a call."""
    wall, processor, faults = time.perf_counter(), time.process_time(), _faults()
    call()
    return {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - processor,
        "page_faults": _faults() - faults,
    }


def seconds_of_all(call: Callable[[], object]) -> dict[str, float]:
    """Like `seconds`, with the processor seconds of the process and of all its descendants."""
    processor = _processor_of_all()
    spent = seconds(call)
    return {**spent, "cpu_s": _processor_of_all() - processor}


def _processor_of_all() -> float:
    """Processor seconds of this process and its descendants, those that have ended included."""
    parents, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        pid = int(stat.parent.name)
        parents[pid], ticks[pid] = int(fields[1]), sum(map(int, fields[11:15]))
    processes, grown = {os.getpid()}, 0
    while grown < len(processes):
        grown = len(processes)
        processes |= {pid for pid, parent in parents.items() if parent in processes}
    return sum(ticks[pid] for pid in processes & ticks.keys()) / os.sysconf("SC_CLK_TCK")


def peak_mb() -> float:
    """The most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
