"""Canonical columns: every form of the same values becomes one, and nothing is copied in vain."""

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.columns.canonical import canonical, kind_of, missing_rows, normalised
from recmtl.data.columns.logical_type import common_type, logical_type
from recmtl.errors import DataError, SourceLocation
from tests.unit.data.arrow_forms import CELLS, FORMS, VALUES, as_extension

PLACE = SourceLocation("here")
DOUBLE, INTEGER = logical_type(pa.float64()), logical_type(pa.int64())
TEXT = logical_type(pa.string())
IN_PLACE = [
    pa.array([1, None], pa.int8()),
    pa.array([1, None], pa.uint64()),
    pa.array([1.5, None], pa.float32()),
    pa.array([True, None]),
    pa.array(["a", None]),
    pa.array(["a", None], pa.large_string()),
    pa.array(["a", None]).dictionary_encode(),
    pa.array([b"a", None]),
    pa.array([1, None], pa.timestamp("ns", "UTC")),
    pa.array([1, None], pa.time32("ms")),
    pa.array([[1], None]),
    pa.array([["a"], None], pa.large_list(pa.large_string())),
    pa.array([{"a": 1}, None]),
    pa.nulls(2),
]


def canonical_forms(kind: str) -> set[Any]:
    """The Arrow types that a canonical column of a kind can have, of the forms that are tested."""
    integers = {pa.int8(), pa.int16(), pa.int32(), pa.int64(),
                pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()}  # fmt: skip
    texts = {pa.string(), pa.large_string()}
    return {
        "integer": integers,
        "float": {pa.float32(), pa.float64()},
        "text": {*texts, *(pa.dictionary(pa.int32(), text) for text in texts)},
        "binary": {pa.binary(), pa.large_binary()},
        "boolean": {pa.bool_()},
        "timestamp": {pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")},
        "list": {make(item) for make in (pa.list_, pa.large_list) for item in integers},
    }[kind]


@pytest.mark.parametrize(("kind", "form"), CELLS)
def test_every_form_becomes_canonical_and_keeps_its_values(kind: str, form: str) -> None:
    column = FORMS[kind][form](VALUES[kind])
    array = canonical(column, "x", PLACE)
    expected = VALUES[kind]
    if kind == "binary":
        expected = [None if text is None else text.encode() for text in expected]
    elif kind == "list" and "fixed" in form:
        expected = [[None, None] if row is None else row for row in expected]
        array = array.fill_null([None, None])
    assert array.to_pylist() == expected
    assert array.type in canonical_forms(kind)
    assert kind_of(array) == kind
    assert canonical(array, "x", PLACE).type == array.type


@pytest.mark.parametrize(("kind", "form"), CELLS)
def test_no_row_at_all_is_read_in_every_form(kind: str, form: str) -> None:
    column = FORMS[kind][form](VALUES[kind])
    array = canonical(column.slice(0, 0), "x", PLACE)
    assert len(array) == 0 and array.type in canonical_forms(kind)


@pytest.mark.parametrize("array", IN_PLACE, ids=lambda array: str(array.type))
def test_a_canonical_column_is_handed_on_without_a_copy(array: Any) -> None:
    kind = logical_type(array.type)
    assert canonical(array, "x", PLACE) is array
    assert normalised(array, kind, "x", PLACE) is array
    chunked = pa.chunked_array([array])
    for one_chunk in (canonical(chunked, "x", PLACE), normalised(chunked, kind, "x", PLACE)):
        before, after = (
            [None if part is None else part.address for part in column.buffers()]
            for column in (array, one_chunk)
        )
        assert before == after


@pytest.mark.parametrize("array", IN_PLACE, ids=lambda array: str(array.type))
def test_the_kind_of_an_array_is_that_of_its_type(array: Any) -> None:
    assert kind_of(array) == logical_type(array.type).kind


@pytest.mark.parametrize("array", IN_PLACE, ids=lambda array: str(array.type))
def test_a_column_of_nulls_becomes_a_column_of_any_type(array: Any) -> None:
    wanted = logical_type(array.type)
    nulls = normalised(pa.nulls(3), wanted, "x", PLACE)
    assert nulls.null_count == len(nulls) == 3
    if wanted.kind != "other":
        assert kind_of(nulls) == wanted.kind


def test_extension_types_are_read_as_what_they_store() -> None:
    column = as_extension([True, None, False])
    assert canonical(column, "x", PLACE).equals(pa.array([1, None, 0], pa.int8()))
    uuid = pa.array([b"0" * 16, None], pa.uuid())
    assert canonical(uuid, "x", PLACE).to_pylist() == [b"0" * 16, None]
    many = pa.chunked_array([as_extension([1]), as_extension([0])])
    assert canonical(many, "x", PLACE).to_pylist() == [1, 0]


@given(st.lists(st.none() | st.integers(-(2**53), 2**53), max_size=8))
def test_integers_that_a_float_holds_become_that_float(values: list[int | None]) -> None:
    array = normalised(pa.array(values, pa.int64()), DOUBLE, "x", PLACE)
    assert array.type == pa.float64()
    assert [None if x is None else int(x) for x in array.to_pylist()] == values


@pytest.mark.parametrize("value", [2**53 + 1, -(2**62), 2**63 - 1])
def test_integers_that_a_float_would_round_stay_integers(value: int) -> None:
    array = normalised(pa.array([1, value]), DOUBLE, "x", PLACE)
    assert array.to_pylist() == [1, value] and kind_of(array) == "integer"


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=8))
def test_decimals_of_64_bits_become_equal_integers(values: list[int | None]) -> None:
    decimals = pa.array([None if v is None else Decimal(v) for v in values], pa.decimal128(20, 0))
    array = canonical(decimals, "x", PLACE)
    assert array.type == pa.int64() and array.to_pylist() == values


def test_decimals_beyond_64_bits_lose_no_digit() -> None:
    values = [Decimal(2**63), None, Decimal(10**30)]
    for kind in (pa.decimal128(38, 0), pa.decimal256(60, 0)):
        array = canonical(pa.array(values, kind), "x", PLACE)
        assert array.to_pylist() == values and kind_of(array) == "integer"


def test_hundreds_in_a_decimal_of_negative_scale_are_whole_numbers() -> None:
    hundreds = pa.array([Decimal(500), Decimal(-300), None]).cast(pa.decimal128(9, -2))
    assert canonical(hundreds, "x", PLACE).to_pylist() == [500, -300, None]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("finer", ["s", "ms", "us", "ns"])
def test_times_of_two_units_count_the_same_instants(unit: str, finer: str) -> None:
    column, other = pa.array([-1, 0, 86_400], pa.timestamp("s")).cast(pa.timestamp(unit)), finer
    wanted = common_type(logical_type(column.type), logical_type(pa.timestamp(other)))
    assert wanted is not None
    array = normalised(column, wanted, "ts", PLACE)
    assert wanted.detail == max(unit, finer, key=("s", "ms", "us", "ns").index)
    assert array.to_pylist() == column.to_pylist()


def test_a_time_that_the_finer_unit_cannot_hold_is_refused() -> None:
    far = pa.array([2**40], pa.timestamp("s"))
    with pytest.raises(DataError) as caught:
        normalised(far, logical_type(pa.timestamp("ns")), "ts", PLACE)
    assert "here: column 'ts': holds timestamp[s], which cannot be read as timestamp (ns)" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(2)])
def test_bytes_become_text_where_they_are_utf8(kind: Any) -> None:
    array = normalised(pa.array(["é".encode(), None], kind), TEXT, "x", PLACE)
    assert array.to_pylist() == ["é", None] and kind_of(array) == "text"
    with pytest.raises(DataError, match=r"column 'x': holds .*, which cannot be read as text"):
        normalised(pa.array([b"\xff\xfe"], kind), TEXT, "x", PLACE)


def test_booleans_become_0_and_1() -> None:
    booleans = pa.array([True, None, False])
    for wanted in (INTEGER, DOUBLE):
        assert normalised(booleans, wanted, "x", PLACE).to_pylist() == [1, None, 0]


def test_the_items_of_a_list_become_what_the_files_share() -> None:
    lists = pa.array([[9], [1, None], None, [], [2]], pa.list_(pa.int8())).slice(1)
    wanted = logical_type(pa.list_(pa.float64()))
    array = normalised(lists, wanted, "x", PLACE)
    assert array.type == pa.list_(pa.float64())
    assert array.to_pylist() == [[1.0, None], None, [], [2.0]]


def test_nulls_and_nan_are_missing_and_nothing_else_is() -> None:
    floats = pa.array([0.0, None, float("nan"), float("inf")])
    np.testing.assert_array_equal(missing_rows(floats), [False, True, True, False])
    np.testing.assert_array_equal(missing_rows(pa.array(["", None])), [False, True])
    codes = pa.DictionaryArray.from_arrays([0, None, 1], ["", "a"])
    np.testing.assert_array_equal(missing_rows(codes), [False, True, False])
    np.testing.assert_array_equal(missing_rows(pa.nulls(2)), [True, True])
