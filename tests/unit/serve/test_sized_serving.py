"""Embeddings of several sizes behind a bundle: scored, ranked, explained, exported alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from recmtl.data.row_encoder import RowEncoder
from recmtl.serve import Ranker, Scorer, save_bundle
from recmtl.serve.batch.parquet import score_parquet
from recmtl.serve.fixed_shape import TracedNetwork, trace_network
from recmtl.serve.scoring.explain import explain
from recmtl.serve.scoring.onnx import equal_to_rounding
from tests.unit.serve.shop import as_request, make_encoder, make_model
from tests.unit.serve.test_history_serving import TEXT as HISTORIES
from tests.unit.serve.test_history_serving import history_log

TEXT = (
    HISTORIES.replace("user_id: {kind: categorical}", "user_id: {kind: categorical, dim: auto}")
    .replace("item: {kind: categorical}", "item: {kind: categorical, dim: 6}")
    .replace("author: {kind: categorical}", "author: {kind: categorical, dim: 6}")
    .replace("encoding: standard}", "encoding: standard, dim: 2}")
)
USER = ["user_id", "history", "seen_authors", "seen_at", "age", "now"]
BY = "p_click * value_watch"


@pytest.fixture(scope="module")
def encoder() -> RowEncoder:
    return make_encoder(history_log(400), TEXT)


def saved(encoder: RowEncoder, folder: Path, *, onnx: bool = False) -> Path:
    options: dict[str, Any] = {"model": make_model(encoder, width=4), "metrics": {}}
    rows = history_log(400)
    return save_bundle(folder, encoder=encoder, rows=rows, user=USER, onnx=onnx, **options)


@pytest.fixture(scope="module")
def scorer(encoder: RowEncoder, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    bundle = saved(encoder, tmp_path_factory.mktemp("bundle") / "bundle")
    return Scorer.load(bundle, record=False)


def test_a_history_has_the_size_of_its_target_and_numbers_have_their_own(
    encoder: RowEncoder,
) -> None:
    sizes = {sized.size: sized.fields for sized in encoder.encoding.own_sizes}
    events = ("item", "author", "history", "seen_authors", "history.age")
    assert sizes[6] == events and "price" in sizes[2]
    assert encoder.sizes == {"user_id": 2, "item": 6, "author": 6, "history.age": 6}


def test_a_file_and_rows_alone_have_the_scores_of_the_table(scorer: Scorer, tmp_path: Path) -> None:
    rows = history_log(40, seed=2)
    expected = scorer.scores(rows)
    pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=17)
    score_parquet(scorer, tmp_path / "rows.parquet", tmp_path / "out")
    written = pq.read_table(tmp_path / "out")
    columns = [written[name].to_numpy() for name in scorer.columns]
    np.testing.assert_array_equal(np.stack(columns, 1), expected)
    alone = [scorer.scores(rows.slice(row, 1)) for row in range(10)]
    np.testing.assert_array_equal(np.concatenate(alone), expected[:10])


def test_a_recorded_network_scores_the_same_bits(scorer: Scorer) -> None:
    model, dice = scorer.bundle.model, torch.Generator().manual_seed(1)
    recorded = trace_network(model, 16)
    assert isinstance(recorded, TracedNetwork)
    ids = model.encoder.random_ids(16, dice)
    numeric = torch.randn(16, model.numbers, generator=dice)
    assert torch.equal(recorded.predict(ids, numeric), model.predict(ids, numeric))


@pytest.mark.parametrize("user", [USER, ["user_id", "age"], ["item", "author", "price"]])
def test_a_request_is_ranked_as_its_joined_rows(user: list[str], scorer: Scorer) -> None:
    values, candidates, joined = as_request(history_log(30, seed=5), user, of=3)
    ranker = Ranker(scorer)
    ranked = ranker.rank_request(values, candidates, BY)
    expected = ranker.rank(joined, BY)
    for column in ("rank_score", "rank"):
        got, want = (table[column].to_numpy() for table in (ranked, expected))
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_explanations_add_up_over_fields_of_all_sizes(scorer: Scorer) -> None:
    explained = explain(scorer, history_log(6, seed=2), steps=100)
    gap = explained.predicted - explained.base - explained.contributions.sum(2)
    assert np.abs(gap).max() < 0.05
    named = dict(zip(explained.features, explained.contributions.any((0, 1)), strict=True))
    assert all(named[name] for name in ("user_id", "item", "history", "price", "age"))


@pytest.mark.slow
def test_onnx_gives_rows_and_requests_the_scores_of_torch(
    encoder: RowEncoder, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    values, candidates, joined = as_request(history_log(30, seed=5), USER, of=3)
    exported = saved(encoder, tmp_path / "bundle", onnx=True)
    fast, plain = (Scorer.load(exported, engine=e, record=False) for e in ("onnx", "torch"))
    assert equal_to_rounding(fast.scores(joined), plain.scores(joined))
    ranked = Ranker(fast).rank_request(values, candidates, BY)
    expected = Ranker(plain).rank(joined, BY)
    scores = (table["rank_score"].to_numpy() for table in (ranked, expected))
    np.testing.assert_allclose(*scores, rtol=1e-4)


def test_a_loaded_encoder_keeps_its_sizes_and_a_part_of_it_the_blocks(
    encoder: RowEncoder, tmp_path: Path
) -> None:
    encoder.save(tmp_path)
    again = RowEncoder.load(tmp_path)
    assert again.encoding == encoder.encoding
    part = encoder.part(["item", "price"])
    assert part.encoding == encoder.encoding.part(part.encoding.fields)
    torch.manual_seed(0)
    model = make_model(encoder, width=4)
    alone = model.encoder.part(part.encoding)
    assert alone.width == 6 + 2
