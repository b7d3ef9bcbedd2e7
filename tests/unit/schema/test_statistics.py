"""The statistics section: names, durations, and what contradicts itself."""

import pytest

from recmtl.errors import SchemaError
from recmtl.schema import PastStatistics, Schema, dump_schema, parse_schema

HEAD = """
version: 1
name: shop
features: {price: {kind: numeric}, user: {kind: categorical}}
tasks:
  click: {kind: binary, label: is_click}
  watch: {kind: regression, label: seconds}
  kind: {kind: multiclass, label: kind}
split: {by: random}
"""


def schema_with(*entries: str, roles: str = "{time: t}") -> Schema:
    """A schema with these entries."""
    lines = [f"roles: {roles}", "statistics:", *(f"  - {entry}" for entry in entries)]
    return parse_schema(HEAD.lstrip() + "\n".join(lines), source="shop.yaml")


def numbers(schema: Schema) -> list[str]:
    """Names of the derived features."""
    return [feature.name for feature in schema.encoded_features[len(schema.features) :]]


def test_every_number_is_a_numeric_feature_with_a_name() -> None:
    schema = schema_with(
        "{name: u, key: user, of: [click, watch, {column: hate, equals: 1}, {column: ms}],"
        " windows: [all, 7d], values: [rate, count, last]}"
    )
    assert numbers(schema) == [
        *("u.click.rate.all", "u.click.rate.7d", "u.watch.mean.all", "u.watch.mean.7d"),
        *("u.hate.rate.all", "u.hate.rate.7d", "u.ms.mean.all", "u.ms.mean.7d"),
        *("u.count.all", "u.count.7d", "u.last", "u.click.last", "u.hate.last"),
    ]
    logged = [f.name for f in schema.encoded_features if getattr(f, "log", False)]
    assert logged == ["u.count.all", "u.count.7d", "u.last", "u.click.last", "u.hate.last"]
    assert schema.feature("u.last").column == "u.last"
    assert schema.feature_columns() == ("price", "user", "t")
    assert {"hate", "ms", "is_click", "seconds", "t"} <= set(schema.columns())


def test_a_schema_comes_back_from_its_text() -> None:
    schema = schema_with(
        "{name: a, key: user, of: [click, {column: hate, one_of: [1, 2]}], smoothing: 3}",
        "{name: b, key: [user, item], values: [count], grain: 1h, windows: [all, 48h]}",
        "{name: c, key: tag, of: [{column: ms}], time_zone: Asia/Tokyo, freeze: train_end}",
    )
    assert parse_schema(dump_schema(schema), source="again") == schema


def test_without_the_section_the_text_is_as_before() -> None:
    assert "statistics" not in dump_schema(parse_schema(HEAD, source="shop.yaml"))


@pytest.mark.parametrize(
    ("duration", "grain", "periods"),
    [("0d", "1d", 0), ("1d", "1d", 1), ("25h", "1d", 2), (0, "1h", 0), (5, 2, 3), ("2w", "1w", 2)],
)
def test_a_delay_is_rounded_up_to_periods(
    duration: str | int, grain: str | int, periods: int
) -> None:
    entry = PastStatistics("u", "user", values=("count",), delay=duration, grain=grain)
    assert entry.delay_periods == periods


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{name: u, key: user, of: [clik]}", "there is no task 'clik'; did you mean 'click'"),
        ("{name: u, key: user, of: [kind]}", "'kind' has classes"),
        ("{name: u, key: user}", "a rate needs of"),
        ("{name: u, key: is_click, of: [click]}", "is the label of task 'click'"),
        ("{name: u, key: [], of: [click]}", "key needs one or several different columns"),
        ("{name: u, key: [user, user], of: [click]}", "key needs one or several different"),
        ("{name: u v, key: user, of: [click]}", "a name is letters, digits and _"),
        ("{name: u, key: user, of: [click, click]}", "name each once"),
        ("{name: u, key: user, of: [click], windows: []}", "must not be empty"),
        ("{name: u, key: user, of: [click], windows: [36h]}", "not a multiple of the grain 1d"),
        ("{name: u, key: user, of: [click], windows: [0d]}", "not a multiple of the grain 1d"),
        ("{name: u, key: user, of: [click], windows: [7]}", "7 needs a unit, such as 7d"),
        ("{name: u, key: user, of: [click], windows: [week]}", "'week' is no duration"),
        ("{name: u, key: user, of: [click], grain: 0}", "grain must be above 0"),
        ("{name: u, key: user, of: [click], grain: 1, delay: 1d}", "1d has a unit and the grain 1"),
        ("{name: u, key: user, of: [click], grain: 1, delay: -1}", "must not be negative"),
        (f"{{name: u, key: user, of: [click], grain: 1, delay: {2**61}}}", "longer than 2^60"),
        ("{name: u, key: user, of: [click], smoothing: -1}", "smoothing: must be at least 0"),
        ("{name: u, key: user, of: [click], hash_buckets: 0}", "hash_buckets: must be at least 1"),
        ("{name: u, key: user, of: [click], folds: 1}", "folds: must be at least 2"),
        ("{name: u, key: user, of: [click], time_zone: Mars}", "there is no time_zone 'Mars'"),
        (
            "{name: u, key: user, of: [click], grain: 1h, time_zone: Asia/Tokyo}",
            "time_zone is for a grain of whole days",
        ),
        ("{name: u, key: user, of: [click], window: [1d]}", "did you mean 'windows'"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(entry: str, message: str) -> None:
    with pytest.raises(SchemaError) as fault:
        schema_with(entry)
    (line,) = str(fault.value).splitlines()
    assert line.startswith("shop.yaml:11: statistics[0]") or "statistics.0" in line
    assert message in line


@pytest.mark.parametrize(
    "more", ["windows: [1d]", "values: [last]", "delay: 1d", "freeze: train_end"]
)
def test_what_needs_time_says_so(more: str) -> None:
    values = "" if "values" in more else ", of: [click]"
    with pytest.raises(SchemaError, match=r"need roles\.time"):
        schema_with(f"{{name: u, key: user{values}, {more}}}", roles="{}")


def test_two_numbers_of_one_name_are_refused() -> None:
    entry = "{name: u, key: user, of: [click]}"
    with pytest.raises(SchemaError, match=r"'u\.click\.rate\.all' is already the name"):
        schema_with(entry, entry)
    with pytest.raises(SchemaError, match=r"'u\.click\.rate\.all' is already the name"):
        schema_with("{name: u, key: user, of: [click, {column: click, equals: 1}]}")
