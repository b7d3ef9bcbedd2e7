"""Columns in folder names: as Arrow and Spark write them, of one type, and times where needed."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.data.columns.hive import folder_values
from recmtl.data.columns.logical_type import logical_type
from recmtl.data.prepare import prepare
from recmtl.data.reader import open_log
from recmtl.errors import DataError, SourceLocation
from recmtl.schema import parse_schema

SCHEMA = """
version: 1
name: days
features: {x: {kind: categorical}, shop: {kind: categorical}}
tasks: {click: {kind: binary, label: y}}
roles: {time: dt}
split: {by: time, test_from: 2024-05-04, validation_from: 2024-05-03}
"""
NULL = "__HIVE_DEFAULT_PARTITION__"


def put(folder: Path, **columns: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"x": [1, 2, 3], **columns}), folder / "a.parquet")


def column(root: Path, name: str, **options: Any) -> pa.ChunkedArray:
    """A column of a log, in its canonical form."""
    batches = [batch.columns for batch in open_log(str(root), **options).batches([name])]
    return pa.Table.from_batches(batches)[name]


@given(
    st.lists(
        st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=5),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=25, deadline=None)
def test_what_arrow_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str | None]
) -> None:
    root = tmp_path_factory.mktemp("log")
    table = pa.table({"shop": pa.array(texts, pa.string()), "row": np.arange(len(texts))})
    ds.write_dataset(table, root, format="parquet", partitioning=["shop"],
                     partitioning_flavor="hive")  # fmt: skip
    read = {}
    for batch in open_log(str(root)).batches(["shop", "row"]):
        columns = [batch.columns["row"].to_pylist(), batch.columns["shop"].to_pylist()]
        read |= dict(zip(*columns, strict=True))
    whole = all(t is None or (t.removeprefix("-").isdecimal() and t.isascii()) for t in texts)
    expected = [t if t is None or not whole else int(t) for t in texts]
    assert [read[row] for row in range(len(texts))] == expected


def test_the_marker_of_hive_is_null_and_leaves_integers_integers(tmp_path: Path) -> None:
    put(tmp_path / "hour=07")
    put(tmp_path / f"hour={NULL}")
    hours = column(tmp_path, "hour")
    assert hours.type == pa.int64() and hours.to_pylist() == [7] * 3 + [None] * 3


def test_one_word_among_the_values_makes_all_of_them_text(tmp_path: Path) -> None:
    for hour in ("7", "late"):
        put(tmp_path / f"hour={hour}")
    assert column(tmp_path, "hour").to_pylist() == ["7"] * 3 + ["late"] * 3


def test_names_and_values_are_percent_encoded() -> None:
    folders = ["my%20shop=a%2Fb%3D%C3%A9", "plain", "dt=2024-05-01 12%3A00%3A00", "empty="]
    assert folder_values(folders, SourceLocation()) == {
        "my shop": "a/b=é", "dt": "2024-05-01 12:00:00", "empty": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("folders", "fault"),
    [
        (["shop=%FF"], "lies in folder 'shop=%FF', which is no text; write the folders again"),
        (["a=1", "a=2"], "column 'a': stands in two of the folders above the file; rename one"),
    ],
)
def test_folders_that_say_nothing_are_refused(folders: list[str], fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        folder_values(folders, SourceLocation())


def test_two_columns_in_folder_names_and_days_as_times(tmp_path: Path) -> None:
    for day in range(1, 6):
        for shop in ("a", "b%20c"):
            put(tmp_path / "log" / f"dt=2024-05-0{day}" / f"shop={shop}", y=[0, 1, day % 2])
    log = prepare(str(tmp_path / "log"), parse_schema(SCHEMA, source="s"), tmp_path / "out")
    assert log.manifest["rows"] == {"train": 12, "validation": 6, "test": 12}
    assert log.encoder().vocabularies["shop"].values.to_pylist() == ["a", "b c"]


FITTED = [
    (pa.int64(), "7", 7),
    (pa.string(), "7", "7"),
    (pa.date32(), "2024-05-01", datetime.date(2024, 5, 1)),
    (pa.timestamp("us"), "2024-05-01 12%3A00%3A00", datetime.datetime(2024, 5, 1, 12)),
    (pa.bool_(), "true", True),
    (pa.float64(), "0.5", 0.5),
    (pa.int64(), NULL, None),
]


@pytest.mark.parametrize(("arrow", "text", "value"), FITTED)
def test_folders_added_later_have_the_fitted_type(
    arrow: Any, text: str, value: Any, tmp_path: Path
) -> None:
    put(tmp_path / f"k={text}")
    fitted = {"k": logical_type(arrow)}
    assert column(tmp_path, "k", fitted=fitted).to_pylist() == [value] * 3


def test_a_folder_that_is_no_value_of_the_fitted_type_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "k=late")
    fault = r"k=late.*: column 'k': is 'late' in the folder's name, and integer was fitted; rename"
    with pytest.raises(DataError, match=fault):
        open_log(str(tmp_path), fitted={"k": logical_type(pa.int64())})
    refused: list[DataError] = []
    open_log(str(tmp_path), fitted={"k": logical_type(pa.int64())},
             refused=lambda _, error: refused.append(error))  # fmt: skip
    assert len(refused) == 1


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("5", pa.array([5] * 3, pa.int8())),
        ("5", pa.array(["5"] * 3).dictionary_encode()),
        ("2024-05-01", pa.array([datetime.date(2024, 5, 1)] * 3)),
        (NULL, pa.nulls(3, pa.int32())),
    ],
)
def test_a_column_in_the_file_too_must_hold_what_the_folder_says(
    text: str, same: Any, tmp_path: Path
) -> None:
    put(tmp_path / "log" / f"k={text}", k=same)
    assert column(tmp_path / "log", "k").to_pylist() == same.to_pylist()
    put(tmp_path / "other" / "k=6", k=same)
    with pytest.raises(DataError, match="'k': holds other values than '6', which the folder's na"):
        column(tmp_path / "other", "k")
    assert column(tmp_path / "other", "x").to_pylist() == [1, 2, 3]
