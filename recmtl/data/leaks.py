"""Features that give a label away: found on a sample of the encoded train rows, told as warnings.

A numeric feature is suspect when it ranks a binary label with an AUC above .999 (or below .001) or
equals a regression label; a categorical one when its values and the classes go one to one.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding
from recmtl.memory import release_pages
from recmtl.schema import Schema, TaskSpec

__all__ = ["leak_warnings"]

Floats = npt.NDArray[np.float64]
SAMPLE = 20_000
BLOCK = 500
MOST_VALUES = 4000
NEARLY = 0.999
FEWEST = 20


def leak_warnings(schema: Schema, encoding: Encoding, train: LogSplit) -> Iterator[str]:
    """One line for every feature that is nearly a copy of a label."""
    blocks = _blocks(len(train))
    ids, numbers = _read(train.ids, blocks), _read(train.numeric, blocks)
    labels = _read(train.labels, blocks).astype(np.float64)
    for i, feature in enumerate(encoding.single):
        codes = ids[:, i] - ids[:, i].min()
        if codes.max() >= MOST_VALUES:
            continue
        for t, task in enumerate(schema.tasks):
            if task.kind != "regression" and _one_to_one(codes, labels[:, t]):
                yield _text(schema, feature, task)
    for i, field in enumerate(encoding.numeric):
        # Missing may itself give the answer away: it ranks below every number.
        values = np.nan_to_num(numbers[:, i].astype(np.float64), nan=-1e30)
        for t, task in enumerate(schema.tasks):
            if _follows(task, values, labels[:, t]):
                yield _text(schema, field.name, task)


def _blocks(rows: int) -> list[slice]:
    """Evenly spaced blocks of rows: single rows would touch every page of the map."""
    if rows <= SAMPLE:
        return [slice(0, rows)]
    firsts = np.linspace(0, rows - BLOCK, SAMPLE // BLOCK).astype(np.int64)
    return [slice(first, first + BLOCK) for first in firsts.tolist()]


def _read(column: npt.NDArray[Any], blocks: list[slice]) -> npt.NDArray[Any]:
    parts = []
    for block in blocks:
        parts.append(np.array(column[block]))
        release_pages(column)  # the system maps far more around a block than was asked for
    return np.concatenate(parts)


def _text(schema: Schema, feature: str, task: TaskSpec) -> str:
    column = schema.feature(feature).column
    return (
        f"feature {feature!r} (column {column!r}) nearly equals the label of task {task.name!r}; "
        "drop it unless it is known before the outcome"
    )


def _one_to_one(codes: npt.NDArray[np.int32], label: Floats) -> bool:
    defined = ~np.isnan(label)
    values, classes = int(codes.max()) + 1, int(np.nanmax(label, initial=0)) + 1
    cells = codes[defined] * classes + label[defined].astype(np.int64)
    counts = np.bincount(cells, minlength=values * classes).reshape(values, classes)
    seen = counts.sum(axis=0)
    present = seen >= FEWEST
    used = np.count_nonzero(counts.sum(axis=1))
    if np.count_nonzero(present) < 2 or used > 4 * classes:
        return False
    # Within each class, and not over all rows, or a rare label would be matched by anything.
    agreeing = np.bincount(counts.argmax(axis=1), counts.max(axis=1), minlength=classes)
    return bool((agreeing[present] / seen[present]).min() > NEARLY)


def _follows(task: TaskSpec, values: Floats, label: Floats) -> bool:
    defined = ~np.isnan(label)
    values, label = values[defined], label[defined]
    if task.kind == "binary":
        auc = _auc(values, label)
        return auc > NEARLY or auc < 1 - NEARLY
    if task.kind == "regression" and len(label) >= FEWEST:
        # Encoding is monotone, so a copy keeps the order; ties are broken alike by a stable sort.
        order = np.argsort(values, kind="stable")
        distinct = len(np.unique(values))
        return distinct > 2 and bool((np.diff(label[order]) >= 0).mean() > NEARLY)
    return False


def _auc(values: Floats, label: Floats) -> float:
    positives = int(label.sum())
    negatives = len(label) - positives
    if min(positives, negatives) < FEWEST:
        return 0.5
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    ranks = middle[codes]
    above = ranks[label == 1].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))
