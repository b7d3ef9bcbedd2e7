"""Batch scoring: Parquet to Parquet in row order, at constant memory, resumable after a kill.

`batch_state` knows which parts there are and which are finished. `rows` reads the rows, scores
them, and sets aside those that cannot be scored. This module checks the arguments, writes the
parts and sums up.
"""

import importlib.metadata
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from recmtl.atomic import new_file
from recmtl.data.reader import Log, open_log
from recmtl.errors import DataError, SourceLocation
from recmtl.folder_lock import hold_folder
from recmtl.memory import keep_freed_memory
from recmtl.paths import RemotePath, any_path
from recmtl.serve.arguments import as_column_list, as_instance, as_path, as_whole_number
from recmtl.serve.batch.batch_state import Part, ScoringJob
from recmtl.serve.batch.rows import Quarantine, RowScorer, batches_by_part
from recmtl.serve.faults import write_faults
from recmtl.serve.scoring.drift import LIMIT, Drift, DriftMode
from recmtl.serve.scoring.scorer import Scorer

__all__ = ["ScoringSummary", "rows_progress", "score_parquet"]

PART_ROWS = 500_000
GO_ON = ", then run the same command with --resume"


@dataclass(frozen=True)
class ScoringSummary:
    """What a call of `score_parquet` did.

    Attributes:
        folder: the output folder, where the parts are.
        rows: rows of the input, without files that could not be opened.
        parts: parts of the whole job.
        scored_rows: rows of the parts that this call wrote.
        seconds: time that this call took.
        unknown: values unseen in training that this call met, by feature.
        unmatched: rows of this call that have none in a side table, by its file name.
        quarantined_rows: how many of `rows` were left out, by this call and those it resumed.
        quarantined_files: files that could not be opened.
        warnings: one line each.
    """

    folder: Path
    rows: int
    parts: int
    scored_rows: int
    seconds: float
    unknown: dict[str, int]
    unmatched: dict[str, int] = field(default_factory=dict)
    quarantined_rows: int = 0
    quarantined_files: int = 0
    warnings: tuple[str, ...] = ()


def score_parquet(
    scorer: Scorer,
    source: str | Path,
    output: str | Path,
    *,
    keep: Sequence[str] = (),
    resume: bool = False,
    part_rows: int = PART_ROWS,
    quarantine: str | Path | None = None,
    drift: DriftMode = "warn",
    drift_limit: float = LIMIT,
    progress: Progress | None = None,
) -> ScoringSummary:
    """Score every row of a Parquet log, in order, into `part-*.parquet` files.

    The side tables of the bundle's schema are joined as in training, from the log's own folder or
    from where `Scorer.load(..., side_tables=...)` says.

    Args:
        scorer: scores the rows.
        source: a file, a folder or a glob, here or by URL, as in `recmtl.data.reader.open_log`.
        output: a folder outside `source`; it must be new or empty unless `resume` is set.
        keep: input columns to carry along, before the scored ones.
        resume: continue a job that was killed in this folder; finished parts stay as they are.
        part_rows: rows of a part, which is the most work that a kill can cost.
        quarantine: a folder for files, row groups and rows that cannot be read or encoded, with
            the reason; if None, the first of them ends the job.
        drift: what to do about far more unknown ids than in training, see
            `recmtl.serve.scoring.drift`; with `error` and a quarantine, such rows are set aside.
        drift_limit: how much the share of unknown ids may exceed that of training.
        progress: a rich progress display to which the job adds a task.

    Raises:
        DataError: there is nothing to read, a file is damaged, a column is missing, a `keep`
            column is named like a scored one, the output is in use, not empty or of another job,
            or the disk is full.
        ConfigError: an argument is of the wrong type or out of bounds.
    """
    keep_freed_memory()
    started, before = time.monotonic(), as_instance("scorer", scorer, Scorer).unknown
    output = _local(as_path("output", output))
    left_out = None if quarantine is None else _quarantine(quarantine)
    keep, resume = as_column_list("keep", keep), as_instance("resume", resume, bool)
    part_rows = as_whole_number("part_rows", part_rows, least=1, most=2**40)
    drift_watch = Drift(scorer.bundle, mode=drift, limit=drift_limit)
    log = _open(scorer, str(as_path("source", source)), keep, left_out)
    schema = _output_schema(scorer, log, keep)
    _refuse_folders([output, *([left_out.folder] if left_out else [])], log)
    identity = _identity(scorer, log, keep, drift_watch, left_out)
    job = ScoringJob(output, identity, rows=log.rows, part_rows=part_rows)
    rows = RowScorer(scorer, schema, drift_watch=drift_watch, quarantine=left_out)
    with ExitStack() as stack:
        stack.enter_context(write_faults(output, go_on=GO_ON))
        stack.enter_context(hold_folder(output))
        if left_out:
            stack.enter_context(left_out.opened(resume=resume))
        todo = job.start(resume=resume)
        if progress:
            rows.show(progress, sum(part.rows for part in todo))
        _write_parts(job, todo, log, rows=rows, schema=schema, quarantine=left_out)
        warnings = [*drift_watch.warnings(), *_unmatched_warnings(rows.unmatched, todo)]
        job.close(warnings)
    return ScoringSummary(
        folder=output,
        rows=log.rows,
        parts=len(job.parts),
        scored_rows=sum(part.rows for part in todo),
        seconds=time.monotonic() - started,
        unknown={name: count - before.get(name, 0) for name, count in scorer.unknown.items()},
        unmatched=dict(rows.unmatched),
        quarantined_rows=job.quarantined_rows,
        quarantined_files=len(left_out.files) if left_out else 0,
        warnings=tuple(warnings),
    )


def _quarantine(folder: str | Path) -> Quarantine:
    return Quarantine(_local(as_path("quarantine", folder)))


def _unmatched_warnings(unmatched: Mapping[str, int], todo: Sequence[Part]) -> Iterator[str]:
    """One line for each side table in which no row of the parts has a row."""
    for name, count in unmatched.items():
        if count == sum(part.rows for part in todo):
            yield (
                f"side table {name}: none of the {count:,} rows has its key there, so that all its "
                "columns are null; correct the table, or the key's column"
            )


def rows_progress(console: Console | None = None) -> Progress:
    """Return a rich display for tasks that count rows; use it as a context manager."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} rows"),
        _RowsPerSecond(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


def _local(folder: str | Path) -> Path:
    """A folder of this machine, or a DataError."""
    path = any_path(folder) if isinstance(folder, str) else folder
    if isinstance(path, RemotePath):
        raise DataError(
            f"{folder}: parts are put in place by renaming, which only a folder of this machine "
            "can do; choose one, then copy it there"
        )
    return path


def _open(scorer: Scorer, source: str, keep: Sequence[str], quarantine: Quarantine | None) -> Log:
    columns = [*scorer.input_columns, *keep]
    refused = quarantine.refuse_file if quarantine else None
    types, layout = scorer.bundle.encoder.types, scorer.bundle.encoder.schema.files
    tables = scorer.bundle.tables()
    log = open_log(source, tables, refused=refused, fitted=types, layout=layout)
    files = []
    for file in log.files:
        try:
            Log(log.data, [file], tables=log.tables).require(columns)
            files.append(file)
        except DataError as fault:
            if quarantine is None:
                raise
            quarantine.refuse_file(file.path, fault)
    if quarantine and not files:
        raise DataError(f"{source}: no file can be scored: {quarantine.files[0]['reason']}")
    return Log(log.data, files, tables=log.tables)


def _identity(
    scorer: Scorer,
    log: Log,
    keep: Sequence[str],
    drift_watch: Drift,
    quarantine: Quarantine | None,
) -> dict[str, Any]:
    """What a job must have in common with the one that it resumes."""
    identity: dict[str, Any] = {"bundle": scorer.bundle.fingerprint, "keep": list(keep)}
    identity["input"] = [{"file": file.path.name, "bytes": file.size} for file in log.files]
    identity["content"] = {name: str(content) for name, content in log.content().items()}
    identity |= {"engine": scorer.requested_engine, "chunk_rows": scorer.chunk_rows}
    identity["recmtl"] = importlib.metadata.version("recmtl")
    if quarantine:
        identity["drift"] = drift_watch.settings  # it may decide which rows are left out
        identity["quarantine"] = str(quarantine.folder.resolve())
        identity["refused files"] = [record["file"] for record in quarantine.files]
    return identity


def _output_schema(scorer: Scorer, log: Log, keep: Sequence[str]) -> pa.Schema:
    """The kept columns, typed as in the first file, then the scored ones."""
    place = SourceLocation(str(log.files[0].path))
    for number, name in enumerate(keep):
        if name in scorer.columns:
            remedy = "rename it, or leave it out of keep"
            raise place.error("has the name of a scored column", remedy, column=name)
        if name in keep[:number]:
            raise place.error("is to be kept twice", "name it once in keep", column=name)
    kept = [pa.field(name, _column_type(log, name)) for name in keep]
    scored = [pa.field(name, pa.float32()) for name in scorer.columns]
    return pa.schema([*kept, *scored], metadata={"recmtl.bundle": scorer.bundle.fingerprint})


def _column_type(log: Log, name: str) -> pa.DataType:
    first = log.files[0]
    if name in first.partition:
        return first.partition[name].type
    schemas: list[Any] = [first.schema, *(table.schema for table in log.tables)]
    return next(schema.field(name).type for schema in schemas if name in schema.names)


def _refuse_folders(folders: Sequence[Path], log: Log) -> None:
    """Refuse an output in the input, which a resumed job would read, and nested outputs."""
    root = any_path(log.data)
    for folder in folders if isinstance(root, Path) and root.is_dir() else ():
        if folder.resolve().is_relative_to(root.resolve()):  # type: ignore[arg-type] # a Path
            raise DataError(f"{folder}: lies in the input folder {root}; choose one outside it")
    for folder in folders[1:]:
        if folder.resolve().is_relative_to(folders[0].resolve()):
            raise DataError(f"{folder}: lies in the output folder; choose one outside it")


def _write_parts(
    job: ScoringJob,
    todo: Sequence[Part],
    log: Log,
    *,
    rows: RowScorer,
    schema: pa.Schema,
    quarantine: Quarantine | None,
) -> None:
    refused = quarantine.refuse_range if quarantine else None
    for part, batches in batches_by_part(log, todo, rows.columns_of(log), refused=refused):
        tables = map(rows.score, batches)
        _write_part(job.folder / part.name, tables, schema=schema, keep=rows.keep)
        job.finish_part(part, quarantine.records_of(part) if quarantine else [])
        if quarantine:
            quarantine.write(job)
    if quarantine:
        quarantine.write(job)  # once more: a kill may have come between the last part and its list


def _write_part(
    path: Path, tables: Iterable[pa.Table], *, schema: pa.Schema, keep: list[str]
) -> None:
    """Write one part; on an error there is none."""
    # Scores hardly repeat: a dictionary of them costs time and space.
    with (
        new_file(path, durable=True) as partial,
        pq.ParquetWriter(partial, schema, use_dictionary=keep) as writer,
    ):
        for table in tables:
            writer.write_table(table)


class _RowsPerSecond(ProgressColumn):
    """Rows a second, over the last moments while running and over all when finished."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("- rows/s" if speed is None else f"{speed:,.0f} rows/s")
