r"""Write files and folders that are whole or absent: beside their place first, then moved there.

The unfinished one is hidden (`.name.partial`), so that no listing of the folder takes it for a
result. A killed process leaves it behind; the next writer of the same path removes it.

>>> import tempfile
>>> path = Path(tempfile.mkdtemp()) / "facts.json"
>>> write_json(path, {"rows": 3})
>>> path.read_text()
'{\n "rows": 3\n}\n'
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recmtl.errors import DataError, RecmtlError

__all__ = [
    "new_file",
    "new_folder",
    "partial_path",
    "read_json",
    "reading",
    "write_json",
    "write_text",
]


def partial_path(path: Path) -> Path:
    """The hidden place where `path` is written until it is whole."""
    return path.with_name(f".{path.name}.partial")


@contextmanager
def new_file(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A path to write to; the file is moved to `path` when the block ends without an error.

    Args:
        path: the file to make or to replace; until then it keeps its old content.
        durable: wait until the disk, and not only its cache, holds the file: it then survives a
            loss of power.
    """
    partial = partial_path(path)
    partial.unlink(missing_ok=True)
    try:
        yield partial
        if durable:
            _flush(partial)
        os.replace(partial, path)
        if durable:
            _flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def new_folder(
    path: Path, *, goes_on: Callable[[Path], bool] = lambda partial: False
) -> Iterator[Path]:
    """An empty folder to fill, moved to `path` when the block ends without an error.

    Args:
        path: the folder to make or to replace.
        goes_on: whether what an earlier block has left unfinished is handed on as it is; such is
            kept, too, when this block fails.

    A folder with content cannot be replaced in one step. An older `path` is moved aside first
    (`.name.old`) and deleted last, so that a process killed in between leaves both folders whole.
    """
    partial, old = partial_path(path), path.with_name(f".{path.name}.old")
    if not goes_on(partial):
        shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True, exist_ok=True)
        yield partial
        shutil.rmtree(old, ignore_errors=True)
        replaces = path.exists()
        if replaces:
            os.replace(path, old)
        try:
            os.replace(partial, path)
        except OSError:
            if replaces:
                os.replace(old, path)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        if not goes_on(partial):
            shutil.rmtree(partial, ignore_errors=True)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write a UTF-8 file; see `new_file`."""
    with new_file(path, durable=durable) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any, *, allow_nan: bool = False, durable: bool = False) -> None:
    """Write a JSON file, indented, with a newline at its end.

    Args:
        path: the file to make or to replace.
        content: whatever `json.dumps` accepts.
        allow_nan: write NaN and infinity, which are not JSON, but which Python reads.
        durable: see `new_file`.

    Raises:
        TypeError, ValueError: the content is not JSON; nothing is written.
    """
    text = json.dumps(content, indent=1, allow_nan=allow_nan)
    write_text(path, text + "\n", durable=durable)


@contextmanager
def reading(path: Path, *, remedy: str) -> Iterator[None]:
    """Turn whatever fails while a file is read and taken apart into a `DataError`.

    Args:
        path: the file; a loss of power, or another hand, may have left anything in it.
        remedy: what to do about it, the end of the message.
    """
    try:
        yield
    except RecmtlError:
        raise
    except Exception as fault:
        # A bare KeyError says no more than the key.
        reason = getattr(fault, "strerror", None) or str(fault).partition("\n")[0]
        reason = f"no {reason}" if isinstance(fault, KeyError) else reason
        raise DataError(f"{path}: is damaged ({reason}); {remedy}") from fault


def read_json(path: Path, *, remedy: str) -> dict[str, Any]:
    """The object that `write_json` wrote; NaN and infinity are read. See `reading`."""
    with reading(path, remedy=remedy):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError("it holds no JSON object")
        return content


def _flush(path: Path) -> None:
    """Wait until the system has written a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
