"""A log cut into days: one Parquet file a period, with the columns of side tables joined."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recmtl.atomic import new_folder, read_json, write_json
from recmtl.data.reader import Log, open_log
from recmtl.data.statistics.periods import numbers_a_day, periods
from recmtl.errors import ConfigError, SourceLocation
from recmtl.schema import PastStatistics, Schema

__all__ = ["Day", "cut_into_days", "schema_of_days", "together"]

FACTS, DAY = "days.json", 86_400
MOST_DAYS = 400
"""Files that are written side by side."""


@dataclass(frozen=True)
class Day:
    """One period of a log.

    Attributes:
        name: its first moment, as a date or a number.
        file: its rows, in Parquet.
        rows: how many.
    """

    name: str
    file: Path
    rows: int


def cut_into_days(
    data: str | Path, schema: Schema, folder: Path, period: str | int = "1d"
) -> tuple[Day, ...]:
    """Write each period of a log into a file of its own, unless that was done before.

    Args:
        data: the log.
        schema: whose columns are kept, and whose `roles.time` says where a row belongs.
        folder: where the files go; it is whole or absent.
        period: how long a day is: `1d`, `6h`, or a whole number in the unit of a column of numbers.
            Numbers that look like times since 1970 are cut by `1d` and `6h`, too; of all others
            `1d` is one.

    Raises:
        ConfigError: there is no column of time, `period` does not fit it, or there are too many.
        DataError: the log cannot be read, or a time is missing.
    """
    if schema.roles.time is None:
        raise ConfigError("days are told apart by time, and the schema names no roles.time")
    if not (folder / FACTS).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(folder) as partial:
            log = open_log(data, schema.tables, layout=schema.files)
            rows = _cut(log, schema, partial, _Period.of(log, str(schema.roles.time), str(period)))
            write_json(partial / FACTS, {"rows": rows})
    facts = read_json(folder / FACTS, remedy=f"delete {folder}")
    return tuple(Day(name, _file(folder, name), rows) for name, rows in facts["rows"].items())


def schema_of_days(schema: Schema) -> Schema:
    """The schema of the files, into which side tables are joined, split by fractions."""
    split = replace(schema.split, validation_from=None, test_from=None)
    return replace(schema, tables=(), files=None, split=split)


def together(days: Sequence[Day], folder: Path) -> Path:
    """A folder that holds the files of these days; links where the file system has them."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(folder) as partial:
            for day in days:
                place = partial / day.file.name
                try:
                    place.hardlink_to(day.file)
                except OSError:
                    copyfile(day.file, place)
    return folder


@dataclass(frozen=True)
class _Period:
    """What divides the times of a log.

    Attributes:
        entry: one that counts by this period.
        numbers_a_second: of a column of numbers that are times since 1970; 0 of other numbers.
    """

    entry: PastStatistics
    numbers_a_second: int = 0

    @classmethod
    def of(cls, log: Log, time: str, period: str) -> "_Period":
        """Read `1d`, `6h` or a whole number as a period of the log's column of times."""
        if period.isdecimal():
            return cls(_counting(time, int(period)))
        entry = _counting(time, period)
        if log.logical_types([time])[time].kind not in ("integer", "float"):
            return cls(entry)
        latest = max(_latest(batch.columns.column(time)) for batch in log.batches([time]))
        day = numbers_a_day(latest)
        if day == 1 and entry.grain_length != DAY:
            fault = f"holds numbers such as {latest:.0f}, and nobody knows how many are {period}"
            raise SourceLocation(log.data).error(fault, "give the period as a number", column=time)
        return cls(_counting(time, day * entry.grain_length // DAY), day // DAY)

    def name(self, number: int) -> str:
        """The first moment of a period, as text that sorts as time does."""
        first = number * self.entry.grain_length
        if self.entry.counts_numbers and not self.numbers_a_second:
            return f"{first}"
        moment = datetime.fromtimestamp(first / (self.numbers_a_second or 1), UTC)
        is_midnight = not (moment.hour or moment.minute or moment.second)
        return f"{moment:%Y-%m-%d}" if is_midnight else f"{moment:%Y-%m-%dT%H%M%S}"


def _counting(time: str, period: str | int) -> PastStatistics:
    try:
        return PastStatistics("day", time, grain=period, values=("count",))
    except ValueError as fault:
        raise ConfigError(f"period {period!r}: write it as 1d or 6h, or a whole number") from fault


def _latest(times: pa.Array) -> float:
    return float(pc.max(times).as_py() or 0)


def _cut(log: Log, schema: Schema, folder: Path, period: _Period) -> dict[str, int]:
    """Write the files; the rows of each by name, the earliest first."""
    time, row_id, entry = str(schema.roles.time), schema.roles.row_id, period.entry
    columns = schema.in_the_log([*schema.columns(), *([] if row_id is None else [row_id])])
    rows: dict[int, int] = {}
    place, names = SourceLocation(log.data), dict[int, str]()
    with ExitStack() as stack:
        writers: dict[int, pq.ParquetWriter] = {}
        # As their logical types say, since files of one log may store a column in several ways.
        for batch in log.batches(columns):
            table, times = pa.table(batch.columns), batch.columns.column(time)
            if times.null_count:
                fault, remedy = f"has {times.null_count} missing times", "drop those rows"
                raise place.error(fault, remedy, column=time)
            numbers = periods(times, entry, time, batch.place, missing=0)
            for number in np.unique(numbers).tolist():
                part = table.filter(pa.array(numbers == number))
                if number not in writers:
                    if len(writers) == MOST_DAYS:
                        raise ConfigError(
                            f"the log has more than {MOST_DAYS} periods of {entry.grain}; give a "
                            "longer period"
                        )
                    names[number] = period.name(number)
                    file = _file(folder, names[number])
                    writers[number] = stack.enter_context(pq.ParquetWriter(file, table.schema))
                writers[number].write_table(part)
                rows[number] = rows.get(number, 0) + part.num_rows
    return {names[number]: rows[number] for number in sorted(rows)}


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.parquet"
