"""JSON lines keep what they say: text stays text, whole numbers all their bits, times are times."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recmtl.data.columns.logical_type import TEXT
from recmtl.data.describe import describe
from recmtl.data.formats import json_rows
from recmtl.data.formats.converted import parquet_of
from recmtl.data.formats.json_rows import json_batches, json_types, merged_types
from recmtl.errors import DataError


def written(folder: Path, *rows: Any, name: str = "log.jsonl") -> Path:
    path = folder / name
    text = "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def read(*paths: Path, texts: tuple[str, ...] = ()) -> pa.Table:
    schema = merged_types({path: json_types(path) for path in paths}, texts)
    return pa.Table.from_batches([b for path in paths for b in json_batches(path, schema)])


ROWS = (
    {"id": "007", "n": 1, "x": 0.5, "ok": True, "tags": ["a", "b"], "day": "2024-05-01"},
    {"id": "8", "n": -2, "x": 2, "ok": None, "tags": [], "day": "2024-05-02"},
    {"n": None, "x": None, "late": 3, "day": None, "tags": None},
)


@pytest.mark.parametrize("name", ["log.jsonl", "log.ndjson", "log.json", "log.jsonl.gz", "part-0"])
def test_values_have_the_types_that_json_gives_them(tmp_path: Path, name: str) -> None:
    table = read(written(tmp_path, *ROWS, name=name))
    assert {field.name: str(field.type) for field in table.schema} == {
        "id": "string", "n": "int64", "x": "double", "ok": "bool", "tags": "list<item: string>",
        "day": "date32[day]", "late": "int64",
    }  # fmt: skip
    assert table["id"].to_pylist() == ["007", "8", None]
    assert table["n"].to_pylist() == [1, -2, None]
    assert table["late"].to_pylist() == [None, None, 3]
    assert table["tags"].to_pylist() == [["a", "b"], [], None]


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_whole_numbers_keep_all_their_bits(tmp_path: Path, number: int) -> None:
    assert read(written(tmp_path, {"id": number}, {"id": 3}))["id"].to_pylist() == [number, 3]


def test_numbers_beyond_64_bits_and_fractions_are_floats(tmp_path: Path) -> None:
    assert read(written(tmp_path, {"x": 2**70}))["x"].to_pylist() == [float(2**70)]
    assert read(written(tmp_path, {"x": 2**63}, {"x": -0.5}))["x"].to_pylist() == [2.0**63, -0.5]


@pytest.mark.parametrize(
    ("values", "arrow"),
    [
        (["2024-05-01", "2024-05-02"], "date32[day]"),
        (["2024-05-01T10:00:00.250", "2024-05-01 10:00:00"], "timestamp[us]"),
        (["2024-05-01T10:00:00Z", "2024-05-01T10:00:00+02:00"], "timestamp[us, tz=UTC]"),
        (["2024-05-01", "2024-05-01 10:00:00"], "timestamp[us]"),
        (["2024-05-01", "soon"], "string"),
        (["2024-05-01T10:00:00Z", "2024-05-01T10:00:00"], "string"),
    ],
)
@pytest.mark.parametrize("several", [False, True])
def test_text_is_a_time_if_all_of_it_is(
    tmp_path: Path, values: list[str], arrow: str, several: bool
) -> None:
    rows = [{"at": value} for value in values]
    if several:
        paths = [written(tmp_path, row, name=f"{i}.jsonl") for i, row in enumerate(rows)]
    else:
        paths = [written(tmp_path, *rows)]
    table = read(*paths)
    assert str(table.schema.field("at").type) == arrow
    if arrow == "string":
        assert table["at"].to_pylist() == values


def test_text_that_was_fitted_stays_text(tmp_path: Path) -> None:
    path = written(tmp_path, {"code": "2024-05-01"})
    assert read(path, texts=("code", "gone"))["code"].to_pylist() == ["2024-05-01"]
    stored = parquet_of({path: "json"}, fitted={"code": TEXT})[path]
    assert stored != path and pa.parquet.read_schema(stored).field("code").type == pa.string()


@given(st.lists(st.fixed_dictionaries({"a": st.none() | st.text(max_size=5),
    "b": st.none() | st.integers(-(2**63), 2**63 - 1),
    "c": st.none() | st.lists(st.integers(0, 9), max_size=3)}), min_size=1, max_size=20),
    st.integers(8, 200))  # fmt: skip
@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_blocks_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], size: int
) -> None:
    path = written(tmp_path, *rows)
    with monkeypatch.context() as patch:
        patch.setattr(json_rows, "BLOCK_BYTES", size)
        table = read(path)
    words = {"NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "none", "-nan"}
    assert table.num_rows == len(rows)
    for name in "abc":
        values = [row[name] for row in rows]
        if name == "a" and any(value in words for value in values):
            continue
        assert table[name].to_pylist() == values


def test_an_object_in_a_row_is_a_struct_and_a_draft_leaves_it_out(tmp_path: Path) -> None:
    rows = [
        {"click": int(i % 3 == 0), "item": f"i{i % 7}", "device": {"os": "x", "v": i, "e": {}}}
        for i in range(200)
    ]
    rows[7] |= {"nothing": {}, "more": [{}]}
    path = written(tmp_path, *rows)
    assert pa.types.is_struct(read(path).schema.field("device").type)
    draft = describe(str(path))
    assert "item: {kind: categorical}" in draft and "device" in draft


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["[1, 2]"], r"a row is no object .*jq"),
        ([{"a": 1}, '{"a": '], r"cannot be read as JSON lines .* in row 1\); correct the row"),
        ([{"a": 1}, {"a": "x"}], r"changed from number to string in row 1"),
        ([{"a": 1}, '{"a": 1, "a": 2}'], "specified twice in row 1"),
        (['{"a": 1'], "cannot be read as JSON lines"),
    ],
)
def test_a_row_that_is_wrong_is_named(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        read(written(tmp_path, *rows))
    assert "log.jsonl" in str(error.value)


def test_a_row_is_counted_from_the_first_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_rows, "BLOCK_BYTES", 20)
    with pytest.raises(DataError, match=r"in row 40\)"):
        read(written(tmp_path, *[{"a": 1}] * 40, "{]"))


def test_two_kinds_in_two_files_are_told_by_column(tmp_path: Path) -> None:
    paths = [written(tmp_path, {"a": value}, name=f"{value}.json") for value in (1, "x")]
    with pytest.raises(DataError, match=r"x\.json.*'a'.*holds a number in some rows, text in"):
        read(*paths)


def test_a_file_without_line_breaks_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_rows, "LONGEST_ROW", 1000)
    monkeypatch.setattr(json_rows, "BLOCK_BYTES", 64)
    path = tmp_path / "one.json"
    path.write_text('{"a": "' + "x" * 5000 + '"}')
    with pytest.raises(DataError, match="a line of more than 1,000 bytes"):
        read(path)


def test_empty_lines_a_mark_and_a_file_without_rows_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n  \n{"a": 2}')
    assert read(path)["a"].to_pylist() == [1, 2]
    empty = written(tmp_path, name="empty.jsonl")
    np.testing.assert_equal(read(path, empty)["a"].to_pylist(), [1, 2])
