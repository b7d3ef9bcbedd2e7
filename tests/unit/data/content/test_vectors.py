"""Vectors: what is missing, how they are normalised and rounded, and where they lie in a log."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.arrays.columns import JoinedColumns
from recmtl.data.columns.sources import part_of_schema, sources_of
from recmtl.data.content.vectors import VectorFit, vector_block
from recmtl.data.describe import described
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.encoding import Encoding, NumericField, VectorField
from recmtl.data.prepare import prepare
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import DataError, SchemaError, SourceLocation
from recmtl.schema import Schema, Vector, parse_schema
from tests.unit.engines.pieces import Pieces, differing_files

HERE = SourceLocation("here")
SCHEMA = """
version: 1
name: shop
features:
  user: {kind: categorical}
  image: {kind: vector}
  price: {kind: numeric}
  title: {kind: vector, normalise: none, precision: single}
tasks: {click: {kind: binary, label: clicked}}
split: {by: random, validation: 0.2, test: 0.2}
"""
LISTS = pa.list_(pa.float32())


def make_table(rows: int = 120) -> pa.Table:
    """Rows whose images are halves and sometimes missing."""
    dice = np.random.default_rng(3)
    images = dice.normal(size=(rows, 5)).astype(np.float16)
    cells = [None if row % 7 == 3 else vector.tolist() for row, vector in enumerate(images)]
    return pa.table(
        {
            "user": dice.integers(0, 9, rows),
            "image": pa.array(cells, pa.list_(pa.float16())),
            "price": dice.random(rows),
            "title": pa.array(dice.normal(size=(rows, 3)).tolist(), pa.list_(pa.float64())),
            "clicked": np.arange(rows) % 2,
        }
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EncodedLog:
    """The log of that table."""
    folder = tmp_path_factory.mktemp("vectors")
    pq.write_table(make_table(), folder / "log.parquet", row_group_size=17)
    return prepare(folder / "log.parquet", schema_of(SCHEMA), folder / "whole")


def schema_of(text: str) -> Schema:
    return parse_schema(text, source="shop.yaml")


def block(cells: Any, kind: Any = LISTS, size: int = 2, **options: Any) -> np.ndarray:
    return vector_block(pa.array(cells, kind), Vector("v", **options), size, HERE)


@pytest.mark.parametrize("cell", [None, [], [None, 1.0], [float("nan"), 1.0]])
def test_a_vector_that_is_absent_or_has_a_gap_is_missing_as_a_whole(cell: Any) -> None:
    assert np.isnan(block([[3.0, 4.0], cell])).all(1).tolist() == [False, True]


@pytest.mark.parametrize("size", [1, 2, 5, 64, 300])
def test_a_normalised_vector_has_length_1_however_long_it_was(size: int) -> None:
    direction = np.random.default_rng(size).normal(size=size)
    lengths = np.array([1e-30, 1.0, 1e30])
    cells = (direction * lengths[:, None]).tolist()
    got = block(cells, pa.list_(pa.float64()), size, precision="single")
    np.testing.assert_allclose(np.linalg.norm(got.astype(np.float64), axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(got[0], got[2], rtol=1e-6)
    assert (block([[0.0] * size], LISTS, size) == 0).all()


def test_halves_are_kept_and_singles_are_rounded_to_them_unless_told_otherwise() -> None:
    halves = np.array([[0.1, -2.5], [1e-7, 6e4]], np.float16)
    plain = {"normalise": "none"}
    np.testing.assert_array_equal(block(halves.tolist(), **plain), halves.astype(np.float32))
    third = block([[1 / 3, 1.0]], **plain)[0, 0]
    assert third == np.float32(np.float16(1 / 3))
    assert block([[1 / 3, 1.0]], precision="single", **plain)[0, 0] == np.float32(1 / 3)


@pytest.mark.parametrize(
    ("cells", "kind", "options", "fault"),
    [
        ([[1.0, 2.0], [1.0]], LISTS, {}, "holds 1 numbers in row 1 of these, not 2"),
        ([[1.0, float("inf")]], LISTS, {}, "1 values are infinite"),
        ([[1e6, 1.0]], LISTS, {"normalise": "none"}, "beyond 65,504.*precision: single"),
        ([["a", "b"]], pa.list_(pa.string()), {}, "not vectors; declare another kind"),
        ([1.0], pa.float32(), {}, "holds float, not vectors"),
    ],
)
def test_what_is_no_vector_is_refused_by_its_column(
    cells: Any, kind: Any, options: Any, fault: str
) -> None:
    with pytest.raises(DataError, match=f"column 'v'.*{fault}"):
        block(cells, kind, **options)


def test_train_rows_state_one_size_in_any_number_of_pieces() -> None:
    first, later = VectorFit(Vector("v")), VectorFit(Vector("v"))
    first.add(pa.array([None, []], LISTS), HERE)
    later.add(pa.array([[1.0, 2.0], None], LISTS), HERE)
    first.merge(later)
    assert first.finish() == 2
    with pytest.raises(DataError, match="column 'v': holds vectors of 2 and of 3 numbers"):
        first.add(pa.array([[1.0, 2.0, 3.0]], LISTS), HERE)
    with pytest.raises(DataError, match="no vector in any train row"):
        VectorFit(Vector("v")).finish()


def test_the_log_holds_numbers_then_vectors_and_counts_the_missing_ones(log: EncodedLog) -> None:
    assert [field.name for field in log.encoding.numeric] == ["price"]
    assert log.encoding.vectors == (VectorField("image", 5), VectorField("title", 3))
    table = make_table()
    for part in ("train", "validation", "test"):
        rows = log.split(part)
        images = vector_block(
            table["image"].combine_chunks().take(pa.array(rows.row)), Vector("image"), 5, HERE
        )
        np.testing.assert_array_equal(np.asarray(rows.numeric)[:, 1:6], images)
    counts = [c for c in log.manifest["counts"] if c["reason"] == "vector_missing"]
    assert sum(count["rows"] for count in counts) == table["image"].null_count
    assert np.load(log.folder / "train" / "vectors.npy").dtype == np.float32  # title is single


def test_vectors_of_half_precision_stay_halves_on_disk(tmp_path: Path) -> None:
    pq.write_table(make_table(), tmp_path / "log.parquet", row_group_size=17)
    schema = schema_of(SCHEMA.replace(", normalise: none, precision: single", ""))
    whole = prepare(tmp_path / "log.parquet", schema, tmp_path / "whole")
    prepare(tmp_path / "log.parquet", schema, tmp_path / "pieces", engine=Pieces(3))
    assert np.load(whole.folder / "train" / "vectors.npy").dtype == np.float16
    assert not differing_files(tmp_path / "whole", tmp_path / "pieces")
    batch = next(iter(whole.split("train").batches(batch_size=8, seed=1)))
    assert batch.numeric.shape == (8, 9) and str(batch.numeric.dtype) == "torch.float32"


def test_one_row_is_encoded_as_a_million_whatever_holds_its_floats(log: EncodedLog) -> None:
    encoder = log.encoder()
    table = make_table().select(["user", "image", "price", "title"])
    together = encoder.encode(table).numeric
    for row in range(0, 40, 3):
        alone = encoder.encode(table.slice(row, 1)).numeric
        np.testing.assert_array_equal(alone[0], together[row])
    wide = table.set_column(1, "image", table["image"].cast(pa.large_list(pa.float64())))
    np.testing.assert_array_equal(encoder.encode(wide).numeric, together)
    cells = {"user": [1], "price": [1], "image": [[1, 0, 0, 0, 0]], "title": pa.nulls(1)}
    (whole,) = encoder.encode(pa.table(cells)).numeric
    assert whole[1] == 1 and np.isnan(whole[6:]).all()


def test_a_saved_encoder_knows_the_sizes(log: EncodedLog, tmp_path: Path) -> None:
    log.encoder().save(tmp_path)
    assert RowEncoder.load(tmp_path).encoding == log.encoding
    assert Encoding.from_json(log.encoding.to_json()) == log.encoding


def test_columns_of_vectors_follow_their_feature_and_further_numbers_come_before() -> None:
    encoding = Encoding(
        1, (), (), (NumericField("a", "standard", 1),), (VectorField("v", 2), VectorField("w", 3))
    )
    assert encoding.numeric_columns == 6 and encoding.num_fields == 3
    assert encoding.columns_of(encoding.part({"w"})) == ([], [3, 4, 5])
    assert encoding.part({"w", "a"}).vector_columns() == {"w": slice(1, 4)}
    rows = np.arange(6, dtype=np.float32)[None]
    assert encoding.with_numbers(rows, np.array([[9.0]])).tolist() == [[0, 9, 1, 2, 3, 4, 5]]


def test_vectors_are_a_source_that_a_network_may_leave_out(log: EncodedLog) -> None:
    sources = sources_of(log.schema, log.encoding)
    assert sources["vectors"] == ("image", "title")
    heard = part_of_schema(log.schema, ["ids", "numbers"])
    assert [feature.name for feature in heard.features] == ["user", "price"]


def test_joined_columns_read_as_one_array_of_singles() -> None:
    numbers = np.arange(6, dtype=np.float32).reshape(3, 2)
    vectors = np.array([[0.1], [0.2], [0.3]], np.float16)
    joined: Any = JoinedColumns(numbers, vectors)
    expected = np.concatenate([numbers, vectors.astype(np.float32)], 1)
    assert joined.shape == (3, 3) and len(joined) == 3
    for rows in (slice(None), slice(1, 3), np.array([2, 0]), 1):
        np.testing.assert_array_equal(joined[rows], expected[rows])
    np.testing.assert_array_equal(joined[:, 2], expected[:, 2])
    np.testing.assert_array_equal(np.asarray(joined), expected)


def test_a_draft_proposes_vectors_where_lists_of_fractions_are_equally_long(
    tmp_path: Path,
) -> None:
    table = make_table()
    ragged = [[0.1 * row, 0.5][: 1 + row % 2] for row in range(table.num_rows)]
    table = table.append_column("ragged", pa.array(ragged))
    pq.write_table(table, tmp_path / "log.parquet")
    draft = described(str(tmp_path / "log.parquet"))
    assert "  image: {kind: vector}  # 14.2% missing, lists of 5 fractions each" in draft.text
    assert "  title: {kind: vector}" in draft.text and "  ragged: {kind: vector}" not in draft.text


def test_a_schema_with_vectors_is_written_and_read_alike() -> None:
    schema = schema_of(SCHEMA)
    assert parse_schema(schema.dump(), source="again") == schema
    assert "title: {kind: vector" not in schema.dump()
    with pytest.raises(SchemaError, match="precision: must be one of half, single"):
        Vector("v", precision="double")  # type: ignore[arg-type] # refused
