"""Drift: values without a known id that are far more frequent than they were in training.

A value has no known id if it is missing, or was unseen or too rare in training. The usual share of
such values, by feature, is measured on validation rows, where new ids appear as well, and travels
in the bundle. A column that was renamed, hashed anew or left empty upstream is all unknown.
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

    A share has drifted if it exceeds the bundle's by more than `limit` even after three standard
    deviations of it, `sqrt(share (1 - share) / values)`, are taken off.

    Args:
        bundle: holds the shares of training.
        mode: `warn`, `error` (on the first batch that has drifted), or `off`.
        limit: how much larger a share may be, from 0 to 1.

    Attributes:
        totals: int64 `[2, features]`, values without a known id and all values counted so far.
            The totals of several processes may be added.

    Raises:
        ConfigError: an unknown mode, a limit outside 0..1, or `error` with a bundle that has no
            shares.
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

    @property
    def names(self) -> tuple[str, ...]:
        """The features that are counted, in the order of `totals`."""
        return self._counter.names

    @property
    def settings(self) -> dict[str, str | float]:
        """Mode and limit, as JSON."""
        return {"mode": self._mode, "limit": self._limit}

    def check(self, encoded: Encoded, place: SourceLocation) -> None:
        """Count a batch.

        Raises:
            DataError: the batch has drifted, in mode `error`; it is not counted then.
        """
        if not self._usual:
            return
        counts = self._counter.counts(encoded.ids)
        if self._mode == "error":
            for name, fault in self._drifted(counts):
                remedy = "mend the input, or score with drift warn"
                raise place.error(fault, remedy, column=self._counter.columns[name])
        self.totals += counts

    def warnings(self) -> list[str]:
        """One line for each feature that has drifted over all rows counted so far."""
        columns = self._counter.columns
        return [f"column {columns[name]!r}: {fault}" for name, fault in self._drifted(self.totals)]

    def _drifted(self, counts: Counts) -> list[tuple[str, str]]:
        """The features whose share is far above the usual one, and what to say of each."""
        faults = []
        for name, unknown, values in zip(self._counter.names, *counts.tolist(), strict=True):
            if name not in self._usual or not values:
                continue
            share, usual = unknown / values, self._usual[name]
            margin = 3.0 * math.sqrt(share * (1.0 - share) / values)
            if share - margin > usual + self._limit:
                text = f"{share:.1%} of its {values:,} values have no known id, {usual:.1%} in "
                faults.append((name, text + "training"))
        return faults
