"""Rows scored a second, from one Parquet file to another; the arms take turns."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import processor
from benchmarks.speed.arms import SCORED, workers
from benchmarks.speed.shape import FOLDER, TEST_ROWS
from benchmarks.speed.simulated_log import make
from benchmarks.speed.training import in_turns, rates, ratio

REPEATS, QUICK_REPEATS = 7, 1


def measure(*, quick: bool, threads: int, pinned: bool, sizes: Sequence[str]) -> dict[str, Any]:
    """Rates of every arm at every size, and the speed-up of each arm of recmtl over each arm."""
    before = os.getloadavg()[0]
    repeats = QUICK_REPEATS if quick else REPEATS
    options = {"network": "mmoe", "threads": threads, "pinned": pinned}
    sizes_measured = {name: _size(make(FOLDER, name), repeats, **options) for name in sizes}
    return {
        "threads": threads,
        "rows": TEST_ROWS,
        "repeats": repeats,
        "load": [before, os.getloadavg()[0]],
        "processor": processor(),
        "sizes": sizes_measured,
    }


def _size(folder: Path, repeats: int, **options: Any) -> dict[str, Any]:
    with workers(SCORED, folder, **options) as processes:
        in_turns(processes, 1, "parquet")  # warms up
        turns = in_turns(processes, repeats, "parquet")
        arms = {
            arm: {"score": rates(turns[arm], TEST_ROWS), "peak_mb": process.run("peak_mb")}
            for arm, process in processes.items()
        }
    ours = {name: turns[name] for name in SCORED if name.startswith("recmtl")}
    ratios = {
        name: {arm: ratio(our_turns, turns[arm]) for arm in SCORED}
        for name, our_turns in ours.items()
    }
    return {"arms": arms, "ratios": ratios}
