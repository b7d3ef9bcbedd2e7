"""What a process of an arm does when told: train a slice, score the test rows, say its memory."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.speed.shape import SLICES, STEPS, slice_rows
from benchmarks.worker import peak_mb, seconds, work

Train = Callable[[range], Callable[[], object]]
Score = Callable[[slice], Callable[[], np.ndarray]]


def serve(train: Train, score: Score, parameters: int) -> None:
    """Wait for orders.

    Args:
        train: rows to what trains on them; what must be done before the clock starts is done in it.
        score: the same for scoring, to `[rows, tasks]`.
        parameters: of the network, tables included.
    """
    folder = Path(sys.argv[1])
    first_test = SLICES * len(slice_rows(0, STEPS))

    def train_slice(number: int, steps: int) -> dict[str, float]:
        return seconds(train(slice_rows(number, steps)))

    def score_test(rows: int) -> dict[str, float]:
        found: list[np.ndarray] = []
        ready = score(slice(first_test, first_test + rows))
        told = seconds(lambda: found.append(ready()))
        np.save(folder / f"scores_{sys.argv[2]}.npy", found[0])
        return told

    orders = {"train": train_slice, "score": score_test, "peak_mb": peak_mb}
    work(orders, {"parameters": parameters})


def columns(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Ids `[rows, columns]` and labels `[rows, tasks]` of the log, mapped."""
    return np.load(folder / "ids.npy", mmap_mode="r"), np.load(folder / "labels.npy", mmap_mode="r")
