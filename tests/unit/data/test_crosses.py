"""Crosses: one id for each combination of values, by a vocabulary or by hashing."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.data.columns.sources import part_of_schema, sources_of
from recmtl.data.derived.crosses import crossed
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.errors import DataError, SchemaError, SourceLocation
from recmtl.schema import Schema, dump_schema, parse_schema
from tests.unit.engines.pieces import Pieces, differing_files

PLACE = SourceLocation("log.parquet", 0)
LEAST = 4
TEXT = """
version: 1
name: shop
features:
  user: {kind: categorical}
  visit: {kind: datetime, column: at, parts: [weekday], unit: s}
  taste: {kind: cross, columns: [user, category], min_count: 4}
  days: {kind: cross, columns: [visit.weekday, category, user], hash_buckets: 50}
tasks: {click: {kind: binary, label: clicked}}
split: {by: random, seed: 3, validation: 0.2, test: 0.2}
"""
TEXTS = st.text(st.sampled_from(["a", "&", "\\", " "]), max_size=4)
CELLS = st.one_of(st.none(), TEXTS)


def schema(text: str = TEXT) -> Schema:
    return parse_schema(text, source="shop.yaml")


def table(rows: int = 400) -> pa.Table:
    dice = np.random.default_rng(0)
    users = [None if row % 17 == 0 else int(user) for row, user in enumerate(dice.zipf(1.6, rows))]
    categories = [None if row % 23 == 0 else f"c{row * row % 5}" for row in range(rows)]
    columns: dict[str, Any] = {"user": users, "category": categories, "at": np.arange(rows) * 9999}
    return pa.table(columns | {"clicked": np.arange(rows) % 2})


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EncodedLog:
    folder = tmp_path_factory.mktemp("crosses")
    pq.write_table(table(), folder / "log.parquet", row_group_size=77)
    return prepare(folder / "log.parquet", schema(), folder / "log")


@settings(max_examples=40)
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8))
def test_two_rows_are_alike_where_all_their_values_are(rows: list[tuple[Any, ...]]) -> None:
    columns = {
        name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate("abc")
    }
    both = crossed(["a", "b", "c"], columns, PLACE).to_pylist()
    for row, text in zip(rows, both, strict=True):
        assert (text is None) == (None in row)
        for other, twin in zip(rows, both, strict=True):
            assert text is None or (text == twin) == (row == other)


def test_rows_together_are_written_as_each_alone() -> None:
    """Some and many distinct combinations are joined in two ways."""
    cells = [None, "a", "&", "\\", "a & a", "", " "]
    rows = [(left, right) for left in cells for right in cells]
    columns = {name: pa.array([row[i] for row in rows]) for i, name in enumerate("ab")}
    alone = [
        crossed(["a", "b"], {name: of.slice(row, 1) for name, of in columns.items()}, PLACE)
        for row in range(len(rows))
    ]
    together = crossed(["a", "b"], columns, PLACE).to_pylist()
    assert together == [array[0].as_py() for array in alone]
    assert len(set(together)) == 37


@pytest.mark.parametrize(
    "array",
    [
        pa.array([3, None, 4], pa.int8()),
        pa.array([3.0, np.nan, 4.0]),
        pa.array(["3", None, "4"]),
        pa.array(["3", None, "4"]).dictionary_encode(),
    ],
    ids=lambda array: str(array.type),
)
def test_a_value_is_the_same_in_every_form(array: pa.Array) -> None:
    columns = {"a": array, "b": pa.array(["x", "x", "y"])}
    assert crossed(["b", "a"], columns, PLACE).to_pylist() == ["x & 3", None, "y & 4"]


def test_combinations_of_enough_train_rows_have_ids_of_their_own(log: EncodedLog) -> None:
    rows = table()
    pairs = list(zip(rows["user"].to_pylist(), rows["category"].to_pylist(), strict=True))
    train = [pairs[row] for row in log.split("train").row.tolist()]
    frequent = {
        pair for pair, count in Counter(train).items() if count >= LEAST and None not in pair
    }
    encoder = log.encoder()
    ids = encoder.encode(rows).ids[:, encoder.encoding.single.index("taste")].tolist()
    by_pair = dict(zip(pairs, ids, strict=True))
    first = encoder.vocabularies["taste"].first
    assert {pair for pair, row in by_pair.items() if row != first} == frequent
    assert len({by_pair[pair] for pair in frequent}) == len(frequent) > 5


def test_hashed_combinations_have_one_bucket_each(log: EncodedLog) -> None:
    rows, encoder = table(), log.encoder()
    ids = encoder.encode(rows).ids[:, encoder.encoding.single.index("days")]
    days = (rows["at"].to_numpy() // 86_400 + 3) % 7
    every = list(zip(days, rows["category"].to_pylist(), rows["user"].to_pylist(), strict=True))
    assert len(dict.fromkeys(zip(every, ids, strict=True))) == len(set(every))
    vocabulary = encoder.vocabularies["days"]
    missing = np.array([None in row for row in every])
    assert (ids[missing] == vocabulary.first).all() and (ids[~missing] > vocabulary.first).all()
    assert vocabulary.rows == 51


def test_a_row_alone_is_encoded_as_in_the_log(log: EncodedLog) -> None:
    whole = log.encoder().encode(table())
    for row in (0, 23, 123):
        single = log.encoder().encode(table().slice(row, 1))
        np.testing.assert_array_equal(single.ids, whole.ids[row : row + 1])
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(log.split(part).ids, whole.ids[log.split(part).row])
    nothing = log.encoder().encode(table().slice(0, 0))
    assert nothing.ids.shape == (0, 4)


def test_a_log_in_pieces_has_the_same_bytes(log: EncodedLog, tmp_path: Path) -> None:
    data, engine = log.folder.parent / "log.parquet", Pieces(3)
    pieces = prepare(data, schema(), tmp_path / "log", engine=engine)
    assert differing_files(log.folder, pieces.folder) == []


def test_crosses_are_a_source_of_their_own(log: EncodedLog) -> None:
    sources = sources_of(log.schema, log.encoding)
    assert dict(sources) == {"ids": ("user", "visit.weekday"), "crosses": ("taste", "days")}
    plain = part_of_schema(log.schema, ("ids", "numbers"))
    assert [feature.name for feature in plain.features] == ["user", "visit"]
    assert log.encoder().hearing(("ids",)).input_columns == ("user", "at")


def test_columns_suffice_for_a_cross_only_together() -> None:
    names = [feature.name for feature in schema().features_of(["user", "category"])]
    assert names == ["user", "taste"]
    assert schema().columns_of(["days"]) == ("at", "category", "user")
    assert schema().feature_columns() == ("user", "at", "category")


def test_the_text_of_the_schema_is_read_back() -> None:
    assert schema(dump_schema(schema())) == schema()


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ("[user]", "columns: name two or more different ones"),
        ("[user, user]", "columns: name two or more different ones"),
        ("[user, city], min_count: 2, hash_buckets: 9", "not both"),
        ("[user, clicked]", "'clicked' is the label of task 'click'"),
        ("[user, visit]", "'visit' is a time; name one of its parts: visit.weekday"),
        ("[user, taste]", "'taste' is a cross itself; name its columns here"),
        ("[user, who]", "'who' reads the column 'user_id'; name that"),
        ("[user, tags.count]", "'tags.count' is no category"),
        ("[user, ratio]", "'ratio' is a computed number"),
    ],
)
def test_a_cross_of_what_cannot_be_crossed_is_refused(columns: str, fault: str) -> None:
    more = "  who: {kind: categorical, column: user_id}\n  tags: {kind: list}\n"
    text = TEXT.replace("[visit.weekday, category, user], hash_buckets: 50", columns)
    text = text.replace("tasks:", f"{more}formulas: {{ratio: a / b}}\ntasks:")
    with pytest.raises(SchemaError, match=fault):
        schema(text)


def test_lists_and_fractions_are_refused() -> None:
    columns = {"a": pa.array([[1]]), "b": pa.array([0.5]), "c": pa.array([1])}
    with pytest.raises(DataError, match=r"column 'a': holds list.*a cross is of single values"):
        crossed(["c", "a"], columns, PLACE)
    with pytest.raises(DataError, match="column 'b': holds fractions"):
        crossed(["c", "b"], columns, PLACE)
