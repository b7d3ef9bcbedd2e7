"""Side tables: a left join like pandas', keys of every unit and form, every fault named."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.data.reader import Log, open_log
from recmtl.data.side_table import JoinedTable, side_path
from recmtl.errors import DataError, SourceLocation
from recmtl.schema import SideTable

HERE = SourceLocation("log")
Join = Callable[[Any, dict[str, Any]], Log]


@pytest.fixture
def join(tmp_path: Path) -> Join:
    """A log with a key column and one side table, as files."""

    def written(key: Any, table: dict[str, Any]) -> Log:
        rows = {"key": key, "row": np.arange(len(key))}
        pq.write_table(pa.table(rows), tmp_path / "log.parquet")
        pq.write_table(pa.table(table), tmp_path / "side.parquet")
        return open_log(str(tmp_path / "log.parquet"), [SideTable("side.parquet", "key")])

    return written


def values(log: Log, column: str = "value") -> list[Any]:
    return [v for batch in log.batches([column]) for v in batch.columns[column].to_pylist()]


@pytest.mark.parametrize(
    ("log_key", "table_key"),
    [
        (pa.array([2, None, 7, 1], pa.int8()), pa.array([1, 2], pa.uint64())),
        (pa.array([2.0, None, 7.0, 1.0]), pa.array([1, 2])),
        (pa.array([2, None, 7, 1]), pa.array([1.0, 2.0])),
        (pa.array(["2", None, "7", "1"]), pa.array([1, 2])),
        (pa.array([2, None, 7, 1]), pa.array(["1", "2"])),
        (pa.array(["2", None, "7", "1"], pa.string_view()), pa.array([b"1", b"2"])),
        (pa.array(["2", None, "7", "1"]).dictionary_encode(), pa.array(["1", "2"])),
        (pa.array([2, None, 7, 1]).cast(pa.decimal128(20, 0)), pa.array([1, 2])),
    ],
    ids=[
        "width",
        "floats",
        "table of floats",
        "text",
        "table of text",
        "views",
        "codes",
        "decimal",
    ],
)
def test_equal_keys_meet_whatever_form_they_have(log_key: Any, table_key: Any, join: Join) -> None:
    assert values(join(log_key, {"key": table_key, "value": ["one", "two"]})) == [
        "two", None, None, "one",
    ]  # fmt: skip


@pytest.mark.parametrize("log_unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("table_unit", ["ms", "us", "ns"])
def test_times_meet_whatever_unit_they_are_counted_in(
    log_unit: str, table_unit: str, join: Join
) -> None:
    hours = [datetime.datetime(2024, 5, 1, hour) for hour in (1, 2, 3)]
    log_key = pa.array([hours[1], None, hours[2], hours[0]], pa.timestamp(log_unit))
    table = {"key": pa.array(hours[:2], pa.timestamp(table_unit)), "value": [1, 2]}
    log = join(log_key, table)
    assert values(log) == [2, None, None, 1]
    assert values(log, "row") == [0, 1, 2, 3]


def test_an_instant_between_the_ticks_of_the_table_is_not_in_it(join: Join) -> None:
    log_key = pa.array([1_000_000, 1_000_001], pa.timestamp("us"))
    table = {"key": pa.array([1_000], pa.timestamp("ms")), "value": [5]}
    assert values(join(log_key, table)) == [5, None]


@pytest.mark.parametrize(
    ("log_key", "table_key"),
    [
        (pa.array([datetime.date(2024, 5, 1)]), pa.array([0], pa.timestamp("ms"))),
        (pa.array([0], pa.timestamp("ms")), pa.array([0], pa.timestamp("ms", "UTC"))),
        (pa.array([0]), pa.array([0], pa.timestamp("ms"))),
        (pa.array([0], pa.timestamp("ms")), pa.array([0])),
        (pa.array(["one"]), pa.array([0])),
    ],
    ids=["date and time", "zone", "number and time", "time and number", "word and number"],
)
def test_keys_that_cannot_meet_are_refused(log_key: Any, table_key: Any, join: Join) -> None:
    log = join(log_key, {"key": table_key, "value": [1]})
    with pytest.raises(DataError) as caught:
        values(log)
    assert "log.parquet, row group 0: column 'key': holds other values than the key of" in str(
        caught.value
    )
    assert str(caught.value).endswith("; store both as the same type")


@pytest.mark.parametrize("table_key", [pa.nulls(2), pa.array([None, 5]), pa.array([None, "x"])])
def test_rows_of_the_table_without_a_key_meet_no_row(table_key: Any, join: Join) -> None:
    assert values(join(pa.nulls(2), {"key": table_key, "value": [1, 2]})) == [None, None]


def test_a_log_of_times_meets_no_key_that_is_null(join: Join) -> None:
    log_key = pa.array([0, 1], pa.timestamp("ms"))
    assert values(join(log_key, {"key": pa.nulls(1), "value": [1]})) == [None, None]


@given(
    st.lists(st.none() | st.integers(0, 9), min_size=1, max_size=12),
    st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True),
)
@settings(max_examples=25, deadline=None)
def test_any_keys_join_as_pandas_joins(
    tmp_path_factory: pytest.TempPathFactory, log_keys: list[int | None], table_keys: list[int]
) -> None:
    path = tmp_path_factory.mktemp("side") / "side.parquet"
    pq.write_table(pa.table({"key": table_keys, "value": np.arange(len(table_keys))}), path)
    table = JoinedTable(SideTable("side.parquet", "key"), path)
    table.load(["value"])
    joined = table.join(pa.array(log_keys, pa.int64()), HERE)["value"].to_pylist()
    left = pd.DataFrame({"key": pd.array(log_keys, "Int64")})
    right = pd.DataFrame({"key": pd.array(table_keys, "Int64"), "value": range(len(table_keys))})
    merged = left.merge(right.astype({"value": "Int64"}), on="key", how="left")["value"]
    assert joined == [None if pd.isna(value) else int(value) for value in merged]


def test_columns_are_read_once_and_again_when_more_are_needed(join: Join) -> None:
    log = join(pa.array([2, 1]), {"key": [1, 2], "value": [10, 20], "other": ["a", "b"]})
    assert values(log) == [20, 10]
    assert values(log, "other") == ["b", "a"]
    (log.tables[0].path).unlink()  # type: ignore[union-attr] # of this machine
    assert values(log, "other") == ["b", "a"], "the table is in memory"
    with pytest.raises(DataError, match=r"side\.parquet: does not exist"):
        values(log, "value")


def test_lists_and_structs_are_no_keys(join: Join) -> None:
    log = join(pa.array([[1]]), {"key": [1], "value": [1]})
    with pytest.raises(DataError, match=r"'key': holds list<.*>, not single values"):
        values(log)


def test_relative_paths_start_at_the_folder_of_the_log(tmp_path: Path) -> None:
    assert side_path(SideTable("a/b.parquet", "key"), tmp_path) == tmp_path / "a" / "b.parquet"
    absolute = tmp_path / "b.parquet"
    assert side_path(SideTable(str(absolute), "key"), tmp_path / "x") == absolute
    assert str(side_path(SideTable("memory://b.parquet", "key"), tmp_path)).startswith("memory:")
