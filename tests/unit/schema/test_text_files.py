"""The section `files`: read, written, and refused where it contradicts itself."""

import pytest

from recmtl.errors import SchemaError
from recmtl.schema import ListCells, Pairs, TextFiles, differences, dump_schema, parse_schema

REST = """
version: 1
name: shop
features: {price: {kind: numeric}}
tasks: {click: {kind: binary, label: click}}
split: {by: random}
"""
FULL = TextFiles(
    separator="\t",
    header=False,
    columns=("price", "click", "genres"),
    quote="",
    encoding="latin-1",
    decimal=",",
    missing=(-1, "?"),
    lists=(ListCells("genres", "|"),),
    pairs=Pairs(between="\x01", after_name="\x02", after_value="\x03"),
)


def test_a_schema_without_the_section_has_none_and_writes_none() -> None:
    schema = parse_schema(REST, source="s")
    assert schema.files is None
    assert "files" not in dump_schema(schema)


def test_every_setting_survives_writing_and_reading() -> None:
    schema = parse_schema(
        REST
        + r"""
files:
  separator: "\t"
  header: false
  columns: [price, click, genres]
  quote: ""
  encoding: latin-1
  decimal: ","
  missing: [-1, "?"]
  lists: [{column: genres, separator: "|"}]
  pairs: {between: "\x01", after_name: "\x02", after_value: "\x03"}
""",
        source="s",
    )
    assert schema.files == FULL
    assert parse_schema(dump_schema(schema), source="again") == schema
    assert hash(schema) == hash(parse_schema(dump_schema(schema), source="again"))


def test_differences_name_the_section() -> None:
    plain = parse_schema(REST, source="s")
    other = parse_schema(REST + 'files: {separator: ";"}\n', source="s")
    assert differences(plain, other) == ["files differ"]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ('{separator: "ab"}', "separator must be one character"),
        ("{columns: [a, b, a]}", "'a' twice"),
        ("{pairs: {}}", "pairs needs columns"),
        ("{columns: [a], header: true, pairs: {}}", "without a header"),
        ('{columns: [a], pairs: {between: ":"}}', "must differ"),
        ("{encoding: klingon}", "is unknown"),
        ('{separator: ";", quote: ";"}', "quote must be one character"),
        ('{lists: [{column: a, separator: ""}]}', "must not be empty"),
        ("{seperator: a}", "did you mean 'separator'"),
    ],
)
def test_what_contradicts_itself_is_refused_with_its_line(section: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message) as caught:
        parse_schema(REST + f"files: {section}\n", source="shop.yaml")
    assert "shop.yaml:7: files" in str(caught.value)
