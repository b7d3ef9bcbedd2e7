"""Rows that cannot be scored, set aside with the reason, so that a job can finish without them.

Rows that can be read are copied to `rows-<number of the first>.parquet`, each with its reason; row
groups and files that cannot be read are named by place. `quarantine.json` lists all of them.

The rows of a batch job: cut into parts as they are read, and scored batch by batch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import Progress

from recmtl.atomic import new_file, write_json
from recmtl.data.files import AnyPath
from recmtl.data.reader import Log, LogBatch, RefusedRows
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import DataError, SourceLocation
from recmtl.serve.batch.batch_state import Part, ScoringJob, locked, refuse_used
from recmtl.serve.scoring.drift import Drift
from recmtl.serve.scoring.scorer import Scorer

__all__ = ["Quarantine", "RowScorer", "bad_rows", "by_part"]

RECORDS = "quarantine.json"
ROW, REASON = "quarantine.row", "quarantine.reason"
MOST_TRIALS = 4000
Score: TypeAlias = Callable[[LogBatch], pa.Table]


class Quarantine:
    """The folder of what one job leaves out.

    Args:
        folder: of its own for every job.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[dict[str, str]] = []
        self._records: list[dict[str, Any]] = []

    @contextmanager
    def opened(self, *, resume: bool) -> Iterator[None]:
        """Hold the folder for one job.

        Raises:
            DataError: another job holds it, or it is not empty and `resume` is not set.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder):
            if not resume:
                refuse_used(self.folder)
            yield

    def refuse_file(self, path: AnyPath, fault: DataError) -> None:
        """Leave a whole file out."""
        self.files.append({"file": str(path), "reason": str(fault)})

    def refuse_range(self, first: int, last: int, place: SourceLocation, fault: DataError) -> None:
        """Leave out rows `first` up to `last` (excluded), which cannot be read."""
        self._record(first, last, place, rows=last - first, reason=str(fault), copy=None)

    def sifted(
        self, batch: LogBatch, fault: DataError, *, encoder: RowEncoder, score: Score
    ) -> pa.Table | None:
        """Leave out the rows of a batch that are at fault, all of them if none is by itself.

        Args:
            batch: could not be scored.
            fault: why.
            encoder: finds the rows at fault.
            score: scores the others; where it fails they are left out too.

        Returns:
            The scored rows, or None if nothing is left.
        """
        columns, scored = _plain(batch.columns), None
        reasons = bad_rows(encoder, columns, batch.place)
        good = [number for number in range(batch.rows) if number not in reasons]
        if reasons and good:
            some = columns.take(pa.array(good)).combine_chunks().to_batches()[0]
            try:
                scored = score(LogBatch(some, batch.first, batch.place))
            except DataError as another:
                fault = another
        if scored is None:
            reasons |= dict.fromkeys(good, str(fault))
        self._copy(batch, columns, reasons)
        return scored

    def of(self, part: Part) -> list[dict[str, Any]]:
        """The records of one part's rows, ranges cut at its bounds."""
        found = []
        for record in self._records:
            first, last = max(record["first"], part.first), min(record["last"], part.last)
            if first < last:
                whole = record["copy"] is None
                rows = last - first if whole else record["rows"]
                found.append({**record, "first": first, "last": last, "rows": rows})
        return found

    def write(self, job: ScoringJob) -> None:
        """List all that was left out so far."""
        rows = [record for name in sorted(job.quarantined) for record in job.quarantined[name]]
        content = {"output": str(job.folder), "files": self.files, "rows": rows}
        write_json(self.folder / RECORDS, content)

    def _copy(self, batch: LogBatch, columns: pa.Table, reasons: dict[int, str]) -> None:
        numbers = sorted(reasons)
        bad = columns.take(pa.array(numbers))
        bad = bad.append_column(ROW, pa.array([batch.first + number for number in numbers]))
        bad = bad.append_column(REASON, pa.array([reasons[number] for number in numbers]))
        copy = self.folder / f"rows-{batch.first:012d}.parquet"
        with new_file(copy) as partial:
            pq.write_table(bad, partial)
        last, reason = batch.first + batch.rows, reasons[numbers[0]]
        facts = {"rows": len(numbers), "reason": reason, "copy": copy.name}
        self._record(batch.first, last, batch.place, **facts)

    def _record(self, first: int, last: int, place: SourceLocation, **facts: Any) -> None:
        where = {"file": place.file, "row_group": place.row_group, "first": first, "last": last}
        self._records.append({**where, **facts})


def bad_rows(encoder: RowEncoder, table: pa.Table, place: SourceLocation) -> dict[int, str]:
    """Numbers of the rows that cannot be encoded, with the reason; by halving what fails.

    After 4,000 trials what still fails is given up whole. The answer is empty where no row is at
    fault by itself: where a column has another type, even no rows fail.
    """
    left, reasons, trials = [(0, table.num_rows)], dict[int, str](), 0
    if _fault(encoder, table.slice(0, 0), place):
        return {}
    while left:
        first, last = left.pop()
        fault, trials = _fault(encoder, table.slice(first, last - first), place), trials + 1
        if fault is None:
            continue
        if last - first == 1 or trials > MOST_TRIALS:
            reasons |= dict.fromkeys(range(first, last), fault)
        else:
            middle = (first + last) // 2
            left += [(middle, last), (first, middle)]
    return reasons


def _fault(encoder: RowEncoder, table: pa.Table, place: SourceLocation) -> str | None:
    try:
        encoder.encode(table, place=place)
    except DataError as fault:
        return str(fault)
    return None


def _plain(columns: pa.RecordBatch) -> pa.Table:
    """Without dictionaries: they hold the values of other rows too."""
    table = pa.table(columns)
    plain = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in table.columns
    ]
    return pa.table(plain, names=table.column_names)


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
    if not todo:
        return
    first = todo[0].first
    # The encoder makes its inputs canonical itself; what is kept is written as it was stored.
    for batch in log.batches(columns, start=first, as_stored=True, refused=refused):
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
        drift_watch: sees every batch's ids.
        aside: takes rows that cannot be scored; without it they are an error.

    Attributes:
        keep: columns to carry along.
    """

    def __init__(
        self, scorer: Scorer, schema: pa.Schema, *, drift_watch: Drift, aside: Quarantine | None
    ) -> None:
        self._scorer, self._schema, self._drift, self._aside = scorer, schema, drift_watch, aside
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
        scores = self._scorer.scores(columns, place=batch.place, check=self._drift.check)
        kept = [_cast(columns[name], self._schema.field(name), batch.place) for name in self.keep]
        scored: list[Any] = [pa.chunked_array([pa.array(column)]) for column in scores.T]
        return pa.table([*kept, *scored], schema=self._schema)


def _cast(column: pa.ChunkedArray, field: pa.Field, place: SourceLocation) -> pa.ChunkedArray:
    try:
        return column.cast(field.type)
    except pa.ArrowException:
        text = pa.types.is_dictionary(column.type)
        kind = column.type.value_type if text else column.type
        fault = f"is {kind}, in the first file {field.type}"
        remedy = "give it one type in all files, or do not keep it"
        raise place.error(fault, remedy, column=field.name) from None
