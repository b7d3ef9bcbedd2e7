"""The rows of a log that count, with their weights.

A row of weight 0 is as if it were absent: it is left out here, before anything is split, fitted or
encoded. A common factor of all weights changes nothing: weights leave this module divided by a
power of two, which is exact, so that the largest lies in [0.5, 1), and `prepare` divides them by
their mean on the train rows. Both happen in float64, before weights become float32. If all weights
are equal, the log is one without weights.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.logical_type import LogicalType
from recmtl.data.columns.numeric import numbers
from recmtl.data.reader import Log, LogBatch
from recmtl.errors import SourceLocation

__all__ = ["CountedBatch", "CountedLog"]

Floats = npt.NDArray[np.float64]
WIDEST = 1e30
"""The largest weight over the smallest above 0: float32 holds weights and their products with
losses without loss up to here."""


@dataclass(frozen=True, kw_only=True)
class CountedBatch(LogBatch):
    """Consecutive rows that count; `first` is the number of the first one among those.

    Attributes:
        row: number of each row in the whole log, int64 [rows].
        weight: above 0 and below 1, float64 [rows]; None where all rows of the log weigh the same.
    """

    row: npt.NDArray[np.int64]
    weight: Floats | None


class CountedLog:
    """The rows of a log whose weight is not 0: all of them without a column of weights.

    Attributes:
        data: what to call the whole log in messages.
        column: holds the weights; None without.
        rows: number of rows that count.
        left_out: number of rows of weight 0.
    """

    def __init__(self, log: Log, column: str | None) -> None:
        """Read all weights once, if there are any.

        Raises:
            DataError: a weight is no number, missing, infinite or negative; all are 0; or they
                differ by more than float32 holds.
        """
        self.data, self.column = log.data, column
        self.rows, self.left_out = log.rows, 0
        self._log, self._exponent, self._equal = log, 0, True
        if column is not None:
            self._read_weights(column)

    def _read_weights(self, column: str) -> None:
        smallest, largest, counted = math.inf, 0.0, 0
        for batch in self._log.batches([column]):
            weights = _weights(batch, column)
            weights = weights[weights > 0]
            counted += len(weights)
            smallest = float(weights.min(initial=smallest))
            largest = float(weights.max(initial=largest))
        self.rows, self.left_out = counted, self._log.rows - counted
        self._equal, self._exponent = smallest == largest, math.frexp(largest)[1]
        place = SourceLocation(self.data)
        if not counted:
            remedy = "correct them, or drop sample_weight"
            raise place.error("all sample weights are 0", remedy, column=column)
        if smallest < largest / WIDEST:
            fault = f"sample weights range from {smallest:g} to {largest:g}"
            remedy = f"clip them to a factor of {WIDEST:g}; 0 leaves a row out"
            raise place.error(fault, remedy, column=column)

    def in_units_of_the_column(self, weight: float) -> float:
        """A weight of a `CountedBatch` as the column holds it."""
        return math.ldexp(weight, self._exponent)

    def logical_types(self, columns: Sequence[str]) -> dict[str, LogicalType]:
        """As `Log.logical_types`."""
        return self._log.logical_types(columns)

    def batches(self, columns: Sequence[str]) -> Iterator[CountedBatch]:
        """Stream `columns` of the rows that count; see `Log.batches`."""
        names = list(columns) if self.column is None else [*columns, self.column]
        first = 0
        for batch in self._log.batches(names):
            row = np.arange(batch.first, batch.first + batch.rows)
            picked, weight, unmatched = batch.columns, None, batch.unmatched
            if self.column is not None:
                weights = _weights(batch, self.column)
                if not weights.all():
                    counted = weights > 0
                    picked, row = picked.filter(pa.array(counted)), row[counted]
                    unmatched = {name: rows[counted] for name, rows in unmatched.items()}
                    weights = weights[counted]
                weight = None if self._equal else np.ldexp(weights, -self._exponent)
            if len(row):
                yield CountedBatch(picked, first, batch.place, unmatched, row=row, weight=weight)
                first += len(row)


def _weights(batch: LogBatch, column: str) -> Floats:
    values = numbers(batch.columns.column(column), column, batch.place)
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        fault = f"{int(wrong.sum())} sample weights are missing, infinite or negative"
        raise batch.place.error(fault, "correct them, or drop sample_weight", column=column)
    return values
