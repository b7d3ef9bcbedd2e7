"""A log of any length, in parts: skewed ids, two tasks, a fixed number of held-out rows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.speed.shape import TASKS, VOCABULARIES
from recmtl.schema import Schema, parse_schema

FILE_ROWS, GROUP_ROWS = 500_000, 65_536
HELD_OUT = 50_000
"""Validation rows and test rows, both in the first file, so that their number does not grow."""
SIZES = VOCABULARIES["small"]


def write(folder: Path, rows: int) -> Path:
    """Write a folder of Parquet files with `rows` rows in all; files that exist are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, first in enumerate(range(0, rows, FILE_ROWS)):
        path = folder / f"part-{number:05d}.parquet"
        if not path.is_file():
            pq.write_table(
                _table(number, min(FILE_ROWS, rows - first)), path, row_group_size=GROUP_ROWS
            )
    return folder


def _table(number: int, rows: int) -> pa.Table:
    dice = np.random.default_rng(number)
    columns = {
        f"column_{i}": (size * dice.random(rows, dtype=np.float32) ** 3).astype(np.int32)
        for i, size in enumerate(SIZES)
    }
    click = dice.random(rows) < 0.3
    labels = (click, click & (dice.random(rows) < 0.2))
    columns |= {task: label.astype(np.int8) for task, label in zip(TASKS, labels, strict=True)}
    parts = np.zeros(rows, np.int8)
    if number == 0:
        parts[-2 * HELD_OUT : -HELD_OUT], parts[-HELD_OUT:] = 1, 2
    names = pa.array(["train", "validation", "test"])
    return pa.table({**columns, "part": pa.DictionaryArray.from_arrays(pa.array(parts), names)})


def schema() -> Schema:
    """The schema of the log."""
    features = [f"  column_{i}: {{kind: categorical}}" for i in range(len(SIZES))]
    tasks = [f"  {task}: {{kind: binary, label: {task}}}" for task in TASKS]
    split = "split: {by: column, column: part}"
    lines = ["version: 1", "name: scale", "features:", *features, "tasks:", *tasks, split]
    return parse_schema("\n".join(lines), source="benchmarks.scale")
