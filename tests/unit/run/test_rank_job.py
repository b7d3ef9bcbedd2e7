"""A whole job with losses within groups and a head that ranks: log to scores, requests, verdict."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import recmtl
from recmtl.atomic import read_json
from recmtl.serve import Ranker
from tests.unit.serve.shop import as_request

SCHEMA = """
version: 1
name: shop
features:
  user: {kind: categorical}
  item: {kind: categorical}
  price: {kind: numeric}
tasks:
  click: {kind: binary, label: click, group_loss: jrc}
  buy: {kind: binary, label: buy, parent: click, group_loss: {kind: pairwise, share: 0.3}}
  best: {kind: regression, label: grade, head: rank, missing: ignore}
roles: {group: request}
split: {by: group, validation: 0.2, test: 0.2}
"""
CONFIG = """
training:
  epochs: 4
  batch_size: 128
  learning_rate: 0.01
  table_learning_rate: 0.01
  stop_metric: {click: gauc}
grid: {widths: [8], depth: 1}
sizes: {embedding: 4, tower: [4]}
search: {epochs: 1, race: false, refine: 1}
evidence:
  {seeds: 2, bootstrap: 20, ablation_seeds: 0, controls: [], baselines: [lightgbm]}
calibration: {method: platt}
serving: {onnx: true, user: [user]}
workers: 1
"""
REQUESTS, SHOWN = 300, 8


def make_log() -> pa.Table:
    dice = np.random.default_rng(0)
    rows = REQUESTS * SHOWN
    request = np.repeat(np.arange(REQUESTS), SHOWN)
    user, item = np.repeat(dice.integers(0, 40, REQUESTS), SHOWN), dice.integers(0, 30, rows)
    worth = dice.normal(size=30)[item] + 0.3 * dice.normal(size=rows)
    click = dice.random(rows) < 1 / (1 + np.exp(1.0 - worth))
    buy = click & (dice.random(rows) < 0.4)
    grade = np.digitize(worth, (-1.0, 0.0, 1.0)).astype(float)
    return pa.table(
        {
            "request": request,
            "user": user,
            "item": item,
            "price": dice.random(rows),
            "click": click.astype(np.int64),
            "buy": buy.astype(np.int64),
            "grade": pa.array(grade, mask=dice.random(rows) < 0.1),
        }
    )


@pytest.mark.slow
def test_a_job_that_ranks_ends_with_a_bundle_that_ranks_requests_as_files(tmp_path: Path) -> None:
    table = make_log()
    pq.write_table(table, tmp_path / "log.parquet")
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    (tmp_path / "config.yaml").write_text(CONFIG)
    out = tmp_path / "out"
    files = {name: tmp_path / f"{name}.yaml" for name in ("schema", "config")}
    run = recmtl.fit(tmp_path / "log.parquet", out=out, **files)
    results = read_json(out / "results.json", remedy="run again")
    assert results["verdicts"]["best"]["metric"] == "gauc"
    metrics = results["tasks"]["best"]
    assert set(metrics["searched"]) == set(metrics["lightgbm"]) >= {"gauc", "ndcg_at_10"}
    assert "rmse" not in metrics["searched"] and metrics["searched"]["gauc"]["mean"] > 0.65
    assert results["tasks"]["click"]["searched"]["gauc"]["mean"] > 0.6
    scorer, rows = run.scorer(), table.slice(0, SHOWN)
    scores = scorer.score(rows)
    assert {"score_best", "p_click", "p_click_and_buy"} <= set(scores.column_names)
    user, candidates, joined = as_request(rows, ["user"])
    ranker = Ranker.load(out / "bundle")
    of_request = ranker.rank_request(user, candidates, "score_best")
    of_file = ranker.rank(joined, "score_best")
    assert of_request["item"].equals(of_file["item"])
    pairs = [ranked["rank_score"].to_numpy() for ranked in (of_request, of_file)]
    np.testing.assert_allclose(*pairs, rtol=1e-5)  # requests are scored by ONNX
    onnx = recmtl.Scorer.load(out / "bundle", engine="onnx").score(rows)["score_best"]
    np.testing.assert_allclose(onnx.to_numpy(), scores["score_best"].to_numpy(), atol=1e-5)
    ranking = pq.read_table(out / "ranking.parquet")
    assert "score_best" in ranking.column_names
    explained = ranker.explain(joined.slice(0, 2), ["best"], steps=32)
    assert explained.columns == (("score_best",), ("score_best",))
    total = explained.base + explained.contributions.sum(2)
    np.testing.assert_allclose(total, explained.scores, atol=1e-2)
