"""The data as networks see them: how each feature and label differs between the parts of a log.

The distance of two parts is the population stability index, the sum over bins of
`(p - q) * log(p / q)` (Siddiqi, Credit Risk Scorecards, 2006): below 0.1 little has changed, above
0.25 much. Bins of numbers and of lengths of lists are tenths of the train rows, those of categories
the most frequent values; missing and unknown values have a bin of their own.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from recmtl.data.encoded_log import EncodedLog, LogSplit
from recmtl.data.row_encoder import RowEncoder
from recmtl.evaluate.results import plain
from recmtl.schema import PastStatistics

__all__ = ["data_drift", "stability_index"]

PARTS = ("train", "validation", "test")
MOST_ROWS = 50_000
"""Rows that are read of each part, evenly spaced."""
BINS = 10
Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


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
    features = {}
    # Lengths of lists and exact values of numbers say the same as the lists and the numbers.
    doubled = {
        d.feature.name for d in log.schema.derived if not isinstance(d.source, PastStatistics)
    }
    for name, kind, values, codes in _features(encoder, read):
        if name in doubled:
            continue
        train = codes["train"]
        bins = 1 + max(int(of_part.max(initial=0)) for of_part in codes.values())
        features[name] = {
            "kind": kind,
            "values": values,
            "missing": {
                part: float(np.mean(c == 0)) if len(c) else None for part, c in codes.items()
            },
            "distance": {p: stability_index(train, codes[p], bins=bins) for p in PARTS[1:]},
            "chance": {p: _chance(train, codes[p], bins=bins) for p in PARTS[1:]},
        }
    facts = {"rows": {part: len(rows) for part, rows in read.items()}, "features": features}
    result: dict[str, Any] = plain({**facts, "labels": _labels(log, parts)})
    return result


def stability_index(before: Codes, after: Codes, *, bins: int) -> float:
    """The population stability index of two samples of bins 0 to `bins - 1`.

    Half a row is added to every bin, so that an empty one does not make it infinite.

    >>> one, other = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    >>> stability_index(one, one, bins=2), round(stability_index(one, other, bins=2), 2)
    (0.0, 0.17)
    """
    p, q = (_shares(codes, bins) for codes in (before, after))
    return float(np.sum((p - q) * np.log(p / q)))


def _shares(codes: Codes, bins: int) -> Floats:
    counts = np.bincount(codes, minlength=bins) + 0.5
    shares: Floats = counts / counts.sum()
    return shares


def _chance(before: Codes, after: Codes, *, bins: int) -> float:
    """The index of two samples of one distribution: about (bins - 1) (1 / n + 1 / m)."""
    used = np.count_nonzero(np.bincount(np.concatenate([before, after]), minlength=bins))
    return (used - 1) * (1 / max(len(before), 1) + 1 / max(len(after), 1))


def _evenly(rows: LogSplit) -> LogSplit:
    if len(rows) <= MOST_ROWS:
        return rows
    return rows.take(np.linspace(0, len(rows) - 1, MOST_ROWS).astype(np.int64))


def _features(
    encoder: RowEncoder, parts: Mapping[str, LogSplit]
) -> Iterator[tuple[str, str, int | None, dict[str, Codes]]]:
    """Name, kind, number of known values, and bins of the rows of each part; 0 is missing."""
    encoding = encoder.encoding
    for column, name in enumerate(encoding.single):
        vocabulary = encoder.vocabularies[name]
        ids = {part: np.asarray(rows.ids[:, column]) for part, rows in parts.items()}
        binned = _most_frequent(ids["train"], unknown=vocabulary.first)
        yield (
            name,
            "category",
            vocabulary.rows - 1,
            {p: binned(of_part) for p, of_part in ids.items()},
        )
    for field in encoding.lists:
        lengths = {p: (rows.ids[:, field.columns] != 0).sum(1) for p, rows in parts.items()}
        binned = _tenths(np.where(lengths["train"] > 0, lengths["train"], np.nan))
        by_part = {p: binned(np.where(n > 0, n, np.nan)) for p, n in lengths.items()}
        yield field.name, "list", None, by_part
    for column, number in enumerate(encoding.numeric):
        values = {p: np.asarray(rows.numeric[:, column], np.float64) for p, rows in parts.items()}
        binned = _tenths(values["train"])
        yield number.name, "number", None, {p: binned(of_part) for p, of_part in values.items()}


def _most_frequent(train: npt.NDArray[Any], *, unknown: int) -> Callable[[npt.NDArray[Any]], Codes]:
    """Ids to bins: 0 unknown, 1 rare, then the most frequent ids of the train rows."""
    values, counts = np.unique(train[train != unknown], return_counts=True)
    frequent = np.sort(values[np.argsort(-counts, kind="stable")[: BINS - 2]])

    def binned(ids: npt.NDArray[Any]) -> Codes:
        at = np.searchsorted(frequent, ids)
        is_frequent = np.isin(ids, frequent)
        codes: Codes = np.where(is_frequent, at + 2, np.where(ids == unknown, 0, 1)).astype(
            np.int64
        )
        return codes

    return binned


def _tenths(train: Floats) -> Callable[[Floats], Codes]:
    """Numbers to bins: 0 missing, then tenths of the train rows."""
    present = train[np.isfinite(train)]
    inner = np.linspace(0, 1, BINS + 1)[1:-1]
    edges = np.unique(np.quantile(present, inner)) if len(present) else np.empty(0)

    def binned(values: Floats) -> Codes:
        codes: Codes = np.where(
            np.isnan(values), 0, 1 + np.searchsorted(edges, values, side="left")
        ).astype(np.int64)
        return codes

    return binned


def _labels(log: EncodedLog, parts: Mapping[str, LogSplit]) -> dict[str, Any]:
    """Of every task but classes the labelled rows and the mean label of each part."""
    tasks = log.schema.tasks
    entries: dict[str, Any] = {task.name: {} for task in tasks}
    for part, rows in parts.items():
        labels = np.asarray(rows.labels)
        for column, task in enumerate(tasks):
            label = labels[:, column]
            present = label[~np.isnan(label)]
            mean = float(present.mean()) if len(present) and task.kind != "multiclass" else None
            entries[task.name][part] = {"rows": len(present), "mean": mean}
    return entries
