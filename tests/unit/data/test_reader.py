"""Reading: only what is asked, joins like pandas' left join, every fault with its place."""

from pathlib import Path
from typing import Any

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


def write_files(folder: Path, *columns: Any) -> str:
    """One file for each column, which is called x."""
    folder.mkdir(exist_ok=True)
    for i, column in enumerate(columns):
        table = pa.table({"x": column, "file": np.full(len(column), i)})
        pq.write_table(table, folder / f"{i}.parquet")
    return str(folder)


def test_a_column_has_one_type_in_all_batches(tmp_path: Path) -> None:
    data = write_files(
        tmp_path / "log",
        pa.array([1, None], pa.int8()),
        pa.array([2.5, 3.0], pa.float32()),
        pa.nulls(2),
        pa.array([True, False]),
    )
    log = open_log(data)
    assert str(log.logical_types(["x"])["x"]) == "float"
    columns = [batch.columns["x"] for batch in log.batches(["x"])]
    assert [pa.types.is_floating(column.type) for column in columns] == [True] * 4
    read = [value for column in columns for value in column.to_pylist()]
    assert read == [1, None, 2.5, 3.0, None, None, 1, 0]


def test_columns_can_be_read_as_they_are_stored(tmp_path: Path) -> None:
    forms = [pa.array([1], pa.int8()), pa.array([2.5], pa.float32()), pa.array(["a"])]
    log = open_log(write_files(tmp_path / "log", *forms))
    columns = [batch.columns["x"] for batch in log.batches(["x"], as_stored=True)]
    assert [column.to_pylist() for column in columns] == [[1], [2.5], ["a"]]
    assert [column.type for column in columns[:2]] == [pa.int8(), pa.float32()]


def test_files_that_disagree_are_refused_before_a_row_is_read(tmp_path: Path) -> None:
    log = open_log(write_files(tmp_path / "log", pa.array([1]), pa.array(["1"])))
    with pytest.raises(DataError) as caught:
        next(log.batches(["x"]))
    one, other = (str(tmp_path / "log" / f"{i}.parquet") for i in (0, 1))
    assert str(caught.value) == (
        f"{other}: column 'x': holds text in {other}, and integer in {one}; "
        "store it as integer in all files"
    )


def test_files_may_disagree_in_columns_that_nobody_reads(tmp_path: Path) -> None:
    log = open_log(write_files(tmp_path / "log", pa.array([1]), pa.array(["1"])))
    assert [batch.columns["file"][0].as_py() for batch in log.batches(["file"])] == [0, 1]


def test_text_of_a_file_comes_as_the_codes_under_which_it_is_stored(tmp_path: Path) -> None:
    forms = [pa.array(["a", "b"] * 9), pa.array(["b", None] * 9, pa.large_string())]
    log = open_log(write_files(tmp_path / "log", *forms))
    columns = [batch.columns["x"] for batch in log.batches(["x"])]
    assert all(pa.types.is_dictionary(column.type) for column in columns)
    assert [value for column in columns for value in column.to_pylist()] == ["a", "b"] * 9 + [
        "b", None,
    ] * 9  # fmt: skip


@pytest.mark.parametrize(
    ("folders", "values"),
    [
        (["7", "-8"], [7, -8]),
        (["007", "8"], [7, 8]),
        (["007", "x"], ["007", "x"]),
        (["x", "7"], ["x", "7"]),
        (["--5", "5"], ["--5", "5"]),
        (["1.5", "2"], ["1.5", "2"]),
        (["99999999999999999999", "1"], ["99999999999999999999", "1"]),
        (["2024-05-01", "2024-05-02"], ["2024-05-01", "2024-05-02"]),
    ],
)
def test_a_partition_has_one_type_in_all_folders(
    folders: list[str], values: list[Any], tmp_path: Path
) -> None:
    for i, name in enumerate(folders):
        (tmp_path / str(i) / f"p={name}").mkdir(parents=True)
        pq.write_table(pa.table({"x": [i]}), tmp_path / str(i) / f"p={name}" / "a.parquet")
    log = open_log(str(tmp_path))
    assert [batch.columns["p"][0].as_py() for batch in log.batches(["p"])] == values


def test_a_column_that_a_folder_names_and_a_file_holds_is_unified(tmp_path: Path) -> None:
    for name, table in (("p=1", {"x": [1]}), ("q", {"x": [2], "p": [2.5]})):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table(table), tmp_path / name / "a.parquet")
    log = open_log(str(tmp_path))
    assert [batch.columns["p"].to_pylist() for batch in log.batches(["p"])] == [[1.0], [2.5]]


def test_a_batch_never_has_more_rows_than_asked_and_may_start_late(tmp_path: Path) -> None:
    table = pa.table({"x": np.arange(50)})
    pq.write_table(table, tmp_path / "log.parquet", row_group_size=20)
    log = open_log(str(tmp_path / "log.parquet"))
    batches = list(log.batches(["x"], rows=8, start=25))
    assert [batch.first for batch in batches] == [20, 28, 36, 40, 48]
    assert max(batch.rows for batch in batches) == 8
    assert [x for batch in batches for x in batch.columns["x"].to_pylist()] == list(range(20, 50))


def test_a_value_that_its_type_cannot_hold_can_be_set_aside(tmp_path: Path) -> None:
    far = pa.array([2**40], pa.timestamp("s")).cast(pa.timestamp("ms"))
    near = pa.array([1, 2], pa.timestamp("ns"))
    log = open_log(write_files(tmp_path / "log", near, far, near))
    set_aside = []
    read = list(log.batches(["x"], refused=lambda *faults: set_aside.append(faults)))
    assert [batch.first for batch in read] == [0, 3]
    [(first, last, place, fault)] = set_aside
    assert (first, last, place.row_group) == (2, 3, 0)
    assert "which cannot be read as timestamp (ns)" in str(fault)
    with pytest.raises(DataError, match=r"1\.parquet, row group 0: column 'x': holds timestamp"):
        list(log.batches(["x"]))
