"""Logical types: what a form means, which types meet without loss, and which files disagree."""

import itertools

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.columns.logical_type import (
    LogicalType,
    arrow_form,
    common_type,
    logical_type,
    unify,
)
from recmtl.errors import DataError
from tests.unit.data.arrow_forms import CELLS, FORMS, VALUES

NULL = logical_type(pa.null())
SIMPLE = [
    pa.null(), pa.bool_(), pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.string(),
    pa.binary(), pa.date32(), pa.date64(), pa.time32("s"), pa.time64("ns"), pa.duration("ms"),
    pa.duration("us"), pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("ms", "UTC"),
    pa.timestamp("ns", "Europe/Berlin"), pa.struct([("a", pa.int64())]),
]  # fmt: skip
TYPES = [*map(logical_type, SIMPLE), *(logical_type(pa.list_(arrow)) for arrow in SIMPLE)]
ANY = st.sampled_from(TYPES)


@pytest.mark.parametrize(("kind", "form"), CELLS)
def test_every_form_of_a_kind_has_that_kind(kind: str, form: str) -> None:
    assert logical_type(FORMS[kind][form](VALUES[kind]).type).kind == kind


@pytest.mark.parametrize("arrow", SIMPLE[:-1])
def test_the_form_of_a_type_has_that_type_again(arrow: pa.DataType) -> None:
    for kind in (logical_type(arrow), logical_type(pa.large_list(arrow))):
        assert logical_type(arrow_form(kind)) == kind


def test_a_decimal_without_fraction_is_an_integer_and_another_is_a_float() -> None:
    for whole in (pa.decimal128(38, 0), pa.decimal256(70, 0), pa.decimal128(5, -2)):
        assert logical_type(whole).kind == "integer"
    assert logical_type(pa.decimal128(10, 2)) == logical_type(pa.float64())


def test_structs_maps_and_unions_are_nothing_that_can_be_read() -> None:
    maps = pa.map_(pa.string(), pa.int64())
    for arrow in (SIMPLE[-1], maps, pa.dense_union([pa.field("a", pa.int64())])):
        kind = logical_type(arrow)
        assert kind.kind == "other" and str(kind) == str(arrow)


@given(ANY, ANY)
def test_the_common_type_does_not_depend_on_the_order(one: LogicalType, other: LogicalType) -> None:
    assert common_type(one, other) == common_type(other, one)


@given(ANY)
def test_a_type_meets_itself_and_null_without_a_change(one: LogicalType) -> None:
    assert common_type(one, one) == one
    assert common_type(one, NULL) == one


@given(ANY, ANY, ANY)
def test_the_common_type_does_not_depend_on_the_grouping(
    one: LogicalType, two: LogicalType, three: LogicalType
) -> None:
    def meet(left: LogicalType | None, right: LogicalType | None) -> LogicalType | None:
        return None if left is None or right is None else common_type(left, right)

    assert meet(meet(one, two), three) == meet(one, meet(two, three))


@given(ANY, ANY)
def test_a_common_type_holds_both(one: LogicalType, other: LogicalType) -> None:
    """It is an upper bound: to meet either of them again changes nothing."""
    common = common_type(one, other)
    if common is not None:
        assert common_type(common, one) == common == common_type(common, other)


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        (pa.bool_(), pa.int8(), pa.int64()),
        (pa.int64(), pa.float32(), pa.float64()),
        (pa.float32(), pa.float16(), pa.float32()),
        (pa.binary(1), pa.string(), pa.string()),
        (pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("us")),
        (pa.timestamp("us", "UTC"), pa.timestamp("ms", "Asia/Tokyo"), pa.timestamp("us", "UTC")),
        (pa.date32(), pa.date64(), pa.date32()),
        (pa.time32("ms"), pa.time64("ns"), pa.time64("ns")),
        (pa.list_(pa.int8()), pa.large_list(pa.float64()), pa.list_(pa.float64())),
        (pa.list_(pa.null()), pa.list_(pa.string()), pa.list_(pa.string())),
    ],
)
def test_values_that_keep_their_meaning_have_a_common_type(
    one: pa.DataType, other: pa.DataType, common: pa.DataType
) -> None:
    assert common_type(logical_type(one), logical_type(other)) == logical_type(common)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.int64(), pa.string()),
        (pa.bool_(), pa.string()),
        (pa.int64(), pa.list_(pa.int64())),
        (pa.int64(), pa.timestamp("s")),
        (pa.date32(), pa.timestamp("s")),
        (pa.timestamp("s"), pa.timestamp("s", "UTC")),
        (pa.duration("s"), pa.time32("s")),
        (pa.list_(pa.int64()), pa.list_(pa.string())),
        (pa.struct([("a", pa.int64())]), pa.struct([("a", pa.string())])),
    ],
)
def test_values_that_would_change_their_meaning_have_none(
    one: pa.DataType, other: pa.DataType
) -> None:
    assert common_type(logical_type(one), logical_type(other)) is None


def test_files_in_any_order_get_the_same_type() -> None:
    forms = {"a": pa.null(), "b": pa.bool_(), "c": pa.uint16(), "d": pa.float32()}
    types = [(file, logical_type(arrow)) for file, arrow in forms.items()]
    assert {unify("x", order) for order in itertools.permutations(types)} == {
        logical_type(pa.float64())
    }
    assert unify("x", []) == NULL


def test_files_that_disagree_are_named_with_a_remedy() -> None:
    texts = [(f"t{i}.parquet", logical_type(pa.string())) for i in range(5)]
    files = [("n.parquet", NULL), ("i.parquet", logical_type(pa.int32())), *texts]
    with pytest.raises(DataError) as caught:
        unify("user", files)
    assert str(caught.value) == (
        "t0.parquet: column 'user': holds text in t0.parquet, t1.parquet, t2.parquet and 2 more, "
        "and integer in i.parquet; store it as integer in all files"
    )


def test_times_with_and_without_a_zone_get_a_remedy_of_their_own() -> None:
    files = [("a", logical_type(pa.timestamp("s"))), ("b", logical_type(pa.timestamp("s", "UTC")))]
    with pytest.raises(DataError) as caught:
        unify("ts", files)
    assert str(caught.value) == (
        "b: column 'ts': holds timestamp (s, UTC) in b, and timestamp (s) in a; "
        "give its times a zone in all files, or in none"
    )


def test_other_forms_that_differ_are_named_as_arrow_names_them() -> None:
    files = [("a", logical_type(SIMPLE[-1])), ("b", logical_type(pa.int64()))]
    with pytest.raises(DataError, match="holds integer in b, and struct<a: int64> in a; store"):
        unify("x", files)
