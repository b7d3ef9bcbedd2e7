"""A simulated log of 24 categorical columns with skewed ids, encoded as arrays for all arms."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.speed.shape import BATCH, SLICES, STEPS, TASKS, TEST_ROWS, VOCABULARIES

TRAIN_ROWS = SLICES * STEPS * BATCH


def make(folder: Path, name: str) -> Path:
    """Write ids (int32, from 0 in each column), labels, and Parquet files of both parts."""
    folder, sizes = folder / name, VOCABULARIES[name]
    facts = json.dumps({"format": 3, "sizes": sizes, "train": TRAIN_ROWS, "test": TEST_ROWS})
    if (folder / "sizes.json").is_file() and (folder / "sizes.json").read_text() == facts:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    dice, rows = np.random.default_rng(0), TRAIN_ROWS + TEST_ROWS
    ids = np.empty((rows, len(sizes)), np.int32)
    logits = np.repeat(np.array([[-1.4, -1.2]]), rows, 0)
    for column, size in enumerate(sizes):
        ids[:, column] = size * dice.random(rows) ** 3
        # Each value has an effect on each task; the tasks share half of it.
        effects = dice.normal(scale=0.25, size=(size, 3))
        logits += (effects[:, :2] + effects[:, 2:])[ids[:, column]]
    happened = dice.random((rows, 2)) < 1.0 / (1.0 + np.exp(-logits))
    labels = np.stack([happened[:, 0], happened.all(1)], 1).astype(np.float32)
    np.save(folder / "ids.npy", ids)
    np.save(folder / "labels.npy", labels)
    columns = {f"column_{i}": ids[:, i] for i in range(len(sizes))}
    train = pa.table({**columns, **{task: labels[:, t] for t, task in enumerate(TASKS)}})
    pq.write_table(train.slice(0, TRAIN_ROWS), folder / "train.parquet", row_group_size=32_768)
    test = pa.table(columns).slice(TRAIN_ROWS)
    pq.write_table(test, folder / "test.parquet", row_group_size=32_768)
    (folder / "sizes.json").write_text(facts)
    return folder
