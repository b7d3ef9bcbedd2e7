"""DeepCTR-Torch's arms, in its own environment: `... ROWS ARM SEEDS TARGET`.

Networks, `fit` and `predict` are the library's, with the sizes and the optimiser of its multi-task
example first in the tuning list. `fit` is called for one epoch at a time, since its callbacks
cannot look at several tasks some of whose labels are missing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.board.peer import BATCH, Log, Part, offline, serve
from benchmarks.board.torch_peer import TorchPeer, masked, start

offline()  # before the library is imported, which asks a server for newer versions

from deepctr_torch.inputs import DenseFeat, SparseFeat, VarLenSparseFeat  # noqa: E402
from deepctr_torch.models import MMOE, PLE  # noqa: E402

SETTINGS = (
    {"embedding": 4, "optimizer": "adagrad", "learning_rate": 0.01},
    {"embedding": 8, "optimizer": "adam", "learning_rate": 0.001},
    {"embedding": 16, "optimizer": "adagrad", "learning_rate": 0.01},
    {"embedding": 16, "optimizer": "adam", "learning_rate": 0.001},
    {"embedding": 16, "optimizer": "adam", "learning_rate": 0.003},
)
OPTIMIZERS = {"adagrad": torch.optim.Adagrad, "adam": torch.optim.Adam}


def features(log: Log, size: int) -> list[Any]:
    """The columns as DeepCTR-Torch describes them."""

    def of_table(name: str, table: int) -> Any:
        return SparseFeat(name, log.tables[table], size, embedding_name=f"t{table}")

    described: list[Any] = [of_table(f"c{i}", table) for i, table in enumerate(log.single)]
    described += [
        VarLenSparseFeat(of_table(f"l{i}", table), length, "mean")
        for i, (table, length) in enumerate(log.lists)
    ]
    return described + ([DenseFeat("numbers", log.numbers)] if log.numbers else [])


def columns(log: Log, part: Part) -> dict[str, np.ndarray]:
    """The arrays of those features."""
    arrays = {f"c{i}": part["ids"][:, i] for i in range(len(log.single))}
    first = 0
    for i, (_, length) in enumerate(log.lists):
        arrays[f"l{i}"] = part["lists"][:, first : first + length]
        first += length
    # One type for all, or the library makes them 64 bits wide when it joins them.
    arrays = {name: ids.astype(np.float32) for name, ids in arrays.items()}
    return {**arrays, **({"numbers": part["numbers"]} if log.numbers else {})}


class DeepCTR(TorchPeer):
    """A network of DeepCTR-Torch."""

    def __init__(self, arm: str, log: Log, train: Part, setting: Mapping[str, Any], seed: int):
        start(seed)
        kinds = [task["kind"] for task in log.tasks]
        names = [task["name"] for task in log.tasks]
        model = (PLE if arm == "ple" else MMOE)(
            features(log, setting["embedding"]), task_types=kinds, task_names=names, seed=seed,
            l2_reg_embedding=1e-5, device="cpu",
        )  # fmt: skip
        super().__init__(model)
        optimizer = OPTIMIZERS[setting["optimizer"]]
        model.compile(optimizer(model.parameters(), lr=setting["learning_rate"]), loss="mse")
        model.loss_func = [masked(kind) for kind in kinds]
        self.model, self.log = model, log
        self.inputs, self.labels = columns(log, train), log.labels(train).astype(np.float32)

    def epoch(self) -> None:
        """Train once on all train rows."""
        self.model.fit(dict(self.inputs), self.labels, batch_size=BATCH, epochs=1, verbose=0)

    def scores(self, part: Part) -> np.ndarray:
        """Probabilities, or values of a regression, `[R, T]`."""
        return np.asarray(self.model.predict(columns(self.log, part), batch_size=8 * BATCH))


def tasks_of(arm: str, log: Log) -> Sequence[str]:
    """All tasks."""
    return [task["name"] for task in log.tasks]


def _build(arm: str) -> Any:
    return lambda log, train, setting, seed: DeepCTR(arm, log, train, setting, seed)


if __name__ == "__main__":
    serve(
        {arm: (_build(arm), SETTINGS) for arm in ("mmoe", "ple")},
        tasks_of=tasks_of,
        package="deepctr-torch",
    )
