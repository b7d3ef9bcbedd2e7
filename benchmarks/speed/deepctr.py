"""DeepCTR-Torch's arms, in its own environment: `... FOLDER ARM`.

`deepctr` is the library as shipped, with L2 over whole tables; `deepctr_no_l2` leaves the L2 out,
and `deepctr_fused` also has a fused Adam. The networks are the library's MMOE and PLE with linear
gates, trained by its `fit` and scored by its `predict`.
"""

import os
import sys
import types
from pathlib import Path

import numpy as np
import torch

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
    # Its import asks a server for newer versions through a package that it does not declare.
    sys.modules.setdefault("requests", types.ModuleType("requests"))
    from deepctr_torch.inputs import SparseFeat
    from deepctr_torch.models import MMOE, PLE

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    sizes = VOCABULARIES[folder.name]
    features = [
        SparseFeat(f"column_{i}", size, embedding_dim=EMBEDDING) for i, size in enumerate(sizes)
    ]
    decay = {} if arm == "deepctr" else {"l2_reg_embedding": 0.0, "l2_reg_linear": 0.0}
    experts: dict[str, int] = {"num_experts": shape.experts}
    if shape.levels:
        experts = {"num_levels": shape.levels, "shared_expert_num": shape.experts}
    model = (PLE if shape.levels else MMOE)(
        features, expert_dnn_hidden_units=shape.widths, gate_dnn_hidden_units=(),
        tower_dnn_hidden_units=(TOWER,), task_names=TASKS, device="cpu", **decay, **experts,
    )  # fmt: skip
    adam = torch.optim.Adam(model.parameters(), lr=RATE, fused=arm == "deepctr_fused")
    model.compile(adam, loss=["binary_crossentropy"] * len(TASKS), metrics=[])
    ids, labels = log(folder)

    def train(rows: range) -> object:
        chosen = slice(rows.start, rows.stop)
        inputs, outputs = named(ids[chosen]), np.array(labels[chosen])
        return lambda: model.fit(inputs, outputs, batch_size=BATCH, epochs=1, verbose=0)

    def score(columns: Columns) -> np.ndarray:
        return model.predict(dict(columns), batch_size=BATCH)

    serve(sum(p.numel() for p in model.parameters()), train=train, score=score)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], NETWORKS[sys.argv[3]])
