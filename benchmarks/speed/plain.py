"""The reference: MMoE as an experienced PyTorch user writes it: `... FOLDER ARM`.

It has one table with offsets, and slices its batches out of a shuffled index. `plain_sparse` trains
the table with SparseAdam, `plain_dense` everything with a fused Adam.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.speed.arm import Columns, log, serve
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


class Plain(nn.Module):
    """MMoE: ids `[B, columns]` to logits `[B, tasks]`."""

    def __init__(self, rows: int, num_columns: int, shape: Network, *, sparse: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, EMBEDDING, sparse=sparse)
        inputs, (hidden, width) = num_columns * EMBEDDING, shape.widths
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, width), nn.ReLU())
            for _ in range(shape.experts)
        )
        self.gates = nn.ModuleList(nn.Linear(inputs, shape.experts) for _ in TASKS)
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, TOWER), nn.ReLU(), nn.Linear(TOWER, 1)) for _ in TASKS
        )

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Each task's gate mixes the outputs of the experts."""
        x = self.table(ids).flatten(1)
        outputs = torch.stack([expert(x) for expert in self.experts], 1)
        logits = []
        for gate, tower in zip(self.gates, self.towers, strict=True):
            weights = gate(x).softmax(-1).unsqueeze(-1)
            logits.append(tower((weights * outputs).sum(1)))
        return torch.cat(logits, 1)


def main(folder: Path, arm: str, shape: Network) -> None:
    """Build the network, then carry out orders."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    sizes = VOCABULARIES[folder.name]
    offsets = np.cumsum([0, *sizes[:-1]])
    ids, labels = (torch.from_numpy(np.array(array)) for array in log(folder))
    ids = ids + torch.from_numpy(offsets)
    sparse = arm == "plain_sparse"
    model = Plain(sum(sizes), len(sizes), shape, sparse=sparse)
    nn.init.normal_(model.table.weight, std=0.05)
    parameters = list(model.parameters())
    optimizers: list[torch.optim.Optimizer] = []
    if sparse:
        table = parameters.pop(0)
        optimizers.append(torch.optim.SparseAdam([table], lr=RATE))
    optimizers.append(torch.optim.Adam(parameters, lr=RATE, fused=True))

    def train(rows: range) -> object:
        def run() -> None:
            model.train()
            order = torch.randperm(len(rows)) + rows.start
            for chosen in order.split(BATCH):
                for optimizer in optimizers:
                    optimizer.zero_grad()
                losses = binary_cross_entropy_with_logits(
                    model(ids[chosen]), labels[chosen], reduction="none"
                )
                losses.mean(0).sum().backward()
                for optimizer in optimizers:
                    optimizer.step()

        return run

    @torch.inference_mode()
    def score(columns: Columns) -> np.ndarray:
        model.eval()
        rows = torch.from_numpy(np.stack([*columns.values()], 1) + offsets)
        return torch.cat([model(part).sigmoid() for part in rows.split(BATCH)]).numpy()

    serve(sum(p.numel() for p in model.parameters()), train=train, score=score)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], NETWORKS[sys.argv[3]])
