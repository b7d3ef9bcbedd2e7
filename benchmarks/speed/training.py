"""Rows trained a second, arm beside arm: each gets a slice of the epoch in turn."""

import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.processes import Worker, peer_environment, processor, worker
from benchmarks.speed.material import make
from benchmarks.speed.shape import (
    BATCH,
    FOLDER,
    QUICK_STEPS,
    SLICES,
    STEPS,
    TASKS,
    TEST_ROWS,
    slice_rows,
)


class Arm(NamedTuple):
    """Which module runs it, and which package its environment has: none is our own."""

    module: str
    requirement: str | None


ARMS = {
    "recmtl": Arm("ours", None),
    "plain_sparse": Arm("plain", None),
    "plain_dense": Arm("plain", None),
    "rechub": Arm("rechub", "torch-rechub==0.9.0"),
    "rechub_fused": Arm("rechub", "torch-rechub==0.9.0"),
    "deepctr": Arm("deepctr", "deepctr-torch==0.3.0"),
    "deepctr_no_l2": Arm("deepctr", "deepctr-torch==0.3.0"),
    "deepctr_fused": Arm("deepctr", "deepctr-torch==0.3.0"),
}
SCORINGS = 3


def measure(
    *, quick: bool, threads: int, pinned: bool, arms: Sequence[str], sizes: Sequence[str]
) -> dict[str, Any]:
    """Every arm at every size."""
    needed = {ARMS[arm].requirement for arm in arms} - {None}
    pythons = {need: str(peer_environment(need)) for need in sorted(needed)}
    before = os.getloadavg()[0]
    options = {"quick": quick, "threads": threads, "pinned": pinned}
    found = {name: _size(make(FOLDER, name), arms, pythons, **options) for name in sizes}
    return {
        "threads": threads,
        "batch": BATCH,
        "slices": SLICES - 1,
        "steps": _steps(quick),
        "load": [before, os.getloadavg()[0]],
        "processor": processor(),
        "sizes": found,
    }


def _steps(quick: bool) -> int:
    return QUICK_STEPS if quick else STEPS


def _size(
    folder: Path, arms: Sequence[str], pythons: Mapping[str, str], *, quick: bool, **options: Any
) -> dict[str, Any]:
    with ExitStack() as held:
        workers = {
            arm: held.enter_context(
                worker(_command(arm, folder, pythons), folder / f"{arm}.log", **options)
            )
            for arm in arms
        }
        turns = _turns(workers, _steps(quick))
        scorings = _scorings(workers, TEST_ROWS // (8 if quick else 1))
        labels = np.load(folder / "labels.npy", mmap_mode="r")[SLICES * len(slice_rows(0, STEPS)) :]
        told = {}
        for arm, process in workers.items():
            scores = np.load(folder / f"scores_{arm}.npy")
            told[arm] = {
                **process.facts,
                "train": _rates(turns[arm], len(slice_rows(0, _steps(quick)))),
                "score": _rates(scorings[arm], len(scores)),
                "peak_mb": process.run("peak_mb"),
                "auc": _auc(labels[: len(scores)], scores),
            }
    return {"arms": told, "ratios": {arm: _ratio(turns["recmtl"], turns[arm]) for arm in arms}}


def _command(arm: str, folder: Path, pythons: Mapping[str, str]) -> list[str]:
    module, requirement = ARMS[arm]
    python = sys.executable if requirement is None else pythons[requirement]
    return [python, "-m", f"benchmarks.speed.{module}", str(folder), arm]


def _turns(workers: Mapping[str, Worker], steps: int) -> dict[str, list[dict[str, float]]]:
    """What each slice took each arm; the first warms up and is left out."""
    turns: dict[str, list[dict[str, float]]] = {arm: [] for arm in workers}
    for number in range(SLICES):
        for arm, process in workers.items():
            taken = process.run("train", number, steps)
            if number:
                turns[arm].append(taken)
    return turns


def _scorings(workers: Mapping[str, Worker], rows: int) -> dict[str, list[dict[str, float]]]:
    scorings: dict[str, list[dict[str, float]]] = {arm: [] for arm in workers}
    for _ in range(SCORINGS):
        for arm, process in workers.items():
            scorings[arm].append(process.run("score", rows))
    return scorings


def _rates(turns: Sequence[Mapping[str, float]], rows: int) -> dict[str, Any]:
    """Rows a second of processor and of wall time: median, least and most of the turns."""
    rates = {
        clock: sorted(rows / turn[f"{clock}_s"] for turn in turns) for clock in ("cpu", "wall")
    }
    told = {clock: [statistics.median(some), some[0], some[-1]] for clock, some in rates.items()}
    faults = statistics.median(turn["page_faults"] for turn in turns)
    return {**told, "page_faults": faults}


def _ratio(
    ours: Sequence[Mapping[str, float]], theirs: Sequence[Mapping[str, float]]
) -> dict[str, list[float]]:
    """How many times as fast ours trains, turn by turn: median, least and most."""
    ratios = {
        clock: sorted(
            other[f"{clock}_s"] / own[f"{clock}_s"] for own, other in zip(ours, theirs, strict=True)
        )
        for clock in ("cpu", "wall")
    }
    return {clock: [statistics.median(some), some[0], some[-1]] for clock, some in ratios.items()}


def _auc(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    return {task: float(roc_auc_score(labels[:, t], scores[:, t])) for t, task in enumerate(TASKS)}
