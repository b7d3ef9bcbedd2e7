"""Batch scoring: Parquet to Parquet in row order, at constant memory, resumable after a kill."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import Progress, TaskID

from recmtl.data.places import Place
from recmtl.data.reader import Log, LogBatch, open_log
from recmtl.errors import DataError
from recmtl.serve.parts import Job, Part, locked
from recmtl.serve.scorer import Scorer

__all__ = ["ScoredRows", "score_parquet"]

PART_ROWS = 500_000


@dataclass(frozen=True)
class ScoredRows:
    """What a job did: rows and parts in the folder, rows scored by this call, unseen values."""

    folder: Path
    rows: int
    parts: int
    scored_rows: int
    seconds: float
    unknown: dict[str, int]


def score_parquet(
    scorer: Scorer,
    source: str | Path,
    output: str | Path,
    *,
    keep: Sequence[str] = (),
    resume: bool = False,
    part_rows: int = PART_ROWS,
    progress: Progress | None = None,
) -> ScoredRows:
    """Score every row of a Parquet log, in order, into `part-*.parquet` files.

    The side tables of the bundle's schema are joined as in training, from the log's own folder.

    Args:
        scorer: what scores.
        source: a file, a folder or a glob, as in `recmtl.data.reader.open_log`.
        output: a folder outside `source`, new or empty unless `resume`.
        keep: input columns to carry along, before the scored ones.
        resume: go on with a job that was killed in this folder; finished parts stay as they are.
        part_rows: rows of a part, what a kill can cost at most.
        progress: a rich progress display to which the job adds itself.

    Raises:
        DataError: nothing to read, a damaged file, a missing column, a `keep` column named like a
            scored one, an output that is in use, not empty or of another job, a full disk.
    """
    started = time.monotonic()
    output, before = Path(output), scorer.unknown
    log = open_log(str(source), scorer.bundle.encoder.schema.tables)
    schema = _output_schema(scorer, log, keep)
    log.require([*scorer.input_columns, *keep])
    _refuse_inside(output, log)
    files = [{"file": file.path.name, "bytes": file.size} for file in log.files]
    facts = {"bundle": scorer.bundle.fingerprint, "keep": list(keep), "input": files}
    job = Job(output, facts, rows=log.rows, part_rows=part_rows)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with locked(output):
            todo = job.start(resume=resume)
            display = _Display(progress, sum(part.rows for part in todo))
            columns = [*scorer.input_columns, *keep]
            for part, pieces in groupby(_pieces(log, todo, columns), key=itemgetter(0)):
                tables = (_scored(scorer, rows, schema) for _, rows in pieces)
                job.finish(part, _write_part(output, part, schema, display.counted(tables)))
    except OSError as error:
        raise DataError(
            f"{output}: cannot write ({error.strerror or error}); make room there, then run the "
            "same command with --resume"
        ) from None
    unknown = {name: n - before.get(name, 0) for name, n in scorer.unknown.items()}
    scored = sum(part.rows for part in todo)
    seconds = time.monotonic() - started
    return ScoredRows(output, log.rows, len(job.parts), scored, seconds, unknown)


def _output_schema(scorer: Scorer, log: Log, keep: Sequence[str]) -> pa.Schema:
    place = Place(str(log.files[0].path))
    for number, name in enumerate(keep):
        if name in scorer.columns:
            remedy = "rename it, or leave it out of keep"
            raise place.error("has the name of a scored column", remedy, column=name)
        if name in keep[:number]:
            raise place.error("is to be kept twice", "name it once in keep", column=name)
    log.require(keep)
    kept = [pa.field(name, _kind(log, name)) for name in keep]
    scored = [pa.field(name, pa.float32()) for name in scorer.columns]
    return pa.schema([*kept, *scored], metadata={"recmtl.bundle": scorer.bundle.fingerprint})


def _kind(log: Log, name: str) -> pa.DataType:
    first = log.files[0]
    if name in first.partition:
        return pa.scalar(first.partition[name]).type
    schemas: list[Any] = [first.schema, *(table.schema for table in log.tables)]
    return next(schema.field(name).type for schema in schemas if name in schema.names)


def _refuse_inside(output: Path, log: Log) -> None:
    """A resumed job would otherwise read its own parts as input."""
    root = Path(log.data)
    if root.is_dir() and output.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{output}: lies in the input folder {root}; choose a folder outside it")


class _Display:
    """A task of a rich progress display, or nothing."""

    def __init__(self, progress: Progress | None, rows: int) -> None:
        self._progress = progress
        self._task = progress.add_task("score", total=rows) if progress else TaskID(0)

    def counted(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Pass tables on and advance by their rows."""
        for table in tables:
            yield table
            if self._progress:
                self._progress.advance(self._task, table.num_rows)


def _write_part(output: Path, part: Part, schema: pa.Schema, tables: Iterator[pa.Table]) -> Path:
    """Write one part to a hidden file and return it; on an error it is gone."""
    partial = output / f".{part.name}.partial"
    try:
        with pq.ParquetWriter(partial, schema) as writer:
            for table in tables:
                writer.write_table(table)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return partial


def _pieces(log: Log, todo: Sequence[Part], columns: list[str]) -> Iterator[tuple[Part, LogBatch]]:
    """Stream the rows of the parts to do, cut at their bounds; files before them are not read."""
    if not todo:
        return
    first, files = 0, list(log.files)
    while first + files[0].rows <= todo[0].first:
        first += files.pop(0).rows
    left = list(todo)
    for batch in Log(log.data, files, tables=log.tables).batches(columns):
        begin, end = first + batch.first, first + batch.first + batch.rows
        while left and left[0].first < end:
            low, high = max(begin, left[0].first), min(end, left[0].last)
            if low < high:
                rows = batch.columns.slice(low - begin, high - low)
                yield left[0], LogBatch(rows, low, batch.place)
            if left[0].last > end:
                break
            left.pop(0)


def _scored(scorer: Scorer, batch: LogBatch, schema: pa.Schema) -> pa.Table:
    table = pa.Table.from_batches([batch.columns])
    scores = scorer.scores(table, place=batch.place)
    arrays = [_cast(table[name], schema.field(name), batch.place) for name in _kept(scorer, schema)]
    arrays += [pa.chunked_array([pa.array(column)]) for column in scores.T]
    return pa.table(arrays, schema=schema)


def _kept(scorer: Scorer, schema: pa.Schema) -> list[str]:
    return list(schema.names[: len(schema.names) - len(scorer.columns)])


def _cast(column: pa.ChunkedArray, field: pa.Field, place: Place) -> pa.ChunkedArray:
    try:
        return column.cast(field.type)
    except pa.ArrowException:
        text = pa.types.is_dictionary(column.type)
        kind = column.type.value_type if text else column.type
        fault = f"is {kind}, in the first file {field.type}"
        remedy = "give it one type in all files, or do not keep it"
        raise place.error(fault, remedy, column=field.name) from None
