"""A log as a stream of record batches whose columns have one logical type and one canonical form.

A log's files and its side tables (user features, item features) are opened together; every column
gets its logical type once for all of them. Batches come row group by row group, with only the
columns asked for, the side tables left-joined by key. Memory holds one batch and the side tables,
whatever the size of the log.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.canonical import AnyArray, normalised
from recmtl.data.columns.logical_type import LogicalType, logical_type, unify
from recmtl.data.derived.columns import with_computed
from recmtl.data.files import (
    LogFile,
    Refused,
    base_folder,
    find_files,
    name_within,
    open_parquet,
    stored_texts,
)
from recmtl.data.side_table import JoinedTable, joined_columns, side_path
from recmtl.errors import DataError, SourceLocation, did_you_mean, first_line
from recmtl.paths import FileContent, file_content
from recmtl.schema import ComputedColumn, SideTable, TextFiles

__all__ = ["Log", "LogBatch", "RefusedRows", "RowUnit", "open_log"]

BATCH_ROWS = 65_536
RefusedRows: TypeAlias = Callable[[int, int, SourceLocation, DataError], None]


@dataclass(frozen=True)
class LogBatch:
    """Consecutive rows of a log.

    Attributes:
        columns: a record batch.
        first: number of its first row in the whole log.
        place: its file and row group.
        unmatched: by the file name of a side table, the rows that have none there, bool [rows];
            tables that have all are left out.
    """

    columns: pa.RecordBatch
    first: int
    place: SourceLocation
    unmatched: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.columns.num_rows)


@dataclass(frozen=True)
class RowUnit:
    """A row group of a log: what one process reads at a time.

    Attributes:
        file: position of its file in the log.
        group: its number in the file.
        first: number of its first row in the whole log.
        rows: number of rows.
    """

    file: int
    group: int
    first: int
    rows: int


class Log:
    """The files of a log and the side tables joined to it."""

    def __init__(
        self,
        data: str,
        files: list[LogFile],
        *,
        tables: list[JoinedTable],
        fitted: Mapping[str, LogicalType] = MappingProxyType({}),
        formulas: Sequence[ComputedColumn] = (),
    ) -> None:
        """Use `open_log`."""
        self.data = data
        self._formulas = {column.name: column for column in formulas}
        self.files = files
        self.tables = tables
        self._types = dict(fitted)

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return sum(file.rows for file in self.files)

    def units(self) -> list[RowUnit]:
        """All row groups in the order of their rows, as the files' footers said."""
        groups = [
            (n, g, rows) for n, file in enumerate(self.files) for g, rows in enumerate(file.groups)
        ]
        ends = itertools.accumulate(rows for _, _, rows in groups)
        return [
            RowUnit(file, group, end - rows, rows)
            for (file, group, rows), end in zip(groups, ends, strict=True)
        ]

    def content(self) -> dict[str, FileContent]:
        """Size and hash of every file, then of every side table, read anew at each call.

        A file's name is its path below the folder of the data, so that moved data has the same.
        """
        root = base_folder(self.data)
        contents = {name_within(root, file.path): file_content(file.path) for file in self.files}
        for number, table in enumerate(self.tables, start=1):
            contents[f"side table {number}, {table.path.name}"] = file_content(table.path)
        return contents

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
                self._side_table(file, column)

    def _side_table(self, file: LogFile, column: str) -> JoinedTable | None:
        """The side table that has `column`, or None where the log itself has it."""
        in_log = column in file.schema.names or column in file.partition
        tables = [table for table in self.tables if column in table.names and column != table.key]
        place = SourceLocation(str(file.path))
        if file.schema.names.count(column) > 1:
            raise place.error("stands twice", "rename one of the two", column=column)
        if len(tables) + in_log > 1:
            names = ", ".join(table.path.name for table in tables)
            fault = f"stands in more than one table ({names})"
            raise place.error(fault, "rename it in one of them", column=column)
        if not in_log and not tables:
            hint = did_you_mean(column, self.column_names())
            remedy = "add it, or correct the schema"
            raise place.error(f"is missing{hint}", remedy, column=column)
        return None if in_log else tables[0]

    def logical_types(self, columns: Sequence[str]) -> dict[str, LogicalType]:
        """The one logical type of each of `columns` in the whole log: the fitted one, if any.

        Raises:
            DataError: a file lacks a column, or holds other values in it than another file.
        """
        for column in columns:
            if column in self._formulas:
                self._types[column] = logical_type(pa.float64())
            elif column not in self._types:
                self._types[column] = unify(column, self._types_by_file(column))
        return {column: self._types[column] for column in columns}

    def _types_by_file(self, column: str) -> Iterator[tuple[str, LogicalType]]:
        for file in self.files:
            table = self._side_table(file, column)
            if table is not None:
                yield str(table.path), logical_type(table.schema.field(column).type)
            elif column in file.schema.names:
                yield str(file.path), logical_type(file.schema.field(column).type)
            else:
                yield str(file.path), logical_type(file.partition[column].type)

    def batches(
        self,
        columns: Sequence[str],
        *,
        rows: int = BATCH_ROWS,
        start: int = 0,
        as_stored: bool = False,
        refused: RefusedRows | None = None,
        units: Sequence[RowUnit] | None = None,
    ) -> Iterator[LogBatch]:
        """Stream `columns` of the log in order, at most `rows` rows at a time.

        Args:
            columns: of the log's files and its side tables.
            rows: most rows of a batch.
            start: a row of the log; row groups that end before it are not read.
            as_stored: hand columns on in the Arrow form of their file, not in the canonical form
                of their logical type: to carry them along, or to encode them by a fitted encoder.
            refused: takes the first row, the row after the last, the place and the fault of rows
                that cannot be read; the stream then goes on after them.
            units: the row groups to read, in their order; None for all.

        Raises:
            DataError: a column is missing or has no one type, or a row group cannot be read.
        """
        formulas = [self._formulas[name] for name in columns if name in self._formulas]
        columns = list(dict.fromkeys(columns))
        stored = dict.fromkeys(name for name in columns if name not in self._formulas)
        stored |= dict.fromkeys(name for column in formulas for name in column.parsed.names)
        self.require(list(stored))
        types = {} if as_stored else self.logical_types(list(stored))
        needed, tables = self.joins(list(stored))
        first, chosen = 0, None if units is None else {(u.file, u.group) for u in units}
        files = None if units is None else {unit.file for unit in units}
        for number, file in enumerate(self.files):
            if first + file.rows <= start or (files is not None and number not in files):
                first += file.rows
                continue
            for place, count, batches in _row_groups(file, needed, rows):
                last = first + count
                is_read = last > start and (chosen is None or (number, place.row_group) in chosen)
                try:
                    for batch in batches if is_read else ():
                        unmatched: dict[str, npt.NDArray[np.bool_]] = {}
                        arrays = joined_columns(batch, file, tables, place, unmatched=unmatched)
                        picked = _picked(arrays, list(stored), types, place)
                        if formulas:
                            picked = _computed(picked, formulas, columns, place)
                        yield LogBatch(picked, first, place, unmatched)
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
            wanted = [column for column in needed if self._side_table(file, column) is table]
            if wanted:
                table.load(sorted(wanted))
                needed.add(table.key)
                tables.append(table)
        return needed, tables[::-1]


def _picked(
    arrays: dict[str, AnyArray],
    columns: list[str],
    types: dict[str, LogicalType],
    place: SourceLocation,
) -> pa.RecordBatch:
    """The arrays of `columns`, in the canonical form of those that `types` names."""
    picked = [
        normalised(arrays[name], types[name], name, place) if types else arrays[name]
        for name in columns
    ]
    return pa.record_batch(picked, names=columns)


def _computed(
    batch: pa.RecordBatch,
    formulas: Sequence[ComputedColumn],
    columns: list[str],
    place: SourceLocation,
) -> pa.RecordBatch:
    """The `columns` of a canonical batch and of formulas on it."""
    every = dict(zip(batch.schema.names, batch.columns, strict=True))
    every = with_computed(every, formulas, place)
    return pa.record_batch([every[name] for name in columns], names=columns)


def _row_groups(
    file: LogFile, columns: set[str], rows: int
) -> Iterator[tuple[SourceLocation, int, Iterator[Any]]]:
    """The place, the number of rows and the batches of each row group."""
    names = [column for column in file.schema.names if column in columns]
    with open_parquet(file.parquet, dictionary=stored_texts(file.schema, names)) as parquet:
        for group in range(parquet.num_row_groups):
            place = SourceLocation(str(file.path), group)
            count = parquet.metadata.row_group(group).num_rows
            yield place, count, _row_group(parquet, group, names, rows, place)


def _row_group(
    parquet: Any, group: int, columns: list[str], rows: int, place: SourceLocation
) -> Iterator[Any]:
    try:
        yield from parquet.iter_batches(rows, row_groups=[group], columns=columns)
    except Exception as fault:  # Arrow's, the system's, or those of a remote driver
        first, remedy = first_line(fault), "write the file again"
        if "lists to be of size" in first:
            remedy += ", with plain lists: Arrow reads no null among lists of a fixed size"
        raise place.error(f"cannot be read ({first})", remedy) from fault


def open_log(
    data: str | Path,
    tables: Sequence[SideTable] = (),
    *,
    refused: Refused | None = None,
    fitted: Mapping[str, LogicalType] = MappingProxyType({}),
    layout: TextFiles | None = None,
    formulas: Sequence[ComputedColumn] = (),
) -> Log:
    """Open a log and its side tables.

    Args:
        data: a file (Parquet, Arrow IPC, CSV or other text), a folder of them or a glob, here or
            by URL; what is not Parquet is converted once.
        tables: joined to every file.
        refused: takes the files that cannot be opened or joined, which are then left out.
        fitted: the types of columns in a log that was encoded before; this log's are read as these.
        formulas: columns that can be asked for beside those of the files, computed from them.
        layout: how text files are laid out (`files` of the schema), where they do not show it.

    Raises:
        DataError: nothing matches, a file is empty or damaged, or a side table lacks its key.
    """
    data = str(data)
    folder = base_folder(data)
    paths = [side_path(table, folder) for table in tables]
    beside = frozenset(path.resolve() for path in paths)
    files = find_files(data, exclude=beside, refused=refused, fitted=fitted, layout=layout)
    for file in files:
        for column in formulas:
            if column.name in file.schema.names:
                fault = "stands in the file, and is computed by a formula"
                remedy = "give the formula another name"
                raise SourceLocation(str(file.path)).error(fault, remedy, column=column.name)
    joined = [JoinedTable(table, path) for table, path in zip(tables, paths, strict=True)]
    joinable = []
    for file in files:
        try:
            _require_keys(file, joined)
            joinable.append(file)
        except DataError as fault:
            if refused is None:
                raise
            refused(file.path, fault)
    return Log(data, joinable, tables=joined, fitted=fitted, formulas=formulas)


def _require_keys(file: LogFile, tables: Sequence[JoinedTable]) -> None:
    names = {*file.schema.names, *file.partition}
    for table in tables:
        if table.key not in names:
            remedy = "add it, or correct the table's `key` in the schema"
            fault = f"is missing, by which {table.path.name} is joined"
            raise SourceLocation(str(file.path)).error(fault, remedy, column=table.key)
        names.update(table.names)
