"""Counts of a log by part; values without an id, compared with those of an earlier log.

A value has no id if it is missing, was unseen when the vocabulary was fitted, or was too rare. Days
that are added to a log keep the encoding of the earlier log, so that the rows of a network's
embedding table keep their meaning, and new values share the unknown row. The growth of their share,
feature by feature, is the drift: it says when to fit anew.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recmtl.data.columns.gaps import Gap, GapCounts
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.row_encoder import RowEncoder
from recmtl.data.split import PARTS
from recmtl.errors import DataError
from recmtl.schema import Schema, differences, dump_schema

__all__ = [
    "DRIFT_LIMIT",
    "Counts",
    "PartCounts",
    "UnknownCounter",
    "drift_warnings",
    "refuse_another_schema",
    "refuse_other_classes",
    "unknown_shares",
    "vocabulary_drift",
]

SLICE_ROWS = 65_536
Counts = npt.NDArray[np.int64]


class UnknownCounter:
    """Counts the values of each feature, and those without an id.

    Attributes:
        names: the categorical and list features.
        columns: the raw column of every feature of the schema.
    """

    def __init__(self, encoder: RowEncoder) -> None:
        owners, self._rows = encoder.unknown_rows()
        self.names = tuple(dict.fromkeys(owners))
        names = [feature.name for feature in encoder.schema.encoded_features]
        self.columns = {name: encoder.schema.columns_of([name])[0] for name in names}
        self._owner = np.array([self.names.index(owner) for owner in owners], np.int64)

    def counts(self, ids: npt.NDArray[np.int32]) -> Counts:
        """Of `ids` `[R, I]` the values without an id, and all values: int64 `[2, features]`."""
        # Sums of int32 take a third of the time of `np.count_nonzero` along an axis.
        unknown = (ids == self._rows).sum(0, dtype=np.int32)
        # Row 0 pads lists; a missing single value has the unknown id, and so counts as a value.
        values = (ids != 0).sum(0, dtype=np.int32)
        totals = [np.bincount(self._owner, c, len(self.names)) for c in (unknown, values)]
        return np.stack(totals).astype(np.int64)


def unknown_shares(encoder: RowEncoder, ids: npt.NDArray[np.int32]) -> dict[str, float]:
    """Of each categorical and list feature the share of values in `ids` `[R, I]` without an id."""
    counter = UnknownCounter(encoder)
    totals = np.zeros((2, len(counter.names)), np.int64)
    for first in range(0, len(ids), SLICE_ROWS):
        totals += counter.counts(ids[first : first + SLICE_ROWS])
    shares = totals[0] / np.maximum(totals[1], 1)
    return dict(zip(counter.names, shares.tolist(), strict=True))


class PartCounts:
    """Counts values without an id, values, labels, and rows that do not count, by part of a log.

    Args:
        schema: names the tasks.
        encoder: of the features.
    """

    def __init__(self, schema: Schema, encoder: RowEncoder) -> None:
        self._counter = UnknownCounter(encoder)
        self._is_binary = [task.kind == "binary" for task in schema.tasks]
        self._binary = [task.name for task in schema.tasks if task.kind == "binary"]
        self._values = np.zeros((len(PARTS), 2, len(self._counter.names)), np.int64)
        self._tasks = [task.name for task in schema.tasks]
        self._ones, self._labelled = np.zeros((2, len(PARTS), len(schema.tasks)), np.int64)
        self._gaps = GapCounts(PARTS)

    def add(self, part: int, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """Count encoded rows of one part."""
        self._values[part] += self._counter.counts(arrays["ids"])
        self._ones[part] += (arrays["labels"] == 1).sum(axis=0)
        self._labelled[part] += (~np.isnan(arrays["labels"])).sum(axis=0)

    def add_gaps(self, gaps: Iterable[Gap], parts: npt.NDArray[np.uint8]) -> None:
        """Count rows of a batch that do not count; `parts` [rows] numbers the part of each."""
        self._gaps.add(gaps, parts)

    def merge(self, later: "PartCounts") -> None:
        """Add the counts of rows that follow."""
        self._values += later._values
        self._ones += later._ones
        self._labelled += later._labelled
        self._gaps.merge(later._gaps)

    def to_json(self) -> dict[str, Any]:
        """All counts, which `add_json` adds."""
        arrays = {"values": self._values, "ones": self._ones, "labelled": self._labelled}
        counts = {name: array.tolist() for name, array in arrays.items()}
        return {**counts, "gaps": self._gaps.to_json()}

    def add_json(self, raw: Mapping[str, Any]) -> None:
        """Add the counts of `to_json`."""
        self._values += np.array(raw["values"], np.int64).reshape(self._values.shape)
        self._ones += np.array(raw["ones"], np.int64)
        self._labelled += np.array(raw["labelled"], np.int64)
        self._gaps.add_json(raw["gaps"])

    def by_part(self) -> dict[str, Any]:
        """The counts as the manifest holds them."""
        for i, name in enumerate(self._counter.names):
            self._gaps.add_counts(
                ("id_unknown", name, self._counter.columns[name]), self._values[:, :, i].T
            )
        return {
            "counts": [count.to_json() for count in self._gaps.entries()],
            "labelled": _by_part(self._tasks, self._labelled),
            "unknown": _by_part(self._counter.names, self._values[:, 0]),
            "values": _by_part(self._counter.names, self._values[:, 1]),
            "positives": _by_part(self._binary, self._ones[:, self._is_binary]),
        }


def _by_part(names: Sequence[str], counts: npt.NDArray[np.int64]) -> dict[str, dict[str, int]]:
    """Counts [parts, names] as a dictionary of dictionaries."""
    return {
        part: dict(zip(names, row, strict=True))
        for part, row in zip(PARTS, counts.tolist(), strict=True)
    }


DRIFT_LIMIT = 0.1
"""Growth of the share of unknown values above which there is a warning."""


def refuse_another_schema(schema: Schema, earlier: EncodedLog) -> None:
    """Raise a `DataError` unless the earlier log was prepared with an equal schema."""
    if dump_schema(schema, stored=True) != dump_schema(earlier.schema, stored=True):
        changes = "; ".join(differences(earlier.schema, schema))
        raise DataError(
            f"{earlier.folder}: was prepared with another schema ({changes}); give the same one, "
            "or prepare without an earlier log"
        )


def refuse_other_classes(classes: Mapping[str, tuple[Any, ...]], earlier: EncodedLog) -> None:
    """Raise a `DataError` if a multiclass label has other classes than in the earlier log."""
    for task, statistics in earlier.label_statistics.items():
        if tuple(statistics.classes) != tuple(classes[task]):
            raise DataError(
                f"{earlier.folder}: task {task!r} had the classes {list(statistics.classes)}, not "
                f"{list(classes[task])}; prepare both logs together"
            )


def vocabulary_drift(
    manifest: Mapping[str, Any], earlier: EncodedLog
) -> dict[str, dict[str, float]]:
    """Of each feature the share of unknown values: `before`, on earlier validation rows, and `now`.

    Rows later than the fitted ones always bring some new values, which is why the earlier log is
    measured on its validation rows. One without rows (`recmtl.daily.growth`) states the shares.
    """
    before = earlier.manifest.get("unknown_shares")
    if before is None:
        before = unknown_shares(earlier.encoder(), earlier.split("validation").ids)
    unknown, values = ([*manifest[name].values()] for name in ("unknown", "values"))
    now = {name: _sum(unknown, name) / max(1, _sum(values, name)) for name in before}
    return {name: {"before": before[name], "now": now[name]} for name in now}


def _sum(parts: list[Mapping[str, int]], name: str) -> int:
    return sum(part[name] for part in parts)


def drift_warnings(drift: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """One line for each feature whose share of unknown values grew by more than `DRIFT_LIMIT`."""
    for name, shares in drift.items():
        if shares["now"] > shares["before"] + DRIFT_LIMIT:
            yield (
                f"feature {name!r}: {shares['now']:.1%} of the values are unknown, "
                f"{shares['before']:.1%} when its vocabulary was fitted; fit anew"
            )
