"""Histories in a schema: what belongs together, what is derived, and what is refused where."""

import pytest

from recmtl.errors import SchemaError
from recmtl.schema import ListOf, Schema, dump_schema, parse_schema

TEXT = """
version: 1
name: shop
features:
  item: {kind: categorical}
  price: {kind: numeric}
  seen: {kind: list, pooling: attention, target: item, max_length: 9, times: at}
  by: {kind: list, pooling: attention, align: seen, max_length: 9}
  tags: {kind: list}
tasks: {click: {kind: binary, label: clicked}}
roles: {time: now}
split: {by: random}
"""


def schema_of(*changes: tuple[str, str]) -> Schema:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_schema(text, source="shop.yaml")


def test_ages_are_an_aligned_list_and_an_aligned_list_has_no_count() -> None:
    schema = schema_of()
    names = [derived.feature.name for derived in schema.computed]
    assert names == ["seen.count", "seen.age", "tags.count"]
    ages = schema.feature("seen.age")
    assert isinstance(ages, ListOf) and (ages.align, ages.max_length) == ("seen", 9)
    assert schema.columns_of(["seen.age"]) == ("at", "now")


def test_what_the_ages_need_is_read_with_the_features() -> None:
    schema = schema_of()
    assert schema.feature_columns() == ("item", "price", "seen", "by", "tags", "at", "now")


def test_text_keeps_a_history() -> None:
    schema = schema_of()
    for stored in (False, True):
        text = dump_schema(schema, stored=stored)
        assert "table" not in text
        assert parse_schema(text, source="again", stored=stored) == schema


def test_a_target_is_the_table() -> None:
    seen = schema_of().feature("seen")
    assert isinstance(seen, ListOf) and seen.table == "item"


def test_columns_suffice_for_whole_histories_only() -> None:
    schema = schema_of()
    every = {"item", "seen", "by", "at", "now", "tags"}
    assert [f.name for f in schema.features_of(every)] == ["item", "seen", "by", "tags"]
    for column in ("seen", "by", "at", "now"):
        names = [f.name for f in schema.features_of(every - {column})]
        assert names == ["item", "tags"], column


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("target: item", "target: itm", r"seen.target: there is no feature 'itm'; did you mean"),
        ("target: item", "target: price", r"seen.target: 'price' is not categorical"),
        ("align: seen", "align: sen", r"by.align: 'sen' is no list with .*did you mean 'seen'"),
        ("align: seen", "align: tags", r"by.align: 'tags' is no list with pooling: attention"),
        ("align: seen, max_length: 9", "align: seen", r"by.align: .* max_length: 9 and keep: last"),
        ("{time: now}", "{group: now}", r"seen.times: times needs roles.time"),
        ("times: at", "times: clicked", r"seen: column 'clicked' is the label"),
        ("split: {by: random}", "split: {by: random}\nignore: [at]", "'at' is also under ignore"),
        ("tags: {kind: list}", "seen.age: {kind: numeric}", "seen: derives 'seen.age'.*no times"),
    ],
)
def test_a_contradiction_names_its_place(old: str, new: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        schema_of((old, new))
