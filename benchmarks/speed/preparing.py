"""Arms with a fresh process for every turn: preparing, beside FuxiCTR; and LightGBM."""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import peer_environment, processor, worker
from benchmarks.speed.shape import FOLDER
from benchmarks.speed.simulated_log import TRAIN_ROWS, make
from benchmarks.speed.training import Turns, rates, ratio

REPEATS, QUICK_REPEATS = 5, 1


def trees(*, sizes: Sequence[str]) -> dict[str, Any]:
    """Figures of LightGBM at every size, measured once."""
    figures = {name: _run_arm(sys.executable, "trees", make(FOLDER, name)) for name in sizes}
    return {"sizes": figures, "processor": processor()}


def measure(*, quick: bool, sizes: Sequence[str]) -> dict[str, Any]:
    """Figures of recmtl and FuxiCTR at every size, in turns."""
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
    arms = {arm: rates(turns_of_arm, TRAIN_ROWS) for arm, turns_of_arm in turns.items()}
    return {"arms": arms, "ratio": ratio(turns["prepare"], turns["fuxictr"])}


def _turn(python: str, arm: str, folder: Path) -> dict[str, float]:
    """Seconds of a fresh process that writes to a temporary folder."""
    with tempfile.TemporaryDirectory(dir=folder) as target:
        spent: dict[str, float] = _run_arm(python, arm, folder, target)
    return spent


def _run_arm(python: str, arm: str, folder: Path, *also: str) -> Any:
    """The answer of an arm that knows one order; it may use any core."""
    command = [python, "-m", f"benchmarks.speed.{arm}", str(folder), *also]
    with worker(command, folder / f"{arm}.log", pinned=False) as process:
        return process.run(arm)
