"""The rows of a batch job: cut into parts as they are read, and scored batch by batch."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from rich.progress import Progress

from recmtl.data.places import Place
from recmtl.data.reader import Log, LogBatch, RefusedRows
from recmtl.errors import DataError
from recmtl.serve.drift import Drift
from recmtl.serve.parts import Part
from recmtl.serve.quarantine import Quarantine
from recmtl.serve.scorer import Scorer

__all__ = ["RowScorer", "by_part"]


def by_part(
    log: Log, todo: Sequence[Part], columns: list[str], *, refused: RefusedRows | None
) -> Iterator[tuple[Part, Iterator[LogBatch]]]:
    """Read the rows of the parts to do, one batch at a time, as `itertools.groupby` would.

    A part of which nothing can be read comes too, without batches. What lies before the first part
    is not read. When a part's batches are through, `refused` was told of all that they lack.
    """
    batches = _cut(log, todo, columns, refused)
    ahead = next(batches, None)
    for part in todo:

        def of_part(part: Part = part) -> Iterator[LogBatch]:
            nonlocal ahead
            while ahead is not None and ahead[0] == part:
                yield ahead[1]
                ahead = next(batches, None)

        yield part, of_part()


def _cut(
    log: Log, todo: Sequence[Part], columns: list[str], refused: RefusedRows | None
) -> Iterator[tuple[Part, LogBatch]]:
    """Stream the rows of the parts to do, cut at their bounds."""
    left = list(todo)
    for batch in log.batches(columns, start=todo[0].first, refused=refused) if todo else ():
        end = batch.first + batch.rows
        while left and left[0].first < end:
            low, high = max(batch.first, left[0].first), min(end, left[0].last)
            if low < high:
                rows = batch.columns.slice(low - batch.first, high - low)
                yield left[0], LogBatch(rows, low, batch.place)
            if left[0].last > end:
                break
            left.pop(0)


class RowScorer:
    """Turns batches of the input into rows of the output.

    Args:
        scorer: what scores.
        schema: of the output: columns to carry along, then the scored ones.
        watch: sees every batch's ids.
        aside: takes rows that cannot be scored; without it they are an error.

    Attributes:
        keep: columns to carry along.
    """

    def __init__(
        self, scorer: Scorer, schema: pa.Schema, *, watch: Drift, aside: Quarantine | None
    ) -> None:
        self._scorer, self._schema, self._watch, self._aside = scorer, schema, watch, aside
        self.keep = list(schema.names[: len(schema.names) - len(scorer.columns)])
        self._advance: Callable[[int], object] = int

    @property
    def columns(self) -> list[str]:
        """What it needs of the input."""
        return [*self._scorer.input_columns, *self.keep]

    def show(self, progress: Progress, rows: int) -> None:
        """Add a task of so many rows to a display."""
        task = progress.add_task("score", total=rows)
        self._advance = lambda done: progress.advance(task, done)

    def scored(self, batch: LogBatch) -> pa.Table:
        """The rows of a batch that can be scored.

        Raises:
            DataError: one cannot be, and there is no quarantine.
        """
        try:
            table = self._table(batch)
        except DataError as fault:
            if self._aside is None:
                raise
            encoder = self._scorer.bundle.encoder
            table = self._aside.sifted(batch, fault, encoder=encoder, score=self._table)
        self._advance(batch.rows)
        return self._schema.empty_table() if table is None else table

    def _table(self, batch: LogBatch) -> pa.Table:
        columns = pa.table(batch.columns)
        scores = self._scorer.scores(columns, place=batch.place, check=self._watch.check)
        kept = [_cast(columns[name], self._schema.field(name), batch.place) for name in self.keep]
        scored: list[Any] = [pa.chunked_array([pa.array(column)]) for column in scores.T]
        return pa.table([*kept, *scored], schema=self._schema)


def _cast(column: pa.ChunkedArray, field: pa.Field, place: Place) -> pa.ChunkedArray:
    try:
        return column.cast(field.type)
    except pa.ArrowException:
        text = pa.types.is_dictionary(column.type)
        kind = column.type.value_type if text else column.type
        fault = f"is {kind}, in the first file {field.type}"
        remedy = "give it one type in all files, or do not keep it"
        raise place.error(fault, remedy, column=field.name) from None
