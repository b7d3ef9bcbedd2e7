"""The data as networks see them: how each feature and label differs between the parts of a log.

Bins are those of the train rows; see `recmtl.evaluate.stability` for them and for the distance.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from recmtl.data.encoded_log import EncodedLog, LogSplit
from recmtl.data.row_encoder import RowEncoder
from recmtl.evaluate.label_space import weight_of
from recmtl.evaluate.results import plain
from recmtl.evaluate.stability import Bins, FeatureValues
from recmtl.serve.bundle.reference import watched_features

__all__ = ["data_drift"]

PARTS = ("train", "validation", "test")
MOST_ROWS = 50_000
"""Rows that are read of each part, evenly spaced."""


def data_drift(log: EncodedLog, encoder: RowEncoder) -> dict[str, Any]:
    """Missing values of each feature by part, its distance from the train rows, and the labels.

    Returns:
        `rows` read by part; `features`: name -> `kind`, `values` (known values; None of numbers),
        `missing` (share by part; of lists the share of empty ones), `distance` from the train rows
        and `chance`, the distance to be expected if nothing has changed, for `validation` and
        `test`; `labels`: task -> part -> `rows` and `mean`.
    """
    parts = {part: log.split(part) for part in PARTS}
    read = {part: _evenly(rows) for part, rows in parts.items()}
    of_parts = [watched_features(encoder, rows.ids, rows.numeric) for rows in read.values()]
    features = {
        of_part[0].name: _compared(encoder, dict(zip(PARTS, of_part, strict=True)))
        for of_part in zip(*of_parts, strict=True)
    }
    facts = {"rows": {part: len(rows) for part, rows in read.items()}, "features": features}
    result: dict[str, Any] = plain({**facts, "labels": _labels(log, parts)})
    return result


def _compared(encoder: RowEncoder, of_part: Mapping[str, FeatureValues]) -> dict[str, Any]:
    """A feature of the train rows beside those of the other parts."""
    train = of_part["train"]
    bins, is_category = Bins.of(train), train.kind == "category"
    by_part = {part: bins.histogram(feature.values, None) for part, feature in of_part.items()}
    before, later = by_part["train"], {part: by_part[part] for part in PARTS[1:]}
    return {
        "kind": train.kind,
        "values": encoder.vocabulary_of(train.name).rows - 1 if is_category else None,
        "missing": {part: h.missing if h.rows else None for part, h in by_part.items()},
        "distance": {part: before.distance(h) for part, h in later.items()},
        "chance": {part: before.chance(h)[0] for part, h in later.items()},
    }


def _evenly(rows: LogSplit) -> LogSplit:
    if len(rows) <= MOST_ROWS:
        return rows
    return rows.take(np.linspace(0, len(rows) - 1, MOST_ROWS).astype(np.int64))


def _labels(log: EncodedLog, parts: Mapping[str, LogSplit]) -> dict[str, Any]:
    """Of every task but classes the labelled rows and the mean label of each part, by weight."""
    tasks = log.schema.tasks
    entries: dict[str, Any] = {task.name: {} for task in tasks}
    for part, rows in parts.items():
        labels, weight = np.asarray(rows.labels), np.asarray(rows.weight_by_task, np.float64)
        for column, task in enumerate(tasks):
            label = labels[:, column].astype(np.float64)
            present = ~np.isnan(label)
            count, mean = int(np.count_nonzero(present)), None
            if count and task.kind != "multiclass":
                weights = weight_of(weight, column)[present]
                mean = float(np.average(label[present], weights=weights))
            entries[task.name][part] = {"rows": count, "mean": mean}
    return entries
