"""Sizes of embeddings: what a schema may state, and what a rule makes of the number of values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.columns.embedding_sizes import size_by_rule
from recmtl.errors import SchemaError
from recmtl.schema import dump_schema, parse_schema
from tests.unit.serve.shop import SCHEMA, make_encoder, make_log

FEATURES = """
features:
  user_id: {kind: categorical, dim: auto}
  item: {kind: categorical, dim: 6}
  history: {kind: list, table: item, max_length: 4}
  tags: {kind: list, column: history, dim: 5}
  taste: {kind: cross, columns: [user_id, item], dim: 3}
  title: {kind: text, column: item, dim: 7, hash_buckets: 50}
  price: {kind: numeric, encoding: standard, values: {}, dim: 1}
  age: {kind: numeric}
tasks:"""
TEXT = SCHEMA[: SCHEMA.index("\nfeatures:")] + FEATURES + SCHEMA.split("tasks:", 1)[1]


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_rule_gives_powers_of_two_that_never_fall(few: int, many: int) -> None:
    few, many = sorted((few, many))
    sizes = [size_by_rule(few), size_by_rule(many)]
    assert sizes == sorted(sizes) and all(size in (2, 4, 8, 16, 32, 64) for size in sizes)
    if 2 <= sizes[1] < 64:
        assert many**0.25 < sizes[1] * 2**0.5 * 1.0001


def test_every_kind_of_feature_has_the_size_that_it_states() -> None:
    encoding = make_encoder(make_log(300), TEXT).encoding
    sizes = {field: sized.size for sized in encoding.own_sizes for field in sized.fields}
    assert sizes == {
        "user_id": 2,
        "item": 6,
        "history": 6,
        "tags": 5,
        "taste": 3,
        "title.ngrams": 7,
        "price": 1,
    }
    # The exact values of a number, and the length of a list, stand beside these.
    assert {"price.value", "history.count", "tags.count", "age"} <= set(encoding.fields)
    rows = sum(count for sized in encoding.own_sizes for _, count in sized.blocks)
    assert rows < encoding.table_rows


def test_a_schema_without_sizes_is_written_as_before() -> None:
    schema = parse_schema(TEXT, source="shop.yaml")
    assert parse_schema(dump_schema(schema), source="again.yaml") == schema
    assert "dim" not in dump_schema(parse_schema(SCHEMA, source="shop.yaml"))
    assert make_encoder(make_log(50)).encoding.own_sizes == ()


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ("x: {kind: categorical, dim: 0}", r"dim"),
        ("x: {kind: categorical, dim: large}", r"dim"),
        ("x: {kind: numeric, dim: auto}", r"dim"),
        ("x: {kind: categorical, table: item, dim: 4}", r"dim: table names the feature whose"),
        ("x: {kind: list, table: item, dim: 4}", r"dim: table names the feature whose"),
        (
            "x: {kind: list, pooling: attention, target: item, dim: 4}",
            r"dim: target names the feature whose",
        ),
        (
            "x: {kind: list, pooling: attention, target: item}\n"
            "  y: {kind: list, pooling: attention, target: user_id, align: x}",
            r"features\.x: an event is read at one size; give item, user_id the same number as dim",
        ),
    ],
)
def test_sizes_that_cannot_be_are_refused(feature: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        parse_schema(TEXT.replace("features:", f"features:\n  {feature}"), source="shop.yaml")
