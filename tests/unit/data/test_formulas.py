"""Columns that formulas compute: the same in the prepared log, in a file and in a request."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.errors import DataError, SchemaError
from recmtl.schema import dump_schema, parse_schema
from recmtl.serve.ranking.request import encode_plain_row

ROWS = 300
TEXT = """
version: 1
name: video
formulas:
  ratio: watch_s / length_s
  value: price * log(1 + visits)
features:
  user: categorical
  value: {kind: numeric, values: {min_count: 1}}
  length: {kind: numeric, column: length_s}
tasks:
  long: {kind: binary, label: {column: ratio, between: [0.5, 1]}, missing: ignore}
  share: {kind: regression, label: ratio, rows: {column: plays, not: [0, 1]}, missing: ignore}
split: random
"""
SCHEMA = parse_schema(TEXT, source="video.yaml")


def table(rows: int = ROWS) -> pa.Table:
    draw = np.random.default_rng(3)
    return pa.table(
        {
            "user": draw.integers(0, 20, rows),
            "watch_s": draw.integers(0, 60, rows),
            "length_s": draw.integers(0, 60, rows),
            "price": draw.uniform(0, 9, rows).round(1),
            "plays": pa.array(draw.integers(0, 5, rows), mask=draw.random(rows) < 0.1),
            "visits": pa.array(draw.integers(0, 5, rows), mask=draw.random(rows) < 0.1),
        }
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EncodedLog:
    folder = tmp_path_factory.mktemp("formulas")
    pq.write_table(table(), folder / "log.parquet", row_group_size=70)
    return prepare(str(folder / "log.parquet"), SCHEMA, folder / "log")


def test_labels_and_features_are_what_arithmetic_gives(log: EncodedLog) -> None:
    frame = table().to_pandas()
    for name in ("train", "validation", "test"):
        part = log.split(name)
        rows = frame.iloc[np.asarray(part.row)]
        ratio = rows["watch_s"] / rows["length_s"].where(rows["length_s"] > 0)
        between = ratio.between(0.5, 1).astype(float).where(ratio.notna())
        np.testing.assert_array_equal(part.labels[:, 0], between.to_numpy(np.float32))
        defined = ratio.where(~rows["plays"].isin([0, 1]) & rows["plays"].notna())
        np.testing.assert_allclose(part.labels[:, 1], defined.to_numpy(np.float32))
        value = rows["price"] * np.log1p(rows["visits"])
        np.testing.assert_array_equal(np.isnan(part.numeric[:, 0]), value.isna().to_numpy())


def test_a_file_and_a_request_are_encoded_as_the_log_was(log: EncodedLog) -> None:
    encoder, train = log.encoder(), log.split("train")
    rows = table().take(pa.array(np.asarray(train.row)))
    assert encoder.input_columns == ("user", "price", "visits", "length_s")
    encoded = encoder.encode(rows.drop_columns(["watch_s"]))
    np.testing.assert_array_equal(encoded.ids, train.ids)
    np.testing.assert_array_equal(encoded.numeric, train.numeric)
    for row, values in enumerate(rows.slice(0, 50).to_pylist()):
        plain = encode_plain_row(encoder, values)
        assert plain is not None
        np.testing.assert_array_equal(plain.ids[0], train.ids[row])
        np.testing.assert_array_equal(plain.numeric[0], train.numeric[row])


def test_a_request_with_text_in_place_of_a_number_is_not_plain(log: EncodedLog) -> None:
    row = table(1).to_pylist()[0] | {"price": "nine"}
    assert encode_plain_row(log.encoder(), row) is None
    with pytest.raises(DataError, match="'price': holds text"):
        log.encoder().encode(pa.Table.from_pylist([row]))


def test_a_formula_needs_both_sides_of_a_request_that_splits_its_columns(log: EncodedLog) -> None:
    schema = log.encoder().schema
    assert [f.name for f in schema.features_of(["user", "visits"])] == ["user"]
    assert schema.columns_of(["value"]) == ("price", "visits")


def test_formulas_are_written_and_read_again() -> None:
    assert parse_schema(dump_schema(SCHEMA), source="again") == SCHEMA
    assert "not:\n      - 0" in dump_schema(SCHEMA)


def test_a_column_that_is_there_already_is_refused(tmp_path: Path) -> None:
    pq.write_table(table().append_column("ratio", pa.nulls(ROWS)), tmp_path / "log.parquet")
    with pytest.raises(DataError, match="'ratio': stands in the file, and is computed"):
        prepare(str(tmp_path / "log.parquet"), SCHEMA, tmp_path / "log")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("price * log(1 + visits)", "price *", "5: formulas.value: formula 'price *': it ends"),
        ("price * log(1 + visits)", "1 + 1", "formulas.value: formula '1 + 1' names no column"),
        (
            "price * log(1 + visits)",
            "ratio * 2",
            "formulas.value: reads 'ratio'",
        ),
        ("user: categorical", "user: {kind: categorical, column: ratio}", "is a computed number"),
        (
            "split: random",
            "split: group\nroles: {group: value}",
            "group: 'value' is a computed",
        ),
        ("price * log(1 + visits)", "ratio_2 * watch_s", ""),
        (
            "watch_s / length_s",
            "length_s / 1000",
            "column 'length_s' is the label of",
        ),
    ],
)
def test_a_formula_that_cannot_be_is_named_with_its_line(old: str, new: str, line: str) -> None:
    text = TEXT.replace(old, new).strip()
    if not line:
        parse_schema(text, source="s.yaml")
        return
    with pytest.raises(SchemaError) as caught:
        parse_schema(text, source="s.yaml")
    assert line in str(caught.value)
