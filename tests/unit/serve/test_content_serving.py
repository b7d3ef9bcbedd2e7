"""Content behind a bundle: scored in files, requests and ONNX with equal scores, and explained."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import DataError
from recmtl.grid import recmtl_grid
from recmtl.grid.layout import Interaction, InteractionKind
from recmtl.model import ModelSizes, TabularModel
from recmtl.model.heads import HeadSpec, fitted
from recmtl.schema import Head
from recmtl.serve import Ranker, Scorer, save_bundle
from recmtl.serve.batch.parquet import score_parquet
from recmtl.serve.ranking.request import encode_plain_row
from recmtl.serve.request_rows import json_rows, request_rows
from recmtl.serve.scoring.onnx import equal_to_rounding
from tests.unit.serve.shop import HEADS, SCHEMA, as_request, make_encoder, make_log

CONTENT = """
  image: {kind: vector, of: item}
  taste: {kind: vector, normalise: none, precision: single}
  title: {kind: text, max_length: 12, hash_buckets: 300}
"""
OLD = "  price: {kind: numeric, encoding: standard}\n"
TEXT = SCHEMA.replace(OLD, OLD + CONTENT.lstrip("\n"))
USER = ["user_id", "history", "age", "taste"]
BY = "p_click"


def content_log(rows: int, seed: int = 0) -> pa.Table:
    """The shop's log with picture and title of an item and the taste of a user."""
    dice = np.random.default_rng(seed + 7)
    images = dice.normal(size=(rows, 4)).astype(np.float16).tolist()
    images = [None if dice.random() < 0.1 else image for image in images]
    taste = dice.normal(size=(rows, 3)).tolist()
    log = make_log(rows, seed).append_column("image", pa.array(images, pa.list_(pa.float16())))
    words = np.array(["red", "blue", "wool", "shoes", "shirts"])
    titles = [" ".join(dice.choice(words, 3)) if dice.random() < 0.9 else None for _ in range(rows)]
    log = log.append_column("title", pa.array(titles, pa.string()))
    return log.append_column("taste", pa.array(taste))


@pytest.fixture(scope="module")
def encoder() -> RowEncoder:
    """Fitted on 300 rows."""
    return make_encoder(content_log(300), TEXT)


@pytest.fixture(scope="module")
def bundle(encoder: RowEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small network with interactions, and both of its ONNX files."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(3)
    kinds: tuple[InteractionKind, ...] = ("fm", "fwfm", "dcn", "dcn_low_rank")
    fields = encoder.encoding.num_fields
    lanes = [Interaction(kind, fields, 2 * (kind == "dcn_low_rank")) for kind in kinds]
    layout = recmtl_grid(2, cells=2, widths=(8,), depth=1, interactions=lanes)
    sizes = ModelSizes(embedding=8, tower=(4,))
    dice = np.random.default_rng(0)
    head = HeadSpec("watch", "regression", head=Head("d2q", duration="price", groups=4))
    watch = fitted(head, dice.exponential(9.0, 300), None, dice.normal(size=300))
    heads = (HEADS[0], watch)
    model = TabularModel(encoder.encoding, heads, layout=layout, sizes=sizes).eval()
    folder = tmp_path_factory.mktemp("content") / "bundle"
    options: dict[str, Any] = {"model": model, "encoder": encoder, "metrics": {}}
    return save_bundle(folder, rows=content_log(300), user=USER, onnx=True, **options)


@pytest.fixture(scope="module")
def scorer(bundle: Path) -> Scorer:
    """The scorer of that bundle, by torch."""
    return Scorer.load(bundle, record=False, engine="torch")


def test_files_frames_json_and_rows_alone_have_the_same_scores(
    scorer: Scorer, encoder: RowEncoder, tmp_path: Path
) -> None:
    rows = content_log(50, seed=2)
    expected = scorer.scores(rows)
    pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=17)
    score_parquet(scorer, tmp_path / "rows.parquet", tmp_path / "out")
    written = pq.read_table(tmp_path / "out")[BY].to_numpy()
    np.testing.assert_array_equal(written, scorer.score(rows)[BY].to_numpy())
    alone = [scorer.scores(rows.slice(row, 1)) for row in range(0, 50, 10)]
    np.testing.assert_array_equal(np.concatenate(alone), expected[::10])
    frame: pd.DataFrame = rows.to_pandas()
    np.testing.assert_array_equal(scorer.score(frame)[BY].to_numpy(), written)
    again = request_rows(json_rows(rows.select(list(encoder.input_columns))), encoder.types)
    np.testing.assert_array_equal(scorer.scores(again), expected)


@pytest.mark.parametrize("rows", [1, 30])
def test_the_onnx_network_gives_the_scores_of_torch(
    bundle: Path, scorer: Scorer, rows: int
) -> None:
    table = content_log(30, seed=8).slice(0, rows)
    fast = Scorer.load(bundle, engine="onnx", record=False)
    assert equal_to_rounding(fast.scores(table), scorer.scores(table))


@pytest.mark.parametrize("engine", ["torch", "onnx"])
@pytest.mark.parametrize("by", [BY, "value_watch"])
def test_a_request_is_ranked_as_its_joined_rows(bundle: Path, engine: str, by: str) -> None:
    values, candidates, joined = as_request(content_log(40, seed=5), USER)
    ranker = Ranker.load(bundle, engine=engine)  # type: ignore[arg-type] # one of the two
    fast = ranker.rank_request(values, candidates, by, keep=["price"])
    plain = Ranker.load(bundle, engine="torch").rank(joined, by, keep=["price"])
    np.testing.assert_allclose(fast["rank_score"], plain["rank_score"], rtol=1e-4)


def test_a_plain_row_is_encoded_as_a_table_of_it(encoder: RowEncoder) -> None:
    table = content_log(20, seed=9).select(list(encoder.input_columns))
    for row, values in enumerate(table.to_pylist()):
        got, want = encode_plain_row(encoder, values), encoder.encode(table.slice(row, 1))
        assert got is not None
        np.testing.assert_array_equal(got.ids, want.ids)
        np.testing.assert_array_equal(got.numeric, want.numeric)
        assert got.unknown == want.unknown


def test_what_is_no_plain_vector_goes_the_long_way_or_is_refused(encoder: RowEncoder) -> None:
    row, _ = content_log(2).select(list(encoder.input_columns)).to_pylist()
    for value in (np.zeros(3), "a", [1.0, "a", 2.0]):
        assert encode_plain_row(encoder, row | {"taste": value}) is None
    with pytest.raises(DataError, match="column 'taste': holds 2 numbers in row 0 of these"):
        encode_plain_row(encoder, row | {"taste": [1.0, 2.0]})


def test_contributions_of_content_add_up_with_the_others(bundle: Path) -> None:
    explanation = Ranker.load(bundle, engine="torch").explain(content_log(4, seed=4), task="click")
    assert {"image", "taste", "title.ngrams", "history.image"} <= set(explanation.features)
    assert explanation.values["title.ngrams"].equals(content_log(4, seed=4)["title"])
    assert np.abs(explanation.gap).max() < 0.01
    place = explanation.features.index("taste")
    assert (explanation.contributions[:, :, place] != 0).all()
