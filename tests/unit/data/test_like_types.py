"""Days added to a log are read as the types on which its encoder was fitted."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.errors import DataError
from recmtl.schema import parse_schema

SCHEMA = """
version: 1
name: days
features:
  item: {kind: categorical}
  at: {kind: categorical}
  tags: {kind: list}
  price: {kind: numeric}
tasks:
  stars: {kind: multiclass, label: stars}
  click: {kind: binary, label: {column: seen, equals: true}}
roles: {time: ts, group: user}
split: {by: time}
"""
ROWS = 60
NUMBERS = np.arange(ROWS)
HOURS = [datetime.datetime(2024, 5, 1, hour) for hour in range(6)] * 10


def columns() -> dict[str, Any]:
    return {
        "item": pa.array(NUMBERS % 7),
        "at": pa.array(HOURS, pa.timestamp("ms")),
        "tags": pa.array([[i % 3, i % 5] for i in range(ROWS)], pa.list_(pa.int64())),
        "price": pa.array(NUMBERS % 4),
        "stars": pa.array(NUMBERS % 3),
        "seen": pa.array(NUMBERS % 2 == 0),
        "ts": pa.array(NUMBERS, pa.timestamp("s")),
        "user": pa.array(NUMBERS // 4),
    }


OTHERS: dict[str, Any] = {
    "item": pa.array(NUMBERS % 7, pa.float64()),
    "at": pa.array(HOURS, pa.timestamp("us")),
    "tags": pa.array([[i % 3, i % 5] for i in range(ROWS)], pa.large_list(pa.int8())),
    "price": pa.array(NUMBERS % 4).cast(pa.decimal128(22, 2)),
    "stars": pa.array(NUMBERS % 3).cast(pa.decimal128(20, 0)),
    "seen": pa.array((NUMBERS % 2 == 0).astype(np.int8)),
    # A finer time, and a group of another type: they are compared within the day alone.
    "ts": pa.array(NUMBERS * 1000 + 1, pa.timestamp("ms")),
    "user": pa.array([str(number // 4) for number in NUMBERS]),
}
REFUSED: dict[str, Any] = {
    "item": pa.array([str(number % 7) for number in NUMBERS]),
    "at": pa.array(HOURS, pa.timestamp("ms", "UTC")),
    "tags": pa.array([[str(i % 3)] for i in range(ROWS)]),
    "price": pa.array([str(number) for number in NUMBERS]),
    "stars": pa.array([str(number % 3) for number in NUMBERS]),
    "seen": pa.array(NUMBERS),
}


def encoded(folder: Path, table: dict[str, Any], like: EncodedLog | None = None) -> EncodedLog:
    folder.mkdir()
    pq.write_table(pa.table(table), folder / "log.parquet")
    schema = parse_schema(SCHEMA, source="s")
    return prepare(str(folder / "log.parquet"), schema, folder / "out", like=like)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> EncodedLog:
    return encoded(tmp_path_factory.mktemp("log") / "day", columns())


@pytest.mark.parametrize("name", OTHERS)
def test_a_column_of_another_form_is_encoded_as_before(
    name: str, earlier: EncodedLog, tmp_path: Path
) -> None:
    later = encoded(tmp_path / "day", columns() | {name: OTHERS[name]}, like=earlier)
    for part in ("train", "validation", "test"):
        mine, theirs = later.split(part), earlier.split(part)
        for array in ("ids", "numeric", "labels", "row"):
            np.testing.assert_array_equal(getattr(mine, array), getattr(theirs, array))


@pytest.mark.parametrize("name", REFUSED)
def test_a_column_that_means_something_else_is_refused(
    name: str, earlier: EncodedLog, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"column {name!r}: holds .*; ") as caught:
        encoded(tmp_path / "day", columns() | {name: REFUSED[name]}, like=earlier)
    assert "was fitted" in str(caught.value) and "\n" not in str(caught.value)
