"""Lists read through the vectors of their values: which vector an id has, and what a mean is."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.daily.growth import table_of_grown
from recmtl.data.columns.sources import part_of_schema, sources_of
from recmtl.data.columns.vocabulary import Vocabulary
from recmtl.data.content.of_values import mean_vectors
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import SchemaError, SourceLocation
from recmtl.schema import Schema, Vector, parse_schema
from tests.unit.engines.pieces import Pieces, differing_files

SCHEMA = """
version: 1
name: shop
features:
  item: {kind: categorical, min_count: 2}
  image: {kind: vector, of: item}
  seen: {kind: list, table: item, max_length: 3}
  tags: {kind: list}
tasks: {click: {kind: binary, label: clicked}}
split: {by: random, validation: 0.1, test: 0.1}
"""
ROWS, ITEMS, SIZE = 150, 12, 4


def schema_of(text: str = SCHEMA) -> Schema:
    return parse_schema(text, source="shop.yaml")


def images() -> np.ndarray:
    """The vector of each item; item 3 has none."""
    vectors = np.random.default_rng(5).normal(size=(ITEMS, SIZE)).astype(np.float16)
    return vectors.astype(np.float64)


def make_table() -> pa.Table:
    dice = np.random.default_rng(8)
    items = dice.integers(0, ITEMS, ROWS)
    seen = [dice.integers(0, ITEMS + 2, n).tolist() for n in dice.integers(0, 6, ROWS)]
    vectors = [None if item == 3 else images()[item].tolist() for item in items]
    return pa.table(
        {
            "item": items,
            "image": pa.array(vectors, pa.list_(pa.float32())),
            "seen": seen,
            "tags": seen,
            "clicked": np.arange(ROWS) % 2,
        }
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EncodedLog:
    """The log of that table."""
    folder = tmp_path_factory.mktemp("values")
    pq.write_table(make_table(), folder / "log.parquet", row_group_size=17)
    return prepare(folder / "log.parquet", schema_of(), folder / "whole")


def plain_mean(seen: list[int]) -> np.ndarray:
    """Of the last three values those with a vector, each of length 1, their mean of length 1."""
    unit = images() / np.linalg.norm(images(), axis=1, keepdims=True)
    there = [unit[item] for item in seen[-3:] if item < ITEMS and item != 3]
    if not there:
        return np.full(SIZE, np.nan)
    mean = np.mean(there, 0)
    return np.asarray(mean / np.linalg.norm(mean))


def test_a_list_is_the_mean_of_the_vectors_that_its_values_have(log: EncodedLog) -> None:
    table, encoder = make_table(), log.encoder()
    assert [field.name for field in log.encoding.vectors] == ["image", "seen.image"]
    numeric = encoder.encode(table).numeric
    columns = log.encoding.vector_columns()["seen.image"]
    expected = np.array([plain_mean(seen) for seen in table["seen"].to_pylist()])
    np.testing.assert_allclose(numeric[:, columns], expected, atol=5e-3)
    for row in range(0, ROWS, 11):
        alone = encoder.encode(table.slice(row, 1)).numeric
        np.testing.assert_array_equal(alone[0], numeric[row])
    stored = np.asarray(log.split("train").numeric)
    np.testing.assert_array_equal(stored, numeric[log.split("train").row])


def test_vectors_of_values_are_kept_as_halves_and_equal_however_a_log_is_prepared(
    log: EncodedLog, tmp_path: Path
) -> None:
    data = log.folder.parent / "log.parquet"
    prepare(data, schema_of(), tmp_path / "pieces", engine=Pieces(3))
    assert not differing_files(log.folder, tmp_path / "pieces")
    assert (log.folder / "encoder" / "vectors.safetensors").is_file()
    (table,) = log.encoder().tables.values()
    assert table.dtype == np.float16 and np.isnan(table[0]).all()


def test_values_without_a_vector_do_not_count() -> None:
    table = np.array([[np.nan] * 2, [1.0, 0.0], [0.0, 1.0], [np.nan] * 2], np.float32)
    rows = np.array([[1, 2, 3], [1, 0, -5], [-5, -5, -5], [3, 0, 0]], np.int32)
    vector = Vector("v", normalise="none")
    means = mean_vectors(rows, table, vector, SourceLocation())
    assert means[:2].tolist() == [[0.5, 0.5], [1.0, 0.0]] and np.isnan(means[2:]).all()


def test_the_source_of_vectors_holds_what_is_read_through_them(log: EncodedLog) -> None:
    assert sources_of(log.schema, log.encoding)["vectors"] == ("image", "seen.image")
    without = part_of_schema(log.schema, ["ids", "counts"])
    assert not [f for f in without.encoded_features if isinstance(f, Vector)]
    assert not log.encoder().hearing(["ids", "counts"]).tables
    missing = [c for c in log.manifest["counts"] if c["reason"] == "vector_missing"]
    assert {count["name"] for count in missing} == {"image"}  # an empty list is no gap


def test_values_keep_their_vectors_where_a_vocabulary_grows(log: EncodedLog) -> None:
    earlier = log.encoder()
    grown, row = {}, 1
    for name, vocabulary in earlier.vocabularies.items():
        values = vocabulary.values
        if name == "item":
            values = pa.concat_arrays([pa.array([99], values.type), values])
        grown[name] = Vocabulary(name, vocabulary.type, row, vocabulary.buckets, values, None)
        row += grown[name].rows
    later = RowEncoder(
        earlier.schema,
        grown,
        scalers=earlier.scalers,
        types=earlier.types,
        sizes=earlier.sizes,
    )
    table = table_of_grown("image", earlier, later)
    assert len(table) == len(earlier.tables["image"]) + 1 and np.isnan(table[:2]).all()
    np.testing.assert_array_equal(table[2:], earlier.tables["image"][1:])


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("of: item", "of: itme", "there is no categorical feature 'itme'; did you mean 'item'"),
        ("of: item", "of: seen", "there is no categorical feature 'seen'"),
        ("min_count: 2", "hash_buckets: 9", "are hashed, and share rows"),
    ],
)
def test_vectors_belong_to_a_feature_with_a_vocabulary(before: str, after: str, fault: str) -> None:
    with pytest.raises(SchemaError, match=fault):
        schema_of(SCHEMA.replace(before, after))
    assert schema_of().dump().count("of: item") == 1
