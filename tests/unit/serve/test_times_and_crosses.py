"""Times and crosses behind a bundle: scored, ranked, explained, exported, like the log's rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from recmtl.data.row_encoder import RowEncoder
from recmtl.grid.catalog import CATALOG
from recmtl.model import ModelSizes, TabularModel
from recmtl.serve import Ranker, Scorer, save_bundle
from recmtl.serve.batch.parquet import score_parquet
from recmtl.serve.bundle.reference import watched_features
from recmtl.serve.scoring.explain import explain
from recmtl.serve.scoring.onnx import equal_to_rounding
from tests.unit.serve.shop import HEADS, SCHEMA, as_request, make_encoder, make_log

FEATURES = """
  visit: {kind: datetime, column: now, parts: [hour, weekday], holidays: [06-06]}
  online: {kind: datetime, column: published, parts: [month], cyclic: true, until: now}
  taste: {kind: cross, columns: [user_id, item], min_count: 2}
  daily: {kind: cross, columns: [visit.hour, item], hash_buckets: 64}
"""
TEXT = SCHEMA.replace("\ntasks:", f"{FEATURES}tasks:", 1)
USER = ["user_id", "history", "age", "now"]
BY = "p_click * value_watch"


def dated_log(rows: int, seed: int = 0) -> pa.Table:
    """The shop's log with the time of every row and of every item."""
    dice = np.random.default_rng(seed + 1)
    now = 1_717_600_000 + dice.integers(0, 30 * 86_400, rows)
    published = now - dice.integers(0, 10**7, rows)
    log = make_log(rows, seed)
    for name, values in (("now", now), ("published", published)):
        log = log.append_column(name, pa.array(values).cast(pa.timestamp("s")))
    return log


@pytest.fixture(scope="module")
def encoder() -> RowEncoder:
    return make_encoder(dated_log(500), TEXT)


def saved(encoder: RowEncoder, folder: Path, *, onnx: bool = False) -> Path:
    torch.manual_seed(3)
    layout = CATALOG["shared_bottom"].layout(len(HEADS), cells=1, widths=(8,), depth=1)
    sizes = ModelSizes(embedding=8, tower=(4,))
    model = TabularModel(encoder.encoding, HEADS, layout=layout, sizes=sizes).eval()
    options: dict[str, Any] = {"model": model, "encoder": encoder, "metrics": {}}
    return save_bundle(folder, rows=dated_log(500), user=USER, onnx=onnx, **options)


@pytest.fixture(scope="module")
def bundle(encoder: RowEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(encoder, tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture(scope="module")
def scorer(bundle: Path) -> Scorer:
    return Scorer.load(bundle, record=False)


def request(user: list[str], rows: int = 30) -> tuple[dict[str, Any], pa.Table, pa.Table]:
    return as_request(dated_log(rows, seed=5), user, of=3)


def test_a_file_and_rows_alone_have_the_scores_of_the_table(scorer: Scorer, tmp_path: Path) -> None:
    rows = dated_log(40, seed=2)
    expected = scorer.scores(rows)
    pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=17)
    score_parquet(scorer, tmp_path / "rows.parquet", tmp_path / "out")
    written = pq.read_table(tmp_path / "out")
    columns = [written[name].to_numpy() for name in scorer.columns]
    np.testing.assert_array_equal(np.stack(columns, 1), expected)
    alone = [scorer.scores(rows.slice(row, 1)) for row in range(10)]
    np.testing.assert_array_equal(np.concatenate(alone), expected[:10])


def test_scores_follow_the_time_and_the_age(scorer: Scorer) -> None:
    rows = dated_log(40, seed=2)
    before = scorer.scores(rows)
    for name in ("now", "published"):
        later = pa.array(rows[name].to_numpy() + np.timedelta64(5 * 3600, "s"))
        column = rows.column_names.index(name)
        assert not np.allclose(scorer.scores(rows.set_column(column, name, later)), before)


@pytest.mark.parametrize("user", [USER, ["user_id", "age"], ["item", "published"]])
def test_a_request_is_ranked_as_its_joined_rows(user: list[str], scorer: Scorer) -> None:
    values, candidates, joined = request(user)
    ranker = Ranker(scorer)
    ranked = ranker.rank_request(values, candidates, BY, keep=["price"])
    assert ranked.equals(ranker.rank(joined, BY, keep=["price"]))


@pytest.mark.slow
def test_onnx_gives_rows_and_requests_the_scores_of_torch(
    encoder: RowEncoder, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    values, candidates, joined = request(USER)
    exported = saved(encoder, tmp_path / "bundle", onnx=True)
    fast, plain = (Scorer.load(exported, engine=e, record=False) for e in ("onnx", "torch"))
    assert equal_to_rounding(fast.scores(joined), plain.scores(joined))
    ranked = Ranker(fast).rank_request(values, candidates, BY, keep=["price"])
    expected = Ranker(plain).rank(joined, BY, keep=["price"])
    scores = (table["rank_score"].to_numpy() for table in (ranked, expected))
    np.testing.assert_allclose(*scores, rtol=1e-4)


def test_explanations_show_parts_ages_and_combinations(scorer: Scorer) -> None:
    rows = dated_log(6, seed=2)
    explained = explain(scorer, rows, steps=8)
    now, published = rows["now"].to_pylist(), rows["published"].to_pylist()
    shown = {name: explained.values[name].to_pylist() for name in explained.features}
    assert shown["visit.hour"] == [time.hour for time in now]
    assert shown["visit.holiday"] == [int((t.month, t.day) == (6, 6)) for t in now]
    ages = [(until - time).total_seconds() for until, time in zip(now, published, strict=True)]
    assert shown["online.age"] == ages
    pairs = zip(rows["user_id"].to_pylist(), rows["item"].to_pylist(), strict=True)
    assert shown["taste"] == [None if None in pair else f"{pair[0]} & {pair[1]}" for pair in pairs]


def test_a_watch_compares_the_hours_and_ages_of_days(encoder: RowEncoder) -> None:
    encoded = encoder.encode(dated_log(20))
    names = [feature.name for feature in watched_features(encoder, encoded.ids, encoded.numeric)]
    assert {"visit.hour", "online.age"} < set(names)
    assert not {"visit.weekday", "visit.holiday", "taste", "online.month.sin"} & set(names)
