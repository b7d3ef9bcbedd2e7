"""A list brings the number of its values, the same by every way on which rows are encoded."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.derived.columns import list_count
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.errors import SchemaError, SourceLocation
from recmtl.schema import ListOf, Numeric, Schema, dump_schema, parse_schema

TEXT = """
version: 1
name: shop
features: {price: {kind: numeric}, seen: {kind: list, column: seen_ids, max_length: 2, count: true}}
tasks: {click: {kind: binary, label: is_click}}
split: {by: random, seed: 3, validation: 0.3, test: 0.3}
"""
LISTS = st.lists(st.none() | st.lists(st.none() | st.integers(0, 9), max_size=6), max_size=30)
FORMS = [pa.list_(pa.int64()), pa.large_list(pa.int32()), pa.list_view(pa.int64())]


def schema(text: str = TEXT) -> Schema:
    return parse_schema(text, source="shop.yaml")


def log_of(lists: list, tmp_path: Path) -> Path:
    rows = range(len(lists))
    table = {"seen_ids": lists, "price": [float(row) for row in rows]}
    table |= {"is_click": [row % 2 for row in rows]}
    pq.write_table(pa.table(table), tmp_path / "log.parquet")
    return tmp_path / "log.parquet"


def prepared(lists: list, tmp_path: Path, text: str = TEXT) -> EncodedLog:
    return prepare(str(log_of(lists, tmp_path)), schema(text), tmp_path / "log")


def encoded_counts(log: EncodedLog, lists: pa.Array) -> np.ndarray:
    rows = pa.table({"seen_ids": lists, "price": pa.nulls(len(lists), pa.float64())})
    position = [field.name for field in log.encoding.numeric].index("seen.count")
    return log.encoder().encode(rows).numeric[:, position]


@given(lists=LISTS)
def test_a_count_is_the_length_of_the_list_and_missing_of_none(lists: list) -> None:
    expected = [None if values is None else len(values) for values in lists]
    column = pa.array(lists, pa.list_(pa.int64()))
    assert list_count(column, "seen", SourceLocation()).to_pylist() == expected
    sliced = list_count(column[1:], "seen", SourceLocation())
    assert sliced.to_pylist() == expected[1:]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_lists_has_the_same_count(form: pa.DataType, tmp_path: Path) -> None:
    lists = [[1, 2, 3], [], None, [4], [None, 5, 6, 7, 8]] * 12
    log = prepared(lists, tmp_path)
    expected = encoded_counts(log, pa.array(lists, pa.list_(pa.int64())))
    np.testing.assert_array_equal(encoded_counts(log, pa.array(lists, form)), expected)
    assert np.isnan(expected[2]) and not np.isnan(expected[1])


def test_a_count_is_that_of_log1p_as_a_column_of_lengths_would_be(tmp_path: Path) -> None:
    """Values beyond `max_length` count; the scaler is that of a numeric feature with `log`."""
    lists = [list(range(row % 7)) if row % 5 else None for row in range(60)]
    log = prepared(lists, tmp_path)
    lengths = [None if values is None else len(values) for values in lists]
    text = TEXT.replace(", count: true", ", count: false").replace("price: {kind: numeric}", ADDED)
    path = log_of(lists, tmp_path)
    table = pq.read_table(path)
    pq.write_table(table.append_column("lengths", pa.array(lengths)), path)
    by_hand = prepare(str(path), schema(text), tmp_path / "by_hand")
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(
            log.split(part).numeric[:, 1], by_hand.split(part).numeric[:, 1]
        )
    assert [field.name for field in log.encoding.numeric] == ["price", "seen.count"]


ADDED = "price: {kind: numeric}, lengths: {kind: numeric, log: true}"


def test_a_column_of_the_log_with_the_name_of_a_count_is_not_read(tmp_path: Path) -> None:
    lists = [[1, 2, 3]] * 30 + [[4]] * 30
    path = log_of(lists, tmp_path)
    table = pq.read_table(path).append_column("seen.count", pa.array(["no number"] * 60))
    pq.write_table(table, path)
    log = prepare(str(path), schema(), tmp_path / "log")
    assert np.isfinite(log.split("train").numeric[:, 1]).all()
    shown = log.encoder().with_numbers(table)
    assert shown["seen.count"].to_pylist() == [3] * 30 + [1] * 30


def test_the_part_of_an_encoder_counts_its_lists(tmp_path: Path) -> None:
    log = prepared([[1] * (row % 4) for row in range(60)], tmp_path)
    encoder = log.encoder()
    assert encoder.part(["price"]).encoding.fields == ("price",)
    assert encoder.part(["seen_ids"]).encoding.fields == ("seen", "seen.count")
    assert encoder.schema.columns_of(["seen.count", "price"]) == ("seen_ids", "price")


@pytest.mark.parametrize("count", ["true", "false"])
def test_a_dumped_schema_says_whether_lists_are_counted(count: str) -> None:
    read = schema(TEXT.replace("count: true", f"count: {count}"))
    assert f"count: {count}" in dump_schema(read)
    assert schema(dump_schema(read)) == read


def test_a_schema_of_an_earlier_release_counts_no_lists() -> None:
    text = TEXT.replace(", count: true", "")
    stored = parse_schema(text, source="schema.yaml", stored=True)
    assert stored.encoded_features == stored.features
    assert "count" not in dump_schema(stored, stored=True)
    assert parse_schema(dump_schema(stored), source="s", stored=True) == stored


@pytest.mark.parametrize("old", ["price", "price: {kind: numeric}"])
def test_a_count_with_the_name_of_something_else_is_refused(old: str) -> None:
    new = "seen.count" if old == "price" else "price: {kind: numeric, column: seen.count}"
    with pytest.raises(SchemaError, match=r"features.seen: derives 'seen.count'.*count: false"):
        schema(TEXT.replace(old, new, 1))


def test_a_count_is_a_numeric_feature_of_the_schema() -> None:
    assert schema().encoded_features[-1] == Numeric("seen.count", "seen.count", log=True)
    assert isinstance(schema().derived[0].source, ListOf)
