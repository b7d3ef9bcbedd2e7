"""Reads the Arrow files of a bundle, of which none may state more than its bytes hold.

recmtl writes plain IPC files. In a foreign one a compressed buffer, or a column without bytes
(nulls, run ends), could state any number of values in a few bytes. Such a file is refused before
memory is allocated: all that is read is then a view of the file's bytes.
"""

import struct
from pathlib import Path
from typing import Any

import pyarrow as pa

from recmtl.errors import BundleError

__all__ = ["read_arrow"]

FOOTER_BATCHES, MESSAGE_HEADER, BATCH_COMPRESSION = 3, 2, 3
"""Numbers of the fields in the flatbuffers of Arrow's format (File.fbs, Message.fbs)."""
BLOCK_BYTES = 24
MAGIC = b"ARROW1"


def read_arrow(path: Path) -> pa.Table:
    """The table of an Arrow IPC file, checked in full.

    Raises:
        BundleError: the file is compressed, or states more values than it has bits.
        pyarrow.ArrowException, struct.error: it is no Arrow file.
    """
    content = pa.py_buffer(path.read_bytes())
    if _is_compressed(content):
        raise BundleError(f"{path}: is compressed, as recmtl writes none; save the bundle again")
    table = pa.ipc.open_file(content).read_all()
    table.validate(full=True)
    largest = max((_most_values(column) for column in table.columns), default=0)
    if max(largest, table.num_rows) > 8 * content.size:
        raise BundleError(f"{path}: states more values than it holds; save the bundle again")
    return table


def _is_compressed(content: Any) -> bool:
    """Whether the buffers of a batch of an IPC file are compressed."""
    view = memoryview(content)
    if bytes(view[:6]) != MAGIC or bytes(view[-6:]) != MAGIC:
        raise pa.ArrowInvalid("not an Arrow file")
    length = struct.unpack_from("<i", view, len(view) - 10)[0]
    footer = view[len(view) - 10 - length : len(view) - 10]
    batches = _field(footer, _root(footer), FOOTER_BATCHES)
    if batches is None:
        return False
    batches += struct.unpack_from("<I", footer, batches)[0]
    (count,) = struct.unpack_from("<I", footer, batches)
    for number in range(count):
        block = batches + 4 + number * BLOCK_BYTES
        first, size = struct.unpack_from("<qi", footer, block)
        message = view[first + 8 : first + size]  # after the continuation marker and the length
        header = _field(message, _root(message), MESSAGE_HEADER)
        if header is None:
            raise pa.ArrowInvalid("a message without a header")
        batch = header + struct.unpack_from("<I", message, header)[0]
        if _field(message, batch, BATCH_COMPRESSION) is not None:
            return True
    return False


def _root(flatbuffer: memoryview) -> int:
    return int(struct.unpack_from("<I", flatbuffer, 0)[0])


def _field(flatbuffer: memoryview, table: int, number: int) -> int | None:
    """Where field `number` of a flatbuffer's table stands; None if it is absent."""
    vtable = table - struct.unpack_from("<i", flatbuffer, table)[0]
    (size,) = struct.unpack_from("<H", flatbuffer, vtable)
    entry = 4 + 2 * number
    offset = struct.unpack_from("<H", flatbuffer, vtable + entry)[0] if entry < size else 0
    return table + offset if offset else None


def _most_values(column: Any) -> int:
    """The most values at any depth of a column; run ends count as what they stand for."""
    if isinstance(column, pa.ChunkedArray):
        return max((_most_values(chunk) for chunk in column.chunks), default=0)
    kind, inner = column.type, 0
    if pa.types.is_dictionary(kind):
        inner = _most_values(column.dictionary)
    elif pa.types.is_nested(kind) and hasattr(column, "values"):
        inner = _most_values(column.values)
    return max(len(column), inner)
