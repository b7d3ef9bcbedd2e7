r"""How a text file is laid out: what the schema says, and for the rest what its first lines show.

A first line names the columns if a column of numbers begins with something else; where there is no
column of numbers, if its words are all different and none of them comes again in its column.
"""

import codecs
import csv
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from recmtl.errors import SourceLocation, first_line
from recmtl.paths import AnyPath
from recmtl.schema import Pairs, TextFiles

__all__ = ["TextLayout", "opened_text", "seen_layout"]

SEEN_BYTES, SEEN_LINES = 1 << 18, 200
"""What is looked at of a file."""
SEPARATORS = (",", "\t", ";", "|", " ")
PAIR_MARKS = (Pairs("\x01", "\x02", "\x03"),)
"""As Ali-CCP is published."""
PAIR = re.compile(r"[\w.-]+:[^:]+")
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
EMPTY_WORDS = frozenset({"", r"\N", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"})


@dataclass(frozen=True)
class TextLayout:
    """How one text file is laid out.

    Attributes:
        columns: the names of its columns; those of pairs aside.
        separator: one character between two columns.
        skipped: lines before the first row: 1 with a header.
        files: everything else.
    """

    columns: tuple[str, ...]
    separator: str
    skipped: int
    files: TextFiles

    def to_declare(self) -> TextFiles | None:
        """What a schema should say of such files; None if every file says it itself."""
        plain = TextFiles()
        if self.skipped == 1 and self.files.pairs is None:
            declared = replace(self.files, separator=None, header=None, columns=())
            return None if declared == plain else declared
        return replace(self.files, separator=self.separator, header=False, columns=self.columns)


def seen_layout(
    path: AnyPath, files: TextFiles | None, *, expected: Collection[str] = ()
) -> TextLayout:
    """The layout of a file, as far as declared by `files`, for the rest as its first lines show.

    Args:
        path: the file.
        files: of the schema.
        expected: names of columns that a model reads: a first line with one of them is a header.

    Raises:
        DataError: the file is empty, no text, or has other columns than declared.
    """
    files = TextFiles() if files is None else files
    place = SourceLocation(str(path))
    text, encoding = _first_text(path, files, place)
    files = replace(files, encoding=encoding)
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise place.error("is empty", "write it again")
    separator = files.separator or _separator(lines, files.quote)
    if files.pairs is None and not files.header:
        files = _with_pairs(lines, separator, files)
    if files.pairs is not None:
        return TextLayout(files.columns, separator, 0, files)
    rows = _cells(text, separator, files.quote)
    has_header = files.header if files.header is not None else _is_header(rows, files, expected)
    first = [name.strip() for name in rows[0]]
    names = files.columns or (first if has_header else _numbered(len(first)))
    if len(names) != len(first):
        fault = f"has {len(first)} columns, and {len(names)} are named"
        raise place.error(fault, "correct columns or separator of `files` in the schema")
    repeated = next((name for name in names if list(names).count(name) > 1), None)
    if repeated is not None:
        remedy = "rename one of the two, or name all columns in `files: {columns: [...]}`"
        raise place.error("stands in the first line twice", remedy, column=repeated)
    return TextLayout(tuple(names), separator, int(has_header), files)


def _numbered(count: int) -> list[str]:
    return [f"column_{number}" for number in range(1, count + 1)]


def _first_text(path: AnyPath, files: TextFiles, place: SourceLocation) -> tuple[str, str]:
    """The first whole lines of a file, and its encoding."""
    with opened_text(path) as stream:
        start = stream.read(SEEN_BYTES)
    encoding = files.encoding
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif b"\0" in start and "16" not in encoding and "32" not in encoding:
        raise place.error("is no text (it holds zero bytes)", "check what it is, and its ending")
    text = codecs.getincrementaldecoder(encoding)("replace").decode(start).removeprefix("\ufeff")
    whole = text if len(start) < SEEN_BYTES else text.rpartition("\n")[0] or text
    return whole, encoding


@contextmanager
def opened_text(path: AnyPath) -> Iterator[Any]:
    """The bytes of a text file, decompressed as its ending says.

    Raises:
        DataError: it cannot be read or decompressed.
    """
    place = SourceLocation(str(path))
    try:
        with path.open("rb") as raw, _decompressed(raw, path.name.lower(), place) as stream:
            yield stream
    except FileNotFoundError as fault:
        raise place.error("does not exist", "check the path") from fault
    except PermissionError as fault:
        raise place.error("may not be read", "change its permissions") from fault
    except (pa.ArrowInvalid, OSError, EOFError) as fault:
        remedy = "check that the copy was complete, and how it is laid out (`files` of the schema)"
        raise place.error(f"cannot be read ({first_line(fault)})", remedy) from fault


def _decompressed(raw: Any, name: str, place: SourceLocation) -> Any:
    if name.endswith(".zip"):
        import zipfile  # few logs are zipped

        archive = zipfile.ZipFile(raw)
        members = [entry for entry in archive.namelist() if not entry.endswith("/")]
        if len(members) != 1:
            raise place.error(f"holds {len(members)} files", "unpack it, and give the folder")
        return pa.PythonFile(archive.open(members[0]), mode="r")
    if name.endswith(".xz"):
        import lzma  # as above

        return pa.PythonFile(lzma.open(raw), mode="r")
    kinds = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
    ending = name[name.rfind(".") :]
    return pa.input_stream(pa.PythonFile(raw, mode="r"), compression=kinds.get(ending))


def _separator(lines: Sequence[str], quote: str) -> str:
    """The character that divides all lines into the same number of cells, most if several do."""
    lines = lines[:SEEN_LINES]
    best, most = ",", (0.0, 0.0)
    for separator in SEPARATORS:
        counts = [len(row) for row in _rows_of(lines, separator, quote)]
        common = max(set(counts), key=counts.count)
        if common > 1:
            alike = counts.count(common) / len(counts)
            rank = (alike, common) if separator != " " else (alike - 0.01, common)
            best, most = (separator, rank) if rank > most else (best, most)
    # Rows of pairs have as many cells as they like.
    return best if most[0] > 0.5 else _separator_of_pairs(lines) or best


def _separator_of_pairs(lines: Sequence[str]) -> str | None:
    return next((s for s in SEPARATORS if all(_ends_in_pairs(line, s) for line in lines)), None)


def _ends_in_pairs(line: str, separator: str) -> bool:
    cells = line.strip().split(separator)
    return len(cells) > 1 and PAIR.fullmatch(cells[-1].strip()) is not None


def _with_pairs(lines: Sequence[str], separator: str, files: TextFiles) -> TextFiles:
    """`files` with the pairs that the first lines show, if any, after the columns before them."""
    pairs, before = _seen_pairs(lines[:SEEN_LINES], separator)
    if pairs is None or len(files.columns) not in (0, before):
        return files
    return replace(files, columns=files.columns or tuple(_numbered(before)), pairs=pairs)


def _seen_pairs(lines: Sequence[str], separator: str) -> tuple[Pairs | None, int]:
    """The pairs at the end of all lines, if there are any, and the number of cells before."""
    for pairs in PAIR_MARKS:
        if all(pairs.after_name in line for line in lines):
            before = max(line.partition(pairs.after_name)[0].count(separator) for line in lines)
            return (pairs if before else None), before
    if not all(_ends_in_pairs(line, separator) for line in lines):
        return None, 0
    rows = [line.strip().split(separator) for line in lines]
    starts = [next(i for i, cell in enumerate(row) if PAIR.fullmatch(cell)) for row in rows]
    start = starts[0]
    later = {cell for row in rows for cell in row[start:]}
    if not start or len(set(starts)) > 1 or not all(map(PAIR.fullmatch, later)):
        return None, 0
    # Times of day are no pairs: what stands before a colon comes again.
    names = {row[start].partition(":")[0] for row in rows}
    if len({len(row) for row in rows}) == 1 and len(names) > 1:
        return None, 0
    return Pairs(separator), start


def _cells(text: str, separator: str, quote: str) -> list[list[str]]:
    rows = _rows_of(text.splitlines(keepends=True), separator, quote)
    return [row for row in rows if row][:SEEN_LINES]


def _rows_of(lines: Sequence[str], separator: str, quote: str) -> list[list[str]]:
    try:
        # A character that no text holds quotes nothing.
        return list(csv.reader(lines, delimiter=separator, quotechar=quote or "\0"))
    except csv.Error:  # a cell beyond the reader's limit: an open quote
        return [line.rstrip("\r\n").split(separator) for line in lines]


def _is_header(rows: list[list[str]], files: TextFiles, expected: Collection[str]) -> bool:
    first = [cell.strip() for cell in rows[0]]
    if not all(first) or len(set(first)) < len(first):
        return False
    if files.columns:
        return first == list(files.columns)
    if set(expected) & set(first):
        return True
    below = [[cell.strip() for cell in row] for row in rows[1:] if len(row) == len(first)]
    empty = EMPTY_WORDS | {str(word) for word in files.missing}
    columns = [{row[i] for row in below} - empty for i in range(len(first))]
    numeric = [bool(cells) and all(map(NUMBER.fullmatch, cells)) for cells in columns]
    named = [NUMBER.fullmatch(cell) is None for cell in first]
    if any(numeric):
        return any(is_named for is_named, number in zip(named, numeric, strict=True) if number)
    if any(cell in cells for cell, cells in zip(first, columns, strict=True)):
        return False
    return all(named)
