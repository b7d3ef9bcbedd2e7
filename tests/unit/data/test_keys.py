"""Keys: exact values, codes into the distinct ones, and the kept ends of lists."""

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.columns.canonical import canonical
from recmtl.data.columns.keys import (
    Keys,
    as_type,
    category_keys,
    kept_values,
    stable_hash,
)
from recmtl.errors import DataError, SourceLocation
from recmtl.schema import ListOf

PLACE = SourceLocation("here")
INT64 = st.integers(-(2**63), 2**63 - 1)


def keys_of(column: Any) -> Keys:
    return category_keys(canonical(column, "x", PLACE), "x", PLACE)


def read_back(keys: Keys) -> list[Any]:
    """The value of each row, None where it is missing."""
    return [None if code < 0 else keys.values[int(code)].as_py() for code in keys.codes]


@given(st.lists(st.none() | INT64, max_size=12))
def test_integers_and_their_dictionary_are_read_back_exactly(values: list[int | None]) -> None:
    column = pa.array(values, pa.int64())
    for form in (column, column.dictionary_encode(), pa.chunked_array([column, column[:0]])):
        keys = keys_of(form)
        assert read_back(keys) == values
        assert keys.type == "int64"


@given(st.lists(st.none() | st.text(max_size=4), max_size=12))
def test_texts_are_read_back_exactly(values: list[str | None]) -> None:
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        keys = keys_of(pa.array(values, kind))
        assert read_back(keys) == values
        assert keys.type == "string"


@given(st.lists(st.none() | st.just(float("nan")) | st.integers(-(2**53), 2**53).map(float)))
def test_whole_floats_are_integers_and_nan_is_missing(values: list[float | None]) -> None:
    keys = keys_of(pa.array(values, pa.float64()))
    expected = [None if value is None or value != value else int(value) for value in values]
    assert read_back(keys) == expected


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array([True, None, False]), [1, None, 0]),
        (pa.array([2**63 - 1, None], pa.uint64()), [2**63 - 1, None]),
        (pa.array([-1.0, -0.0, 0.0], pa.float32()), [-1, 0, 0]),
        (pa.array([datetime.date(1970, 1, 3), None]), [2, None]),
        (pa.array([172_800_000], pa.date64()), [172_800_000]),
        (pa.array([7, None], pa.timestamp("ms", "UTC")), [7, None]),
        (pa.array([7, None], pa.time32("s")), [7, None]),
        (pa.array([7, None], pa.time64("ns")), [7, None]),
        (pa.array([7, None], pa.duration("us")), [7, None]),
        (pa.array(["é".encode(), None]), ["é", None]),
        (pa.array([Decimal("3.00"), None]), [3, None]),
        (pa.nulls(2), [None, None]),
        (pa.DictionaryArray.from_arrays([0, 1, None, 0], [None, "a"]), [None, "a", None, None]),
        (pa.DictionaryArray.from_arrays([2, 1], [9.0, float("nan"), 4.0]), [4, None]),
        (pa.DictionaryArray.from_arrays([0, 0], ["used", "never used"]), ["used", "used"]),
    ],
    ids=str,
)
def test_every_kind_of_category_has_one_form(column: Any, values: list[Any]) -> None:
    assert read_back(keys_of(column)) == values


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        (pa.array([1.5]), "holds fractions or infinities, which are no categories; declare kind"),
        (pa.array([float("inf")]), "holds fractions or infinities"),
        (
            pa.array([2.0**53 + 2]),
            "holds double beyond 9007199254740992, where .*; store it as int6",
        ),
        (pa.array([2.0**24 + 2], pa.float32()), "holds float beyond 16777216, where floats stand"),
        (pa.array([2**63], pa.uint64()), "cannot be read as categories .*; store it as int64 or"),
        (pa.array([Decimal(10**30)]), "cannot be read as categories .*; store it as int64 or"),
        (pa.array([b"\xff"]), "cannot be read as categories .*; store it as int64 or text"),
        (pa.array([[1]]), "holds list<.*>, not single values; declare kind: list"),
        (pa.array([{"a": 1}]), "holds struct<.*>, not categories; unpack it into plain columns"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "holds map<.*not categories"),
    ],
)
def test_values_that_are_no_categories_are_refused(column: Any, fault: str) -> None:
    with pytest.raises(DataError, match=f"here: column 'x': {fault}"):
        keys_of(column)


def test_keys_are_read_as_the_type_that_was_fitted() -> None:
    whole, texts = pa.array([3, -5]), pa.array(["3", "-5"], pa.large_string())
    assert as_type(texts, "int64", "x", PLACE).equals(whole)
    assert as_type(whole, "string", "x", PLACE).equals(texts)
    assert as_type(whole, "int64", "x", PLACE) is whole
    assert as_type(texts, "string", "x", PLACE) is texts


@pytest.mark.parametrize("text", ["x", "", "1.0", "--3", "1e3", "9" * 30, "\u0663"])
def test_text_that_is_no_integer_is_shown(text: str) -> None:
    texts = pa.array(["12", text], pa.large_string())
    with pytest.raises(DataError) as caught:
        as_type(texts, "int64", "x", PLACE)
    assert f"holds text such as {text!r} where whole numbers were fitted" in str(caught.value)


ROWS = st.lists(st.none() | st.lists(st.none() | st.integers(0, 5), max_size=6), max_size=6)


@given(ROWS, st.integers(1, 4), st.sampled_from(["first", "last"]), st.integers(0, 2))
def test_the_kept_end_of_every_list_is_that_of_python(
    rows: list[list[int | None] | None], length: int, keep: Any, cut: int
) -> None:
    feature = ListOf("x", "x", max_length=length, keep=keep)
    for kind in (pa.list_(pa.int64()), pa.large_list(pa.int16()), pa.list_view(pa.int64())):
        column = pa.array([[9], *rows, None], kind).slice(cut, len(rows))
        expected = ([[9], *rows, None])[cut : cut + len(rows)]
        kept = kept_values(canonical(column, "x", PLACE), feature, PLACE)
        lists = [[] if row is None else row for row in expected]
        ends = [row[:length] if keep == "first" else row[-length:] for row in lists]
        assert read_back(kept.keys) == [value for row in ends for value in row]
        lengths = np.array([len(row) for row in ends], np.int64)
        np.testing.assert_array_equal(kept.slots, np.arange(length) < lengths[:, None])


def test_a_null_list_hides_what_arrow_stores_under_it() -> None:
    mask = pa.array([False, True, False])
    column = pa.ListArray.from_arrays(pa.array([0, 1, 3, 4]), pa.array([1, 2, 3, 4]), mask=mask)
    kept = kept_values(column, ListOf("x", "x", max_length=2), PLACE)
    assert read_back(kept.keys) == [1, 4]
    assert kept.slots.tolist() == [[True, False], [False, False], [True, False]]


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        (pa.array([1]), "holds int64, not lists; declare kind: categorical"),
        (pa.array(["a"]).dictionary_encode(), "holds string, not lists; declare kind: cat"),
        (pa.array([[[1]]]), "holds list<.*>, not single values"),
        (pa.array([[{"a": 1}]]), "holds struct<.*>, not categories"),
    ],
)
def test_columns_without_lists_of_categories_are_refused(column: Any, fault: str) -> None:
    with pytest.raises(DataError, match=f"column 'x': {fault}"):
        kept_values(column, ListOf("x", "x"), PLACE)


def test_a_column_of_nulls_is_a_column_of_empty_lists() -> None:
    kept = kept_values(pa.nulls(3), ListOf("x", "x", max_length=2), PLACE)
    assert len(kept.keys.codes) == 0 and not kept.slots.any()


def polynomial(text: bytes) -> int:
    """The hash of a text as its definition says, byte by byte."""
    return sum((byte + 1) * pow(0x100000001B3, i + 1, 2**64) for i, byte in enumerate(text)) % 2**64


def splitmix(x: int) -> int:
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


@given(st.lists(st.text(max_size=6), min_size=1, max_size=6), st.integers(0, 9))
def test_the_hash_of_texts_is_its_definition(texts: list[str], seed: int) -> None:
    salt = (seed + 1) * 0x9E3779B97F4A7C15 % 2**64
    expected = [splitmix(splitmix(polynomial(text.encode()) ^ salt)) for text in texts]
    assert stable_hash(pa.array(texts), seed).tolist() == expected


@given(st.lists(INT64, min_size=1, max_size=6), st.integers(0, 9))
def test_the_hash_of_integers_is_its_definition(values: list[int], seed: int) -> None:
    salt = (seed + 1) * 0x9E3779B97F4A7C15 % 2**64
    expected = [splitmix(splitmix(value % 2**64 ^ salt)) for value in values]
    assert stable_hash(pa.array(values, pa.int64()), seed).tolist() == expected
