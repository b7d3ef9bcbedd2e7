"""Histories on their way into ids: aligned lists, ages of events, parts of a request."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.derived.ages import AFTER_ROW, age_buckets, event_ages
from recmtl.data.encoding import Encoding
from recmtl.data.passes.encoder_fit import EncoderFit
from recmtl.data.prepare import prepare
from recmtl.data.row_encoder import Encoded, RowEncoder
from recmtl.errors import DataError, SourceLocation
from recmtl.schema import Schema, parse_schema

PLACE = SourceLocation("log.parquet", 2)
SCHEMA = """
version: 1
name: shop
features:
  item: {kind: categorical}
  author: {kind: categorical}
  seen: {kind: list, column: items, pooling: attention, target: item, max_length: 3, times: at}
  by: {kind: list, column: authors, pooling: attention, target: author, align: seen, max_length: 3}
  where: {kind: list, column: places, pooling: attention, align: seen, max_length: 3}
tasks: {click: {kind: binary, label: clicked}}
roles: {time: now}
split: {by: time}
"""
COLUMNS: dict[str, Any] = {
    "item": [1, 2, 3, 4, 5],
    "author": ["a", "b", "a", "c", "b"],
    "items": [[1, 2, 3, 4], [5], None, [], [2, None]],
    "authors": [["a", "b", "a", "c"], ["b"], [], None, ["b", None]],
    "places": [["x", "y", "x", "z"], ["y"], None, None, [None, "x"]],
    "at": [[0, 90, 99, 100], [5], None, [], [None, 101]],
    "now": [100, 100, 100, 100, 100],
    "clicked": [0, 1, 0, 1, 0],
}


def schema_of(text: str = SCHEMA) -> Schema:
    return parse_schema(text, source="shop.yaml")


def fitted(columns: dict[str, Any] | None = None, schema: Schema | None = None) -> RowEncoder:
    schema = schema or schema_of()
    batch = pa.RecordBatch.from_pydict(columns or COLUMNS)
    fit = EncoderFit(schema)
    fit.add(batch, np.ones(batch.num_rows, bool), PLACE)
    return fit.finish()


def list_ids(encoder: RowEncoder, encoded: Encoded, name: str) -> np.ndarray:
    field = next(field for field in encoder.encoding.lists if field.name == name)
    return encoded.ids[:, field.first : field.first + field.length]


def test_a_history_knows_its_lists_and_their_targets() -> None:
    lists = fitted().encoding.histories["seen"]
    assert [field.name for field in lists] == ["seen", "by", "where", "seen.age"]
    assert [field.target for field in lists] == ["item", "author", None, None]
    assert [field.align for field in lists] == [None, "seen", "seen", "seen"]


def test_the_newest_events_are_kept_and_stay_aligned() -> None:
    encoder = fitted()
    encoded = encoder.encode(pa.table(COLUMNS))
    items, authors = (encoder.vocabularies[name] for name in ("item", "author"))
    assert list_ids(encoder, encoded, "seen")[0].tolist() == [items.row_of(i) for i in (2, 3, 4)]
    assert list_ids(encoder, encoded, "by")[0].tolist() == [authors.row_of(a) for a in "bac"]
    for name in ("seen", "by", "where", "seen.age"):
        filled = (list_ids(encoder, encoded, name) != 0).sum(1)
        assert filled.tolist() == [3, 1, 0, 0, 2], name


def test_a_missing_value_keeps_its_place_as_an_unknown_one() -> None:
    encoder = fitted()
    encoded = encoder.encode(pa.table(COLUMNS))
    unknown = {name: encoder.vocabularies[name].first for name in ("item", "where", "seen.age")}
    assert list_ids(encoder, encoded, "seen")[4, 1] == unknown["item"]
    assert list_ids(encoder, encoded, "where")[4, 0] == unknown["where"]
    assert list_ids(encoder, encoded, "seen.age")[4, 0] == unknown["seen.age"]


def test_a_history_has_one_count() -> None:
    assert [field.name for field in fitted().encoding.numeric] == ["seen.count"]


@pytest.mark.parametrize("column", ["authors", "places", "at"])
def test_lists_of_unequal_length_are_refused_by_row_and_column(column: str) -> None:
    encoder = fitted()
    shorter = {**COLUMNS, column: [*COLUMNS[column][:1], [], *COLUMNS[column][2:]]}
    with pytest.raises(DataError, match=f"column '{column}': has 0 values in row 1 .*'items'.* 1 "):
        encoder.encode(pa.table(shorter), place=PLACE)


def test_rows_alone_have_the_ids_they_have_together() -> None:
    encoder, table = fitted(), pa.table(COLUMNS)
    together = encoder.encode(table).ids
    alone = [encoder.encode(table.slice(row, 1)).ids for row in range(table.num_rows)]
    np.testing.assert_array_equal(np.concatenate(alone), together)


def test_a_part_has_whole_histories_or_none() -> None:
    encoder = fitted()
    whole = {"items", "authors", "places", "at", "now"}
    assert encoder.part(whole).encoding.fields == ("seen", "by", "where", "seen.age", "seen.count")
    for column in ("authors", "at", "now"):
        assert encoder.part(whole - {column}).encoding.lists == ()


def test_an_encoding_and_an_encoder_keep_their_histories_when_saved(tmp_path: Path) -> None:
    encoder = fitted()
    assert Encoding.from_json(encoder.encoding.to_json()) == encoder.encoding
    encoder.save(tmp_path)
    again = RowEncoder.load(tmp_path)
    assert again.encoding == encoder.encoding and again.schema == encoder.schema
    table = pa.table(COLUMNS)
    np.testing.assert_array_equal(again.encode(table).ids, encoder.encode(table).ids)


def test_an_encoding_of_an_earlier_release_has_no_targets() -> None:
    text = '{"table_rows": 9, "single": ["item"], "numeric": [], "lists": [{"name": "seen", '
    encoding = Encoding.from_json(text + '"first": 1, "length": 4, "pooling": "mean"}]}')
    assert encoding.lists[0].target is None and encoding.histories == {}


def test_prepare_writes_the_ids_that_the_encoder_gives(tmp_path: Path) -> None:
    columns = {name: values * 20 for name, values in COLUMNS.items()}
    columns["now"] = list(range(100, 200))
    pq.write_table(pa.table(columns), tmp_path / "log.parquet", row_group_size=7)
    log = prepare(str(tmp_path / "log.parquet"), schema_of(), tmp_path / "out")
    encoder = RowEncoder.load(tmp_path / "out" / "encoder")
    train = log.split("train")
    expected = encoder.encode(pa.table(columns).slice(0, len(train.labels)))
    np.testing.assert_array_equal(np.asarray(train.ids), expected.ids)


AGES = st.lists(st.floats(0, 1e9), min_size=1, max_size=20)


@given(ages=AGES)
def test_older_events_are_in_no_lower_bucket(ages: list[float]) -> None:
    buckets = age_buckets(np.sort(np.array(ages)))
    assert (np.diff(buckets) >= 0).all() and buckets.min() >= 0
    lowest = 2.0 ** (buckets / 2) - 1
    assert (lowest <= np.sort(ages) * (1 + 1e-9) + 1e-9).all()


def test_events_after_the_row_have_a_bucket_of_their_own() -> None:
    assert age_buckets(np.array([-0.001, -1e9])).tolist() == [AFTER_ROW] * 2


def ages(events: pa.Array, rows: pa.Array) -> list[Any]:
    return list(event_ages(events, rows, ("at", "now"), PLACE).to_pylist())


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("row_unit", ["s", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_the_unit_and_the_name_of_a_zone_change_no_age(
    unit: str, row_unit: str, zone: str | None
) -> None:
    seconds = pa.array([1_700_000_000 - age for age in (0, 59, 86_400)])
    events = seconds.cast(pa.timestamp("s", zone)).cast(pa.timestamp(unit, zone))
    lists = pa.ListArray.from_arrays([0, 3], events)
    other = None if zone is None else "Europe/Berlin"
    now = pa.array([1_700_000_000]).cast(pa.timestamp("s", other))
    assert ages(lists, now.cast(pa.timestamp(row_unit, other))) == [[0, 11, 32]]


def test_days_are_midnights() -> None:
    days = pa.array([[19_000, 19_001]], pa.list_(pa.date32()))
    now = pa.array([19_001 * 86_400], pa.timestamp("s"))
    assert ages(days, now) == [[32, 0]]
    assert ages(days, pa.array([19_001], pa.date32())) == [[32, 0]]


def test_a_row_without_a_time_knows_no_age() -> None:
    assert ages(pa.array([[1, 2]]), pa.array([None], pa.int64())) == [[None, None]]
    assert ages(pa.nulls(1), pa.array([5])) == [[]]


@pytest.mark.parametrize(
    ("events", "rows"),
    [
        (pa.array([[1]]), pa.array([1], pa.timestamp("s"))),
        (pa.array([[1]], pa.list_(pa.timestamp("s", "UTC"))), pa.array([1], pa.timestamp("s"))),
        (pa.array([[1]], pa.list_(pa.date32())), pa.array([1], pa.timestamp("s", "UTC"))),
    ],
)
def test_two_kinds_of_time_are_refused(events: pa.Array, rows: pa.Array) -> None:
    with pytest.raises(DataError, match=r"column 'at': holds .*'now'.*store both alike"):
        ages(events, rows)


def test_text_is_no_time() -> None:
    with pytest.raises(DataError, match="column 'at': holds string, which is no time"):
        ages(pa.array([["yesterday"]]), pa.array([1]))
