"""Which format a file has, by its name, and else by its first bytes."""

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Literal

from recmtl.paths import AnyPath

__all__ = ["COMPRESSED", "FileFormat", "file_format", "of_one_format", "without_endings"]

FileFormat = Literal["parquet", "arrow", "orc", "text", "json"]
COMPRESSED = (".gz", ".bz2", ".zst", ".lz4", ".xz", ".zip")
ENDINGS: tuple[tuple[FileFormat, tuple[str, ...]], ...] = (
    ("parquet", (".parquet", ".pq")),
    ("arrow", (".arrow", ".feather", ".ipc", ".arrows")),
    ("orc", (".orc",)),
    ("text", (".csv",)),
    ("text", (".tsv", ".tab")),
    ("text", (".txt", ".psv", ".dat", ".data", ".text")),
    ("json", (".jsonl", ".ndjson", ".json")),
)
"""The endings of each format, those that are looked for first in a folder first."""
FORMATS = {ending: name for name, endings in ENDINGS for ending in endings}
MAGIC: dict[bytes, FileFormat] = {
    b"PAR1": "parquet",
    b"ARRO": "arrow",
    b"ORC": "orc",
    b"{": "json",
}


def file_format(path: AnyPath, *, is_text: bool = False) -> FileFormat:
    """What a file is; Parquet if neither its name nor its first bytes say.

    Args:
        path: the file.
        is_text: whether a file that nothing is known of is text: a schema says how it is laid out.

    >>> [file_format(Path(name)) for name in ("a.csv.gz", "a.feather", "a.PARQUET", "b.jsonl")]
    ['text', 'arrow', 'parquet', 'json']
    """
    ending = _ending(PurePath(path.name))
    if ending in FORMATS:
        return FORMATS[ending]
    if isinstance(path, Path) and path.is_file():
        with path.open("rb") as stream:
            start = stream.read(4)
        for magic, name in MAGIC.items():
            if start.startswith(magic):
                return name
    return "text" if is_text or PurePath(path.name).suffix.lower() in COMPRESSED else "parquet"


def of_one_format(names: Sequence[PurePath]) -> tuple[str, ...]:
    """The endings of the first format, in the order of `ENDINGS`, that any of these names has."""
    present = {_ending(name) for name in names}
    return next((endings for _, endings in ENDINGS if present & set(endings)), ())


def has_ending(name: PurePath, endings: Sequence[str]) -> bool:
    """Whether a name has one of these endings, that of a compression aside."""
    return _ending(name) in endings


def without_endings(name: str) -> str:
    """A name without the endings of its format and compression.

    >>> without_endings("day.csv.gz"), without_endings("v1.2.parquet"), without_endings("v1.2")
    ('day', 'v1.2', 'v1.2')
    """
    path = PurePath(name)
    if path.suffix.lower() in COMPRESSED:
        path = path.with_suffix("")
    return path.stem if path.suffix.lower() in FORMATS else path.name


def _ending(name: PurePath) -> str:
    endings = [ending.lower() for ending in name.suffixes]
    if endings and endings[-1] in COMPRESSED:
        endings.pop()
    return endings[-1] if endings else ""
