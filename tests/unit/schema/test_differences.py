"""What differs between two schemas is said in the words of the file."""

from dataclasses import replace

import pytest

from recmtl.schema import Schema, differences, parse_schema

TEXT = """
version: 1
name: shop
features:
  price: {kind: numeric, bins: 8}
  city: {kind: categorical}
tasks:
  click: {kind: binary, label: is_click}
  buy: {kind: binary, label: is_buy, parent: click}
roles: {group: user}
split: {by: group}
"""


@pytest.fixture
def before() -> Schema:
    return parse_schema(TEXT, source="s")


CHANGES = [
    (("bins: 8", "bins: 9"), ["features: price bins was 8, is 9"]),
    (("kind: numeric, bins: 8", "kind: list"), ["features: price was numeric, is list"]),
    (("city:", "town:"), ["features: added town", "features: removed city"]),
    (("{group: user}", "{group: user, time: ts}"), ["roles: time was none, is 'ts'"]),
    (("by: group", "by: random, seed: 3"), ["split: by was 'group', is 'random'"]),
    (("name: shop", "name: mall"), ["name: was 'shop', is 'mall'"]),
    ((", parent: click", ""), ["tasks: buy parent was 'click', is none"]),
    (
        ("label: is_buy", "label: {column: is_buy, equals: 1}"),
        ["tasks: buy label was {column: is_buy}, is {column: is_buy, equals: 1}"],
    ),
    (("split:", "ignore: [x]\nsplit:"), ["ignore differ"]),
]


@pytest.mark.parametrize(("change", "lines"), CHANGES)
def test_a_change_is_named(before: Schema, change: tuple[str, str], lines: list[str]) -> None:
    after = parse_schema(TEXT.replace(*change), source="s")
    shown = differences(before, after)
    assert shown[: len(lines)] == lines
    assert differences(after, before)


def test_equal_schemas_do_not_differ(before: Schema) -> None:
    assert differences(before, parse_schema(TEXT, source="t")) == []


def test_another_order_is_a_difference(before: Schema) -> None:
    turned = replace(before, features=before.features[::-1])
    assert differences(before, turned) == ["features: stand in another order"]


def test_many_changes_are_counted(before: Schema) -> None:
    more = tuple(replace(before.features[0], name=f"f{i}") for i in range(8))
    shown = differences(replace(before, features=()), replace(before, features=more))
    assert shown == ["features: added f0, f1, f2, f3, f4 and 3 more"]
