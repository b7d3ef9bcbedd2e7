"""Encoding: exact ids, the fitted maps as formulas, and rows that do not depend on one another."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.data.columns.keys import category_keys, stable_hash
from recmtl.data.columns.numeric import Moments, NumericFit
from recmtl.data.encoding import Encoding
from recmtl.data.passes.encoder_fit import EncoderFit
from recmtl.data.reader import open_log
from recmtl.data.row_encoder import Encoded, RowEncoder
from recmtl.errors import DataError, SourceLocation
from recmtl.schema import Categorical, Feature, ListOf, Numeric, Schema, SplitRule
from tests.unit.data.arrow_forms import CELLS, FORMS, VALUES

PLACE = SourceLocation("here")


def fitted(features: tuple[Feature, ...], **columns: Any) -> RowEncoder:
    schema = Schema("s", features, (), SplitRule(by="random"))
    batch = pa.record_batch(columns)
    fit = EncoderFit(schema)
    fit.add(batch, np.ones(batch.num_rows, bool), PLACE)
    return fit.finish()


def encode(encoder: RowEncoder, **columns: Any) -> Encoded:
    return encoder.encode(pa.table(columns))


def arrow(values: Any, kind: Any = None) -> Any:
    return pa.array(values, kind)


@pytest.fixture
def shop(
    schema: Schema, columns: dict[str, Any], write: Callable[..., str]
) -> tuple[RowEncoder, Any]:
    log = open_log(write(columns), schema.tables)
    batches = [batch.columns for batch in log.batches(schema.feature_columns())]
    fit = EncoderFit(schema)
    for batch in batches[:4]:
        fit.add(batch, np.ones(batch.num_rows, bool), PLACE)
    return fit.finish(), pa.Table.from_batches([b.cast(batches[0].schema) for b in batches])


def test_batches_and_single_rows_give_the_same_bits(shop: tuple[RowEncoder, Any]) -> None:
    encoder, table = shop
    at_once = encoder.encode(table)
    for size in (1, 7):
        for first in range(0, table.num_rows, 7 if size == 7 else 20):
            part = encoder.encode(table.slice(first, size))
            rows = slice(first, first + size)
            np.testing.assert_array_equal(part.ids, at_once.ids[rows])
            np.testing.assert_array_equal(part.numeric, at_once.numeric[rows])


def test_plain_python_columns_and_stored_columns_encode_alike(shop: tuple[RowEncoder, Any]) -> None:
    encoder, table = shop
    plain = pa.Table.from_pylist(table.to_pylist())
    assert plain.schema != table.schema
    np.testing.assert_array_equal(encoder.encode(plain).ids, encoder.encode(table).ids)


def test_a_saved_encoder_encodes_the_same(shop: tuple[RowEncoder, Any], tmp_path: Path) -> None:
    encoder, table = shop
    encoder.save(tmp_path / "encoder")
    loaded = RowEncoder.load(tmp_path / "encoder")
    assert loaded.encoding == encoder.encoding
    assert loaded.schema == encoder.schema
    before, after = encoder.encode(table), loaded.encode(table)
    np.testing.assert_array_equal(before.ids, after.ids)
    np.testing.assert_array_equal(before.numeric, after.numeric)
    assert before.unknown == after.unknown
    assert not [p.name for p in (tmp_path / "encoder").iterdir() if p.suffix == ".pkl"]


def test_an_incomplete_encoder_is_refused(shop: tuple[RowEncoder, Any], tmp_path: Path) -> None:
    shop[0].save(tmp_path)
    whole = (tmp_path / "vocabularies.arrow").read_bytes()
    (tmp_path / "vocabularies.arrow").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a complete encoder"):
        RowEncoder.load(tmp_path)


def test_blocks_tile_the_table(shop: tuple[RowEncoder, Any]) -> None:
    encoder, table = shop
    blocks = sorted((v.first, v.first + v.rows) for v in encoder.vocabularies.values())
    assert [first for first, _ in blocks] == [1, *(last for _, last in blocks[:-1])]
    assert blocks[-1][1] == encoder.encoding.table_rows
    assert encoder.encode(table).ids.max() < encoder.encoding.table_rows
    assert Encoding.from_json(encoder.encoding.to_json()) == encoder.encoding


@pytest.mark.parametrize("kind", ["uint64", "int64"])
def test_large_ids_stay_distinct(kind: str) -> None:
    values = [2**24, 2**24 + 1, 2**31 + 1, 2**53, 2**53 + 1, 2**62 + 1]
    encoder = fitted((Categorical("a", "a"),), a=arrow(values, kind))
    assert len(np.unique(encode(encoder, a=arrow(values, kind)).ids)) == len(values)


def test_order_is_by_count_then_value_and_rare_values_are_unknown() -> None:
    values = ["b", "a", "c", "c", "c", "a", "b", "rare"]
    encoder = fitted((Categorical("a", "a", min_count=2),), a=arrow(values))
    got = encode(encoder, a=arrow(["c", "a", "b", "rare", "never", None]))
    assert got.ids[:, 0].tolist() == [2, 3, 4, 1, 1, 1]
    assert got.unknown == {"a": 2}


@pytest.mark.parametrize(
    "same",
    [
        arrow([3, 5, None], "int8"),
        arrow([3.0, 5.0, None]),
        arrow([3.0, 5.0, np.nan], "float32"),
        arrow(["3", "5", None]),
        arrow([3, 5, None]).dictionary_encode(),
        pa.chunked_array([arrow([3]), arrow([5, None])]),
    ],
    ids=["int8", "float64", "NaN", "text", "dictionary", "chunks"],
)
def test_the_same_value_in_another_type_is_the_same_id(same: Any) -> None:
    encoder = fitted((Categorical("a", "a"),), a=arrow([3, 5, 5, None]))
    assert encode(encoder, a=same).ids[:, 0].tolist() == [3, 2, 1]


def test_text_that_is_no_number_is_refused_where_numbers_were_fitted() -> None:
    encoder = fitted((Categorical("a", "a"),), a=arrow([3, 5]))
    with pytest.raises(DataError, match="input: column 'a': holds text such as 'x'"):
        encode(encoder, a=arrow(["3", "x"]))


def test_a_missing_column_is_named_with_the_nearest_one() -> None:
    encoder = fitted((Categorical("price", "price"),), price=arrow([1]))
    with pytest.raises(DataError, match="column 'price': is missing; did you mean 'prices'"):
        encode(encoder, prices=arrow([1]))


def test_lists_share_ids_and_keep_the_asked_end() -> None:
    features: tuple[Feature, ...] = (
        Categorical("item", "item"),
        ListOf("last", "seen", table="item", max_length=2),
        ListOf("first", "seen", table="item", max_length=3, keep="first"),
        ListOf("own", "seen", max_length=1),
    )
    seen = arrow([["a", "b", "c", "a"], [], None, ["x"]])
    encoder = fitted(features, item=arrow(["a", "b", "c", "a"]), seen=seen)
    ids = encode(encoder, item=arrow(["a", "b", "c", "z"]), seen=seen).ids
    a, b, c, unknown = ids[:, 0].tolist()
    expected = [[c, a, a, b, c], [0] * 5, [0] * 5, [unknown, 0, unknown, 0, 0]]
    assert ids[:, 1:6].tolist() == expected
    own = encoder.vocabularies["own"]
    assert ids[[1, 2], 6].tolist() == [0, 0]
    assert own.first < ids[0, 6] < own.first + own.rows


@pytest.mark.parametrize("kind", [pa.list_(pa.int64(), 2), pa.large_list(pa.int32())])
def test_every_kind_of_arrow_list_is_read(kind: Any) -> None:
    encoder = fitted((ListOf("a", "a", max_length=2),), a=arrow([[1, 2], [2, 3]]))
    sliced = arrow([[9, 9], [1, 2], [2, 3]], kind).slice(1)
    plain = encode(encoder, a=arrow([[1, 2], [2, 3]])).ids
    np.testing.assert_array_equal(encode(encoder, a=sliced).ids, plain)


def test_hashing_spreads_evenly_and_never_uses_the_unknown_row() -> None:
    encoder = fitted((Categorical("a", "a", hash_buckets=10),), a=arrow(["x"]))
    got = encode(encoder, a=arrow([f"user {i}" for i in range(20_000)])).ids[:, 0]
    counts = np.bincount(got, minlength=12)
    assert counts[:2].sum() == 0
    assert np.square(counts[2:] - 2000).sum() / 2000 < 27.9  # chi-squared, 9 degrees, p = .001
    assert encode(encoder, a=arrow([None], "string")).ids[0, 0] == 1


def test_the_hash_never_changes() -> None:
    # Golden values: models in use depend on them.
    assert stable_hash(arrow([0, 1, -1])).tolist() == GOLDEN_INTS
    assert stable_hash(arrow(["", "a", "é"], "large_string"), seed=3).tolist() == GOLDEN_TEXTS


GOLDEN_INTS = [5197578548964807871, 4922461756044938104, 5596615464619936844]
GOLDEN_TEXTS = [4132491476520377205, 5970571159865114252, 9458304295743455459]


@given(st.lists(st.text(max_size=5), max_size=20), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_the_hash_of_a_text_does_not_depend_on_its_neighbours(texts: list[str], cut: int) -> None:
    array = arrow(texts, "large_string")
    alone = [int(stable_hash(arrow([text], "large_string"))[0]) for text in texts]
    assert stable_hash(array).tolist() == alone
    assert stable_hash(array.slice(cut)).tolist() == alone[cut:]
    assert len(set(alone)) == len(set(texts))


def test_standard_equals_its_formula() -> None:
    x = np.random.default_rng(0).normal(5, 3, 1000)
    encoder = fitted((Numeric("x", "x", encoding="standard"),), x=arrow(x))
    got = encode(encoder, x=arrow([5.0, None, float("nan")])).numeric[:, 0]
    assert got[0] == pytest.approx((5 - x.mean()) / x.std(), rel=1e-5)
    assert np.isnan(got[1:]).all()


def test_quantiles_map_train_rows_to_uniform() -> None:
    x = np.random.default_rng(0).lognormal(0, 2, 4000)
    features: tuple[Feature, ...] = (
        Numeric("q", "x", encoding="quantile", bins=16),
        Numeric("p", "x", bins=16),
        Numeric("l", "x", bins=16, log=True),
    )
    encoder = fitted(features, x=arrow(x))
    got = encode(encoder, x=arrow(x)).numeric
    assert np.histogram(got[:, 0], 16, (0, 1))[0] == pytest.approx([250] * 16, abs=2)
    np.testing.assert_allclose(got[:, 1], got[:, 0] * 16, rtol=1e-6)
    assert (np.floor(got[:, 2]) == np.floor(got[:, 1])).mean() > 0.99
    outside = encode(encoder, x=arrow([-1e9, 1e9])).numeric
    np.testing.assert_array_equal(outside, [[0, 0, 0], [1, 16, 16]])


def test_repeated_values_give_fewer_bins_but_at_least_one() -> None:
    features: tuple[Feature, ...] = (Numeric("x", "x"), Numeric("c", "c"), Numeric("n", "n"))
    x, c = arrow([0] * 90 + [1] * 10), arrow([7] * 100)
    encoder = fitted(features, x=x, c=c, n=pa.nulls(100))
    assert all(1 <= field.bins <= 3 for field in encoder.encoding.numeric)
    got = encode(encoder, x=x, c=c, n=pa.nulls(100)).numeric
    assert np.isfinite(got[:, :2]).all()
    assert np.isnan(got[:, 2]).all()


def test_an_infinite_number_is_refused_with_its_column() -> None:
    encoder = fitted((Numeric("x", "x"),), x=arrow([1.0, 2.0]))
    with pytest.raises(DataError, match="column 'x': 1 values are infinite; replace"):
        encode(encoder, x=arrow([1.0, np.inf]))


@given(st.lists(st.lists(st.floats(-1e6, 1e6), max_size=5), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_merged_moments_equal_those_of_the_whole(parts: list[list[float]]) -> None:
    moments = Moments()
    for part in parts:
        moments.add(np.array(part))
    whole = np.array([x for part in parts for x in part])
    if len(whole):
        scale = np.abs(whole).max() + 1e-300
        assert moments.mean == pytest.approx(whole.mean(), abs=1e-12 * scale)
        assert moments.std == pytest.approx(whole.std(), abs=1e-7 * scale)


def test_the_sample_of_a_long_stream_keeps_its_quantiles() -> None:
    random = np.random.default_rng(99)
    fit = NumericFit(Numeric("x", "x", bins=10))
    for part in range(12):
        fit.add(random.random(100_000) + part)
    edges = np.array(fit.finish().edges)
    # 200,000 of 1.2 million values: the standard error of a quantile's share is below .0011.
    assert np.abs(edges / 12 - np.linspace(0, 1, 11)).max() < 0.005


def test_missing_values_get_no_key() -> None:
    keys = category_keys(arrow([1.0, np.nan, None, 2.0, 1.0]), "a", PLACE)
    assert keys.codes.tolist() == [0, -1, -1, 1, 0]
    assert keys.values.to_pylist() == [1, 2]


FRAME_FEATURES: dict[str, tuple[Feature, ...]] = {
    "integer": (Categorical("c", "x"), Numeric("n", "x"), Categorical("h", "x", hash_buckets=4)),
    "float": (Numeric("n", "x", bins=3), Numeric("s", "x", encoding="standard")),
    "text": (Categorical("c", "x"), Categorical("h", "x", hash_buckets=4)),
    "binary": (Categorical("c", "x"),),
    "boolean": (Categorical("c", "x"), Numeric("n", "x")),
    "timestamp": (Categorical("c", "x"),),
    "list": (ListOf("l", "x", max_length=2), ListOf("f", "x", max_length=1, keep="first")),
}


@pytest.mark.parametrize(("kind", "form"), CELLS)
def test_a_frame_of_any_form_is_encoded_as_the_one_that_was_fitted(kind: str, form: str) -> None:
    values = VALUES[kind]
    if kind == "list" and "fixed" in form:
        values = [[0, 0] if row is None else row for row in values]
    trained = FORMS[kind][form if kind == "timestamp" else next(iter(FORMS[kind]))](values)
    encoder = fitted(FRAME_FEATURES[kind], x=trained)
    expected = encode(encoder, x=trained)
    column = FORMS[kind][form](values)
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    for frame in (
        pa.table({"x": column}),
        pa.table({"x": pa.chunked_array([*chunks, chunks[0][:0]])}),
    ):
        got = encoder.encode(frame)
        np.testing.assert_array_equal(got.ids, expected.ids)
        np.testing.assert_array_equal(got.numeric, expected.numeric)
        assert got.unknown == expected.unknown


@pytest.mark.parametrize("name", ["grid", "mmoe"])
def test_an_encoder_of_the_first_release_reads_frames_of_any_form(name: str) -> None:
    bundle = Path("tests/data/bundles/0.1") / name
    encoder = RowEncoder.load(bundle / "encoder")
    with pa.OSFile(str(bundle / "golden" / "rows.arrow")) as source:
        rows = pa.ipc.open_file(source).read_all()
    expected = encoder.encode(rows)
    forms = {
        pa.int64(): pa.decimal128(38, 0),
        pa.string(): pa.string_view(),
        pa.large_string(): pa.string_view(),
    }
    columns = {
        field.name: rows[field.name].cast(forms.get(field.type, field.type))
        for field in rows.schema
    }
    assert {column.type for column in columns.values()} != {field.type for field in rows.schema}
    got = encoder.encode(pa.table(columns))
    np.testing.assert_array_equal(got.ids, expected.ids)
    np.testing.assert_array_equal(got.numeric, expected.numeric)
    assert got.unknown == expected.unknown


def test_an_encoder_of_another_format_is_refused(
    shop: tuple[RowEncoder, Any], tmp_path: Path
) -> None:
    shop[0].save(tmp_path)
    document = json.loads((tmp_path / "encoder.json").read_text())
    (tmp_path / "encoder.json").write_text(json.dumps(document | {"format": 99}))
    with pytest.raises(DataError, match="encoder of format 99; prepare again"):
        RowEncoder.load(tmp_path)


def test_two_features_of_one_column_read_the_same_values() -> None:
    features: tuple[Feature, ...] = (Categorical("c", "x"), Numeric("n", "x", encoding="standard"))
    encoder = fitted(features, x=arrow([5, 6, 6, 7]))
    got = encode(encoder, x=arrow([Decimal(6), Decimal(9), None]))
    first = encoder.vocabularies["c"].first
    assert got.ids[:, 0].tolist() == [first + 1, first, first]
    assert got.unknown == {"c": 1}
    np.testing.assert_allclose(got.numeric[:2, 0], [0, 3 / np.std([5, 6, 6, 7])], rtol=1e-6)
    assert np.isnan(got.numeric[2, 0])
