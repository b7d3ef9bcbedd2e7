"""What crosses to a peer's process and back: encoded rows as arrays, and scores.

A peer gets the rows that our networks are trained on: the same vocabularies, the same quantiles of
numbers, the same statistics of the past. It gets no label of a test row, no row weights (neither
library takes them), and no logits of forests (a peer's user has none). An id that train rows do
not hold is one row of its table; a missing number is 0 beside a column that says so.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.board.peer import Log
from recmtl.atomic import new_folder
from recmtl.data.encoded_log import EncodedLog, LogSplit
from recmtl.evaluate.label_space import defined_rows, joint_labels, task_position
from recmtl.schema import TaskSpec
from recmtl.schema.names import task_column

__all__ = ["columns_of", "write_rows"]

PARTS = ("train", "validation", "test")


def write_rows(log: EncodedLog, folder: Path) -> None:
    """Write `log.json` and an `.npz` of every part, unless the folder is there."""
    if folder.is_dir():
        return
    splits = {part: log.split(part) for part in PARTS}
    tables, remaps = _tables(log, splits["train"])
    singles = len(log.encoding.single)
    tasks = [{"name": t.name, "kind": t.kind, "parent": t.parent} for t in log.schema.tasks]
    numbers = {part: _numbers(log, split) for part, split in splits.items()}
    described = Log(
        tasks=tasks,
        single=tables[:singles],
        lists=[(tables[field.first], field.length) for field in log.encoding.lists],
        tables=[len(values) + 2 for values in remaps],
        numbers=numbers["train"].shape[1],
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(folder) as partial:
        for part, split in splits.items():
            ids = _ids(np.asarray(split.ids), tables, remaps)
            arrays = {"ids": ids[:, :singles], "lists": ids[:, singles:], "numbers": numbers[part]}
            if part != "test":
                arrays |= _labels(log, split)
            np.savez(partial / f"{part}.npz", **arrays)
        (partial / "log.json").write_text(json.dumps(described.__dict__))


def columns_of(log: EncodedLog, names: Sequence[str], scores: np.ndarray) -> dict[str, np.ndarray]:
    """Scored columns of a peer's scores `[R, T]` of these tasks."""
    columns = {}
    for t, name in enumerate(names):
        task, values = log.schema.task(name), scores[:, t].astype(np.float64)
        if task.kind == "regression":
            mean, std = _moments(log, task)
            values = values * std + mean
            if task.transform == "log1p":
                values = np.expm1(np.clip(values, 0.0, 50.0))
        columns[task_column(task)] = values
    return columns


def _tables(log: EncodedLog, train: LogSplit) -> tuple[list[int], list[np.ndarray]]:
    """Of each column of `ids` its table, and of each table the ids that train rows hold, sorted."""
    blocks = log.encoder().unknown_rows()[1]
    tables = np.unique(blocks, return_inverse=True)[1].reshape(-1)
    ids = np.asarray(train.ids)
    remaps = []
    for table in range(int(tables.max()) + 1 if len(tables) else 0):
        values = np.unique(ids[:, np.flatnonzero(tables == table)])
        remaps.append(values[values != 0])
    return [int(table) for table in tables], remaps


def _ids(ids: np.ndarray, tables: Sequence[int], remaps: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of the peers' tables: 0 padding, 1 what train rows do not hold."""
    mapped = np.zeros(ids.shape, np.int64)
    for column, table in enumerate(tables):
        values, held = ids[:, column], remaps[table]
        if len(held):
            place = np.minimum(np.searchsorted(held, values), len(held) - 1)
            mapped[:, column] = np.where(held[place] == values, place + 2, 1)
        mapped[values == 0, column] = 0
    return mapped


def _numbers(log: EncodedLog, split: LogSplit) -> np.ndarray:
    """Numbers between 0 and 1, and after them what says that one is missing, if train rows do."""
    fields = log.encoding.numeric
    values = np.array(split.numeric, np.float32)
    for i, field in enumerate(fields):
        column = values[:, i]
        if field.encoding == "standard":
            values[:, i] = np.clip(column / 10.0 + 0.5, 0.0, 1.0)
        elif field.encoding == "piecewise":
            values[:, i] = column / max(field.bins, 1)
    missing = np.isnan(values)
    sometimes = np.isnan(np.asarray(log.split("train").numeric)).any(axis=0)
    flags = missing[:, sometimes].astype(np.float32)
    return np.concatenate([np.where(missing, np.float32(0), values), flags], axis=1)


def _labels(log: EncodedLog, split: LogSplit) -> dict[str, np.ndarray]:
    """Labels `[R, T]` on the rows of each task, and of a funnel's children on all rows."""
    tasks, raw = log.schema.tasks, np.asarray(split.labels)
    labels, joint = raw.copy(), raw.copy()
    for task in tasks:
        t = task_position(tasks, task.name)
        labels[~defined_rows(raw, tasks, task), t] = np.nan
        if task.parent is not None:
            joint[:, t] = joint_labels(raw, tasks, task)
        if task.kind == "regression":
            mean, std = _moments(log, task)
            labels[:, t] = joint[:, t] = (_transformed(task, labels[:, t]) - mean) / std
    return {"labels": labels.astype(np.float32), "joint": joint.astype(np.float32)}


def _transformed(task: TaskSpec, label: np.ndarray) -> np.ndarray:
    return np.log1p(label) if task.transform == "log1p" else label


def _moments(log: EncodedLog, task: TaskSpec) -> tuple[float, float]:
    """Mean and deviation of a regression's transformed label on its train rows."""
    labels, tasks = np.asarray(log.split("train").labels), log.schema.tasks
    rows = defined_rows(labels, tasks, task)
    values = _transformed(task, labels[rows, task_position(tasks, task.name)].astype(np.float64))
    return float(values.mean()), float(values.std()) or 1.0
