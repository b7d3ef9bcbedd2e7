"""A row's scores depend on that row alone; the kind of frame that comes in goes out."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import ConfigError, DataError
from recmtl.serve import Scorer
from recmtl.serve.fixed_shape import FixedShapeModel
from recmtl.serve.frames import to_arrow
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
