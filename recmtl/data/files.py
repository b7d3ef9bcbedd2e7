"""Finds and opens the Parquet files of a log: one file, a folder or a glob, here or behind a URL.

A `RemotePath` has the few methods of `pathlib.Path` that reading a log needs, so that the code
which reads one need not know where it lies: on this machine, or on any file system for which fsspec
has a driver (s3://, gs://, hdfs://, ...).
"""

import glob
import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from recmtl.data.columns.hive import folder_values, inferred_types, typed_value
from recmtl.data.columns.logical_type import LogicalType
from recmtl.errors import DataError, RecmtlError, SourceLocation
from recmtl.masking import mask

__all__ = [
    "AnyPath",
    "FileContent",
    "LogFile",
    "Refused",
    "RemotePath",
    "any_path",
    "base_folder",
    "content_hash",
    "file_content",
    "find_files",
    "is_url",
    "name_within",
    "open_parquet",
    "sampled_hash",
    "stored_texts",
]

READ_BUFFER = 1 << 20
"""Bytes that a column is read in at a time."""
HASHED_WHOLE, REMOTE_HASHED_WHOLE = 16 << 20, 1 << 20
"""Bytes up to which `sampled_hash` reads a whole file, here and behind a URL."""
SAMPLES, REMOTE_SAMPLES, SAMPLE_BYTES = 128, 16, 32 << 10
"""Blocks of a larger file that it reads, here and behind a URL, and their size."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(://|::)")


@dataclass(frozen=True)
class RemotePath:
    """A path of a remote file system.

    Every method raises `DataError` where the driver fails; `FileNotFoundError` stays itself.
    """

    path: str
    system: Any = field(compare=False, repr=False)

    def __str__(self) -> str:
        """What names it to people: passwords and tokens of the URL are masked."""
        return mask(str(self.system.unstrip_protocol(self.path)))

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(f"{self.path.rstrip('/')}/{name}", self.system)

    @property
    def name(self) -> str:
        """The last part."""
        return self.path.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> "RemotePath":
        """The folder that holds it."""
        return RemotePath(self.path.rstrip("/").rpartition("/")[0], self.system)

    def resolve(self) -> "RemotePath":
        """Itself: a remote path has no links to follow."""
        return self

    def is_relative_to(self, other: "RemotePath") -> bool:
        """Whether it lies in `other`."""
        return self.path.startswith(f"{other.path.rstrip('/')}/")

    def relative_to(self, other: "RemotePath") -> PurePosixPath:
        """The path from `other`, in which it lies."""
        return PurePosixPath(self.path.removeprefix(f"{other.path.rstrip('/')}/"))

    def bytes(self) -> int:
        """Size of the file."""
        with _faults(self):
            return int(self.system.info(self.path)["size"])

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        with _faults(self):
            return bool(self.system.isdir(self.path))

    def exists(self) -> bool:
        """Whether something is there."""
        with _faults(self):
            return bool(self.system.exists(self.path))

    def open(self, mode: str, block_size: int | None = None) -> Any:
        """Open the file; of one that is read in places, blocks of this many bytes are fetched."""
        with _faults(self):
            options = {} if block_size is None else {"block_size": block_size}
            return self.system.open(self.path, mode, **options)

    def files(self) -> "list[RemotePath]":
        """All files below this folder, in the order of their paths."""
        with _faults(self):
            return [RemotePath(name, self.system) for name in sorted(self.system.find(self.path))]

    def matches(self) -> "list[RemotePath]":
        """The files that this path stands for as a glob, in the order of their paths."""
        with _faults(self):
            names = sorted(self.system.glob(self.path))
            return [RemotePath(name, self.system) for name in names if self.system.isfile(name)]


AnyPath: TypeAlias = Path | RemotePath
Refused: TypeAlias = Callable[[AnyPath, DataError], None]


def is_url(text: str) -> bool:
    """Whether a text is a URL (`s3://...`) or a chain of them (`zip://...::s3://...`)."""
    return _URL.match(text) is not None


def any_path(data: str) -> AnyPath:
    """The path that a text names: of this machine, also as `file://`, or behind a URL.

    Raises:
        DataError: there is no driver for the URL, or it cannot be reached.
    """
    if not is_url(data):
        return Path(data)
    import fsspec  # heavy, and most logs lie on this machine

    try:
        with _faults(data):
            system, path = fsspec.core.url_to_fs(data)
    except ImportError as fault:
        reason = str(fault).splitlines()[0]
        raise SourceLocation(data).error(
            f"has no driver here ({reason})", "install it with pip"
        ) from None
    protocols = system.protocol if isinstance(system.protocol, tuple) else (system.protocol,)
    return Path(path) if "file" in protocols else RemotePath(path, system)


@contextmanager
def _faults(place: object) -> Iterator[None]:
    """Turn a driver's errors, of whatever class, into a `DataError`."""
    try:
        yield
    except (ImportError, FileNotFoundError, RecmtlError):
        raise
    except Exception as fault:
        reason = (str(fault).splitlines() or [type(fault).__name__])[0]
        remedy = "check the URL and the access to it"
        raise SourceLocation(str(place)).error(f"cannot be reached ({reason})", remedy) from fault


@dataclass(frozen=True)
class LogFile:
    """One Parquet file.

    Attributes:
        path: where it is.
        rows: number of rows.
        size: bytes.
        schema: the Arrow schema.
        partition: columns whose value stands in the folder's name (`date=2024-05-01/`) and not in
            the file, as Arrow scalars of one type in all files; see `recmtl.data.columns.hive`.
        repeated: text of the folder's name for columns that the file has too.
    """

    path: AnyPath
    rows: int
    size: int
    schema: Any
    partition: dict[str, Any]
    repeated: dict[str, str | None] = field(default_factory=dict)


class FileContent(NamedTuple):
    """Size in bytes, and `sampled_hash`, of a file."""

    bytes: int
    hash: str

    def __str__(self) -> str:
        return f"{self.bytes:,} bytes, hash {self.hash}"


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
) -> list[LogFile]:
    """The Parquet files of `data` in the order of their paths, opened once to read their footers.

    Args:
        data: a file, a folder (searched through, names with a leading `.` or `_` are left out) or a
            glob (`**` goes through folders), of this machine or as a URL.
        exclude: resolved paths to leave out: side tables in the same folder.
        refused: takes the files that cannot be opened, which are then left out.
        fitted: the types of columns in a log that was encoded before.

    Raises:
        DataError: no file matches, one is empty or damaged, none has a row, or a folder's name
            holds another value than its column was fitted on.
    """
    paths = [path for path in _listed(any_path(data)) if path.resolve() not in exclude]
    if not paths:
        raise DataError(f"{data}: no Parquet file found; check the path, folder or glob")
    root, files = base_folder(data), []
    for path in paths:
        try:
            files.append(_inspect(path, root))
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
        return [p for p, name in names if name.suffix == ".parquet" and _is_visible(name)]
    if path.exists():
        return [path]
    if isinstance(path, RemotePath):
        return list(path.matches())
    return [Path(p) for p in sorted(glob.glob(str(path), recursive=True)) if Path(p).is_file()]


def _files_below(folder: Path) -> list[Path]:
    """The Parquet files; Spark writes a folder of such a name around the files of one data set."""
    return [path for path in sorted(folder.rglob("*.parquet")) if not path.is_dir()]


def _is_visible(relative: PurePath) -> bool:
    return not any(part.startswith((".", "_")) for part in relative.parts)


def name_within(root: AnyPath, path: AnyPath) -> str:
    """The path of a file from a folder, or its name if it does not lie there."""
    if not path.is_relative_to(root):  # type: ignore[arg-type] # of one kind
        return path.name
    return path.relative_to(root).as_posix()  # type: ignore[arg-type]


def _inspect(path: AnyPath, root: AnyPath) -> LogFile:
    with open_parquet(path) as parquet:
        rows, schema = parquet.metadata.num_rows, parquet.schema_arrow
    values = folder_values(name_within(root, path).split("/")[:-1], SourceLocation(str(path)))
    repeated = {name: values.pop(name) for name in [*values] if name in schema.names}
    return LogFile(path, rows, _bytes(path), schema, values, repeated)


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


def _bytes(path: AnyPath) -> int:
    return path.bytes() if isinstance(path, RemotePath) else path.stat().st_size


OTHER_FORMATS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".gz", ".zip", ".feather", ".avro")


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
        if _bytes(path) == 0:
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
            remedy = "convert it to Parquet, the one format that is read"
        raise place.error(f"is truncated or not Parquet ({first})", remedy) from fault
    for name, count in Counter(parquet.schema_arrow.names).items():
        if count > 1:
            raise place.error(f"stands in the file {count} times", "rename it", column=name)
    return parquet


def stored_texts(schema: pa.Schema, columns: Iterable[str]) -> list[str]:
    """Those of `columns` that Parquet can hand on as the dictionaries in which it stores them."""
    types = {name: schema.field(name).type for name in columns}
    return [name for name, arrow in types.items() if arrow in (pa.string(), pa.large_string())]


def content_hash(path: AnyPath) -> str:
    """BLAKE2 of the file's bytes, in hex: the same rows in another file have another hash."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def file_content(path: AnyPath) -> FileContent:
    """What identifies the content of a file, wherever it lies and whenever it was written.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return FileContent(_bytes(path), sampled_hash(path))
    except OSError as fault:
        remedy = "check that it is there and may be read"
        raise SourceLocation(str(path)).error(f"cannot be read ({fault})", remedy) from fault


def sampled_hash(path: AnyPath) -> str:
    """BLAKE2 of a small file's bytes; of a larger one's size, Parquet footer and samples.

    The footer holds the schema and, for every row group and column, its place, its size and its
    statistics. The samples are 128 blocks of 32 KiB of a file above 16 MiB; behind a URL 16 of a
    file above 1 MiB. They are evenly spread. A change in place that keeps the size, all of the
    footer and the samples is not seen.
    """
    is_remote, size = isinstance(path, RemotePath), _bytes(path)
    if size <= (REMOTE_HASHED_WHOLE if is_remote else HASHED_WHOLE):
        return content_hash(path)
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    samples = REMOTE_SAMPLES if is_remote else SAMPLES
    opened = path.open("rb", SAMPLE_BYTES) if isinstance(path, RemotePath) else path.open("rb")
    with opened as stream:
        for start, count in _sampled_blocks(stream, size, samples):
            stream.seek(start)
            digest.update(stream.read(count))
    return digest.hexdigest()


def _sampled_blocks(stream: Any, size: int, samples: int) -> Iterator[tuple[int, int]]:
    """First byte and length of evenly spread blocks, then of the footer of a Parquet file."""
    for number in range(samples):
        yield number * (size - SAMPLE_BYTES) // (samples - 1), SAMPLE_BYTES
    stream.seek(size - 8)  # the length of the footer, and a mark
    footer = 8 + int.from_bytes(stream.read(4), "little")
    yield max(size - footer, 0), footer
