"""A row of plain values gets the ids and numbers that a table of it gets; parts are the whole."""

import datetime
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.columns.canonical import canonical
from recmtl.data.columns.keys import category_keys
from recmtl.data.columns.vocabulary import Vocabulary
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import SourceLocation
from recmtl.serve.ranking.request import encode_plain_row
from tests.unit.serve.shop import SCHEMA, make_encoder, make_log

LOG = make_log(300)
HASHED = SCHEMA.replace("item: {kind: categorical}", "item: {kind: categorical, hash_buckets: 11}")
FIRST = SCHEMA.replace("max_length: 4", "max_length: 3, keep: first, count: true")
VALUES = SCHEMA.replace("age: {kind: numeric", "age: {kind: numeric, values: {min_count: 2}")
SCHEMAS = {"plain": SCHEMA, "hashed": HASHED, "first": FIRST, "values": VALUES}
ENCODERS = {name: make_encoder(LOG, text) for name, text in SCHEMAS.items()}
VOCABULARIES = {
    **ENCODERS["plain"].vocabularies,
    "short": Vocabulary("short", "int64", 3, None, pa.array([5, -128, 4])),
    "low": Vocabulary("low", "int64", 3, None, pa.array([-(2**63), 3 - 2**63])),
    "high": Vocabulary("high", "int64", 3, None, pa.array([2**63 - 1, 2**63 - 2])),
    "far": Vocabulary("far", "int64", 3, None, pa.array([-(2**63), 0, 2**63 - 1])),
}
ENDS = [sign * 2**63 + off for sign, off in [(-1, 0), (-1, 1), (-1, 3), (1, -1), (1, -2), (0, 0)]]
ITEMS = st.sampled_from(["item-1", "item-7", "item-39", "unseen", "", None])
ROWS = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from([2**40, 2**40 + 3, 7, -(2**63), 2**63 - 1, None, math.nan]),
        "item": ITEMS,
        "history": st.one_of(st.none(), st.lists(ITEMS, max_size=8), st.tuples(ITEMS, ITEMS)),
        "price": st.sampled_from([1, 0.0, -2.5, 1e300, 2**53 + 1, None, math.nan]),
        "age": st.one_of(st.integers(-5, 200), st.floats(-1e6, 1e6)),
    }
)


def assert_as_a_table(encoder: RowEncoder, row: dict) -> None:
    found = encode_plain_row(encoder, row)
    assert found is not None
    history = pa.array([None if row["history"] is None else list(row["history"])])
    table = {name: pa.array([value], from_pandas=True) for name, value in row.items()}
    expected = encoder.encode(pa.table(table | {"history": history}))
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.numeric, expected.numeric)
    assert found.unknown == expected.unknown
    assert (found.ids.dtype, found.numeric.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_row_of_a_log_is_plain(name: str) -> None:
    for row in LOG.select(list(ENCODERS[name].input_columns)).to_pylist():
        assert_as_a_table(ENCODERS[name], row)


@pytest.mark.parametrize("name", ENCODERS)
@given(row=ROWS)
def test_strange_values_too(name: str, row: dict) -> None:
    assert_as_a_table(ENCODERS[name], row)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("user_id", "7"),
        ("user_id", 7.0),
        ("user_id", True),
        ("user_id", 2**63),
        ("user_id", np.int64(7)),
        ("item", 5),
        ("item", b"item-1"),
        ("item", datetime.date(2024, 5, 1)),
        ("history", ["item-1", 5]),
        ("history", "item-1"),
        ("history", np.array(["item-1"])),
        ("price", "3"),
        ("price", math.inf),
        ("price", 2**63),
        ("price", np.float32(1.0)),
        ("age", True),
    ],
)
def test_what_is_not_plain_is_left_to_arrow(column: str, value: object) -> None:
    row = LOG.slice(3, 1).to_pylist()[0]
    assert encode_plain_row(ENCODERS["plain"], row | {column: value}) is None


@pytest.mark.parametrize(
    "columns", [["user_id"], ["age", "history"], ["item", "price"], ["history", "user_id", "age"]]
)
def test_the_parts_of_an_encoder_are_the_columns_of_the_whole(columns: list[str]) -> None:
    whole = ENCODERS["plain"]
    others = [name for name in whole.input_columns if name not in columns]
    expected, seen = whole.encode(LOG), {}
    ids, numeric = np.full_like(expected.ids, -1), np.full_like(expected.numeric, np.inf)
    for names in (columns, others):
        part = whole.part(names)
        at = whole.encoding.columns_of(part.encoding)
        found = part.encode(LOG)
        ids[:, at[0]], numeric[:, at[1]] = found.ids, found.numeric
        seen |= found.unknown
        assert part.encoding == whole.encoding.part(part.encoding.fields)
        assert set(part.input_columns) == set(names)
    np.testing.assert_array_equal(ids, expected.ids)
    np.testing.assert_array_equal(numeric, expected.numeric)
    assert seen == expected.unknown


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("item", pa.array(["item-1", None, "unseen", "", "item-39", "item-1"])),
        ("item", pa.chunked_array([["item-1"], [], [None, "unseen"]], pa.string())),
        ("item", pa.array([], pa.string())),
        ("user_id", pa.array([2**40, 7, -(2**63), 2**63 - 1, 2**40 + 3])),
        ("user_id", pa.array([2**40, None, -1, 2**40 + 49, 2**40 + 50, None, 2**40 - 1] * 300)),
        ("user_id", pa.array([None, None], pa.int64())),
        ("short", pa.array([5, None, 127, 0, 4, -128], pa.int8())),
        ("short", pa.array([5, 2**32 - 1, 4], pa.uint32())),
        *((name, pa.array([*ENDS, None])) for name in ("low", "high", "far", "short")),
    ],
)
def test_a_column_gets_the_rows_of_its_distinct_values(name: str, column: pa.Array) -> None:
    vocabulary = VOCABULARIES[name]
    column = canonical(column, name, SourceLocation())
    expected = vocabulary.rows_of(
        category_keys(column, name, SourceLocation()), name, SourceLocation()
    )
    found = vocabulary.rows_at_once(column)
    assert found is not None and found[0].dtype == np.int32
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]


@pytest.mark.parametrize(
    ("encoder", "name", "column"),
    [
        ("hashed", "item", pa.array(["item-1"])),
        ("plain", "item", pa.array([5])),
        ("plain", "item", pa.array(["item-1"]).dictionary_encode()),
        ("plain", "item", pa.array(["item-1"] * 1001)),
        ("plain", "user_id", pa.array([7.0])),
        ("plain", "user_id", pa.array([7], pa.uint64())),
    ],
)
def test_other_columns_need_their_distinct_values(
    encoder: str, name: str, column: pa.Array
) -> None:
    assert ENCODERS[encoder].vocabularies[name].rows_at_once(column) is None


def test_long_columns_of_values_far_apart_need_their_distinct_values() -> None:
    assert VOCABULARIES["far"].rows_at_once(pa.array([0] * 1001)) is None
