"""A log cut into days loses no row, and each row lies in its day."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.daily.rolling.day_files import cut_into_days, schema_of_days, together
from recmtl.errors import ConfigError, DataError
from recmtl.schema import Schema, load_schema

SCHEMA = """
version: 1
name: shop
tables: [{path: users.parquet, key: user}]
features:
  user: {kind: categorical}
  city: {kind: categorical}
tasks:
  click: {kind: binary, label: click}
roles: {time: at, row_id: number}
split: {by: time, test_from: 2026-01-09, validation_from: 2026-01-08}
"""
ROWS = 200


@pytest.fixture
def schema(tmp_path: Path) -> Schema:
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    users = {"user": list(range(10)), "city": [f"city {n % 3}" for n in range(10)]}
    pq.write_table(pa.table(users), tmp_path / "users.parquet")
    return load_schema(tmp_path / "schema.yaml")


def write_log(folder: Path, times: list[object]) -> str:
    random = np.random.default_rng(0)
    table = {
        "number": list(range(len(times))),
        "user": random.integers(0, 10, len(times)),
        "click": random.integers(0, 2, len(times)),
        "at": times,
    }
    (folder / "log").mkdir()
    pq.write_table(pa.table(table), folder / "log" / "log.parquet", row_group_size=37)
    (folder / "users.parquet").rename(folder / "log" / "users.parquet")
    return str(folder / "log" / "log.parquet")


def test_every_row_lies_in_its_day_with_the_columns_of_side_tables(
    tmp_path: Path, schema: Schema
) -> None:
    random = np.random.default_rng(1)
    first = datetime(2026, 1, 1, tzinfo=UTC)
    times = [first + timedelta(hours=float(hour)) for hour in random.uniform(0, 240, ROWS)]
    days = cut_into_days(write_log(tmp_path, [*times]), schema, tmp_path / "days")
    assert [day.name for day in days] == [f"2026-01-{number:02}" for number in range(1, 11)]
    numbers = []
    for day in days:
        rows = pq.read_table(day.file)
        assert rows.num_rows == day.rows
        assert {f"{at:%Y-%m-%d}" for at in rows["at"].to_pylist()} == {day.name}
        assert rows["city"].to_pylist() == [f"city {u % 3}" for u in rows["user"].to_pylist()]
        numbers += rows["number"].to_pylist()
    assert sorted(numbers) == list(range(ROWS))


@pytest.mark.parametrize(
    ("times", "period", "names"),
    [
        ([*range(100)], "25", ["0", "25", "50", "75"]),
        (
            [date(2026, 1, 1 + n % 4) for n in range(40)],
            "2d",
            ["2026-01-01", "2026-01-03"],
        ),
        (
            [datetime(2026, 1, 1, n % 24) for n in range(48)],
            "12h",
            ["2026-01-01", "2026-01-01T120000"],
        ),
        ([20220430 + n // 20 * 71 for n in range(40)], "1d", ["20220430", "20220501"]),
        (
            [1_650_844_800_000 + n * 7_200_000 for n in range(24)],
            "1d",
            ["2022-04-25", "2022-04-26"],
        ),
        ([1_650_844_800 + n * 7_200 for n in range(6)], "6h", ["2022-04-25", "2022-04-25T060000"]),
    ],
)
def test_periods_of_every_kind_of_time(
    times: list[object], period: str, names: list[str], tmp_path: Path, schema: Schema
) -> None:
    days = cut_into_days(write_log(tmp_path, times), schema, tmp_path / "days", period)
    assert [day.name for day in days] == names
    assert sum(day.rows for day in days) == len(times)


@pytest.mark.parametrize("period", ["6h", "2d", "week", "0", "0d"])
def test_a_period_that_does_not_fit_is_refused_and_nothing_is_left(
    period: str, tmp_path: Path, schema: Schema
) -> None:
    log = write_log(tmp_path, [*range(100)])
    with pytest.raises((ConfigError, DataError)):
        cut_into_days(log, schema, tmp_path / "days", period)
    assert not (tmp_path / "days").exists()


def test_too_many_periods_are_refused(tmp_path: Path, schema: Schema) -> None:
    with pytest.raises(ConfigError, match="more than 400 periods"):
        cut_into_days(write_log(tmp_path, [*range(401)]), schema, tmp_path / "days", "1")


def test_days_need_a_column_of_time_without_gaps(tmp_path: Path, schema: Schema) -> None:
    log = write_log(tmp_path, [0, None, 2])
    with pytest.raises(DataError, match="1 missing times"):
        cut_into_days(log, schema, tmp_path / "days", "1")
    without = replace(
        schema,
        roles=replace(schema.roles, time=None),
        split=replace(schema.split, by="random", validation_from=None, test_from=None),
    )
    with pytest.raises(ConfigError, match=r"no roles\.time"):
        cut_into_days(log, without, tmp_path / "days", "1")


def test_the_files_are_read_without_side_tables_and_stated_times(schema: Schema) -> None:
    of_days = schema_of_days(schema)
    assert of_days.tables == () and of_days.split.test_from is None
    assert of_days.features == schema.features


def test_days_together_are_their_files(tmp_path: Path, schema: Schema) -> None:
    days = cut_into_days(write_log(tmp_path, [*range(100)]), schema, tmp_path / "days", "25")
    folder = together(days[1:3], tmp_path / "window")
    assert sorted(path.name for path in folder.iterdir()) == ["25.parquet", "50.parquet"]
    assert pq.read_table(folder).num_rows == 50
    assert together(days[1:3], tmp_path / "window") == folder
