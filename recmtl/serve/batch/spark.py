"""Batch scoring on Spark: the same bundle and the same code, in Spark's Python workers.

A row's scores depend on that row alone, so they equal those of `Scorer`, bit for bit on equal
processors. Spark does not keep the order of the rows: carry a key along. It repeats failed tasks by
itself, and a job that fails leaves no `_SUCCESS`.

pyspark is optional (`pip install 'recmtl[spark]'`); recmtl must be installed on the workers. It is
heavy and may be absent, so functions import it when they need it.
"""

import atexit
import shutil
import tempfile
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recmtl.data.files import LogFile, base_folder
from recmtl.data.reader import Log, open_log
from recmtl.data.side_table import JoinedTable, joined_columns, side_path
from recmtl.engines.spark import one_line_errors, spark_session
from recmtl.errors import ConfigError, DataError, SourceLocation
from recmtl.paths import AnyPath, is_url
from recmtl.serve.batch.rows import without_dictionary
from recmtl.serve.bundle.bundle import Bundle
from recmtl.serve.scoring.drift import LIMIT, Drift, DriftMode
from recmtl.serve.scoring.scorer import Scorer

__all__ = ["score_spark", "scored_frame"]

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


Batches = Iterator[pa.RecordBatch]
HERE = SourceLocation()
PARTITION_TYPES = "spark.sql.sources.partitionColumnTypeInference.enabled"
TIMES = ("timestamp", "timestamp_ntz")


def score_spark(
    bundle: Bundle,
    source: str,
    output: str,
    *,
    keep: Sequence[str] = (),
    drift: DriftMode = "warn",
    drift_limit: float = LIMIT,
    session: "SparkSession | None" = None,
) -> tuple[int, list[str]]:
    """Score a Parquet log into a new folder of Parquet files; returns its rows, and warnings.

    Args:
        bundle: the model that scores.
        source: a file, a folder or a glob of this machine, or a URL that Spark can read.
        output: a folder or URL that Spark can write.
        keep: input columns to carry along, before the scored ones.
        drift: as in `recmtl.serve.batch.parquet.score_parquet`.
        drift_limit: how much the share of unknown ids may exceed that of training.
        session: the Spark session to use; if None, the active one, or one that the environment
            configures.

    Raises:
        ConfigError: pyspark is not installed, or the drift options are wrong.
        DataError: a column is missing or wrong, or the output exists.
    """
    session = session or spark_session()
    drift_watch = Drift(bundle, mode=drift, limit=drift_limit)
    sum_of_arrays: Any = _Sum()
    totals = session.sparkContext.accumulator(drift_watch.totals, sum_of_arrays)
    with one_line_errors(output):
        frame, tables = _read(session, bundle, source, keep)
        options = {"mode": drift, "limit": drift_limit, "totals": totals}
        scored = scored_frame(frame, bundle, keep=keep, tables=tables, drift=options)
        scored.write.parquet(output)
        rows = session.read.parquet(output).count()
    drift_watch.totals = totals.value
    return int(rows), drift_watch.warnings()


def scored_frame(
    frame: "DataFrame",
    bundle: Bundle,
    *,
    keep: Sequence[str] = (),
    tables: Sequence[AnyPath] = (),
    drift: Mapping[str, Any] | None = None,
) -> "DataFrame":
    """The columns `keep` of any frame and the scored columns, computed when Spark needs them.

    Args:
        frame: has the bundle's input columns, or the keys of its side tables.
        bundle: the model that scores.
        keep: columns to carry along, of the frame or of a side table.
        tables: the files of the side tables that the bundle's schema names, in its order.
        drift: mode and limit of `recmtl.serve.scoring.drift.Drift`, and an accumulator of its
            totals.

    Raises:
        DataError: a column is missing, is kept twice, or has a type that Spark changes.
        ConfigError: the number of `tables` is not that of the schema.
    """
    from pyspark.sql import functions  # an extra
    from pyspark.sql.types import FloatType, StructField, StructType

    columns = list(dict.fromkeys([*bundle.encoder.columns_to_read(frame.columns), *keep]))
    joined = _side_tables(bundle, tables)
    log = _one_file_log(frame.columns, joined)
    log.require(columns)
    _refuse_changes(frame, bundle, keep)
    needed = log.joins(columns)[0]
    quoted = [
        functions.col("`" + name.replace("`", "``") + "`")
        for name in frame.columns
        if name in needed
    ]
    kept = [_field(frame, joined, name) for name in keep]
    scored = [StructField(name, FloatType(), False) for name in bundle.model.columns]
    folder = _ship(frame.sparkSession, bundle, tables)
    score = _scoring(folder, columns=columns, keep=list(keep), drift=dict(drift or {"mode": "off"}))
    return frame.select(*quoted).mapInArrow(score, StructType([*kept, *scored]))


def _scoring(
    folder: str, *, columns: list[str], keep: list[str], drift: dict[str, Any]
) -> Callable[[Batches], Batches]:
    """The function with which each worker scores its share of the rows."""
    totals = drift.pop("totals", None)

    def score(batches: Batches) -> Batches:
        scorer, joined = _worker(folder)
        drift_watch = Drift(scorer.bundle, **drift)
        for batch in batches:
            log = _one_file_log(batch.schema.names, joined)
            rows = joined_columns(batch, log.files[0], log.joins(columns)[1], HERE)
            table = pa.table([rows[name] for name in columns], names=columns)
            scores = scorer.scores(table, check=drift_watch.check)
            kept = [without_dictionary(rows[name]) for name in keep]
            scored = [pa.array(column) for column in scores.T]
            yield pa.record_batch([*kept, *scored], names=[*keep, *scorer.columns])
        if totals is not None:
            totals.add(drift_watch.totals)

    return score


@lru_cache(maxsize=2)
def _worker(name: str) -> tuple[Scorer, list[JoinedTable]]:
    """The scorer and the side tables of a worker process, which Spark uses for many tasks."""
    from pyspark import SparkFiles  # an extra

    folder = Path(SparkFiles.get(name))
    # Spark runs one such process for every core.
    scorer = Scorer.load(folder / "bundle", threads=1)
    count = len(scorer.bundle.encoder.schema.tables)
    return scorer, _side_tables(scorer.bundle, [folder / f"{n}.parquet" for n in range(count)])


def _side_tables(bundle: Bundle, paths: Sequence[AnyPath]) -> list[JoinedTable]:
    tables = bundle.encoder.schema.tables
    if len(paths) != len(tables):
        raise ConfigError(f"the bundle joins {len(tables)} side tables, {len(paths)} are given")
    return [JoinedTable(table, path) for table, path in zip(tables, paths, strict=True)]


def _one_file_log(columns: Sequence[str], tables: list[JoinedTable]) -> Log:
    """A log of one file with these columns, which plans the joins."""
    schema = pa.schema([(name, pa.null()) for name in columns])
    return Log("", [LogFile(Path("input"), 0, 0, schema, {})], tables=tables)


def _field(frame: "DataFrame", tables: list[JoinedTable], name: str) -> Any:
    from pyspark.sql.pandas.types import from_arrow_type  # an extra
    from pyspark.sql.types import StructField  # an extra

    if name in frame.columns:
        return frame.schema[name]
    table = next(table for table in tables if name in table.names)
    return StructField(name, from_arrow_type(table.schema.field(name).type))


def _refuse_changes(frame: "DataFrame", bundle: Bundle, keep: Sequence[str]) -> None:
    """Refuse kept columns that clash, and input columns whose values Spark would change.

    A time whose type was fitted is turned into it; a bundle of release 0.1 names no unit.
    """
    for name in keep:
        if name in bundle.model.columns or keep.count(name) > 1:
            fault = "is to be kept twice, or has the name of a scored column"
            raise HERE.error(fault, "rename it, or leave it out of keep", column=name)
    for name in bundle.encoder.input_columns:
        is_time = name in frame.columns and frame.schema[name].dataType.typeName() in TIMES
        fitted = bundle.encoder.types.get(name)
        if is_time and (fitted is None or not fitted.is_time):
            fault = "holds times, which Spark counts in another unit than the file"
            raise HERE.error(fault, "store it as int64, or use --engine local", column=name)


def _ship(session: "SparkSession", bundle: Bundle, tables: Sequence[AnyPath]) -> str:
    """Send bundle and side tables to all workers; returns the name of the archive there."""
    name = f"recmtl-{uuid.uuid4().hex}"
    folder = Path(tempfile.mkdtemp(prefix="recmtl-"))
    # Workers fetch it from here as long as the session lives.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
        for file in (path for path in bundle.folder.rglob("*") if path.is_file()):
            archive.write(file, f"bundle/{file.relative_to(bundle.folder)}")
        for number, path in enumerate(tables):
            member = archive.open(f"{number}.parquet", "w", force_zip64=True)
            with member as copy, path.open("rb") as source:
                shutil.copyfileobj(source, copy)
    session.sparkContext.addArchive(f"{folder / name}.zip#{name}")
    return name


def _read(
    session: "SparkSession", bundle: Bundle, source: str, keep: Sequence[str]
) -> tuple["DataFrame", list[AnyPath]]:
    """The input as a frame, and the files of its side tables."""
    from pyspark.sql.pandas.types import from_arrow_type  # an extra

    tables = bundle.tables()
    if is_url(source) and not source.startswith("file:"):
        paths = [side_path(table, base_folder(source)) for table in tables]
        return session.read.parquet(source), paths
    log = open_log(source, tables, fitted=bundle.encoder.types, layout=bundle.encoder.schema.files)
    log.require([*bundle.encoder.input_columns, *keep])
    base, inferred = base_folder(source), str(session.conf.get(PARTITION_TYPES))
    try:
        # Spark would read days as dates; here they are what they were in training.
        session.conf.set(PARTITION_TYPES, "false")
        reader = session.read
        if log.files[0].converted is None:
            reader = reader.option("basePath", f"file://{base.resolve()}")
        elif log.files[0].partition:
            raise DataError(f"{source}: has columns in its folders' names; store it as Parquet")
        frame = reader.parquet(*(f"file://{file.parquet.resolve()}" for file in log.files))
    finally:
        session.conf.set(PARTITION_TYPES, inferred)
    for name, value in log.files[0].partition.items():
        if not pa.types.is_string(value.type):
            frame = frame.withColumn(name, frame[name].cast(from_arrow_type(value.type)))
    return frame, [table.path for table in log.tables]


class _Sum:
    """Adds arrays up task by task: pyspark's `AccumulatorParam`, without its import."""

    def zero(self, value: Any) -> Any:
        return value * 0

    def addInPlace(self, value: Any, more: Any) -> Any:
        return value + more
