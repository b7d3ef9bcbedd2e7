"""The first rows of a log, held in memory."""

from collections.abc import Iterator, Sequence

from recmtl.data.columns.logical_type import LogicalType
from recmtl.data.reader import BATCH_ROWS, Log, LogBatch, RefusedRows, RowUnit
from recmtl.errors import DataError

__all__ = ["Sample"]

SAMPLE_ROWS = 200_000
"""Rows from the start of the log that are looked at."""


class Sample(Log):
    """The first rows of a log, held in memory, as a log of their own.

    Attributes:
        unreadable: columns that cannot be read, and why; the sample is without them.
    """

    def __init__(self, log: Log) -> None:
        """Read the rows; raises `DataError` if no column can be read."""
        super().__init__(log.data, log.files, tables=log.tables)
        self.unreadable: dict[str, str] = {}
        names = log.column_names()
        try:
            self._batches = _first_batches(log, names)
        except DataError as fault:
            names = tuple(name for name in names if self._is_readable(log, name))
            if not names:
                raise fault from None
            self._batches = _first_batches(log, names)
        self._names, self._types = names, dict(log.logical_types(names))

    def _is_readable(self, log: Log, name: str) -> bool:
        try:
            _first_batches(log, [name])
        except DataError as fault:
            self.unreadable[name] = " ".join(str(fault).split())
        return name not in self.unreadable

    @property
    def rows(self) -> int:
        """Rows in memory."""
        return sum(batch.rows for batch in self._batches)

    def column_names(self) -> tuple[str, ...]:
        """The columns that can be read."""
        return self._names

    def logical_types(self, columns: Sequence[str]) -> dict[str, LogicalType]:
        """As `Log.logical_types`."""
        return {column: self._types[column] for column in columns}

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
        """As `Log.batches`, of the rows in memory."""
        for batch in self._batches:
            yield LogBatch(
                batch.columns.select(list(dict.fromkeys(columns))), batch.first, batch.place
            )


def _first_batches(log: Log, names: Sequence[str]) -> list[LogBatch]:
    batches, rows = [], 0
    for batch in log.batches(names):
        batches.append(batch)
        rows += batch.rows
        if rows >= SAMPLE_ROWS:
            break
    return batches
