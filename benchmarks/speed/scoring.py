"""Rows scored a second from a Parquet file to another one, arm beside arm, in turns."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import processor
from benchmarks.speed.arms import SCORED, workers
from benchmarks.speed.material import make
from benchmarks.speed.shape import FOLDER, TEST_ROWS
from benchmarks.speed.training import in_turns, rates, ratio

REPEATS, QUICK_REPEATS = 7, 1


def measure(*, quick: bool, threads: int, pinned: bool, sizes: Sequence[str]) -> dict[str, Any]:
    """Every arm at every size, and how many times as fast each arm of recmtl is."""
    before = os.getloadavg()[0]
    repeats = QUICK_REPEATS if quick else REPEATS
    options = {"network": "mmoe", "threads": threads, "pinned": pinned}
    found = {name: _size(make(FOLDER, name), repeats, **options) for name in sizes}
    return {
        "threads": threads,
        "rows": TEST_ROWS,
        "repeats": repeats,
        "load": [before, os.getloadavg()[0]],
        "processor": processor(),
        "sizes": found,
    }


def _size(folder: Path, repeats: int, **options: Any) -> dict[str, Any]:
    with workers(SCORED, folder, **options) as processes:
        in_turns(processes, 1, "parquet")  # warms up
        turns = in_turns(processes, repeats, "parquet")
        told = {
            arm: {"score": rates(turns[arm], TEST_ROWS), "peak_mb": process.run("peak_mb")}
            for arm, process in processes.items()
        }
    ours = {name: turns[name] for name in SCORED if name.startswith("recmtl")}
    ratios = {name: {arm: ratio(own, turns[arm]) for arm in SCORED} for name, own in ours.items()}
    return {"arms": told, "ratios": ratios}
