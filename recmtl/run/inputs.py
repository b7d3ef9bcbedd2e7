"""Frames as logs: what is in memory becomes a Parquet file of the output folder, which is read."""

import hashlib
import itertools
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from recmtl.atomic import read_json
from recmtl.data.formats.arrow_rows import in_parquet_types
from recmtl.errors import DataError, SourceLocation
from recmtl.serve.frames import Frame, arrow_stream

__all__ = ["LogInput", "is_place", "log_file"]

LogInput: TypeAlias = str | Path | Frame
"""A path, folder, glob or URL, or a frame: pandas, polars, Arrow, a dict of arrays."""
GROUP_ROWS = 100_000


def is_place(data: LogInput) -> bool:
    """Whether the data lies in files, here or behind a URL."""
    return isinstance(data, str | os.PathLike)


@contextmanager
def log_file(data: LogInput, folder: Path) -> Iterator[str]:
    """The place of a log; a frame is written into the folder first.

    The name of its file is made of its content: the same frame is the same file, and another one
    does not overwrite what an earlier job has read. If the block fails before the folder's job has
    noted the file as its input, it is removed again.

    Raises:
        DataError: it is no frame, or holds a column that Parquet cannot.
    """
    if is_place(data):
        yield str(data)
        return
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".frame-{uuid.uuid4().hex}.partial"
    try:
        _write(data, partial)
        path = folder / f"frame-{_digest(partial)}.parquet"
        is_new = not path.exists()
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    try:
        yield str(path)
    except BaseException:
        if is_new and _input_of(folder) != str(path):
            path.unlink(missing_ok=True)
        raise


def _write(frame: Frame, path: Path) -> None:
    stream = arrow_stream(frame)
    # What pandas adds to a schema says nothing of the rows, and would make equal frames differ.
    batches = in_parquet_types(stream.schema, stream, SourceLocation("input"))
    first = next(batches, None)
    if first is None:
        raise DataError("input: holds no rows; check how it was made")
    with pq.ParquetWriter(path, first.schema.remove_metadata()) as writer:
        for batch in itertools.chain([first], batches):
            table = pa.Table.from_batches([batch]).replace_schema_metadata(None)
            writer.write_table(table, row_group_size=GROUP_ROWS)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:12]


def _input_of(folder: Path) -> Any:
    try:
        return read_json(folder / "job.json", remedy="").get("data")
    except (OSError, DataError):
        return None
