"""The rows of a log that count, with their weights.

A row of weight 0 is as if it were absent: it is left out here, before anything is split, fitted or
encoded. A common factor of all weights changes nothing: weights leave this module divided by a
power of two, which is exact, so that the largest lies in [0.5, 1), and `prepare` divides them by
their mean on the train rows. Both happen in float64, before weights become float32. If all weights
are equal, the log is one without weights.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.logical_type import LogicalType
from recmtl.data.columns.numeric import numbers
from recmtl.data.reader import Log, LogBatch, RowUnit
from recmtl.engines.folds import FinishedPieces, FoldT, RowEngine
from recmtl.errors import SourceLocation

__all__ = ["CountedBatch", "CountedLog", "Progress"]

Floats = npt.NDArray[np.float64]
Progress: TypeAlias = Callable[[str, int, int], None]
View: TypeAlias = Callable[[Any], tuple[Any, ...]]
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

    def __init__(
        self,
        log: Log,
        column: str | None,
        *,
        engine: RowEngine | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Read all weights once, if there are any.

        Args:
            log: the log.
            column: holds the weights; None without.
            engine: runs the passes over the rows; None for this process.
            progress: called with (stage, rows done, rows in all): after every batch, or where an
                engine runs it after a pass.

        Raises:
            DataError: a weight is no number, missing, infinite or negative; all are 0; or they
                differ by more than float32 holds.
        """
        self.data, self.column = log.data, column
        self.rows, self.left_out = log.rows, 0
        self._log, self._engine, self._progress = log, engine, progress
        self._weights: _Weights | None = None
        if column is not None:
            work = _Work(log, _Weights(column), [column], _whole)
            self._weights = work(None) if engine is None else engine.fold(work, log.units())
            self.rows = self._weights.counted
            self.left_out = log.rows - self.rows
            self._weights.refuse(SourceLocation(self.data))

    def in_units_of_the_column(self, weight: float) -> float:
        """A weight of a `CountedBatch` as the column holds it."""
        return weight if self._weights is None else math.ldexp(weight, self._weights.exponent)

    def logical_types(self, columns: Sequence[str]) -> dict[str, LogicalType]:
        """As `Log.logical_types`."""
        return self._log.logical_types(columns)

    def fold(
        self,
        result: FoldT,
        columns: Sequence[str],
        view: View,
        *,
        stage: str = "",
        finished: FinishedPieces[FoldT] | None = None,
    ) -> FoldT:
        """Add what is seen of every batch to a fold, wherever the engine runs it.

        Args:
            result: is added to; what other processes add to copies of it is merged into it.
            columns: of the batches.
            view: of a batch, the arguments of `result.add`. It goes to other processes, and only
                the result comes back.
            finished: keeps the results of the pieces that an engine runs.
            stage: what `progress` is told; it is told nothing of a pass without a name.
        """
        if self._engine is not None:
            work = _Work(self, result, columns, view, finished)
            result.merge(self._engine.fold(work, self._log.units()))
            self._report(stage, self.rows)
            return result
        for batch in self.batches(columns):
            result.add(*view(batch))
            self._report(stage, batch.first + batch.rows)
        return result

    def _report(self, stage: str, done: int) -> None:
        if stage and self._progress is not None:
            self._progress(stage, done, self.rows)

    def batches(
        self, columns: Sequence[str], units: Sequence[RowUnit] | None = None
    ) -> Iterator[CountedBatch]:
        """Stream `columns` of the rows that count; see `Log.batches`."""
        names = list(columns) if self.column is None else [*columns, self.column]
        first = 0
        for batch in self._log.batches(names, units=units):
            row = np.arange(batch.first, batch.first + batch.rows)
            picked, weight, unmatched = batch.columns, None, batch.unmatched
            if self.column is None or self._weights is None:
                first = batch.first
            else:
                weights = _weights(batch, self.column)
                if not weights.all():
                    counted = weights > 0
                    picked, row = picked.filter(pa.array(counted)), row[counted]
                    unmatched = {name: rows[counted] for name, rows in unmatched.items()}
                    weights = weights[counted]
                weight = self._weights.scaled(weights)
                # Other columns may be cut into other batches, but a row group starts one.
                first = self._weights.before.get(batch.first, first)
            if len(row):
                yield CountedBatch(picked, first, batch.place, unmatched, row=row, weight=weight)
                first += len(row)

    def __getstate__(self) -> dict[str, Any]:
        """What travels between processes: an engine stays where it is."""
        return {**self.__dict__, "_engine": None, "_progress": None}


@dataclass(frozen=True)
class _Work(Generic[FoldT]):
    """Adds what is seen of the batches of some units to a fold."""

    log: Log | CountedLog
    result: FoldT
    columns: Sequence[str]
    view: View
    finished: FinishedPieces[FoldT] | None = None

    def __call__(self, units: Sequence[RowUnit] | None) -> FoldT:
        """What is added up of these units; of all where there are none to choose."""
        if self.finished is not None and units is not None:
            return self._noted(self.finished, units)
        return self._added(units)

    def _noted(self, finished: FinishedPieces[FoldT], units: Sequence[RowUnit]) -> FoldT:
        result = finished.of(units)
        if result is None:
            result = self._added(units)
            finished.note(units, result)
        return result

    def _added(self, units: Sequence[RowUnit] | None) -> FoldT:
        for batch in self.log.batches(self.columns, units=units):
            self.result.add(*self.view(batch))
        return self.result


def _whole(batch: LogBatch) -> tuple[LogBatch]:
    return (batch,)


class _Weights:
    """The range of the weights of a log, and which rows have one above 0."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._range = math.inf, 0.0
        self._batches: list[tuple[int, int]] = []

    def add(self, batch: LogBatch) -> None:
        weights = _weights(batch, self._column)
        weights = weights[weights > 0]
        self._batches.append((batch.first, len(weights)))
        smallest, largest = self._range
        self._range = (
            min(smallest, float(weights.min(initial=smallest))),
            max(largest, float(weights.max(initial=largest))),
        )

    def merge(self, later: "_Weights") -> None:
        self._batches += later._batches
        smallest, largest = later._range
        self._range = min(self._range[0], smallest), max(self._range[1], largest)

    @property
    def counted(self) -> int:
        """Rows that count."""
        return sum(count for _, count in self._batches)

    @property
    def exponent(self) -> int:
        """Of the power of two by which weights are divided."""
        return math.frexp(self._range[1])[1]

    def scaled(self, weights: Floats) -> Floats | None:
        """The weights of some rows; None where all of the log are equal."""
        smallest, largest = self._range
        return None if smallest == largest else np.ldexp(weights, -self.exponent)

    @cached_property
    def before(self) -> dict[int, int]:
        """By the first row of a batch, the rows that count before it."""
        ends = itertools.accumulate(count for _, count in self._batches)
        batches = zip(self._batches, ends, strict=True)
        return {first: end - count for (first, count), end in batches}

    def refuse(self, place: SourceLocation) -> None:
        """Raise a `DataError` unless a float32 can hold the weights."""
        smallest, largest = self._range
        if not self.counted:
            remedy = "correct them, or drop sample_weight"
            raise place.error("all sample weights are 0", remedy, column=self._column)
        if smallest < largest / WIDEST:
            fault = f"sample weights range from {smallest:g} to {largest:g}"
            remedy = f"clip them to a factor of {WIDEST:g}; 0 leaves a row out"
            raise place.error(fault, remedy, column=self._column)


def _weights(batch: LogBatch, column: str) -> Floats:
    values = numbers(batch.columns.column(column), column, batch.place)
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        fault = f"{int(wrong.sum())} sample weights are missing, infinite or negative"
        raise batch.place.error(fault, "correct them, or drop sample_weight", column=column)
    return values
