"""Streams Arrow IPC, Feather and ORC files, in types that Parquet holds."""

import io
import itertools
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.orc as orc
import pyarrow.parquet as pq

from recmtl.data.columns.canonical import canonical
from recmtl.errors import SourceLocation, first_line
from recmtl.paths import AnyPath, RemotePath

__all__ = ["arrow_batches", "in_parquet_types", "orc_batches"]


def arrow_batches(path: AnyPath) -> Iterator[pa.RecordBatch]:
    """The record batches of a file of Arrow's IPC format: file (Feather 2) or stream.

    Columns in forms that Parquet has no place for (runs, views) are in their canonical form.

    Raises:
        DataError: the file is empty, damaged, or of another format.
    """
    with _read(path, "Arrow IPC") as (source, place):
        reader = _reader(source)
        yield from in_parquet_types(reader.schema, _batches(reader), place)


def orc_batches(path: AnyPath) -> Iterator[pa.RecordBatch]:
    """The stripes of an ORC file, as `arrow_batches` gives record batches.

    Raises:
        DataError: the file is empty, damaged, or of another format.
    """
    with _read(path, "ORC") as (source, place):
        file = orc.ORCFile(source)
        nothing = pa.RecordBatch.from_pylist([], schema=file.schema)  # of a file without rows
        stripes = (file.read_stripe(number) for number in range(file.nstripes))
        yield from in_parquet_types(file.schema, itertools.chain([nothing], stripes), place)


@contextmanager
def _read(path: AnyPath, what: str) -> Iterator[tuple[Any, SourceLocation]]:
    """The opened file, and its place in messages."""
    place = SourceLocation(str(path))
    try:
        with _opened(path) as source:
            yield source, place
    except FileNotFoundError as fault:
        raise place.error("does not exist", "check the path") from fault
    except (pa.ArrowException, OSError) as fault:
        remedy = "write it again, or check that the copy was complete"
        raise place.error(f"is truncated or not {what} ({first_line(fault)})", remedy) from fault


def in_parquet_types(
    schema: Any, batches: Iterable[Any], place: SourceLocation
) -> Iterator[pa.RecordBatch]:
    """These batches, columns in forms that Parquet has no place for in their canonical form.

    Raises:
        DataError: a column holds what has no canonical form.
    """
    plain = {name for name in schema.names if _fits(schema.field(name))}
    for batch in batches:
        names = batch.schema.names
        arrays = [
            array if name in plain else canonical(array, name, place)
            for name, array in zip(names, batch.columns, strict=True)
        ]
        yield pa.record_batch(arrays, names=names)


def _opened(path: AnyPath) -> Any:
    if isinstance(path, RemotePath):
        return pa.PythonFile(path.open("rb"), mode="r")
    return pa.OSFile(str(path))


def _reader(source: Any) -> Any:
    try:
        return pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_stream(source)


def _batches(reader: Any) -> Iterator[Any]:
    if isinstance(reader, pa.RecordBatchFileReader):
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)
    else:
        yield from reader


def _fits(field: Any) -> bool:
    """Whether Parquet holds a column of this type as it is."""
    if re.search(r"dictionary<values=(string|binary)_view", str(field.type)):
        return False  # written without values, but not with any
    try:
        pq.write_table(pa.schema([field]).empty_table(), io.BytesIO())
    except pa.ArrowException:
        return False
    return True
