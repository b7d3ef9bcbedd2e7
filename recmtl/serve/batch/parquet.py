"""Batch scoring: Parquet to Parquet in row order, at constant memory, resumable after a kill."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import Progress

from recmtl.atomic import new_file
from recmtl.data.files import RemotePath, any_path
from recmtl.data.reader import Log, open_log
from recmtl.errors import DataError, SourceLocation
from recmtl.memory import keep_freed_memory
from recmtl.serve.arguments import as_column_list, as_instance, as_path, as_whole_number
from recmtl.serve.batch.batch_state import Part, ScoringJob, locked
from recmtl.serve.batch.rows import Quarantine, RowScorer, by_part
from recmtl.serve.scoring.drift import LIMIT, Drift, DriftMode
from recmtl.serve.scoring.scorer import Scorer

__all__ = ["ScoredRows", "score_parquet"]

PART_ROWS = 500_000


@dataclass(frozen=True)
class ScoredRows:
    """What a job did.

    Attributes:
        folder: where the parts are.
        rows: of the input, without files that could not be opened.
        parts: in the folder.
        scored_rows: scored by this call.
        seconds: of this call.
        unknown: values that training had not seen, by feature, met by this call.
        quarantined_rows: of `rows`, left out by this call and those that it resumed.
        quarantined_files: files that could not be opened.
        warnings: one line each.
    """

    folder: Path
    rows: int
    parts: int
    scored_rows: int
    seconds: float
    unknown: dict[str, int]
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
) -> ScoredRows:
    """Score every row of a Parquet log, in order, into `part-*.parquet` files.

    The side tables of the bundle's schema are joined as in training, from the log's own folder.

    Args:
        scorer: what scores.
        source: a file, a folder or a glob, here or by URL, as in `recmtl.data.reader.open_log`.
        output: a folder outside `source`, new or empty unless `resume`.
        keep: input columns to carry along, before the scored ones.
        resume: go on with a job that was killed in this folder; finished parts stay as they are.
        part_rows: rows of a part, what a kill can cost at most.
        quarantine: a folder for files, row groups and rows that cannot be read or encoded, with
            the reason; without it the first of them ends the job.
        drift: what far more unknown ids than in training mean, see `recmtl.serve.scoring.drift`;
            with `error` and `quarantine`, such rows are set aside too.
        drift_limit: how much larger the share of unknown ids may be.
        progress: a rich progress display to which the job adds itself.

    Raises:
        DataError: nothing to read, a damaged file, a missing column, a `keep` column named like a
            scored one, an output that is in use, not empty or of another job, a full disk.
    """
    keep_freed_memory()
    started, before = time.monotonic(), as_instance("scorer", scorer, Scorer).unknown
    output = _local(as_path("output", output))
    aside = None if quarantine is None else Quarantine(_local(as_path("quarantine", quarantine)))
    keep, resume = as_column_list("keep", keep), as_instance("resume", resume, bool)
    part_rows = as_whole_number("part_rows", part_rows, least=1, most=2**40)
    drift_watch = Drift(scorer.bundle, mode=drift, limit=drift_limit)
    log = _open(scorer, str(as_path("source", source)), keep, aside)
    schema = _output_schema(scorer, log, keep)
    _refuse_folders([output, *([aside.folder] if aside else [])], log)
    job = ScoringJob(output, _facts(scorer, log, keep, aside), rows=log.rows, part_rows=part_rows)
    rows = RowScorer(scorer, schema, drift_watch=drift_watch, aside=aside)
    with ExitStack() as held:
        held.enter_context(_write_faults(output))
        output.mkdir(parents=True, exist_ok=True)
        held.enter_context(locked(output))
        if aside:
            held.enter_context(aside.opened(resume=resume))
        todo = job.start(resume=resume)
        if progress:
            rows.show(progress, sum(part.rows for part in todo))
        _write_parts(job, todo, log, rows=rows, schema=schema, aside=aside)
        job.close(drift_watch.warnings())
    return ScoredRows(
        folder=output,
        rows=log.rows,
        parts=len(job.parts),
        scored_rows=sum(part.rows for part in todo),
        seconds=time.monotonic() - started,
        unknown={name: count - before.get(name, 0) for name, count in scorer.unknown.items()},
        quarantined_rows=job.quarantined_rows,
        quarantined_files=len(aside.files) if aside else 0,
        warnings=tuple(drift_watch.warnings()),
    )


@contextmanager
def _write_faults(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or output}: cannot write ({error.strerror or error}); make room "
            "there, then run the same command with --resume"
        ) from None


def _local(folder: str | Path) -> Path:
    path = any_path(folder) if isinstance(folder, str) else folder
    if isinstance(path, RemotePath):
        raise DataError(
            f"{folder}: parts are put in place by renaming, which only a folder of this machine "
            "can do; choose one, then copy it there"
        )
    return path


def _open(scorer: Scorer, source: str, keep: Sequence[str], aside: Quarantine | None) -> Log:
    columns = [*scorer.input_columns, *keep]
    refused = aside.refuse_file if aside else None
    log = open_log(source, scorer.bundle.encoder.schema.tables, refused=refused)
    files = []
    for file in log.files:
        try:
            Log(log.data, [file], tables=log.tables).require(columns)
            files.append(file)
        except DataError as fault:
            if aside is None:
                raise
            aside.refuse_file(file.path, fault)
    if aside and not files:
        raise DataError(f"{source}: no file can be scored: {aside.files[0]['reason']}")
    return Log(log.data, files, tables=log.tables)


def _facts(
    scorer: Scorer, log: Log, keep: Sequence[str], aside: Quarantine | None
) -> dict[str, Any]:
    """What a job must have in common with the one that it resumes."""
    facts: dict[str, Any] = {"bundle": scorer.bundle.fingerprint, "keep": list(keep)}
    facts["input"] = [{"file": file.path.name, "bytes": file.size} for file in log.files]
    if aside:
        facts["quarantine"] = str(aside.folder.resolve())
        facts["refused files"] = [record["file"] for record in aside.files]
    return facts


def _output_schema(scorer: Scorer, log: Log, keep: Sequence[str]) -> pa.Schema:
    place = SourceLocation(str(log.files[0].path))
    for number, name in enumerate(keep):
        if name in scorer.columns:
            remedy = "rename it, or leave it out of keep"
            raise place.error("has the name of a scored column", remedy, column=name)
        if name in keep[:number]:
            raise place.error("is to be kept twice", "name it once in keep", column=name)
    kept = [pa.field(name, _kind(log, name)) for name in keep]
    scored = [pa.field(name, pa.float32()) for name in scorer.columns]
    return pa.schema([*kept, *scored], metadata={"recmtl.bundle": scorer.bundle.fingerprint})


def _kind(log: Log, name: str) -> pa.DataType:
    first = log.files[0]
    if name in first.partition:
        return pa.scalar(first.partition[name]).type
    schemas: list[Any] = [first.schema, *(table.schema for table in log.tables)]
    return next(schema.field(name).type for schema in schemas if name in schema.names)


def _refuse_folders(folders: Sequence[Path], log: Log) -> None:
    """A resumed job would otherwise read its own parts as input."""
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
    aside: Quarantine | None,
) -> None:
    refused = aside.refuse_range if aside else None
    for part, batches in by_part(log, todo, rows.columns, refused=refused):
        tables = map(rows.scored, batches)
        _write_part(job.folder / part.name, tables, schema=schema, keep=rows.keep)
        job.finish(part, aside.of(part) if aside else [])
        if aside:
            aside.write(job)
    if aside:
        aside.write(job)  # once more: a kill may have come between the last part and its list


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
