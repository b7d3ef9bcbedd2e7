"""Rows trained a second: the arms take turns, each on a slice of the epoch."""

import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.processes import Worker, processor
from benchmarks.speed.arms import TRAINED, workers
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
from benchmarks.speed.simulated_log import make

SCORINGS = 3
Turns = list[dict[str, float]]


def measure(
    *,
    quick: bool,
    threads: int,
    pinned: bool,
    arms: Sequence[str],
    sizes: Sequence[str],
    network: str = "mmoe",
) -> dict[str, Any]:
    """Figures of every arm at every size."""
    before = os.getloadavg()[0]
    options = {"quick": quick, "network": network, "threads": threads, "pinned": pinned}
    sizes_measured = {name: _size(make(FOLDER, name), arms, **options) for name in sizes}
    return {
        "threads": threads,
        "batch": BATCH,
        "slices": SLICES - 1,
        "steps": _steps(quick),
        "load": [before, os.getloadavg()[0]],
        "processor": processor(),
        "sizes": sizes_measured,
    }


def _steps(quick: bool) -> int:
    return QUICK_STEPS if quick else STEPS


def _size(folder: Path, arms: Sequence[str], *, quick: bool, **options: Any) -> dict[str, Any]:
    chosen = {name: TRAINED[name] for name in arms}
    with workers(chosen, folder, **options) as processes:
        turns = _turns(processes, _steps(quick))
        scorings = in_turns(processes, SCORINGS, "score", TEST_ROWS // (8 if quick else 1))
        labels = np.load(folder / "labels.npy", mmap_mode="r")[SLICES * len(slice_rows(0, STEPS)) :]
        figures = {}
        for arm, process in processes.items():
            scores = np.load(folder / f"scores_{arm}.npy")
            figures[arm] = {
                **process.facts,
                "train": rates(turns[arm], len(slice_rows(0, _steps(quick)))),
                "score": rates(scorings[arm], len(scores)),
                "peak_mb": process.run("peak_mb"),
                "auc": _auc(labels[: len(scores)], scores),
            }
    return {"arms": figures, "ratios": {arm: ratio(turns["recmtl"], turns[arm]) for arm in arms}}


def _turns(processes: Mapping[str, Worker], steps: int) -> dict[str, Turns]:
    """Times of every arm on every slice but the first, which warms up."""
    turns: dict[str, Turns] = {arm: [] for arm in processes}
    for number in range(SLICES):
        for arm, process in processes.items():
            taken = process.run("train", number, steps)
            if number:
                turns[arm].append(taken)
    return turns


def in_turns(
    processes: Mapping[str, Worker], repeats: int, order: str, *numbers: int
) -> dict[str, Turns]:
    """Times of an order, `repeats` times for each arm, in turns."""
    turns: dict[str, Turns] = {arm: [] for arm in processes}
    for _ in range(repeats):
        for arm, process in processes.items():
            turns[arm].append(process.run(order, *numbers))
    return turns


def rates(turns: Turns, rows: int) -> dict[str, Any]:
    """Rows a second of processor and of wall time: median, least and most of the turns."""
    by_clock = {
        clock: sorted(rows / turn[f"{clock}_s"] for turn in turns) for clock in ("cpu", "wall")
    }
    faults = statistics.median(turn["page_faults"] for turn in turns)
    return {**_summaries(by_clock), "page_faults": faults}


def ratio(ours: Turns, theirs: Turns) -> dict[str, list[float]]:
    """How many times as fast ours is: median, least and most of the ratios of single turns."""
    ratios = {
        clock: sorted(
            their_turn[f"{clock}_s"] / our_turn[f"{clock}_s"]
            for our_turn, their_turn in zip(ours, theirs, strict=True)
        )
        for clock in ("cpu", "wall")
    }
    return _summaries(ratios)


def _summaries(by_clock: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Median, least and most of sorted values, by clock."""
    return {
        clock: [statistics.median(values), values[0], values[-1]]
        for clock, values in by_clock.items()
    }


def _auc(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    return {task: float(roc_auc_score(labels[:, t], scores[:, t])) for t, task in enumerate(TASKS)}
