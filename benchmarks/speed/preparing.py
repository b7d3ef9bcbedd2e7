"""What has a process for every turn: preparing, beside FuxiCTR; LightGBM on the same rows."""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import peer_environment, processor, worker
from benchmarks.speed.material import TRAIN_ROWS, make
from benchmarks.speed.shape import FOLDER
from benchmarks.speed.training import Turns, rates, ratio

REPEATS, QUICK_REPEATS = 5, 1


def trees(*, sizes: Sequence[str]) -> dict[str, Any]:
    """LightGBM at every size, once."""
    told = {name: _done(sys.executable, "trees", make(FOLDER, name)) for name in sizes}
    return {"sizes": told, "processor": processor()}


def measure(*, quick: bool, sizes: Sequence[str]) -> dict[str, Any]:
    """Both at every size, in turns."""
    before = os.getloadavg()[0]
    repeats = QUICK_REPEATS if quick else REPEATS
    return {
        "rows": TRAIN_ROWS,
        "repeats": repeats,
        "sizes": {name: _size(make(FOLDER, name), repeats) for name in sizes},
        "processor": processor(),
        "load": [before, os.getloadavg()[0]],
    }


def _size(folder: Path, repeats: int) -> dict[str, Any]:
    pythons = {"prepare": sys.executable, "fuxictr": str(peer_environment("fuxictr==2.3.10"))}
    turns: dict[str, Turns] = {arm: [] for arm in pythons}
    for _ in range(repeats):
        for arm, python in pythons.items():
            turns[arm].append(_turn(python, arm, folder))
    told = {arm: rates(own, TRAIN_ROWS) for arm, own in turns.items()}
    return {"arms": told, "ratio": ratio(turns["prepare"], turns["fuxictr"])}


def _turn(python: str, arm: str, folder: Path) -> dict[str, float]:
    """Seconds that a fresh process takes, which writes to a folder that goes afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as target:
        told: dict[str, float] = _done(python, arm, folder, target)
    return told


def _done(python: str, arm: str, folder: Path, *also: str) -> Any:
    """What an arm tells that does one thing, on any core."""
    command = [python, "-m", f"benchmarks.speed.{arm}", str(folder), *also]
    with worker(command, folder / f"{arm}.log", pinned=False) as process:
        return process.run(arm)
