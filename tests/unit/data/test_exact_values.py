"""Frequent values of a number have ids beside its ramps, the same whatever holds the number."""

import decimal
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.derived.columns import exact_keys
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.errors import DataError, SchemaError
from recmtl.schema import ExactValues, Numeric, Schema, dump_schema, parse_schema

LEAST = 4
TEXT = """
version: 1
name: shop
features: {age: {kind: numeric, values: {min_count: 4}}}
tasks: {click: {kind: binary, label: is_click}}
split: {by: random, seed: 3, validation: 0.2, test: 0.2}
"""
AGES = [float(row % 9) for row in range(90)] + [0.1] * 20 + [None] * 10 + [-7.5, 1e30]
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def schema(text: str = TEXT) -> Schema:
    return parse_schema(text, source="shop.yaml")


def prepared(ages: pa.Array, folder: Path, text: str = TEXT) -> EncodedLog:
    clicks = pa.array([row % 2 for row in range(len(ages))])
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table({"age": ages, "is_click": clicks}), folder / "log.parquet")
    return prepare(str(folder / "log.parquet"), schema(text), folder / "log")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EncodedLog:
    return prepared(pa.array(AGES), tmp_path_factory.mktemp("ages"))


def ids(log: EncodedLog, ages: pa.Array) -> list[int]:
    return log.encoder().encode(pa.table({"age": ages})).ids[:, 0].tolist()


def test_values_of_enough_train_rows_have_ids_and_the_others_the_unknown_row(
    log: EncodedLog,
) -> None:
    counts = Counter(AGES[row] for row in log.split("train").row.tolist())
    first = log.encoder().vocabularies["age.value"].first
    by_value = dict(zip(AGES, ids(log, pa.array(AGES)), strict=True))
    frequent = {value for value, count in counts.items() if count >= LEAST and value is not None}
    assert {value for value, row in by_value.items() if row != first} == frequent
    assert by_value[None] == by_value[1e30] == first
    assert len({by_value[value] for value in frequent}) == len(frequent)
    assert log.encoding.single == ("age.value",) and log.encoding.fields == ("age.value", "age")


def test_the_ramps_are_those_of_the_number_alone(log: EncodedLog, tmp_path: Path) -> None:
    plain = prepared(pa.array(AGES), tmp_path, TEXT.replace(", values: {min_count: 4}", ""))
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(log.split(part).numeric, plain.split(part).numeric)
    assert plain.encoding.single == ()


@pytest.mark.parametrize(
    "form", [pa.float32(), pa.float64(), pa.decimal128(12, 3), pa.decimal256(50, 3)]
)
def test_a_value_has_one_id_in_any_form(log: EncodedLog, form: pa.DataType) -> None:
    ages = [0.1, 3.0, 8.0, None, 0.0, -7.5]
    exact = [None if age is None else decimal.Decimal(str(age)) for age in ages]
    held = exact if pa.types.is_decimal(form) else ages
    assert ids(log, pa.array(held, form)) == ids(log, pa.array(ages))


@pytest.mark.parametrize("form", [pa.int8(), pa.uint16(), pa.int64(), pa.decimal128(20, 0)])
def test_whole_numbers_are_those_of_floats(log: EncodedLog, form: pa.DataType) -> None:
    ages = list(range(9))
    assert ids(log, pa.array(ages).cast(form)) == ids(log, pa.array(ages, pa.float64()))
    assert ids(log, pa.array([-0.0])) == ids(log, pa.array([0]))


def test_a_log_of_float32_gives_the_ids_of_one_of_float64(log: EncodedLog, tmp_path: Path) -> None:
    narrow = prepared(pa.array(AGES, pa.float32()), tmp_path)
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(log.split(part).ids, narrow.split(part).ids)


@given(a=FLOATS, b=FLOATS)
def test_keys_are_equal_where_values_are(a: float, b: float) -> None:
    """Whole numbers exactly, fractions as float32."""
    with np.errstate(over="ignore"):
        rounded = [x if x == np.floor(x) else float(np.float32(x)) for x in (a, b)]
    keys = exact_keys(np.array([a, b]))
    assert (keys[0] == keys[1]) == (rounded[0] == rounded[1])


@given(value=st.integers(-(2**53), 2**53))
def test_neighbouring_whole_numbers_have_different_keys(value: int) -> None:
    keys = exact_keys(np.array([value, value + 1], np.float64))
    assert value == 2**53 or keys[0] != keys[1]


def test_the_order_of_rows_and_files_does_not_matter(log: EncodedLog, tmp_path: Path) -> None:
    """Counts are of train rows, which files do not change."""
    vocabulary = log.encoder().vocabularies["age.value"]
    clicks = pa.array([row % 2 for row in range(len(AGES))])
    table = pa.table({"age": AGES, "is_click": clicks})
    (tmp_path / "parts").mkdir()
    for part in range(3):
        rows = table.slice(part * 50, 50)
        pq.write_table(rows, tmp_path / "parts" / f"{part}.parquet", row_group_size=7)
    parts = prepare(str(tmp_path / "parts"), schema(), tmp_path / "log")
    assert parts.encoder().vocabularies["age.value"].values.equals(vocabulary.values)


def test_texts_and_infinities_are_refused_as_of_any_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'age'.*not numbers"):
        prepared(pa.array(["x"] * 60), tmp_path)
    with pytest.raises(DataError, match=r"'age'.*infinite"):
        prepared(pa.array([np.inf] + [1.0] * 60), tmp_path)


def test_the_option_is_written_and_read() -> None:
    assert schema(dump_schema(schema())) == schema()
    short = schema(TEXT.replace("{min_count: 4}", "{}")).feature("age")
    assert isinstance(short, Numeric) and short.values == ExactValues(20)
    assert "values" not in dump_schema(schema(TEXT.replace(", values: {min_count: 4}", "")))


def test_a_name_that_is_taken_is_refused() -> None:
    text = TEXT.replace("features: {", "features: {age.value: {kind: categorical}, ")
    with pytest.raises(SchemaError, match=r"features.age: derives 'age.value'.*no values"):
        schema(text)
