"""torch-rechub's arms, in its own environment: `... FOLDER ARM`; `rechub_fused` has a fused Adam.

The networks are the library's MMOE and PLE, with a BatchNorm after every product that cannot be
switched off; trainer, loader and `predict` are the library's, too. Weight decay, its default, is
left out, as in every arm.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch_rechub.basic.features import SparseFeature
from torch_rechub.models.multi_task import MMOE, PLE
from torch_rechub.trainers import MTLTrainer
from torch_rechub.utils.data import DataGenerator, PredictDataset

from benchmarks.speed.arm import Columns, log, named, serve
from benchmarks.speed.shape import (
    BATCH,
    EMBEDDING,
    NETWORKS,
    RATE,
    TASKS,
    TOWER,
    VOCABULARIES,
    Network,
)


def main(folder: Path, arm: str, shape: Network) -> None:
    """Build the network, then carry out orders."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    sizes = VOCABULARIES[folder.name]
    features = [
        SparseFeature(f"column_{i}", size, embed_dim=EMBEDDING) for i, size in enumerate(sizes)
    ]
    towers = [{"dims": [TOWER]} for _ in TASKS]
    kinds = ["classification"] * len(TASKS)
    experts = {"dims": list(shape.widths)}
    model = MMOE(features, kinds, shape.experts, experts, towers)
    if shape.levels:
        model = PLE(features, kinds, shape.levels, 1, shape.experts, experts, towers)
    options = {"lr": RATE, **({"fused": True} if arm == "rechub_fused" else {})}
    models = tempfile.mkdtemp()
    trainer = MTLTrainer(model, kinds, optimizer_params=options, model_path=models)
    ids, labels = log(folder)

    def train(rows: range) -> object:
        chosen = slice(rows.start, rows.stop)
        generator = DataGenerator(named(ids[chosen].astype(np.int64)), np.array(labels[chosen]))
        loader = generator.generate_dataloader(batch_size=BATCH)[0]
        return lambda: trainer.train_one_epoch(loader)

    def score(columns: Columns) -> np.ndarray:
        loader = DataLoader(PredictDataset(dict(columns)), batch_size=BATCH, shuffle=False)
        return np.array(trainer.predict(model, loader), np.float32)

    serve(sum(p.numel() for p in model.parameters()), train=train, score=score)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], NETWORKS[sys.argv[3]])
