"""A log as a stream of record batches: row group by row group, only the columns asked for.

Memory holds one batch and the side tables, whatever the size of the log.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from recmtl.data.files import LogFile, base_folder, find_files, open_parquet
from recmtl.data.places import Place
from recmtl.data.sidetable import JoinedTable, side_path
from recmtl.schema import SideTable
from recmtl.strict import did_you_mean

__all__ = ["Log", "LogBatch", "open_log"]

BATCH_ROWS = 65_536


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
    place: Place

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
            raise Place(str(file.path)).error(fault, "rename it in one of them", column=column)
        if own:
            return None
        if not sources:
            hint = did_you_mean(column, self.column_names())
            remedy = "add it, or correct the schema"
            raise Place(str(file.path)).error(f"is missing{hint}", remedy, column=column)
        return sources[0]

    def batches(self, columns: Sequence[str], *, rows: int = BATCH_ROWS) -> Iterator[LogBatch]:
        """Stream `columns` of the whole log in order, at most `rows` rows at a time.

        Raises:
            DataError: a column is missing, or a row group cannot be read.
        """
        self.require(columns)
        columns = list(dict.fromkeys(columns))
        needed, tables = self._plan(columns)
        first = 0
        for file in self.files:
            for batch, place in _row_groups(file, needed, rows):
                joined = _with_tables(batch, file, tables, place)
                picked = pa.record_batch([joined[column] for column in columns], names=columns)
                yield LogBatch(picked, first, place)
                first += picked.num_rows

    def _plan(self, columns: Sequence[str]) -> tuple[set[str], list[JoinedTable]]:
        """The columns needed with the keys of the joins, and the tables to join, loaded."""
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


def _with_tables(
    batch: Any, file: LogFile, tables: list[JoinedTable], place: Place
) -> dict[str, Any]:
    columns = {name: batch.column(name) for name in batch.schema.names}
    for name, value in file.partition.items():
        columns[name] = pa.repeat(pa.scalar(value), batch.num_rows)
    for table in tables:
        columns |= table.join(columns[table.key], place)
    return columns


def _row_groups(file: LogFile, columns: set[str], rows: int) -> Iterator[tuple[Any, Place]]:
    own = [column for column in file.schema.names if column in columns]
    texts = [column for column in own if _is_text(file.schema.field(column).type)]
    with open_parquet(file.path, dictionary=texts) as parquet:
        for group in range(parquet.num_row_groups):
            place = Place(str(file.path), group)
            for batch in _row_group(parquet, group, own, rows, place):
                yield batch, place


def _row_group(
    parquet: Any, group: int, columns: list[str], rows: int, place: Place
) -> Iterator[Any]:
    try:
        yield from parquet.iter_batches(rows, row_groups=[group], columns=columns)
    except (pa.ArrowException, OSError) as fault:
        first = str(fault).splitlines()[0]
        raise place.error(f"cannot be read ({first})", "write the file again") from fault


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def open_log(data: str, tables: Sequence[SideTable] = ()) -> Log:
    """Open a log: a Parquet file, a folder of them or a glob, with its side tables.

    Raises:
        DataError: nothing matches, a file is empty or damaged, or a side table lacks its key.
    """
    folder = base_folder(data)
    paths = [side_path(table, folder) for table in tables]
    files = find_files(data, exclude=frozenset(path.resolve() for path in paths))
    joined = [JoinedTable(table, path) for table, path in zip(tables, paths, strict=True)]
    for file in files:
        known = {*file.schema.names, *file.partition}
        for table in joined:
            if table.key not in known:
                remedy = "add it, or correct the table's `key` in the schema"
                fault = f"is missing, by which {table.path.name} is joined"
                raise Place(str(file.path)).error(fault, remedy, column=table.key)
            known.update(table.names)
    return Log(data, files, tables=joined)
