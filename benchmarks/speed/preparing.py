"""What has a process for every turn: preparing, beside FuxiCTR; LightGBM on the same rows."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT, peer_environment, processor
from benchmarks.speed.material import TRAIN_ROWS, make
from benchmarks.speed.shape import FOLDER
from benchmarks.speed.training import Turns, rates, ratio
from benchmarks.worker import ANSWER

REPEATS, QUICK_REPEATS = 5, 1


def trees(*, sizes: Sequence[str]) -> dict[str, Any]:
    """LightGBM at every size, once."""
    told = {name: _answer(sys.executable, "trees", make(FOLDER, name)) for name in sizes}
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
        told: dict[str, float] = _answer(python, arm, folder, target)
    return told


def _answer(python: str, arm: str, folder: Path, *also: str) -> Any:
    one = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with (folder / f"{arm}.log").open("w") as errors:
        done = subprocess.run(
            [python, "-m", f"benchmarks.speed.{arm}", str(folder), *also],
            env={**os.environ, **one}, cwd=ROOT, check=True, text=True,
            stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    answer = next(line for line in done.stdout.splitlines() if line.startswith(ANSWER))
    return json.loads(answer.removeprefix(ANSWER))
