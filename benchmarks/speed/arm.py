"""The orders of an arm's process: train on a slice, score rows, score a file, tell its memory."""

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.speed.shape import SLICES, STEPS, TASKS, slice_rows
from benchmarks.worker import peak_mb, seconds, work

Columns = Mapping[str, np.ndarray]
Scores = Callable[[Columns], np.ndarray]
Ready = Callable[[], object]


def serve(
    parameters: int,
    *,
    train: Callable[[range], Ready],
    score: Scores,
    parquet: Callable[[Path, Path], Ready] | None = None,
) -> None:
    """Carry out orders.

    Args:
        parameters: number of parameters of the network, tables included.
        train: gets rows and returns a function that trains on them; only that function is timed.
        score: maps integer columns `[rows]` by name to scores `[rows, tasks]`.
        parquet: gets a file of such columns and a file to write, and returns a function that
            scores the one into the other. Without it, as for a library that has none, pyarrow reads
            and writes (`_rewritten`).
    """
    folder = Path(sys.argv[1])
    first_test = SLICES * len(slice_rows(0, STEPS))

    def train_slice(number: int, steps: int) -> dict[str, float]:
        return seconds(train(slice_rows(number, steps)))

    def score_test(rows: int) -> dict[str, float]:
        scored: list[np.ndarray] = []
        columns = named(np.array(log(folder)[0][first_test : first_test + rows]))
        spent = seconds(lambda: scored.append(score(columns)))
        np.save(folder / f"scores_{sys.argv[2]}.npy", scored[0])
        return spent

    def score_file() -> dict[str, float]:
        with tempfile.TemporaryDirectory(dir=folder) as there:
            target = Path(there) / "scores"
            if parquet is not None:
                return seconds(parquet(folder / "test.parquet", target))
            return seconds(lambda: _rewritten(score, folder / "test.parquet", target))

    orders = {"train": train_slice, "score": score_test, "parquet": score_file, "peak_mb": peak_mb}
    work(orders, {"parameters": parameters})


def named(ids: np.ndarray) -> dict[str, np.ndarray]:
    """Columns `[rows]` by name of ids `[rows, columns]`."""
    return {f"column_{i}": np.ascontiguousarray(ids[:, i]) for i in range(ids.shape[1])}


def log(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Ids `[rows, columns]` and labels `[rows, tasks]` of the log, mapped."""
    return np.load(folder / "ids.npy", mmap_mode="r"), np.load(folder / "labels.npy", mmap_mode="r")


def _rewritten(score: Scores, source: Path, target: Path) -> None:
    table = pq.read_table(source)
    scores = score({name: table[name].to_numpy() for name in table.column_names})
    columns = {f"p_{task}": pa.array(scores[:, t]) for t, task in enumerate(TASKS)}
    pq.write_table(pa.table(columns), target)
