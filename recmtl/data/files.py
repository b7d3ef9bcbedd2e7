"""Finds and opens the Parquet files of a log: one file, a folder, or a glob."""

import glob
import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recmtl.data.places import Place
from recmtl.errors import DataError

__all__ = ["LogFile", "base_folder", "content_hash", "find_files", "open_parquet"]

READ_BUFFER = 1 << 20


@dataclass(frozen=True)
class LogFile:
    """One Parquet file.

    Attributes:
        path: where it is.
        rows: number of rows.
        size: bytes.
        schema: the Arrow schema.
        partition: columns whose value stands in the folder's name (`date=2024-05-01/`).
    """

    path: Path
    rows: int
    size: int
    schema: Any
    partition: dict[str, int | str]


def base_folder(data: str) -> Path:
    """The data's folder: of the file, the folder itself, or what stands before the first `*`."""
    path = Path(data)
    if path.exists() or not glob.has_magic(data):
        return path if path.is_dir() else path.parent
    plain = itertools.takewhile(lambda part: not glob.has_magic(part), path.parts)
    return Path(*plain)


def find_files(data: str, *, exclude: frozenset[Path] = frozenset()) -> list[LogFile]:
    """The Parquet files of `data` in the order of their paths, opened once to read their footers.

    Args:
        data: a file, a folder (searched through, names with a leading `.` or `_` are left out) or a
            glob (`**` goes through folders).
        exclude: resolved paths to leave out: side tables in the same folder.

    Raises:
        DataError: no file matches, one is empty or damaged, or none has a row.
    """
    path = Path(data)
    if path.is_dir():
        found = [p for p in sorted(path.rglob("*.parquet")) if _is_visible(p.relative_to(path))]
    elif path.exists():
        found = [path]
    else:
        found = [Path(p) for p in sorted(glob.glob(data, recursive=True)) if Path(p).is_file()]
    found = [p for p in found if p.resolve() not in exclude]
    if not found:
        raise DataError(f"{data}: no Parquet file found; check the path, folder or glob")
    root = base_folder(data)
    files = [_inspect(p, root) for p in found]
    if sum(file.rows for file in files) == 0:
        raise DataError(f"{data}: holds no rows; check how it was written")
    return files


def _is_visible(relative: Path) -> bool:
    return not any(part.startswith((".", "_")) for part in relative.parts)


def _inspect(path: Path, root: Path) -> LogFile:
    with open_parquet(path) as parquet:
        rows, schema = parquet.metadata.num_rows, parquet.schema_arrow
    partition: dict[str, int | str] = {}
    for part in path.relative_to(root).parts[:-1] if path.is_relative_to(root) else ():
        name, equals, text = part.partition("=")
        if equals and name not in schema.names:
            partition[name] = int(text) if text.lstrip("-").isdecimal() else text
    return LogFile(path, rows, path.stat().st_size, schema, partition)


def open_parquet(path: Path, *, dictionary: list[str] | None = None) -> Any:
    """Open a Parquet file to stream it.

    Args:
        path: the file.
        dictionary: text columns to read as dictionary codes, as they are stored.

    Raises:
        DataError: there is no such file, it is empty, truncated or not Parquet.
    """
    place = Place(str(path))
    try:
        if path.stat().st_size == 0:
            raise place.error("is empty (0 bytes)", "write it again")
        # Pre-buffering would hold whole row groups, however large, in memory.
        return pq.ParquetFile(
            path, read_dictionary=dictionary, buffer_size=READ_BUFFER, pre_buffer=False
        )
    except FileNotFoundError as fault:
        raise place.error("does not exist", "check the path") from fault
    except PermissionError as fault:
        raise place.error("may not be read", "change its permissions") from fault
    except (pa.ArrowException, OSError) as fault:
        first = str(fault).split(". ")[0]
        remedy = "write it again, or check that the copy was complete"
        raise place.error(f"is truncated or not Parquet ({first})", remedy) from fault


def content_hash(path: Path) -> str:
    """BLAKE2 of the file's bytes, in hex: the same rows in another file have another hash."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
