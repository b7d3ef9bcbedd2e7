"""recmtl's arm: encoded columns on disk, its feed, network, optimiser and scores; `... FOLDER`."""

import os
import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks.speed.arm import columns, serve
from benchmarks.speed.shape import (
    BATCH,
    EMBEDDING,
    EXPERTS,
    RATE,
    TASKS,
    TOWER,
    VOCABULARIES,
    WIDTHS,
)
from recmtl.data.encoding import Encoding
from recmtl.data.feed import batches
from recmtl.data.log import Split
from recmtl.grid import catalog
from recmtl.heads import HeadSpec
from recmtl.model import Model, Sizes
from recmtl.train.config import Training
from recmtl.train.loop import take_step
from recmtl.train.optimizer import Optimizer
from recmtl.train.score import predict

SETTINGS = Training(
    batch_size=BATCH,
    learning_rate=RATE,
    table_learning_rate=RATE,
    optimizer="adam",
    weight_decay=0.0,
    decay=False,
    balance=0.0,
)


def split_of(folder: Path) -> Split:
    """All rows as `prepare` leaves them: rows of the one table, on disk and mapped."""
    path, (ids, labels) = folder / "table_rows.npy", columns(folder)
    if not path.is_file() or path.stat().st_mtime < (folder / "ids.npy").stat().st_mtime:
        offsets = 1 + np.cumsum([0, *VOCABULARIES[folder.name][:-1]])
        np.save(path, (ids + offsets).astype(np.int32))
    rows = len(ids)
    nothing, ones = np.empty((rows, 0), np.float32), np.ones(rows, np.float32)
    numbers = np.zeros(rows, np.int64)
    return Split(np.load(path, mmap_mode="r"), nothing, labels, ones, numbers, numbers)


def network(folder: Path, labels: np.ndarray) -> Model:
    """The catalogue's MMoE."""
    torch.manual_seed(0)
    sizes = VOCABULARIES[folder.name]
    names = tuple(f"column_{number}" for number in range(len(sizes)))
    heads = [
        HeadSpec(name, "binary", mean=float(rate))
        for name, rate in zip(TASKS, np.mean(labels[: 100 * BATCH], 0), strict=True)
    ]
    layout = catalog.mmoe(len(TASKS), experts=EXPERTS, widths=WIDTHS)
    encoding = Encoding(1 + sum(sizes), names, (), ())
    return Model(encoding, heads, layout=layout, sizes=Sizes(EMBEDDING, tower=(TOWER,)))


def main(folder: Path) -> None:
    """Build the network, then wait for orders."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    split = split_of(folder)
    model = network(folder, split.labels)
    optimizer = Optimizer(model, SETTINGS, total_steps=1)

    def train(rows: range) -> object:
        def run() -> None:
            model.train()
            chosen = np.arange(rows.start, rows.stop)
            for batch in batches(split, batch_size=BATCH, seed=rows.start, rows=chosen):
                take_step(model, optimizer, batch)

        return run

    def score(rows: slice) -> object:
        part = split.some(np.arange(rows.start, rows.stop))

        def run() -> np.ndarray:
            model.eval()
            return np.stack(list(predict(model, part, batch_size=BATCH).values()), 1)

        return run

    serve(train, score, model.cost().parameters)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
