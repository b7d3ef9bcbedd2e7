"""The rows of a batch job: read part by part, scored batch by batch, set aside if they cannot be.

The quarantine lets a job finish without the rows that cannot be scored. Rows that can be read are
copied to `rows-<number of the batch's first row>.parquet`, each with its reason; row groups and
files that cannot be read are named by place. `quarantine.json` lists all of them.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import Progress

from recmtl.atomic import new_file, write_json
from recmtl.data.reader import Log, LogBatch, RefusedRows
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import DataError, SourceLocation
from recmtl.folder_lock import hold_folder
from recmtl.paths import AnyPath
from recmtl.serve.batch.batch_state import (
    Part,
    QuarantineRecord,
    ScoringJob,
    require_unused,
)
from recmtl.serve.scoring.drift import Drift
from recmtl.serve.scoring.scorer import Scorer

__all__ = ["Quarantine", "RowScorer", "bad_rows", "batches_by_part", "without_dictionary"]

RECORDS = "quarantine.json"
ROW, REASON = "quarantine.row", "quarantine.reason"
MOST_TRIALS = 4000
BatchScorer: TypeAlias = Callable[[LogBatch], pa.Table]


class RowScorer:
    """Turns batches of the input into rows of the output.

    Args:
        scorer: scores the rows.
        schema: of the output: the kept columns, then the scored ones.
        drift_watch: counts the unknown ids of every batch.
        quarantine: takes the rows that cannot be scored; if None, such a row is an error.

    Attributes:
        keep: input columns that are carried along.
        unmatched: rows that have none in a side table, by its file name.
    """

    def __init__(
        self,
        scorer: Scorer,
        schema: pa.Schema,
        *,
        drift_watch: Drift,
        quarantine: "Quarantine | None",
    ) -> None:
        self._scorer, self._schema = scorer, schema
        self._drift_watch, self._quarantine = drift_watch, quarantine
        self.keep = list(schema.names[: len(schema.names) - len(scorer.columns)])
        self.unmatched: Counter[str] = Counter()
        self._advance: Callable[[int], object] = int

    def columns_of(self, log: Log) -> list[str]:
        """Columns of a log that its batches must have."""
        return [*self._scorer.columns_to_read(log.column_names()), *self.keep]

    def show(self, progress: Progress, rows: int) -> None:
        """Add a task of `rows` rows to a progress display and advance it with every batch."""
        task = progress.add_task("score", total=rows)
        self._advance = lambda done: progress.advance(task, done)

    def score(self, batch: LogBatch) -> pa.Table:
        """Return the output rows of a batch, without those that go to the quarantine.

        Raises:
            DataError: a row cannot be scored, and there is no quarantine.
        """
        table: pa.Table | None
        try:
            table = self._score_all(batch)
        except DataError as fault:
            if self._quarantine is None:
                raise
            encoder = self._scorer.bundle.encoder
            table = self._quarantine.sift(batch, fault, encoder=encoder, score=self._score_all)
        for name, rows in batch.unmatched.items():
            self.unmatched[name] += int(np.count_nonzero(rows))
        self._advance(batch.rows)
        return self._schema.empty_table() if table is None else table

    def _score_all(self, batch: LogBatch) -> pa.Table:
        columns = pa.table(batch.columns)
        scores = self._scorer.scores(columns, place=batch.place, check=self._drift_watch.check)
        kept = [_cast(columns[name], self._schema.field(name), batch.place) for name in self.keep]
        scored: list[Any] = [pa.chunked_array([pa.array(column)]) for column in scores.T]
        return pa.table([*kept, *scored], schema=self._schema)


class Quarantine:
    """The folder of what one job leaves out, and the records of it.

    Args:
        folder: a folder that no other job uses.

    Attributes:
        files: `file` and `reason` of every file that was left out as a whole.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[dict[str, str]] = []
        self._records: list[QuarantineRecord] = []

    @contextmanager
    def opened(self, *, resume: bool) -> Iterator[None]:
        """Hold the folder for one job.

        Raises:
            DataError: another job holds it, or it is not empty and `resume` is not set.
        """
        with hold_folder(self.folder):
            if not resume:
                require_unused(self.folder)
            yield

    def refuse_file(self, path: AnyPath, fault: DataError) -> None:
        """Leave a whole file out."""
        self.files.append({"file": str(path), "reason": str(fault)})

    def refuse_range(self, first: int, last: int, place: SourceLocation, fault: DataError) -> None:
        """Leave out rows `first` to `last` (excluded), which cannot be read."""
        self._record(first, last, place, rows=last - first, reason=str(fault), copy=None)

    def sift(
        self, batch: LogBatch, fault: DataError, *, encoder: RowEncoder, score: BatchScorer
    ) -> pa.Table | None:
        """Leave out the rows at fault in a batch, or all of it if no row is at fault by itself.

        Args:
            batch: rows that could not be scored together.
            fault: the reason.
            encoder: finds the rows at fault.
            score: scores the other rows; if that fails, they are left out too.

        Returns:
            The scored rows, or None if no row is left.
        """
        columns, scored = _without_dictionaries(batch.columns), None
        reasons = bad_rows(encoder, columns, batch.place)
        good = [number for number in range(batch.rows) if number not in reasons]
        if reasons and good:
            good_rows = columns.take(pa.array(good)).combine_chunks().to_batches()[0]
            try:
                scored = score(LogBatch(good_rows, batch.first, batch.place))
            except DataError as another:
                fault = another
        if scored is None:
            reasons |= dict.fromkeys(good, str(fault))
        self._copy(batch, columns, reasons)
        return scored

    def records_of(self, part: Part) -> list[QuarantineRecord]:
        """The records of one part's rows; ranges that cannot be read are cut at its bounds."""
        records: list[QuarantineRecord] = []
        for record in self._records:
            first, last = max(record["first"], part.first), min(record["last"], part.last)
            if first < last:
                rows = last - first if record["copy"] is None else record["rows"]
                records.append({**record, "first": first, "last": last, "rows": rows})
        return records

    def write(self, job: ScoringJob) -> None:
        """List everything that was left out so far in `quarantine.json`."""
        rows = [record for name in sorted(job.quarantined) for record in job.quarantined[name]]
        content = {"output": str(job.folder), "files": self.files, "rows": rows}
        write_json(self.folder / RECORDS, content)

    def _copy(self, batch: LogBatch, columns: pa.Table, reasons: dict[int, str]) -> None:
        """Write the rows with a reason to a file of their own, and record them."""
        numbers = sorted(reasons)
        bad = columns.take(pa.array(numbers))
        bad = bad.append_column(ROW, pa.array([batch.first + number for number in numbers]))
        bad = bad.append_column(REASON, pa.array([reasons[number] for number in numbers]))
        path = self.folder / f"rows-{batch.first:012d}.parquet"
        with new_file(path) as partial:
            pq.write_table(bad, partial)
        last, reason = batch.first + batch.rows, reasons[numbers[0]]
        self._record(
            batch.first, last, batch.place, rows=len(numbers), reason=reason, copy=path.name
        )

    def _record(
        self,
        first: int,
        last: int,
        place: SourceLocation,
        *,
        rows: int,
        reason: str,
        copy: str | None,
    ) -> None:
        self._records.append(
            {
                "file": place.file,
                "row_group": place.row_group,
                "first": first,
                "last": last,
                "rows": rows,
                "reason": reason,
                "copy": copy,
            }
        )


def batches_by_part(
    log: Log, todo: Sequence[Part], columns: list[str], *, refused: RefusedRows | None
) -> Iterator[tuple[Part, Iterator[LogBatch]]]:
    """Read the rows of the parts to do, one batch at a time; consume them in this order.

    A part without a readable row comes too, without batches. Rows before the first part are not
    read. Once a part's batches are consumed, `refused` has been called with all rows that they
    lack.
    """
    batches = _cut_batches(log, todo, columns, refused)
    ahead = next(batches, None)
    for part in todo:

        def of_part(part: Part = part) -> Iterator[LogBatch]:
            nonlocal ahead
            while ahead is not None and ahead[0] == part:
                yield ahead[1]
                ahead = next(batches, None)

        yield part, of_part()


def bad_rows(encoder: RowEncoder, table: pa.Table, place: SourceLocation) -> dict[int, str]:
    """Find the rows that cannot be encoded, and why, by halving what fails.

    After 4,000 trials every range that still fails is given up as a whole. The answer is empty if
    no row is at fault by itself: if a column has another type, even a table without rows fails.

    Returns:
        The reason by the row's number in the table.
    """
    if _encoding_fault(encoder, table.slice(0, 0), place):
        return {}
    ranges, reasons, trials = [(0, table.num_rows)], dict[int, str](), 0
    while ranges:
        first, last = ranges.pop()
        fault = _encoding_fault(encoder, table.slice(first, last - first), place)
        trials += 1
        if fault is None:
            continue
        if last - first == 1 or trials > MOST_TRIALS:
            reasons |= dict.fromkeys(range(first, last), fault)
        else:
            middle = (first + last) // 2
            ranges += [(middle, last), (first, middle)]
    return reasons


def without_dictionary(column: Any) -> Any:
    """An Arrow column with its values in place of codes into a dictionary."""
    is_dictionary = pa.types.is_dictionary(column.type)
    return column.cast(column.type.value_type) if is_dictionary else column


def _cast(column: pa.ChunkedArray, field: pa.Field, place: SourceLocation) -> pa.ChunkedArray:
    """A kept column in the type that it has in the first file."""
    try:
        return column.cast(field.type)
    except pa.ArrowException:
        is_dictionary = pa.types.is_dictionary(column.type)
        kind = column.type.value_type if is_dictionary else column.type
        fault = f"is {kind}, in the first file {field.type}"
        remedy = "give it one type in all files, or do not keep it"
        raise place.error(fault, remedy, column=field.name) from None


def _without_dictionaries(columns: pa.RecordBatch) -> pa.Table:
    """A dictionary also holds the values of other rows, so one bad value would fail every row."""
    table = pa.table(columns)
    return pa.table([without_dictionary(c) for c in table.columns], names=table.column_names)


def _encoding_fault(encoder: RowEncoder, table: pa.Table, place: SourceLocation) -> str | None:
    try:
        encoder.encode(table, place=place)
    except DataError as fault:
        return str(fault)
    return None


def _cut_batches(
    log: Log, todo: Sequence[Part], columns: list[str], refused: RefusedRows | None
) -> Iterator[tuple[Part, LogBatch]]:
    """Stream the rows of the parts to do, cut at the bounds of the parts."""
    if not todo:
        return
    parts_left = list(todo)
    # The encoder normalises its inputs itself; kept columns are written as they were stored.
    for batch in log.batches(columns, start=todo[0].first, as_stored=True, refused=refused):
        end = batch.first + batch.rows
        while parts_left and parts_left[0].first < end:
            part = parts_left[0]
            low, high = max(batch.first, part.first), min(end, part.last)
            if low < high:
                cut = slice(low - batch.first, high - batch.first)
                unmatched = {name: rows[cut] for name, rows in batch.unmatched.items()}
                yield part, LogBatch(batch.columns[cut], low, batch.place, unmatched)
            if part.last > end:
                break
            parts_left.pop(0)
