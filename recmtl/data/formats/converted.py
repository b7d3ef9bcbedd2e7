"""The Parquet file that is read in the place of a file of another format.

It is written once and kept in a folder of its own (`RECMTL_CACHE`, else the user's cache), under a
name that its content decides: the file's bytes, its layout, and the types of its columns. The types
of text files are those of all files that are read together, so that no file reads a column in
another way than the others. Memory holds one row group.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recmtl.atomic import new_file, write_json
from recmtl.data.columns.logical_type import LogicalType
from recmtl.data.formats.arrow_rows import arrow_batches, orc_batches
from recmtl.data.formats.file_format import FileFormat
from recmtl.data.formats.json_rows import json_batches, json_types, merged_types
from recmtl.data.formats.text_layout import TextLayout, seen_layout
from recmtl.data.formats.text_rows import text_blocks
from recmtl.data.formats.value_types import (
    ALL_TYPES,
    arrow_type,
    chosen_type,
    possible_types,
    typed,
)
from recmtl.errors import DataError, SourceLocation
from recmtl.paths import AnyPath, file_content
from recmtl.schema import TextFiles

__all__ = ["cache_folder", "parquet_of"]

FORMAT = 1
"""Of the files in the cache: counted up where the same input would be read in another way."""
GROUP_ROWS = 100_000
KEPT_DAYS = 30
"""Files of the cache that nothing has read for so long are removed."""
TYPED: Mapping[str, Callable[[AnyPath], Iterable[pa.RecordBatch]]] = {
    "arrow": arrow_batches,
    "orc": orc_batches,
}
"""By format what streams a file whose columns have types."""
Refused = Callable[[AnyPath, DataError], None]


def parquet_of(
    formats: Mapping[AnyPath, FileFormat],
    *,
    files: TextFiles | None = None,
    fitted: Mapping[str, LogicalType],
    refused: Refused | None = None,
) -> dict[AnyPath, AnyPath]:
    """By file the Parquet file to read: itself, or what it was converted to.

    Args:
        formats: by file its format.
        files: how text files are laid out.
        fitted: the types of columns in a log that was encoded before; text stays text.
        refused: takes the files that cannot be read, which are then left out.

    Raises:
        DataError: a file cannot be read, or the cache cannot be written.
    """
    read: dict[AnyPath, AnyPath] = {p: p for p, name in formats.items() if name == "parquet"}
    texts, schemas = _Texts(files, fitted), dict[AnyPath, Any]()
    for path, name in formats.items():
        with _refusing(refused, path):
            if name in TYPED:
                write = partial(_write, partial(TYPED[name], path))
                read[path] = _kept(path, _key(path), ".parquet", write)
            elif name == "text":
                texts.add(path)
            elif name == "json":
                schemas[path] = _json_schema(path)
    for path in texts.facts:
        with _refusing(refused, path):
            read[path] = texts.converted(path)
    stays = [name for name, fit in fitted.items() if fit.kind in ("text", "binary")]
    schema = merged_types(schemas, stays) if schemas else None
    for path in schemas:
        with _refusing(refused, path):
            write = partial(_write, partial(json_batches, path, schema))
            read[path] = _kept(path, _key(path, f"json {schema}"), ".parquet", write)
    return {path: read[path] for path in formats if path in read}


@contextmanager
def _refusing(refused: Refused | None, path: AnyPath) -> Iterator[None]:
    try:
        yield
    except DataError as fault:
        if refused is None:
            raise
        refused(path, fault)


def _json_schema(path: AnyPath) -> Any:
    """The types of a file of JSON lines, kept as a Parquet file without rows."""

    def write(out: Path) -> None:
        pq.write_table(json_types(path).empty_table(), out)

    return pq.read_schema(_kept(path, _key(path, "types of json"), ".parquet", write))


@dataclass
class _Facts:
    """What one text file holds.

    Attributes:
        layout: of the file.
        key: of the file in this layout.
        types: by column the types that all its values can be.
        lists: columns of lists.
        repeated: names that stand in a row more than once.
    """

    layout: TextLayout
    key: str
    types: dict[str, frozenset[str]] = field(default_factory=dict)
    lists: set[str] = field(default_factory=set)
    repeated: set[str] = field(default_factory=set)

    def add(self, columns: Mapping[str, Any]) -> None:
        """Take the columns of some rows into account."""
        for name, column in columns.items():
            values = column
            if pa.types.is_list(column.type):
                self.lists.add(name)
                values = column.values
                lengths = np.diff(np.asarray(column.offsets))
                self.repeated |= {name} if lengths.max(initial=0) > 1 else set()
            types = self.types.get(name, ALL_TYPES)
            decimal = self.layout.files.decimal
            self.types[name] = possible_types(values, types, decimal=decimal)

    def write(self, path: Path) -> None:
        """Keep what was found."""
        types = {name: sorted(types) for name, types in self.types.items()}
        document = {"types": types, "lists": sorted(self.lists), "repeated": sorted(self.repeated)}
        write_json(path, document)

    def read(self, path: Path) -> None:
        """Take what `write` kept."""
        document = json.loads(path.read_text(encoding="utf-8"))
        self.types = {name: frozenset(types) for name, types in document["types"].items()}
        self.lists, self.repeated = set(document["lists"]), set(document["repeated"])


class _Texts:
    """The text files of a data set, and what all of them hold."""

    def __init__(self, files: TextFiles | None, fitted: Mapping[str, LogicalType]) -> None:
        self._files, self._fitted = files, fitted
        self.facts: dict[AnyPath, _Facts] = {}
        self._columns: dict[str, tuple[str, bool]] | None = None

    def add(self, path: AnyPath) -> None:
        """Look through a file, or remember what it held."""
        layout = self._layout(path)
        facts = _Facts(layout, _key(path, repr(layout)))
        kept = _kept(path, facts.key, ".json", lambda out: self._scan(path, facts, out))
        facts.read(kept)
        self.facts[path] = facts

    def _layout(self, path: AnyPath) -> TextLayout:
        first = next((facts.layout for facts in self.facts.values()), None)
        names = () if first is None else first.columns
        layout = seen_layout(path, self._files, expected={*names, *self._fitted})
        is_bare = layout.skipped == 0 and not layout.files.columns
        if first is not None and is_bare and len(names) == len(layout.columns):
            # Of files that were one, only the first has the names.
            return TextLayout(names, layout.separator, 0, layout.files)
        return layout

    @staticmethod
    def _scan(path: AnyPath, facts: _Facts, out: Path) -> None:
        facts.types = dict.fromkeys(facts.layout.columns, ALL_TYPES)
        for columns in text_blocks(path, facts.layout):
            facts.add(columns)
        facts.write(out)

    def converted(self, path: AnyPath) -> Path:
        """The Parquet file of a file, with the types of all."""
        facts, columns = self.facts[path], self._types()
        names = facts.layout.columns if facts.layout.files.pairs is None else tuple(columns)
        mine = {name: columns[name] for name in names}
        batches = partial(_typed_batches, path, facts.layout, mine)
        key = hashlib.blake2b(f"{facts.key} {mine}".encode(), digest_size=16).hexdigest()
        return _kept(path, key, ".parquet", partial(_write, batches))

    def _types(self) -> dict[str, tuple[str, bool]]:
        """By column the type of its values, and whether it holds lists of them."""
        if self._columns is None:
            every = list(self.facts.values())
            names = dict.fromkeys(name for facts in every for name in facts.types)
            if any(facts.layout.files.pairs is not None for facts in every):
                names |= dict.fromkeys(self._fitted)  # names that no row has today
            self._columns = {name: self._type(name, every) for name in names}
        return self._columns

    def _type(self, name: str, every: Sequence[_Facts]) -> tuple[str, bool]:
        types = frozenset.intersection(*(facts.types.get(name, ALL_TYPES) for facts in every))
        fitted = self._fitted.get(name)
        if any(name in facts.lists for facts in every) or fitted is not None:
            declared = any(
                name in {cells.column for cells in facts.layout.files.lists} for facts in every
            )
            repeated = any(name in facts.repeated for facts in every)
            is_list = declared or repeated or (fitted is not None and fitted.kind == "list")
        else:
            is_list = False
        values = fitted.item if fitted is not None and fitted.kind == "list" else fitted
        is_text = values is not None and values.kind in ("text", "binary")
        return "text" if is_text else chosen_type(types), is_list


def _typed_batches(
    path: AnyPath, layout: TextLayout, columns: Mapping[str, tuple[str, bool]]
) -> Iterator[pa.RecordBatch]:
    decimal = layout.files.decimal
    schema = pa.schema(
        [(name, _arrow(kind, is_list=is_list)) for name, (kind, is_list) in columns.items()]
    )
    yield pa.RecordBatch.from_pylist([], schema=schema)  # a file without rows has columns
    for texts in text_blocks(path, layout):
        rows = len(next(iter(texts.values())))
        arrays = []
        for name, (kind, is_list) in columns.items():
            column = texts.get(name)
            if column is None:
                arrays.append(_nothing(rows, kind, is_list=is_list))
                continue
            if not is_list and pa.types.is_list(column.type):
                column = _first_values(column)
            arrays.append(_as_typed(column, kind, decimal))
        yield pa.record_batch(arrays, schema=schema)


def _arrow(kind: str, *, is_list: bool) -> Any:
    return pa.list_(arrow_type(kind)) if is_list else arrow_type(kind)


def _nothing(rows: int, kind: str, *, is_list: bool) -> Any:
    if not is_list:
        return pa.nulls(rows, arrow_type(kind))
    offsets = pa.array(np.zeros(rows + 1, np.int32))
    return pa.ListArray.from_arrays(offsets, pa.nulls(0, arrow_type(kind)))


def _first_values(column: Any) -> Any:
    """The value of each list of at most one; null where there is none."""
    offsets = np.asarray(column.offsets)
    return column.values.take(pa.array(offsets[:-1], mask=offsets[:-1] == offsets[1:]))


def _as_typed(column: Any, kind: str, decimal: str) -> Any:
    if not pa.types.is_list(column.type):
        return typed(column, kind, decimal=decimal)
    values = typed(column.values, kind, decimal=decimal)
    return pa.ListArray.from_arrays(column.offsets, values, mask=column.is_null())


def _write(batches: Callable[[], Iterable[pa.RecordBatch]], out: Path) -> None:
    """Write batches as row groups of `GROUP_ROWS` rows, the last one shorter."""
    writer, held, rows = None, list[pa.RecordBatch](), 0
    try:
        for batch in batches():
            writer = writer or pq.ParquetWriter(out, batch.schema)
            held.append(batch)
            rows += batch.num_rows
            while rows >= GROUP_ROWS:
                table = pa.Table.from_batches(held)
                writer.write_table(table.slice(0, GROUP_ROWS))
                rest = table.slice(GROUP_ROWS)
                held, rows = rest.to_batches(), rest.num_rows
        if writer is None:
            raise DataError("holds no columns; check how it was written")
        if rows or held:
            writer.write_table(pa.Table.from_batches(held, schema=writer.schema))
    finally:
        if writer is not None:
            writer.close()


def cache_folder() -> Path:
    """Where converted files are kept: `RECMTL_CACHE`, else a folder of the user's cache."""
    named = os.environ.get("RECMTL_CACHE")
    if named:
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    there = next(path for path in (cache, *cache.parents) if path.exists())
    if os.access(there, os.W_OK):
        return cache / "recmtl"
    return Path(tempfile.gettempdir()) / f"recmtl-{os.getuid()}"


def _key(path: AnyPath, layout: str = "") -> str:
    content = file_content(path)
    # Samples of a large file may miss a change in place, which its time tells.
    changed = path.stat().st_mtime_ns if isinstance(path, Path) else 0
    text = f"{FORMAT} {content.bytes} {content.hash} {changed} {layout}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _kept(path: AnyPath, key: str, ending: str, make: Callable[[Path], None]) -> Path:
    """The file of this key in the cache; made if it is not there."""
    folder = cache_folder()
    out = folder / f"{key}{ending}"
    before = file_content(path)
    try:
        if out.exists():
            os.utime(out)  # is in use
            return out
        folder.mkdir(parents=True, exist_ok=True)
        _remove_old(folder)
        # Two processes may convert one file at once; the last one wins, with the same content.
        with new_file(folder / f"{key}-{os.getpid()}{ending}") as partial_file:
            make(partial_file)
            if file_content(path) != before:
                remedy = "run again when nothing writes to it"
                raise SourceLocation(str(path)).error("changed while it was read", remedy)
        os.replace(folder / f"{key}-{os.getpid()}{ending}", out)
    except OSError as fault:
        reason = fault.strerror or str(fault)
        raise DataError(
            f"{folder}: {path.name} cannot be converted there ({reason}); free some space, or name "
            "another folder in RECMTL_CACHE"
        ) from fault
    return out


def _remove_old(folder: Path) -> None:
    oldest = time.time() - KEPT_DAYS * 86_400
    for path in folder.iterdir():
        if path.suffix in (".parquet", ".json") and path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)
