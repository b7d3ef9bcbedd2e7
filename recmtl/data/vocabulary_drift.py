"""Values without an id of their own: counted, and compared with those of an earlier log.

A value has no id if it is missing, was unseen when the vocabulary was fitted, or was too rare. Days
that are added to a log keep the encoding of the earlier log, so that the rows of a network's
embedding table keep their meaning, and new values share the unknown row. The growth of their share,
feature by feature, is the drift: it says when to fit anew.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import DataError
from recmtl.schema import Schema, differences, dump_schema

__all__ = [
    "DRIFT_LIMIT",
    "Counts",
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
        self.columns = {feature.name: feature.column for feature in encoder.schema.features}
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


DRIFT_LIMIT = 0.1
"""Growth of the share of unknown values above which there is a warning."""


def refuse_another_schema(schema: Schema, earlier: EncodedLog) -> None:
    """Raise a `DataError` unless the earlier log was prepared with an equal schema."""
    if dump_schema(schema) != dump_schema(earlier.schema):
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
    measured on its validation rows.
    """
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
