"""Streams Arrow IPC and Feather files, in types that Parquet holds."""

import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recmtl.data.columns.canonical import canonical
from recmtl.errors import SourceLocation, first_line
from recmtl.paths import AnyPath, RemotePath

__all__ = ["arrow_batches"]


def arrow_batches(path: AnyPath) -> Iterator[pa.RecordBatch]:
    """The record batches of a file of Arrow's IPC format: file (Feather 2) or stream.

    Columns in forms that Parquet has no place for (runs, views) are in their canonical form.

    Raises:
        DataError: the file is empty, damaged, or of another format.
    """
    place = SourceLocation(str(path))
    try:
        with _opened(path) as source:
            reader = _reader(source)
            plain = {name for name in reader.schema.names if _fits(reader.schema.field(name))}
            for batch in _batches(reader):
                names = batch.schema.names
                arrays = [
                    array if name in plain else canonical(array, name, place)
                    for name, array in zip(names, batch.columns, strict=True)
                ]
                yield pa.record_batch(arrays, names=names)
    except FileNotFoundError as fault:
        raise place.error("does not exist", "check the path") from fault
    except (pa.ArrowException, OSError) as fault:
        remedy = "write it again, or check that the copy was complete"
        raise place.error(f"is truncated or not Arrow IPC ({first_line(fault)})", remedy) from fault


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
    try:
        pq.write_table(pa.schema([field]).empty_table(), io.BytesIO())
    except pa.ArrowException:
        return False
    return True
