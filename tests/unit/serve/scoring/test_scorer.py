"""A row's scores depend on that row alone; the kind of frame that comes in goes out."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recmtl.data.row_encoder import Encoded, RowEncoder
from recmtl.errors import ConfigError, DataError, SourceLocation
from recmtl.serve import Scorer
from recmtl.serve.fixed_shape import FixedShapeModel
from recmtl.serve.frames import to_arrow
from tests.chaos.bad_inputs import check_score
from tests.unit.serve.shop import make_log, make_model


@pytest.mark.parametrize("width", [3, 8, 16, 33])
def test_row_by_row_batch_and_shuffled_agree_bit_for_bit(
    encoder: RowEncoder, log: pa.Table, width: int
) -> None:
    model = FixedShapeModel(make_model(encoder, width=width), chunk_rows=64, threads=2)
    encoded = encoder.encode(log)
    batch = model.scores(encoded.ids, encoded.numeric)
    assert len(np.unique(batch[:, 0])) > len(batch) / 2
    order = np.random.default_rng(0).permutation(len(batch))
    np.testing.assert_array_equal(
        model.scores(encoded.ids[order], encoded.numeric[order]), batch[order]
    )
    for row in range(0, len(batch), 7):
        alone = model.scores(encoded.ids[row : row + 1], encoded.numeric[row : row + 1])
        np.testing.assert_array_equal(alone[0], batch[row])


def test_number_of_threads_changes_no_bit(bundle: Path, log: pa.Table) -> None:
    one = Scorer.load(bundle, threads=1).scores(log)
    three = Scorer.load(bundle, threads=3).scores(log)
    np.testing.assert_array_equal(one, three)


def test_scoring_leaves_torch_threads_and_gradients_alone(scorer: Scorer, log: pa.Table) -> None:
    before = torch.get_num_threads()
    scorer.scores(log)
    assert torch.get_num_threads() == before
    assert torch.is_grad_enabled()


def test_raw_rows_agree_bit_for_bit_however_they_are_cut(scorer: Scorer, log: pa.Table) -> None:
    whole = scorer.scores(log)
    cuts = [0, 1, 2, 255, 257, 514, 700]
    pieces = [scorer.scores(log.slice(a, b - a)) for a, b in pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_slices_of_a_large_table_join_up(
    scorer: Scorer, log: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scorer.scores(log)
    monkeypatch.setattr("recmtl.serve.scoring.scorer.SLICE_ROWS", 101)
    np.testing.assert_array_equal(scorer.scores(log), whole)


def test_arrow_in_arrow_out(scorer: Scorer, log: pa.Table) -> None:
    scores = scorer.score(log)
    assert isinstance(scores, pa.Table)
    assert tuple(scores.column_names) == scorer.columns
    assert set(scores.schema.types) == {pa.float32()}
    batch = log.combine_chunks().to_batches()[0]
    assert scorer.score(batch).equals(scores)


def test_pandas_in_pandas_out_with_the_same_index(scorer: Scorer, log: pa.Table) -> None:
    frame = log.to_pandas()
    frame.index = pd.Index(np.arange(len(frame))[::-1] * 3, name="impression")
    scores = scorer.score(frame)
    assert isinstance(scores, pd.DataFrame)
    pd.testing.assert_index_equal(scores.index, frame.index)
    np.testing.assert_array_equal(scores.to_numpy(), scorer.scores(log))


def test_dict_of_arrays_in_and_out(scorer: Scorer, log: pa.Table) -> None:
    frame = {name: log[name].to_pylist() for name in scorer.input_columns}
    scores = scorer.score(frame)
    assert tuple(scores) == scorer.columns
    np.testing.assert_array_equal(scores["p_click"], scorer.scores(log)[:, 0])


def test_probabilities_obey_the_funnel(scorer: Scorer, log: pa.Table) -> None:
    scores = scorer.score(log.to_pandas())
    product = scores["p_click"] * scores["p_buy_given_click"]
    np.testing.assert_allclose(scores["p_click_and_buy"], product, rtol=1e-5)
    assert (scores["p_click_and_buy"] <= scores["p_click"]).all()
    classes = scores[["p_rating_1", "p_rating_2", "p_rating_3"]]
    np.testing.assert_allclose(classes.sum(axis=1), 1.0, rtol=1e-5)


def test_columns_that_are_no_input_do_not_matter(scorer: Scorer, log: pa.Table) -> None:
    inputs = log.select(list(scorer.input_columns))
    np.testing.assert_array_equal(scorer.scores(inputs), scorer.scores(log))


def test_no_rows_give_no_scores(scorer: Scorer, log: pa.Table) -> None:
    assert scorer.score(log.slice(0, 0)).num_rows == 0
    assert scorer.score(log.to_pandas().head(0)).shape == (0, len(scorer.columns))


def test_unknown_ids_are_counted_and_scored(bundle: Path, log: pa.Table) -> None:
    scorer = Scorer.load(bundle)
    scorer.score(log.slice(0, 5))
    known = scorer.unknown.get("user_id", 0)
    ids = pa.array([1, 2, 3, 4, 5], pa.int64())
    strange = log.slice(0, 5).set_column(log.column_names.index("user_id"), "user_id", ids)
    assert np.isfinite(scorer.scores(strange)).all()
    assert scorer.unknown["user_id"] == known + 5


def test_missing_column_is_named_with_a_remedy(scorer: Scorer, log: pa.Table) -> None:
    renamed = log.rename_columns({"price": "prise"})
    with pytest.raises(DataError, match="no column 'price'; did you mean 'prise'"):
        scorer.score(renamed)
    with pytest.raises(DataError, match="no column 'user_id'"):
        scorer.score(log.to_pandas()[["item"]])


def test_a_column_that_stands_twice_is_refused(scorer: Scorer, log: pa.Table) -> None:
    twice = log.append_column("price", log["price"])
    with pytest.raises(DataError, match="column 'price' stands twice"):
        scorer.score(twice)


def test_mixed_types_in_a_pandas_column_are_refused(scorer: Scorer) -> None:
    frame = make_log(10).to_pandas()
    frame["price"] = ["a", 1.0, b"x", *frame["price"].tolist()[3:]]
    with pytest.raises(DataError, match="column 'price' mixes types"):
        scorer.score(frame)


def test_what_is_no_frame_is_refused(scorer: Scorer) -> None:
    with pytest.raises(DataError, match="cannot read rows from a list"):
        scorer.score([1, 2])


@pytest.mark.parametrize("options", [{"chunk_rows": 0}, {"threads": 0}])
def test_no_rows_or_threads_are_refused(bundle: Path, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="is 0; give a whole number from 1 to"):
        Scorer.load(bundle, **options)


def test_times_with_a_zone_come_from_pandas_as_from_arrow() -> None:
    times = pd.Series(pd.to_datetime(["2024-05-01T12:00", None])).dt.tz_localize("Europe/Berlin")
    for frame in (pd.DataFrame({"at": times}), {"at": pd.DatetimeIndex(times)}):
        column = to_arrow(frame, ["at"])["at"]
        assert column.cast(pa.int64()).to_pylist()[0] == times[0].value // 1000
        assert column.null_count == 1


def test_many_threads_may_share_a_scorer(bundle: Path, log: pa.Table) -> None:
    scorer = Scorer.load(bundle, threads=2)
    whole = scorer.scores(log)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: scorer.scores(log), range(24)))
    assert all(np.array_equal(result, whole) for result in results)


@pytest.fixture(scope="module")
def plain_scorer(bundle: Path) -> Scorer:
    """Small chunks, so that a few rows fill several."""
    return Scorer.load(bundle, chunk_rows=16, threads=2)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_rows_in_any_order_with_repeats_keep_their_bits(plain_scorer, log, data):
    whole = plain_scorer.scores(log)
    rows = np.array(data.draw(st.lists(st.integers(0, 699), min_size=1, max_size=60)))
    np.testing.assert_array_equal(plain_scorer.scores(log.take(pa.array(rows))), whole[rows])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 80), max_size=5))
def test_any_cuts_of_the_rows_keep_their_bits(plain_scorer, log, cuts):
    head = log.slice(0, 80)
    ends = [0, *sorted(cuts), 80]
    pieces = [plain_scorer.scores(head.slice(a, b - a)) for a, b in pairwise(ends)]
    np.testing.assert_array_equal(np.concatenate(pieces), plain_scorer.scores(head))


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 31, 32, 33])
def test_the_padding_of_the_last_chunk_leaves_no_trace(
    plain_scorer: Scorer, log: pa.Table, rows: int
) -> None:
    np.testing.assert_array_equal(
        plain_scorer.scores(log.slice(0, rows)), plain_scorer.scores(log)[:rows]
    )


def test_joined_tables_score_as_their_parts(plain_scorer: Scorer, log: pa.Table) -> None:
    """However Arrow has cut the columns: chunks, slices with an offset, record batches."""
    parts = [log.slice(3, 50), log.slice(200, 1), log.slice(0, 30)]
    joined = pa.concat_tables(parts)
    expected = np.concatenate([plain_scorer.scores(part) for part in parts])
    np.testing.assert_array_equal(plain_scorer.scores(joined), expected)
    np.testing.assert_array_equal(plain_scorer.scores(joined.combine_chunks()), expected)
    batch = plain_scorer.score(joined.combine_chunks().to_batches()[0])
    np.testing.assert_array_equal(np.stack(batch.columns, 1), expected)


def test_a_row_check_sees_every_slice_and_where_it_comes_from(
    bundle: Path, log: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recmtl.serve.scoring.scorer.SLICE_ROWS", 300)
    scorer, place, seen = Scorer.load(bundle), SourceLocation("a.parquet", 2), []
    scorer.scores(log, place=place, check=lambda rows, where: seen.append((len(rows.ids), where)))
    assert seen == [(300, place), (300, place), (100, place)]


def test_rows_that_a_check_refuses_are_neither_scored_nor_counted(
    bundle: Path, log: pa.Table
) -> None:
    def refuse(rows: Encoded, place: SourceLocation) -> None:
        raise place.error("too strange", "send others")

    scorer = Scorer.load(bundle)
    strange = log.set_column(1, "user_id", pa.array([1] * 700, pa.int64()))
    with pytest.raises(DataError, match="input: too strange; send others"):
        scorer.scores(strange, check=refuse)
    assert scorer.unknown.get("user_id", 0) == 0


def test_unknown_counts_add_up_and_are_handed_out_as_a_copy(bundle: Path, log: pa.Table) -> None:
    scorer = Scorer.load(bundle)
    for _ in range(3):
        scorer.count({"item": 2, "history": 1})
    counts = scorer.unknown
    counts["item"] = 99
    assert scorer.unknown == {"item": 6, "history": 3}


def test_encoded_rows_get_the_scores_of_raw_rows(plain_scorer: Scorer, log: pa.Table) -> None:
    encoded = plain_scorer.bundle.encoder.encode(log)
    for small in (None, True, False):
        scores = plain_scorer.encoded_scores(encoded.ids, encoded.numeric, small=small)
        np.testing.assert_array_equal(scores, plain_scorer.scores(log))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": None}, "engine None is not one of torch, onnx, auto"),
        ({"record": 1}, "record is 1; give a bool"),
        ({"chunk_rows": 2**20 + 1}, "give a whole number from 1 to 1,048,576"),
        ({"threads": 1025}, "give a whole number from 1 to 1,024"),
    ],
)
def test_options_out_of_bounds_are_named(bundle: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Scorer.load(bundle, **options)
    with pytest.raises(ConfigError, match="bundle is 'folder'; give a Bundle"):
        Scorer("folder")


LOADED = """
import json, sys
from recmtl import Scorer
Scorer.load(sys.argv[1])
print(json.dumps(sorted(sys.modules)))
"""


def test_loading_a_scorer_loads_nothing_that_it_does_not_use(bundle: Path) -> None:
    command = [sys.executable, "-c", LOADED, str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    heavy = {"matplotlib", "mlflow", "lightgbm", "sklearn", "numba", "onnx", "onnxruntime",
             "pyspark"}  # fmt: skip
    modules = set(json.loads(done.stdout))
    assert heavy & modules == set()
    assert "recmtl.serve.bundle.bundle" in modules


@pytest.fixture(scope="module")
def small(bundle: Path) -> Scorer:
    """Small chunks: the drawn frames have few rows."""
    return Scorer.load(bundle, chunk_rows=64, threads=1)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_frame_gets_scores_or_one_line(small: Scorer, data: st.DataObject) -> None:
    """The first of the thousands that tests/chaos/test_bad_inputs.py draws."""
    check_score(data.draw, small)
