"""Drift: values without a known id that are far more frequent than on the rows of training.

A value has no known id where it is missing, or was unseen or too rare in training. The share of
such values, by feature, is taken on validation rows and travels in the bundle: new ids are usual
there too. A column that was renamed, hashed anew or left empty upstream is all unknown.
"""

import math
from typing import Literal

import numpy as np

from recmtl.data.row_encoder import Encoded
from recmtl.data.vocabulary_drift import Counts, UnknownCounter
from recmtl.errors import ConfigError, SourceLocation
from recmtl.serve.arguments import as_share, short_repr
from recmtl.serve.bundle.bundle import Bundle

__all__ = ["Drift", "DriftMode"]

DriftMode = Literal["warn", "error", "off"]
LIMIT = 0.1


class Drift:
    """Compares the rows of a job with those of training.

    Args:
        bundle: says how large the shares were.
        mode: `warn`, `error` on the first batch that is surely far, or `off`.
        limit: how much larger a share may be, three standard deviations aside.

    Attributes:
        totals: int64 [2, features], values without a known id and values counted so far; those of
            several processes may be added up.

    Raises:
        ConfigError: another mode or limit, or `error` with a bundle that has no shares.
    """

    def __init__(self, bundle: Bundle, *, mode: DriftMode = "warn", limit: float = LIMIT) -> None:
        limit = as_share("drift_limit", limit)
        if not isinstance(mode, str) or mode not in ("warn", "error", "off"):
            raise ConfigError(f"drift is {short_repr(mode)}; give warn, error or off")
        if mode == "error" and bundle.unknown is None:
            raise ConfigError(
                f"{bundle.folder}: does not say how many ids were unknown in training; save it "
                "again with `unknown`, or score with drift warn"
            )
        self._counter, self._mode, self._limit = UnknownCounter(bundle.encoder), mode, limit
        usual = {} if bundle.unknown is None or mode == "off" else bundle.unknown
        self._usual = {name: float(usual[name]) for name in self._counter.names if name in usual}
        self.totals = np.zeros((2, len(self._counter.names)), np.int64)

    def check(self, encoded: Encoded, place: SourceLocation) -> None:
        """Count a batch; in mode `error` a batch that is far raises a DataError."""
        if not self._usual:
            return
        counts = self._counter.counts(encoded.ids)
        if self._mode == "error":
            for name, fault in self._far(counts):
                remedy = "mend the input, or score with drift warn"
                raise place.error(fault, remedy, column=self._counter.columns[name])
        self.totals += counts

    def warnings(self) -> list[str]:
        """What is far in all rows counted so far, one line a feature."""
        columns = self._counter.columns
        return [f"column {columns[name]!r}: {fault}" for name, fault in self._far(self.totals)]

    def _far(self, counts: Counts) -> list[tuple[str, str]]:
        far = []
        for name, unknown, values in zip(self._counter.names, *counts.tolist(), strict=True):
            if name not in self._usual or not values:
                continue
            share, usual = unknown / values, self._usual[name]
            margin = 3.0 * math.sqrt(share * (1.0 - share) / values)
            if share - margin > usual + self._limit:
                text = f"{share:.1%} of its {values:,} values have no known id, {usual:.1%} in "
                far.append((name, text + "training"))
        return far
