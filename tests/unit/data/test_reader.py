"""Reading: only what is asked, joins like pandas' left join, every fault with its place."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.reader import open_log
from recmtl.errors import DataError
from recmtl.schema import SideTable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    log = {"row": np.arange(100), "user": random.integers(0, 12, 100), "item": [None, 5] * 50}
    pq.write_table(pa.table(log), tmp_path / "log.parquet", row_group_size=30)
    users = {"user": random.permutation(10), "city": [f"c{i}" for i in range(10)]}
    pq.write_table(pa.table(users | {"shop": np.arange(10) % 3}), tmp_path / "users.parquet")
    shops = {"shop": ["0", "1"], "size": [1.5, 2.5]}
    pq.write_table(pa.table(shops), tmp_path / "shops.parquet")
    return tmp_path


def test_joins_equal_pandas_left_joins(folder: Path) -> None:
    tables = [SideTable("users.parquet", "user")]
    log = open_log(str(folder / "log.parquet"), tables)
    batches = log.batches(["row", "user", "city", "shop"], rows=16)
    got = pd.concat([batch.columns.to_pandas() for batch in batches], ignore_index=True)
    left = pd.read_parquet(folder / "log.parquet")[["row", "user"]]
    expected = left.merge(pd.read_parquet(folder / "users.parquet"), on="user", how="left")
    pd.testing.assert_frame_equal(got.astype(object), expected.astype(object))


def test_a_join_can_follow_from_a_join_and_cast_its_key(folder: Path) -> None:
    shops = {"shop": [0, 1], "size": [1.5, 2.5]}
    pq.write_table(pa.table(shops), folder / "shops.parquet")
    tables = [SideTable("users.parquet", "user"), SideTable("shops.parquet", "shop")]
    log = open_log(str(folder / "log.parquet"), tables)
    batch = next(iter(log.batches(["shop", "size"]))).columns.to_pandas()
    expected = batch["shop"].map({0: 1.5, 1: 2.5})
    np.testing.assert_array_equal(batch["size"], expected)


def test_first_row_numbers_and_places_follow_the_file(folder: Path) -> None:
    found = [
        (batch.first, batch.place.row_group, batch.columns["row"][0].as_py())
        for batch in open_log(str(folder / "log.parquet")).batches(["row"], rows=20)
    ]
    firsts = [0, 20, 30, 50, 60, 80, 90]
    assert found == list(zip(firsts, [0, 0, 1, 1, 2, 2, 3], firsts, strict=True))


def test_side_tables_in_the_folder_are_no_part_of_the_log(folder: Path) -> None:
    (folder / "shops.parquet").unlink()
    assert open_log(str(folder), [SideTable("users.parquet", "user")]).rows == 100


def test_partition_folders_become_columns(tmp_path: Path) -> None:
    for day in (1, 2):
        (tmp_path / f"day={day}").mkdir()
        table = pa.table({"x": [day * 10, day * 10 + 1]})
        pq.write_table(table, tmp_path / f"day={day}" / "part.parquet")
    (tmp_path / "_SUCCESS.parquet").write_text("")
    batches = open_log(str(tmp_path)).batches(["x", "day"])
    rows = [row for batch in batches for row in batch.columns.to_pylist()]
    assert rows == [{"x": d * 10 + i, "day": d} for d in (1, 2) for i in (0, 1)]


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        (SideTable("none.parquet", "user"), r"none\.parquet: does not exist; check the path"),
        (SideTable("users.parquet", "id"), r"users\.parquet: column 'id': is missing; correct"),
        (
            SideTable("shops.parquet", "shop"),
            r"log\.parquet: column 'shop': is missing, by which shops.*; add",
        ),
    ],
)
def test_a_side_table_that_cannot_be_joined_is_refused(
    table: SideTable, fault: str, folder: Path
) -> None:
    with pytest.raises(DataError, match=fault):
        open_log(str(folder / "log.parquet"), [table])


def test_repeated_keys_are_refused(folder: Path) -> None:
    pq.write_table(pa.table({"user": [1, 1, 2], "city": list("abc")}), folder / "users.parquet")
    log = open_log(str(folder / "log.parquet"), [SideTable("users.parquet", "user")])
    with pytest.raises(DataError, match=r"'user': 1 rows repeat the key .*; keep one row per key"):
        next(iter(log.batches(["city"])))


def test_a_column_in_two_tables_is_refused(folder: Path) -> None:
    pq.write_table(pa.table({"user": [1], "item": [1]}), folder / "users.parquet")
    log = open_log(str(folder / "log.parquet"), [SideTable("users.parquet", "user")])
    with pytest.raises(DataError, match=r"'item': stands in more than one table .*; rename it"):
        log.require(["item"])


def test_a_file_that_lacks_a_column_is_named(folder: Path) -> None:
    (folder / "parts").mkdir()
    pq.write_table(pa.table({"x": [1], "y": [1]}), folder / "parts" / "a.parquet")
    pq.write_table(pa.table({"x": [1], "yy": [1]}), folder / "parts" / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet: column 'y': is missing"):
        open_log(str(folder / "parts")).require(["x", "y"])
