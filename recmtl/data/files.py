"""Finds and opens the files of a log: a file, a folder or a glob, here or by URL."""

import glob
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from recmtl.data.columns.hive import folder_values, inferred_types, typed_value
from recmtl.data.columns.logical_type import LogicalType
from recmtl.data.formats.converted import parquet_of
from recmtl.data.formats.file_format import file_format, has_ending, of_one_format
from recmtl.errors import DataError, SourceLocation
from recmtl.paths import AnyPath, RemotePath, any_path, path_bytes, whole_path
from recmtl.schema import TextFiles

__all__ = [
    "LogFile",
    "Refused",
    "base_folder",
    "find_files",
    "name_within",
    "open_parquet",
    "stored_texts",
]

READ_BUFFER = 1 << 20
"""Bytes that a column is read in at a time."""
OTHER_FORMATS = (".avro", ".xlsx", ".xls", ".h5", ".pkl")

Refused: TypeAlias = Callable[[AnyPath, DataError], None]


@dataclass(frozen=True)
class LogFile:
    """One file of a log.

    Attributes:
        path: where it is.
        rows: number of rows.
        size: bytes.
        schema: the Arrow schema.
        partition: columns whose value stands in the folder's name (`date=2024-05-01/`) and not in
            the file, as Arrow scalars of one type in all files; see `recmtl.data.columns.hive`.
        repeated: text of the folder's name for columns that the file has too.
        converted: the Parquet file that is read in its place, if it is none.
        groups: number of rows of each row group.
    """

    path: AnyPath
    rows: int
    size: int
    schema: Any
    partition: dict[str, Any]
    repeated: dict[str, str | None] = field(default_factory=dict)
    converted: AnyPath | None = None
    groups: tuple[int, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        """What travels between processes, which may have another working folder."""
        return {
            **self.__dict__,
            "path": whole_path(self.path),
            "converted": None if self.converted is None else whole_path(self.converted),
        }

    @property
    def parquet(self) -> AnyPath:
        """The Parquet file that is read."""
        return self.path if self.converted is None else self.converted


def base_folder(data: str) -> AnyPath:
    """The folder of the data: a file's parent, the folder itself, or a glob up to its first `*`."""
    path = any_path(data)
    try:
        plain_name = path.path if isinstance(path, RemotePath) else str(path)
        if path.exists() or not glob.has_magic(plain_name):
            return path if path.is_dir() else path.parent
    except OSError as fault:  # a name too long, a folder that may not be entered
        reason = fault.strerror or str(fault)
        raise DataError(f"{data}: cannot be read ({reason}); check the path") from None
    if isinstance(path, RemotePath):
        while glob.has_magic(path.path):
            path = path.parent
        return path
    plain = itertools.takewhile(lambda part: not glob.has_magic(part), path.parts)
    return Path(*plain)


def find_files(
    data: str,
    *,
    exclude: frozenset[AnyPath] = frozenset(),
    refused: Refused | None = None,
    fitted: Mapping[str, LogicalType] = MappingProxyType({}),
    layout: TextFiles | None = None,
) -> list[LogFile]:
    """The files of `data` in the order of their paths, opened once to read their footers.

    Args:
        data: a file, a folder (searched through, names with a leading `.` or `_` are left out) or a
            glob (`**` goes through folders), of this machine or as a URL. Of a folder the files of
            one format are taken: Parquet, else Arrow, else text.
        exclude: resolved paths to leave out: side tables in the same folder.
        refused: takes the files that cannot be opened, which are then left out.
        fitted: the types of columns in a log that was encoded before.
        layout: how text files are laid out, as far as they do not show it.

    Raises:
        DataError: no file matches, one is empty or damaged, none has a row, or a folder's name
            holds another value than its column was fitted on.
    """
    paths = [path for path in _listed(any_path(data)) if path.resolve() not in exclude]
    if not paths:
        raise DataError(f"{data}: no data file found; check the path, folder or glob")
    root, files = base_folder(data), []
    formats = {path: file_format(path, is_text=layout is not None) for path in paths}
    parquet = parquet_of(formats, files=layout, fitted=fitted, refused=refused)
    for path, stored in parquet.items():
        try:
            files.append(_inspect(path, stored, root))
        except DataError as fault:
            if refused is None:
                raise
            refused(path, fault)
    if sum(file.rows for file in files) == 0:
        raise DataError(f"{data}: holds no rows; check how it was written")
    return list(_with_typed_partitions(files, fitted, refused))


def _listed(path: AnyPath) -> list[AnyPath]:
    if path.is_dir():
        below = path.files() if isinstance(path, RemotePath) else _files_below(path)
        names = [(p, p.relative_to(path)) for p in below]  # type: ignore[arg-type] # of one kind
        visible = [(p, name) for p, name in names if _is_visible(name)]
        endings = of_one_format([name for _, name in visible])
        return [p for p, name in visible if has_ending(name, endings)]
    if path.exists():
        return [path]
    if isinstance(path, RemotePath):
        return list(path.matches())
    return [Path(p) for p in sorted(glob.glob(str(path), recursive=True)) if Path(p).is_file()]


def _files_below(folder: Path) -> list[Path]:
    """All files; Spark writes a folder named like a file around the files of one data set."""
    return [path for path in sorted(folder.rglob("*")) if not path.is_dir()]


def _is_visible(relative: PurePath) -> bool:
    return not any(part.startswith((".", "_")) for part in relative.parts)


def name_within(root: AnyPath, path: AnyPath) -> str:
    """The path of a file from a folder, or its name if it does not lie there."""
    if not path.is_relative_to(root):  # type: ignore[arg-type] # of one kind
        return path.name
    return path.relative_to(root).as_posix()  # type: ignore[arg-type]


def _inspect(path: AnyPath, stored: AnyPath, root: AnyPath) -> LogFile:
    with open_parquet(stored) as parquet:
        facts, schema = parquet.metadata, parquet.schema_arrow
        groups = tuple(facts.row_group(i).num_rows for i in range(facts.num_row_groups))
    values = folder_values(name_within(root, path).split("/")[:-1], SourceLocation(str(path)))
    repeated = {name: values.pop(name) for name in [*values] if name in schema.names}
    converted = None if stored is path else stored
    rows, size = facts.num_rows, path_bytes(path)
    return LogFile(path, rows, size, schema, values, repeated, converted, groups)


def _with_typed_partitions(
    files: list[LogFile], fitted: Mapping[str, LogicalType], refused: Refused | None
) -> Iterator[LogFile]:
    """The files, with the texts of their folders' names as values of the columns' types."""
    types = {**inferred_types([file.partition for file in files]), **fitted}
    for file in files:
        place = SourceLocation(str(file.path))
        try:
            partition = {
                name: typed_value(text, types[name], name, place)
                for name, text in file.partition.items()
            }
        except DataError as fault:
            if refused is None:
                raise
            refused(file.path, fault)
            continue
        yield replace(file, partition=partition)


def open_parquet(path: AnyPath, *, dictionary: list[str] | None = None) -> Any:
    """Open a Parquet file to stream it.

    Args:
        path: the file.
        dictionary: text columns to read as dictionary codes, as they are stored.

    Raises:
        DataError: there is no such file, it is empty, truncated or not Parquet.
    """
    place = SourceLocation(str(path))
    try:
        if path_bytes(path) == 0:
            raise place.error("is empty (0 bytes)", "write it again")
        source = path.open("rb") if isinstance(path, RemotePath) else path
        # Pre-buffering would hold whole row groups, however large, in memory.
        parquet = pq.ParquetFile(
            source, read_dictionary=dictionary, buffer_size=READ_BUFFER, pre_buffer=False
        )
    except FileNotFoundError as fault:
        raise place.error("does not exist", "check the path") from fault
    except PermissionError as fault:
        raise place.error("may not be read", "change its permissions") from fault
    except (pa.ArrowException, OSError) as fault:
        first = str(fault).split(". ")[0]
        remedy = "write it again, or check that the copy was complete"
        if str(path).lower().endswith(OTHER_FORMATS):
            remedy = "convert it to Parquet, Arrow or CSV, which are read"
        raise place.error(f"is truncated or not Parquet ({first})", remedy) from fault
    for name, count in Counter(parquet.schema_arrow.names).items():
        if count > 1:
            raise place.error(f"stands in the file {count} times", "rename it", column=name)
    return parquet


def stored_texts(schema: pa.Schema, columns: Iterable[str]) -> list[str]:
    """Those of `columns` that Parquet can hand on as the dictionaries in which it stores them."""
    types = {name: schema.field(name).type for name in columns}
    return [name for name, arrow in types.items() if arrow in (pa.string(), pa.large_string())]
