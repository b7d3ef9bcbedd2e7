"""Warn of features that give a label away, from a sample of the encoded train rows.

A numeric feature is suspect if it ranks a binary label with an AUC above .999 (or below .001), or
orders the rows as a regression label does; a categorical feature, if its values and the classes
correspond one to one.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from recmtl.data.columns.funnel import defined_rows
from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding
from recmtl.memory import release_pages
from recmtl.schema import Schema, TaskSpec

__all__ = ["leak_warnings"]

Floats = npt.NDArray[np.float64]
SAMPLE_ROWS = 20_000
BLOCK_ROWS = 500
MOST_VALUES = 4000
"""Distinct ids from which a categorical feature is not tested: ids of people match anything."""
NEARLY = 0.999
FEWEST = 20
"""Rows of a class below which it proves nothing."""


def leak_warnings(schema: Schema, encoding: Encoding, train: LogSplit) -> Iterator[str]:
    """One line for every feature that is nearly a copy of a label.

    Args:
        schema: names the features and tasks in the warnings.
        encoding: the columns of `train`.
        train: the rows to sample.
    """
    blocks = _blocks(len(train))
    ids, numbers = _read(train.ids, blocks), _read(train.numeric, blocks)
    labels = _read(train.labels, blocks).astype(np.float64)
    for t, task in enumerate(schema.tasks):
        # Most rows of a child are 0 because its parent is: a copy shows where the parent happened.
        labels[~defined_rows(labels, schema.tasks, task), t] = np.nan
    for i, feature in enumerate(encoding.single):
        codes = ids[:, i] - ids[:, i].min()
        if codes.max() >= MOST_VALUES:
            continue
        for t, task in enumerate(schema.tasks):
            if task.kind != "regression" and _one_to_one(codes, labels[:, t]):
                yield _warning(schema, feature, task)
    for i, field in enumerate(encoding.numeric):
        # A gap may itself give the answer away, so it ranks below every number.
        values = np.nan_to_num(numbers[:, i].astype(np.float64), nan=-1e30)
        for t, task in enumerate(schema.tasks):
            if _follows(task, values, labels[:, t]):
                yield _warning(schema, field.name, task)


def _blocks(rows: int) -> list[slice]:
    """Evenly spaced blocks of rows; single rows would touch every page of the map."""
    if rows <= SAMPLE_ROWS:
        return [slice(0, rows)]
    firsts = np.linspace(0, rows - BLOCK_ROWS, SAMPLE_ROWS // BLOCK_ROWS).astype(np.int64)
    return [slice(first, first + BLOCK_ROWS) for first in firsts.tolist()]


def _read(column: npt.NDArray[Any], blocks: list[slice]) -> npt.NDArray[Any]:
    parts = []
    for block in blocks:
        parts.append(np.array(column[block]))
        release_pages(column)  # the system maps far more than the block
    return np.concatenate(parts)


def _warning(schema: Schema, feature: str, task: TaskSpec) -> str:
    column = schema.feature(feature).column
    return (
        f"feature {feature!r} (column {column!r}) nearly equals the label of task {task.name!r}; "
        "drop it unless it is known before the outcome"
    )


def _one_to_one(codes: npt.NDArray[np.int32], label: Floats) -> bool:
    """Whether the code of a row tells its class, for nearly all rows of every common class."""
    defined = ~np.isnan(label)
    values, classes = int(codes.max()) + 1, int(np.nanmax(label, initial=0)) + 1
    cells = codes[defined] * classes + label[defined].astype(np.int64)
    counts = np.bincount(cells, minlength=values * classes).reshape(values, classes)
    class_rows = counts.sum(axis=0)
    common = class_rows >= FEWEST
    values_present = np.count_nonzero(counts.sum(axis=1))
    if np.count_nonzero(common) < 2 or values_present > 4 * classes:
        return False
    # Shares within each class: over all rows, any feature would match a rare label.
    matching = np.bincount(counts.argmax(axis=1), counts.max(axis=1), minlength=classes)
    return bool((matching[common] / class_rows[common]).min() > NEARLY)


def _follows(task: TaskSpec, values: Floats, label: Floats) -> bool:
    """Whether the values order the rows as the label does."""
    defined = ~np.isnan(label)
    values, label = values[defined], label[defined]
    if task.kind == "binary":
        auc = _auc(values, label)
        return auc > NEARLY or auc < 1 - NEARLY
    if task.kind == "regression" and len(label) >= FEWEST:
        # The encoding is monotone, so a copy of the label keeps its order.
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
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2
    ranks = mean_ranks[codes]
    above = ranks[label == 1].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))
