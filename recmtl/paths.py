"""Paths of this machine and behind URLs, and what identifies the content of a file.

A `RemotePath` has the few methods of `pathlib.Path` that reading a log needs, so that the code
which reads one need not know where it lies: on this machine, or on any file system for which fsspec
has a driver (s3://, gs://, hdfs://, ...).
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeAlias

from recmtl.errors import RecmtlError, SourceLocation, first_line
from recmtl.masking import mask

__all__ = [
    "AnyPath",
    "FileContent",
    "RemotePath",
    "any_path",
    "content_hash",
    "file_content",
    "is_url",
    "path_bytes",
    "sampled_hash",
    "whole_path",
]

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


def whole_path(path: AnyPath) -> AnyPath:
    """The path as a process with another working folder finds it."""
    return path if isinstance(path, RemotePath) else path.absolute()


@contextmanager
def _faults(place: object) -> Iterator[None]:
    """Turn a driver's errors, of whatever class, into a `DataError`."""
    try:
        yield
    except (ImportError, FileNotFoundError, RecmtlError):
        raise
    except Exception as fault:
        reason = first_line(fault)
        remedy = "check the URL and the access to it"
        raise SourceLocation(str(place)).error(f"cannot be reached ({reason})", remedy) from fault


class FileContent(NamedTuple):
    """Size in bytes, and `sampled_hash`, of a file."""

    bytes: int
    hash: str

    def __str__(self) -> str:
        return f"{self.bytes:,} bytes, hash {self.hash}"


def path_bytes(path: AnyPath) -> int:
    """Size of a file in bytes."""
    return path.bytes() if isinstance(path, RemotePath) else path.stat().st_size


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
        return FileContent(path_bytes(path), sampled_hash(path))
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
    is_remote, size = isinstance(path, RemotePath), path_bytes(path)
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
    length, mark = stream.read(4), stream.read(4)
    footer = 8 + int.from_bytes(length, "little") if mark in (b"PAR1", b"PARE") else 0
    yield max(size - footer, 0), footer
