"""Categorical features that share a table have one id and one embedding for one value."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.errors import SchemaError
from recmtl.evaluate.stability import Bins, feature_values
from recmtl.model.encoder import TabularEncoder
from recmtl.schema import Categorical, Schema, dump_schema, parse_schema
from recmtl.serve.ranking.request import encode_plain_row

TEXT = """
version: 1
name: trips
features:
  home: {kind: categorical, min_count: 2}
  visited: {kind: categorical, table: home}
  seen: {kind: list, table: home, max_length: 3}
  price: {kind: numeric}
tasks: {booked: {kind: binary, label: booked}}
split: {by: random, seed: 1, validation: 0.2, test: 0.2}
"""


def schema(text: str = TEXT) -> Schema:
    return parse_schema(text, source="trips.yaml")


def table(rows: int = 300) -> pa.Table:
    dice = np.random.default_rng(2)
    cities = np.array(["oslo", "rome", "lima", "bern", "kyiv"])
    visited = cities[dice.integers(0, 5, rows)].tolist()
    columns: dict[str, Any] = {
        "home": cities[dice.integers(0, 4, rows)].tolist(),
        "visited": np.where(np.arange(rows) % 11, visited, None).tolist(),
        "seen": [cities[dice.integers(0, 5, row % 4)].tolist() for row in range(rows)],
        "price": dice.normal(size=rows),
        "booked": dice.integers(0, 2, rows),
    }
    return pa.table(columns)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EncodedLog:
    folder = tmp_path_factory.mktemp("trips")
    pq.write_table(table(), folder / "log.parquet")
    return prepare(folder / "log.parquet", schema(), folder / "log")


def test_a_value_has_one_row_of_the_table_in_every_column(log: EncodedLog) -> None:
    encoder = log.encoder()
    assert list(encoder.vocabularies) == ["home"]
    cities = ["oslo", "rome", "lima", "bern", "kyiv", None]
    rows = {"home": cities, "visited": cities, "seen": [[city] for city in cities]}
    encoded = encoder.encode(pa.table(rows | {"price": [0.0] * 6}))
    home, visited, seen = encoded.ids[:, 0], encoded.ids[:, 1], encoded.ids[:, 2]
    np.testing.assert_array_equal(home, visited)
    np.testing.assert_array_equal(home, seen)
    assert len(set(home.tolist())) == 5 and home[4] == home[5] == encoder.vocabularies["home"].first
    assert encoded.unknown == {"home": 1, "visited": 1, "seen": 1}


def test_the_owner_alone_is_counted(log: EncodedLog) -> None:
    encoder, homes = log.encoder(), table()["home"].to_pylist()
    counts = encoder.vocabularies["home"].counts
    assert counts is not None and counts.sum() == len(log.split("train")) < len(homes)
    assert encoder.id_counts().sum() == counts.sum()
    assert encoder.encoding.table_rows == 1 + encoder.vocabularies["home"].rows


def test_equal_values_are_embedded_alike(log: EncodedLog) -> None:
    network = TabularEncoder(log.encoding, size=4)
    rows = {"home": ["rome"], "visited": ["rome"], "seen": [["rome"]], "price": [0.0]}
    encoded = log.encoder().encode(pa.table(rows))
    lane = network(*map(torch.from_numpy, (encoded.ids, encoded.numeric)))[0, 0]
    assert torch.equal(lane[:4], lane[4:8]) and torch.equal(lane[:4], lane[8:12])


def test_a_plain_row_is_encoded_as_a_table_of_it(log: EncodedLog) -> None:
    encoder, rows = log.encoder(), table(40).drop_columns(["booked"])
    for row, values in enumerate(rows.to_pylist()):
        plain, expected = encode_plain_row(encoder, values), encoder.encode(rows.slice(row, 1))
        assert plain is not None and plain.unknown == expected.unknown
        np.testing.assert_array_equal(plain.ids, expected.ids)


def test_a_missing_value_is_missing_wherever_features_are_looked_at(log: EncodedLog) -> None:
    encoder, train = log.encoder(), log.split("train")
    owners, unknown = encoder.unknown_rows()
    assert owners == ("home", "visited", "seen", "seen", "seen") and len(set(unknown)) == 1
    values = {f.name: f for f in feature_values(encoder, train.ids, train.numeric)}
    share = Bins.of(values["visited"]).histogram(values["visited"].values, None).missing
    visited = table()["visited"].to_pylist()
    of_train = [visited[row] for row in train.row]
    assert share == pytest.approx(sum(city in (None, "kyiv") for city in of_train) / len(of_train))


def test_one_part_of_a_request_encodes_without_the_owner(log: EncodedLog) -> None:
    encoder = log.encoder()
    part = encoder.part(["visited"])
    rows = table(30)
    np.testing.assert_array_equal(part.encode(rows).ids[:, 0], encoder.encode(rows).ids[:, 1])
    assert part.input_columns == ("visited",)


def test_the_text_of_the_schema_is_read_back() -> None:
    assert schema(dump_schema(schema())) == schema()
    visited = schema().feature("visited")
    assert isinstance(visited, Categorical) and visited.vocabulary == "home"
    assert "table" not in dump_schema(schema(TEXT.replace(", table: home", "")))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("table: home}", "table: home, min_count: 2}", "table shares a vocabulary; drop min_count"),
        ("table: home}", "table: hom}", "visited.table: there is no feature 'hom'; did you mean"),
        ("table: home}", "table: price}", "'price' is not categorical"),
        ("table: home}", "table: visited}", "'visited' is its own table"),
        (
            "table: home, max",
            "table: visited, max",
            "'visited' shares that of 'home'; name",
        ),
    ],
)
def test_a_table_that_cannot_be_shared_is_refused(old: str, new: str, fault: str) -> None:
    with pytest.raises(SchemaError, match=fault):
        schema(TEXT.replace(old, new, 1))
