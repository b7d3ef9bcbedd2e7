"""torch-rechub's arms of the latency benchmark, in its own environment: `... FOLDER WIDTHS EMBED`.

The documented way to predict is a `PredictDataset` of encoded columns, a `DataLoader` and the
trainer's `predict`; the loader has one batch of all candidates, which suits it best. The other arm
calls the bare module on tensors.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch_rechub.basic.features import DenseFeature, SequenceFeature, SparseFeature
from torch_rechub.models.multi_task import MMOE
from torch_rechub.trainers import MTLTrainer
from torch_rechub.utils.data import PredictDataset

from benchmarks.serving.worker import work

TASKS = ["classification", "classification", "regression", "classification"]


def feature(told: dict, size: int) -> object:
    """A feature as torch-rechub describes it."""
    if "rows" not in told:
        return DenseFeature(told["name"])
    if "list" not in told:
        return SparseFeature(told["name"], told["rows"], embed_dim=size)
    options = {"embed_dim": size, "pooling": "mean", "padding_idx": 0}
    return SequenceFeature(told["name"], told["rows"], shared_with=told["shared"], **options)


def main(folder: Path, widths: list[int], size: int) -> None:
    """Build the network with random weights, then wait for orders."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    told = json.loads((folder / "peer.json").read_text())
    features = [feature(one, size) for one in told["features"]]
    towers = [{"dims": [32]} for _ in TASKS]
    model = MMOE(features, TASKS, 8, {"dims": widths}, towers)
    trainer = MTLTrainer(model, TASKS)
    with np.load(folder / "peer.npz") as stored:
        columns = {name: stored[name] for name in stored.files}
    rows, total = told["rows"], len(next(iter(columns.values())))
    requests = [
        {name: values[first : first + rows].copy() for name, values in columns.items()}
        for first in range(0, total, rows)
    ]

    def documented(number: int) -> object:
        loader = DataLoader(PredictDataset(requests[number]), batch_size=rows, shuffle=False)
        return trainer.predict(model, loader)

    def module(number: int) -> object:
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(v) for name, v in requests[number].items()}
            return model(tensors).numpy()

    model.eval()
    assert np.allclose(documented(0), module(0), atol=1e-6)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    work({"documented": documented, "module": module}, {"parameters": parameters})


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(width) for width in sys.argv[2].split("-")], int(sys.argv[3]))
