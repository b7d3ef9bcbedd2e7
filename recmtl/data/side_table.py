"""Side tables (user features, item features), held in memory and joined to a log by key."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.canonical import AnyArray, canonical, normalised
from recmtl.data.columns.hive import refuse_other_values
from recmtl.data.columns.keys import KeyType, as_type, category_keys
from recmtl.data.columns.logical_type import LogicalType, common_type, logical_type
from recmtl.data.columns.vocabulary import KeyIndex
from recmtl.data.files import LogFile, open_parquet, stored_texts
from recmtl.data.formats.converted import parquet_of
from recmtl.data.formats.file_format import file_format
from recmtl.errors import DataError, SourceLocation
from recmtl.paths import AnyPath, any_path, is_url, whole_path
from recmtl.schema import SideTable

__all__ = ["JoinedTable", "joined_columns", "side_path"]


def side_path(table: SideTable, folder: AnyPath) -> AnyPath:
    """Where a side table is: relative paths start at the log's folder."""
    if is_url(table.path) or Path(table.path).is_absolute():
        return any_path(table.path)
    return folder / table.path


@dataclass(frozen=True)
class _JoinIndex:
    """Where the keys of a side table stand.

    Attributes:
        row_of_key: the table's row of each key by its position, and -1 at the end.
        type: of the keys.
        positions: finds the position of a key.
    """

    row_of_key: npt.NDArray[np.int64]
    type: KeyType
    positions: KeyIndex


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
        self._columns: dict[str, AnyArray] = {}
        formats = {path: file_format(path, is_text=table.files is not None)}
        self._parquet = parquet_of(formats, files=table.files, fitted={})[path]
        with open_parquet(self._parquet) as parquet:
            self.names: tuple[str, ...] = tuple(parquet.schema_arrow.names)
            self.schema = parquet.schema_arrow
        if self.key not in self.names:
            remedy = "correct `key` of this table in the schema"
            raise self.place.error("is missing", remedy, column=self.key)
        self._key_type = logical_type(self.schema.field(self.key).type)
        self._key_column: AnyArray = None
        self._indices: dict[LogicalType, _JoinIndex] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What travels between processes, which read the file themselves."""
        empty: dict[str, Any] = {"_columns": {}, "_indices": {}, "_key_column": None}
        return {**self.__dict__, **empty, "_parquet": whole_path(self._parquet)}

    def load(self, columns: list[str]) -> None:
        """Read `columns` and index the key, unless they are there already.

        Raises:
            DataError: the file is damaged, or a key stands in more than one row.
        """
        if set(columns) <= set(self._columns):
            return
        try:
            with open_parquet(
                self._parquet, dictionary=stored_texts(self.schema, columns)
            ) as parquet:
                table = parquet.read(columns=list(dict.fromkeys([self.key, *columns])))
        except (pa.ArrowException, OSError) as broken:
            raise self.place.error(f"is damaged ({broken})", "write it again") from broken
        # Arrow takes rows of canonical columns, not of every form.
        self._columns = {name: canonical(table[name], name, self.place) for name in columns}
        index = self._indexed(table[self.key], self._key_type)
        self._indices = {self._key_type: index}
        # A log may count the key's times in another unit, for which the key is indexed again.
        self._key_column = table[self.key] if self._key_type.is_time else None

    def _indexed(self, column: AnyArray, key_type: LogicalType) -> _JoinIndex:
        keys = category_keys(
            normalised(column, key_type, self.key, self.place), self.key, self.place
        )
        rows = np.flatnonzero(keys.codes >= 0)
        codes = keys.codes[rows]
        repeated = len(codes) - len(np.unique(codes))
        if repeated:
            fault = f"{repeated} rows repeat the key of an earlier row"
            raise self.place.error(fault, "keep one row per key", column=self.key)
        row_of_key = np.full(len(keys.values) + 1, -1)
        row_of_key[codes] = rows
        return _JoinIndex(row_of_key, keys.type, KeyIndex(keys.values))

    def join(self, key: AnyArray, place: SourceLocation) -> dict[str, AnyArray]:
        """The loaded columns for each row of the log, null where its key is not in the table.

        Takes and raises as `rows_of`.
        """
        return self.take(self.rows_of(key, place))

    def take(self, rows: npt.NDArray[np.int64]) -> dict[str, AnyArray]:
        """The loaded columns at these rows of the table, null at -1."""
        positions = pa.array(rows, mask=rows < 0)
        return {name: column.take(positions) for name, column in self._columns.items()}

    def rows_of(self, key: AnyArray, place: SourceLocation) -> npt.NDArray[np.int64]:
        """The table's row for each row of the log, -1 where its key is missing or not there.

        Args:
            key: the log's key column [rows], in any Arrow form.
            place: where those rows come from.

        Raises:
            DataError: the log's keys are other values than the table's.
        """
        log_type = logical_type(key.type)
        shared = common_type(log_type, self._key_type)
        if shared is None and (log_type.is_time or self._key_type.is_time):
            raise self._other_key(place, log_type)
        # Only times are counted in a unit; other keys are looked up as the table holds them.
        key_type = shared if shared is not None and self._key_type.is_time else self._key_type
        if key_type not in self._indices:
            self._indices[key_type] = self._indexed(self._key_column, key_type)
        index = self._indices[key_type]
        wanted = key_type if key_type.is_time else log_type
        keys = category_keys(normalised(key, wanted, self.key, place), self.key, place)
        try:
            values = as_type(keys.values, index.type, self.key, place)
        except DataError as other:
            raise self._other_key(place, index.type) from other
        # Position -1 (not in the table) and code -1 (missing) both read the appended -1.
        rows: npt.NDArray[np.int64] = np.append(index.row_of_key[index.positions.find(values)], -1)[
            keys.codes
        ]
        return rows

    def _other_key(self, place: SourceLocation, kind: object) -> DataError:
        fault = f"holds other values than the key of {self.path.name} ({kind})"
        return place.error(fault, "store both as the same type", column=self.key)


def joined_columns(
    batch: pa.RecordBatch,
    file: LogFile,
    tables: Sequence[JoinedTable],
    place: SourceLocation,
    *,
    unmatched: dict[str, npt.NDArray[np.bool_]] | None = None,
) -> dict[str, AnyArray]:
    """The columns of a batch of a file, by name, with its partition's and those of the tables.

    Args:
        batch: rows of the file.
        file: the file.
        tables: are joined in this order, so that one may have the key of the next.
        place: of the rows.
        unmatched: takes, by the file name of a table, the rows that have none there, bool [rows].
    """
    columns = {name: batch.column(name) for name in batch.schema.names}
    for name, value in file.partition.items():
        columns[name] = pa.repeat(value, batch.num_rows)
    for name, text in file.repeated.items():
        if name in columns:
            refuse_other_values(columns[name], text, name, place)
    for table in tables:
        rows = table.rows_of(columns[table.key], place)
        columns |= table.take(rows)
        if unmatched is not None and (rows < 0).any():
            unmatched[table.path.name] = rows < 0
    return columns
