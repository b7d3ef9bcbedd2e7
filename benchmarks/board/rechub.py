"""torch-rechub's arms, in its own environment: `... ROWS ARM SEEDS TARGET`.

Networks, trainer, data set and `predict` are the library's, with the sizes of its multi-task
examples first in the tuning list. Two things differ, in its favour: batches are cut at once and not
row by row, and an epoch is kept by the mean of all tasks, where its `fit` looks at one.
"""

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from benchmarks.board.peer import BATCH, Log, Part, bucketed, chain, offline, serve
from benchmarks.board.torch_peer import TorchPeer, masked, start

offline()  # before the library is imported, which asks a server for newer versions

from torch_rechub.basic.features import DenseFeature, SequenceFeature, SparseFeature  # noqa: E402
from torch_rechub.models.multi_task import AITM, ESMM, MMOE, PLE, SharedBottom  # noqa: E402
from torch_rechub.trainers import MTLTrainer  # noqa: E402
from torch_rechub.utils.data import PredictDataset, TorchDataset  # noqa: E402

SETTINGS = (
    {"embedding": 4, "learning_rate": 0.001, "wide": False},
    {"embedding": 8, "learning_rate": 0.001, "wide": False},
    {"embedding": 16, "learning_rate": 0.001, "wide": False},
    {"embedding": 16, "learning_rate": 0.001, "wide": True},
    {"embedding": 16, "learning_rate": 0.003, "wide": True},
)
WEIGHT_DECAY = 1e-5


def features(log: Log, size: int, *, dense: bool) -> list[Any]:
    """The columns as torch-rechub describes them; numbers are one dense feature, or categories."""
    described: list[Any] = []
    owners: dict[int, str] = {}
    for i, table in enumerate(log.single):
        shared = {"shared_with": owners[table]} if table in owners else {}
        owners.setdefault(table, f"c{i}")
        described.append(SparseFeature(f"c{i}", log.tables[table], embed_dim=size, **shared))
    for i, (table, _) in enumerate(log.lists):
        shared = {"shared_with": owners[table]} if table in owners else {}
        owners.setdefault(table, f"l{i}")
        options = {"embed_dim": size, "pooling": "mean", "padding_idx": 0, **shared}
        described.append(SequenceFeature(f"l{i}", log.tables[table], **options))
    if dense and log.numbers:
        described.append(DenseFeature("numbers", embed_dim=log.numbers))
    elif log.numbers:
        described += [SparseFeature(f"n{i}", 34, embed_dim=size) for i in range(log.numbers)]
    return described


def columns(log: Log, part: Part, *, dense: bool) -> dict[str, np.ndarray]:
    """The arrays of those features."""
    arrays = {f"c{i}": np.ascontiguousarray(part["ids"][:, i]) for i in range(len(log.single))}
    first = 0
    for i, (_, length) in enumerate(log.lists):
        arrays[f"l{i}"] = np.ascontiguousarray(part["lists"][:, first : first + length])
        first += length
    if dense and log.numbers:
        return {**arrays, "numbers": part["numbers"]}
    numbers = bucketed(part["numbers"])
    return {**arrays, **{f"n{i}": numbers[:, i] for i in range(log.numbers)}}


def network(arm: str, described: list[Any], log: Log, *, wide: bool) -> Any:
    """A network in the sizes of the examples, or wider."""
    expert, bottom = ({"dims": [128, 64]},) * 2 if wide else ({"dims": [16]}, {"dims": [117]})
    towers = [{"dims": [32 if wide else 8]} for _ in log.tasks]
    kinds = ["regression" if t["kind"] == "regression" else "classification" for t in log.tasks]
    if arm == "esmm":
        tower = {"dims": [128, 64] if wide else [16, 8]}
        return ESMM(described[:1], described[1:], tower, tower)
    if arm == "aitm":
        dims = {"dims": [128, 64] if wide else [32, 16]}
        return AITM(described, len(log.tasks), dims, towers)
    if arm == "shared_bottom":
        return SharedBottom(described, kinds, bottom, towers)
    if arm == "mmoe":
        return MMOE(described, kinds, 8, expert, towers)
    return PLE(described, kinds, 1, 2, 1, expert, towers)


class Rechub(TorchPeer):
    """A network of torch-rechub under its trainer."""

    def __init__(self, arm: str, log: Log, train: Part, setting: Mapping[str, Any], seed: int):
        start(seed)
        self.arm, self.log, self.dense = arm, log, arm != "esmm"
        described = features(log, setting["embedding"], dense=self.dense)
        super().__init__(network(arm, described, log, wide=setting["wide"]))
        kinds = [task["kind"] for task in log.tasks]
        labels = log.labels(train, "joint" if arm in ("esmm", "aitm") else "labels")
        if (
            arm == "esmm"
        ):  # its outputs: conversion after a click, click, both; the first is not used
            kinds, labels = ["binary"] * 3, labels[:, [1, 0, 1]]
        rates = {"lr": setting["learning_rate"], "weight_decay": WEIGHT_DECAY}
        types = ["regression" if kind == "regression" else "classification" for kind in kinds]
        self.trainer = MTLTrainer(
            self.module, types, optimizer_params=rates, model_path=tempfile.gettempdir()
        )
        self.trainer.loss_fns = [masked(kind) for kind in kinds]
        rows = TorchDataset(columns(log, train, dense=self.dense), labels)
        batches = BatchSampler(RandomSampler(rows), BATCH, drop_last=False)
        self.loader = DataLoader(rows, sampler=batches, batch_size=None)

    def epoch(self) -> None:
        """Train once on all train rows."""
        self.trainer.train_one_epoch(self.loader)

    def scores(self, part: Part) -> np.ndarray:
        """Probabilities, or values of a regression, `[R, T]`."""
        rows = PredictDataset(columns(self.log, part, dense=self.dense))
        batches = BatchSampler(SequentialSampler(rows), 8 * BATCH, drop_last=False)
        loader = DataLoader(rows, sampler=batches, batch_size=None)
        scores = np.array(self.trainer.predict(self.module, loader), np.float32)
        if self.arm == "esmm":
            return scores[:, [1, 0]]
        if self.arm == "aitm":  # of all events up to a task, not of the task after its parent
            above = np.concatenate([np.ones_like(scores[:, :1]), scores[:, :-1]], axis=1)
            return np.clip(scores / np.maximum(above, 1e-12), 0.0, 1.0)
        return scores


def tasks_of(arm: str, log: Log) -> Sequence[str]:
    """All tasks; ESMM learns the first two of a funnel, AITM a whole one."""
    if arm in ("esmm", "aitm"):
        return chain(log)[:2] if arm == "esmm" else chain(log)
    return [task["name"] for task in log.tasks]


def _build(arm: str) -> Any:
    return lambda log, train, setting, seed: Rechub(arm, log, train, setting, seed)


if __name__ == "__main__":
    ARMS = ("shared_bottom", "mmoe", "ple", "esmm", "aitm")
    serve({arm: (_build(arm), SETTINGS) for arm in ARMS}, tasks_of=tasks_of, package="torch-rechub")
