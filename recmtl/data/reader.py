"""Side tables (user features, item features), left-joined to a batch of the log by key.

A log as a stream of record batches: row group by row group, only the columns asked for.

Memory holds one batch and the side tables, whatever the size of the log.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recmtl.data.columns.keys import Keys, as_type, category_keys, plain_array
from recmtl.data.columns.vocabulary import KeyIndex
from recmtl.data.files import (
    AnyPath,
    LogFile,
    Refused,
    any_path,
    base_folder,
    find_files,
    is_url,
    open_parquet,
)
from recmtl.errors import DataError, SourceLocation, did_you_mean
from recmtl.schema import SideTable

__all__ = [
    "JoinedTable",
    "Log",
    "LogBatch",
    "RefusedRows",
    "joined_columns",
    "open_log",
    "side_path",
]


def side_path(table: SideTable, folder: AnyPath) -> AnyPath:
    """Where a side table is: relative paths start at the log's folder."""
    if is_url(table.path) or Path(table.path).is_absolute():
        return any_path(table.path)
    return folder / table.path


class JoinedTable:
    """One side table in memory (only the columns needed), with an index of its key."""

    def __init__(self, table: SideTable, path: AnyPath) -> None:
        """Open the table's footer; `load` reads it.

        Raises:
            DataError: the file is missing or damaged, or lacks the key.
        """
        self.key = table.key
        self.path = path
        self.place = SourceLocation(str(path))
        self._columns: dict[str, Any] = {}
        with open_parquet(path) as parquet:
            self.names: tuple[str, ...] = tuple(parquet.schema_arrow.names)
            self.schema = parquet.schema_arrow
        if self.key not in self.names:
            remedy = "correct `key` of this table in the schema"
            raise self.place.error("is missing", remedy, column=self.key)

    def load(self, columns: list[str]) -> None:
        """Read `columns` and index the key, unless they are there already.

        Raises:
            DataError: the file is damaged, or a key stands in more than one row.
        """
        if set(columns) <= set(self._columns):
            return
        texts = [name for name in columns if _is_text(self.schema.field(name).type)]
        try:
            with open_parquet(self.path, dictionary=texts) as parquet:
                table = parquet.read(columns=list(dict.fromkeys([self.key, *columns])))
        except (pa.ArrowException, OSError) as broken:
            raise self.place.error(f"is damaged ({broken})", "write it again") from broken
        self._columns = {name: plain_array(table[name]) for name in columns}
        self._index_key(category_keys(table[self.key], self.key, self.place))

    def _index_key(self, keys: Keys) -> None:
        rows = np.flatnonzero(keys.codes >= 0)
        known = keys.codes[rows]
        repeated = len(known) - len(np.unique(known))
        if repeated:
            fault = f"{repeated} rows repeat the key of an earlier row"
            raise self.place.error(fault, "keep one row per key", column=self.key)
        self._row = np.full(len(keys.values) + 1, -1)
        self._row[known] = rows
        self._type = keys.type
        self._index = KeyIndex(keys.values)

    def join(self, key: Any, place: SourceLocation) -> dict[str, Any]:
        """The loaded columns for each row of the log, null where its key is not in the table.

        Args:
            key: the log's key column [rows].
            place: where those rows come from.
        """
        keys = category_keys(key, self.key, place)
        try:
            values = as_type(keys.values, self._type, self.key, place)
        except DataError as other:
            fault = f"holds other values than the key of {self.path.name} ({self._type})"
            raise place.error(fault, "store both as the same type", column=self.key) from other
        # Position -1 (not in the table) and code -1 (missing) both read the appended -1.
        at = np.append(self._row[self._index.find(values)], -1)[keys.codes]
        take = pa.array(at, mask=at < 0)
        return {name: column.take(take) for name, column in self._columns.items()}


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


BATCH_ROWS = 65_536
RefusedRows = Callable[[int, int, SourceLocation, DataError], None]


@dataclass(frozen=True)
class LogBatch:
    """Consecutive rows of a log.

    Attributes:
        columns: a record batch.
        first: number of its first row in the whole log.
        place: its file and row group.
    """

    columns: Any
    first: int
    place: SourceLocation

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.columns.num_rows)


class Log:
    """The files of a log and the side tables joined to it."""

    def __init__(self, data: str, files: list[LogFile], *, tables: list[JoinedTable]) -> None:
        """Use `open_log`."""
        self.data = data
        self.files = files
        self.tables = tables

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return sum(file.rows for file in self.files)

    def column_names(self) -> tuple[str, ...]:
        """Every column that can be asked for: of the first file, then of the side tables."""
        first = self.files[0]
        names = [*first.schema.names, *first.partition]
        for table in self.tables:
            names += table.names
        return tuple(dict.fromkeys(names))

    def require(self, columns: Sequence[str]) -> None:
        """Raise `DataError` if a file lacks one of `columns`, or two sources have it."""
        for file in self.files:
            for column in columns:
                self._source(file, column)

    def _source(self, file: LogFile, column: str) -> JoinedTable | None:
        """The side table that has `column`, or None where the log itself has it."""
        own = column in file.schema.names or column in file.partition
        sources = [table for table in self.tables if column in table.names and column != table.key]
        if len(sources) + own > 1:
            fault = f"stands in more than one table ({', '.join(t.path.name for t in sources)})"
            raise SourceLocation(str(file.path)).error(
                fault, "rename it in one of them", column=column
            )
        if own:
            return None
        if not sources:
            hint = did_you_mean(column, self.column_names())
            remedy = "add it, or correct the schema"
            raise SourceLocation(str(file.path)).error(f"is missing{hint}", remedy, column=column)
        return sources[0]

    def batches(
        self,
        columns: Sequence[str],
        *,
        rows: int = BATCH_ROWS,
        start: int = 0,
        refused: RefusedRows | None = None,
    ) -> Iterator[LogBatch]:
        """Stream `columns` of the log in order, at most `rows` rows at a time.

        Args:
            columns: of the log's files and its side tables.
            rows: most rows of a batch.
            start: a row of the log; row groups that end before it are not read.
            refused: takes the first row, the row after the last, the place and the fault of rows
                that cannot be read; the stream then goes on after them.

        Raises:
            DataError: a column is missing, or a row group cannot be read.
        """
        self.require(columns)
        columns = list(dict.fromkeys(columns))
        needed, tables = self.joins(columns)
        first = 0
        for file in self.files:
            if first + file.rows <= start:
                first += file.rows
                continue
            for place, count, batches in _row_groups(file, needed, rows):
                last = first + count
                try:
                    for batch in batches if last > start else ():
                        joined = joined_columns(batch, file, tables, place)
                        picked = pa.record_batch([joined[name] for name in columns], names=columns)
                        yield LogBatch(picked, first, place)
                        first += picked.num_rows
                except DataError as fault:
                    if refused is None:
                        raise
                    refused(first, last, place, fault)
                first = last

    def joins(self, columns: Sequence[str]) -> tuple[set[str], list[JoinedTable]]:
        """For `columns` those that the log must have, and the tables to join, loaded.

        Columns of the tables are among the former too.
        """
        needed, tables = set(columns), []
        file = self.files[0]
        # Backwards, because a table's key may itself come from a table before it.
        for table in reversed(self.tables):
            wanted = [column for column in needed if self._source(file, column) is table]
            if wanted:
                table.load(sorted(wanted))
                needed.add(table.key)
                tables.append(table)
        return needed, tables[::-1]


def joined_columns(
    batch: Any, file: LogFile, tables: Sequence[JoinedTable], place: SourceLocation
) -> dict[str, Any]:
    """The columns of a batch of a file, by name, with its partition's and those of the tables."""
    columns = {name: batch.column(name) for name in batch.schema.names}
    for name, value in file.partition.items():
        columns[name] = pa.repeat(pa.scalar(value), batch.num_rows)
    for table in tables:
        columns |= table.join(columns[table.key], place)
    return columns


def _row_groups(
    file: LogFile, columns: set[str], rows: int
) -> Iterator[tuple[SourceLocation, int, Iterator[Any]]]:
    """The place, the number of rows and the batches of each row group."""
    own = [column for column in file.schema.names if column in columns]
    texts = [column for column in own if _is_text(file.schema.field(column).type)]
    with open_parquet(file.path, dictionary=texts) as parquet:
        for group in range(parquet.num_row_groups):
            place, count = (
                SourceLocation(str(file.path), group),
                parquet.metadata.row_group(group).num_rows,
            )
            yield place, count, _row_group(parquet, group, own, rows, place)


def _row_group(
    parquet: Any, group: int, columns: list[str], rows: int, place: SourceLocation
) -> Iterator[Any]:
    try:
        yield from parquet.iter_batches(rows, row_groups=[group], columns=columns)
    except Exception as fault:  # Arrow's, the system's, or those of a remote driver
        first = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise place.error(f"cannot be read ({first})", "write the file again") from fault


def open_log(data: str, tables: Sequence[SideTable] = (), *, refused: Refused | None = None) -> Log:
    """Open a log: a Parquet file, a folder of them or a glob, or a URL of these; its side tables.

    `refused` takes the files that cannot be opened or joined, which are then left out.

    Raises:
        DataError: nothing matches, a file is empty or damaged, or a side table lacks its key.
    """
    folder = base_folder(data)
    paths = [side_path(table, folder) for table in tables]
    found = find_files(data, exclude=frozenset(path.resolve() for path in paths), refused=refused)
    joined = [JoinedTable(table, path) for table, path in zip(tables, paths, strict=True)]
    files = []
    for file in found:
        try:
            _require_keys(file, joined)
            files.append(file)
        except DataError as fault:
            if refused is None:
                raise
            refused(file.path, fault)
    return Log(data, files, tables=joined)


def _require_keys(file: LogFile, tables: Sequence[JoinedTable]) -> None:
    known = {*file.schema.names, *file.partition}
    for table in tables:
        if table.key not in known:
            remedy = "add it, or correct the table's `key` in the schema"
            fault = f"is missing, by which {table.path.name} is joined"
            raise SourceLocation(str(file.path)).error(fault, remedy, column=table.key)
        known.update(table.names)
