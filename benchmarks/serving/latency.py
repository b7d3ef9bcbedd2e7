"""One request of 300 candidates on one core, recmtl beside torch-rechub.

Each library runs in a process of its own, both on the same core, and they take turns: every round
gives each arm some requests, so that all arms meet the same conditions.
"""

import os
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import peer_environment, processor, worker
from benchmarks.serving.shop import FOLDER, REQUESTS, ROWS, SIZES, make

PEER = "torch-rechub==0.9.0"
OURS = ("request_onnx", "rows_onnx", "request_torch", "rows_torch", "network_onnx", "network_torch")
THEIRS = ("from_raw", "documented", "module")


def measure(*, quick: bool) -> dict[str, Any]:
    """Times of every arm at every size, and ratios of the rounds' medians."""
    rounds, each = (3, 5) if quick else (20, 50)
    sizes = list(SIZES)[: 1 if quick else None]
    python = peer_environment(PEER)
    make(FOLDER, sizes)
    before = os.getloadavg()[0]
    sizes_measured = {name: _size(name, python, rounds, each) for name in sizes}
    return {
        "peer": PEER, "candidates": ROWS, "rounds": rounds, "requests": rounds * each,
        "load": [before, os.getloadavg()[0]], "processor": processor(), "sizes": sizes_measured,
    }  # fmt: skip


def _size(name: str, python: Path, rounds: int, each: int) -> dict[str, Any]:
    size = SIZES[name]
    times: dict[str, list[list[int]]] = {arm: [] for arm in (*OURS, *THEIRS)}
    with ExitStack() as held:
        mine = [sys.executable, "-m", "benchmarks.serving.ours", str(FOLDER), name]
        theirs = [str(python), "-m", "benchmarks.serving.peer", str(FOLDER), name]
        ours = held.enter_context(worker(mine, FOLDER / "ours.log"))
        peer = held.enter_context(worker([*theirs, str(size.embedding)], FOLDER / "peer.log"))
        facts = {"ours": ours.facts, "peer": peer.facts}
        for turn in range(-1, rounds):  # the first turn warms up
            for arm in times:
                process = ours if arm in OURS else peer
                taken = process.run(arm, turn * each % (REQUESTS - each), each)
                if turn >= 0:
                    times[arm].append(taken)
    medians = {
        arm: [statistics.median(round_times) for round_times in rounds_of_arm]
        for arm, rounds_of_arm in times.items()
    }
    ratios = {
        other: {arm: _ratio(medians[other], medians[arm]) for arm in OURS} for other in THEIRS
    }
    return {
        **facts,
        "arms": {arm: quantiles(rounds_of_arm) for arm, rounds_of_arm in times.items()},
        "ratios": ratios,
    }


def _ratio(theirs: list[float], ours: list[float]) -> dict[str, float]:
    ratios = sorted(
        their_time / our_time for their_time, our_time in zip(theirs, ours, strict=True)
    )
    return {"median": statistics.median(ratios), "low": ratios[0], "high": ratios[-1]}


def quantiles(rounds: list[list[int]]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds of nanoseconds, by round."""
    milliseconds = np.concatenate(rounds) / 1e6
    return {
        "p50_ms": float(np.median(milliseconds)),
        "p99_ms": float(np.quantile(milliseconds, 0.99)),
    }
