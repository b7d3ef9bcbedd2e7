"""Limits and buckets of numbers, and what features make of missing values."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.columns.numeric import NumericFit, Scaler, signed_log
from recmtl.data.derived.missing import filled
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import DataError, SchemaError, SourceLocation
from recmtl.model.encoder import TabularEncoder
from recmtl.schema import Categorical, Numeric, Schema, dump_schema, parse_schema
from recmtl.serve.ranking.request import encode_plain_row

PLACE = SourceLocation("log.parquet", 0)
EDGES = (18.0, 25.0, 65.0)
TEXT = """
version: 1
name: shop
features:
  age: {kind: numeric, buckets: [18, 25, 65]}
  price: {kind: numeric, clip: [0, 100], encoding: standard}
  stock: {kind: numeric, default: -1, values: {min_count: 2}}
  city: {kind: categorical, default: nowhere}
  shelf: {kind: categorical, default: -1}
tasks: {click: {kind: binary, label: clicked}}
split: {by: random, seed: 1, validation: 0.2, test: 0.2}
"""
FLOATS = st.floats(-1e6, 1e6)


def schema(text: str = TEXT) -> Schema:
    return parse_schema(text, source="shop.yaml")


def table(rows: int = 200) -> pa.Table:
    dice, every = np.random.default_rng(4), np.arange(rows)
    columns: dict[str, Any] = {
        "age": np.where(every % 10, dice.integers(10, 80, rows), np.nan),
        "price": dice.normal(50, 60, rows),
        "stock": [None if row % 6 == 0 else row % 4 for row in range(rows)],
        "city": [None if row % 5 == 0 else f"city {row % 3}" for row in range(rows)],
        "shelf": [None if row % 7 == 0 else row % 3 for row in range(rows)],
        "clicked": every % 2,
    }
    return pa.table(columns)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EncodedLog:
    folder = tmp_path_factory.mktemp("numbers")
    pq.write_table(table(), folder / "log.parquet")
    return prepare(folder / "log.parquet", schema(), folder / "log")


def scaler_of(feature: Numeric, values: np.ndarray) -> Scaler:
    fit = NumericFit(feature)
    fit.add(values)
    return fit.finish()


@given(st.lists(FLOATS | st.just(float("nan")) | st.sampled_from(EDGES), min_size=1, max_size=9))
def test_a_bucket_is_the_number_of_edges_that_are_not_above(values: list[float]) -> None:
    scaler = scaler_of(Numeric("age", buckets=EDGES), np.array([40.0]))
    passed = scaler.transform(np.array(values))
    for value, bucket in zip(values, passed, strict=True):
        assert np.isnan(bucket) if np.isnan(value) else bucket == sum(e <= value for e in EDGES)


def test_every_bucket_has_a_vector_of_its_own(log: EncodedLog) -> None:
    """Bucket k is the offset and the first k ramps, so that any four vectors can be had."""
    field = log.encoding.numeric[0]
    assert (field.name, field.encoding, field.bins) == ("age", "piecewise", 3)
    network = TabularEncoder(log.encoding, size=4).double()
    ids = torch.tensor(log.split("train").ids[:4].tolist())
    numeric = torch.zeros(4, len(log.encoding.numeric)).double()
    numeric[:, 0] = torch.arange(4)
    start = log.encoding.fields.index("age") * 4
    lanes = network(ids, numeric)[:, 0, start : start + 4]
    steps = network.ramps[0, :3].cumsum(0)
    expected = torch.cat([network.offset[:1], network.offset[0] + steps])
    torch.testing.assert_close(lanes, expected)


@given(st.lists(FLOATS, min_size=2, max_size=30), st.booleans())
def test_a_clipped_number_is_that_limit(values: list[float], log_scale: bool) -> None:
    numbers = np.array(values)
    low, high = -50.0, 100.0
    for encoding in ("standard", "piecewise", "quantile"):
        options: dict[str, Any] = {"encoding": encoding, "log": log_scale, "bins": 4}
        clipped = scaler_of(Numeric("x", clip=(low, high), **options), numbers)
        plain = scaler_of(Numeric("x", **options), np.clip(numbers, low, high))
        assert clipped.edges == plain.edges and clipped.mean == plain.mean
        by_hand = plain.transform(np.clip(numbers, low, high))
        np.testing.assert_array_equal(clipped.transform(numbers), by_hand)
    one_sided = scaler_of(Numeric("x", clip=(None, high), encoding="standard"), numbers)
    assert one_sided.mean == pytest.approx(np.minimum(numbers, high).mean())


def test_clipping_goes_before_the_logarithm() -> None:
    scaler = Scaler("x", "standard", log=True, mean=0.0, std=1.0, edges=(), clip=(0.0, 7.0))
    expected = signed_log(np.array([0.0, 7.0])).astype(np.float32)
    np.testing.assert_array_equal(scaler.transform(np.array([-3.0, 9.0])), expected)


def test_scalers_of_earlier_releases_are_read_and_none_is_written_otherwise() -> None:
    old = {"name": "x", "encoding": "standard", "log": False, "mean": 1.0, "std": 2.0, "edges": []}
    assert Scaler.from_json(old).to_json() == old | {"edges": ()}
    clipped = Scaler.from_json(old | {"clip": [None, 3.0]})
    assert Scaler.from_json(json.loads(json.dumps(clipped.to_json()))) == clipped


def test_a_default_is_the_value_itself(log: EncodedLog) -> None:
    encoder, rows = log.encoder(), table()
    written = rows
    for name, default in (("stock", -1), ("city", "nowhere"), ("shelf", -1)):
        column = pa.array([default if v is None else v for v in rows[name].to_pylist()])
        written = written.set_column(rows.column_names.index(name), name, column)
    missing, as_written = encoder.encode(rows), encoder.encode(written)
    np.testing.assert_array_equal(missing.ids, as_written.ids)
    np.testing.assert_array_equal(missing.numeric, as_written.numeric)
    city = encoder.vocabularies["city"]
    assert "nowhere" in city.values.to_pylist() and missing.unknown["city"] == 0
    assert (missing.ids[:, encoder.encoding.single.index("city")] != city.first).all()


def test_a_saved_encoder_encodes_the_same(log: EncodedLog, tmp_path: Path) -> None:
    log.encoder().save(tmp_path / "encoder")
    again = RowEncoder.load(tmp_path / "encoder").encode(table())
    np.testing.assert_array_equal(again.numeric, log.encoder().encode(table()).numeric)


def test_a_plain_row_is_encoded_as_a_table_of_it(log: EncodedLog) -> None:
    encoder, rows = log.encoder(), table(60).drop_columns(["clicked"])
    for row, values in enumerate(rows.to_pylist()):
        plain, expected = encode_plain_row(encoder, values), encoder.encode(rows.slice(row, 1))
        assert plain is not None and plain.unknown == expected.unknown
        np.testing.assert_array_equal(plain.ids, expected.ids)
        np.testing.assert_array_equal(plain.numeric, expected.numeric)


@pytest.mark.parametrize(
    ("feature", "array", "expected"),
    [
        (Categorical("f", default="x"), pa.array(["a", None]).dictionary_encode(), ["a", "x"]),
        (Categorical("f", default=0), pa.array([7, None], pa.int8()), [7, 0]),
        (Categorical("f", default=0), pa.array([7.0, np.nan]), [7.0, 0.0]),
        (Categorical("f", default="x"), pa.nulls(2), ["x", "x"]),
        (Numeric("f", default=0.5), pa.array([7, None], pa.int8()), [7.0, 0.5]),
        (Numeric("f", default=0.5), pa.array([True, None]), [1.0, 0.5]),
        (Numeric("f", default=2), pa.nulls(1), [2.0]),
    ],
)
def test_a_default_fills_columns_of_every_form(feature: Any, array: Any, expected: list) -> None:
    assert filled(array, feature, PLACE).to_pylist() == expected


@pytest.mark.parametrize(
    "feature", [Categorical("f", missing="refuse"), Numeric("f", missing="refuse")]
)
def test_a_missing_value_can_be_an_error(feature: Any) -> None:
    whole = pa.array([3, 4])
    assert filled(whole, feature, PLACE) is whole
    with pytest.raises(
        DataError, match=r"'f': is missing in 2 of 3 rows, first in 1; .*missing: keep"
    ):
        filled(pa.array([3, None, None]), feature, PLACE)


@pytest.mark.parametrize(
    ("old", "feature"),
    [
        ("buckets: [18, 25, 65]", "missing: refuse"),
        ("default: nowhere", "missing: refuse"),
        ("\ntasks", "\n  t: {kind: datetime, column: age, unit: s, missing: refuse}\ntasks"),
        ("\ntasks", "\n  c: {kind: cross, columns: [city, shelf], missing: refuse}\ntasks"),
    ],
)
def test_a_log_with_a_missing_value_that_is_refused_is_not_prepared(
    old: str, feature: str, tmp_path: Path
) -> None:
    pq.write_table(table(), tmp_path / "log.parquet")
    text = TEXT.replace(old, feature)
    with pytest.raises(DataError, match=r"is missing in \d+ of \d+ rows"):
        prepare(tmp_path / "log.parquet", schema(text), tmp_path / "log")


def test_a_request_without_a_value_that_is_refused_is_refused(tmp_path: Path) -> None:
    pq.write_table(table().drop_columns(["age"]), tmp_path / "log.parquet")
    text = TEXT.replace("  age: {kind: numeric, buckets: [18, 25, 65]}\n", "")
    text = text.replace("clip: [0, 100]", "clip: [0, 100], missing: refuse")
    encoder = prepare(tmp_path / "log.parquet", schema(text), tmp_path / "log").encoder()
    row = {"price": None, "stock": 1, "city": "city 1", "shelf": 2}
    assert encode_plain_row(encoder, row) is None
    assert encode_plain_row(encoder, row | {"price": 3.0}) is not None
    with pytest.raises(DataError, match="'price': is missing in 1 of 1 rows"):
        encoder.encode(pa.table({name: pa.array([value]) for name, value in row.items()}))


def test_a_default_of_another_type_is_refused() -> None:
    with pytest.raises(DataError, match="holds int64, and the default of 'f' is 'x'; give a def"):
        filled(pa.array([1, None]), Categorical("f", default="x"), PLACE)


def test_the_text_of_the_schema_is_read_back() -> None:
    assert schema(dump_schema(schema())) == schema()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ("buckets: [1, 1]", "buckets: each must be greater than the one before"),
        ("buckets: [1, 2], log: true", "drop encoding, bins and log"),
        ("clip: [2, 1]", "clip: give the least value first"),
        ("clip: [null, null]", "clip: give at least one of the two limits"),
        ("clip: [1]", "clip"),
        ("default: 1, missing: refuse", "default fills what missing: refuse does not let pass"),
        ("default: one", "default: must be a number"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options: str, fault: str) -> None:
    with pytest.raises(SchemaError, match=fault):
        schema(TEXT.replace("buckets: [18, 25, 65]", options))
