"""A whole job on a log with vectors, texts, histories, trees, interactions and heads at once."""

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
  image: {kind: vector, of: item}
  title: {kind: text, max_length: 16, hash_buckets: 500}
  seen: {kind: list, table: item}
tasks:
  click: {kind: binary, label: click}
  like: {kind: binary, label: like}
  play: {kind: regression, label: play, head: {kind: d2q, duration: price, groups: 4},
         sample_weight: worth}
  calm: {kind: binary, label: {column: moods, contains: calm}}
split: {by: random, validation: 0.2, test: 0.2}
"""
CONFIG = """
training: {epochs: 1, batch_size: 256}
grid: {interactions: [fm, fwfm, dcn, dcn_low_rank], widths: [8], depth: 1}
sizes: {embedding: 4, tower: []}
search: {epochs: 1, race: false, refine: 0, candidates: 2}
evidence:
  {seeds: 2, bootstrap: 20, ablation_seeds: 0, controls: [], baselines: [lightgbm, logistic]}
trees: {enabled: true, rounds: 10}
workers: 1
"""
ROWS, USERS, ITEMS = 1500, 50, 40


def make_log() -> pa.Table:
    dice = np.random.default_rng(0)
    users, items = dice.integers(0, USERS, ROWS), dice.integers(0, ITEMS, ROWS)
    images, taste = dice.normal(size=(ITEMS, 8)), dice.normal(size=(USERS, 8))
    logits = (taste[users] * images[items]).sum(1)
    words = ["red", "blue", "wool", "shoe", "shirt", "kids"]
    titles = np.array([" ".join(dice.choice(words, 3)) for _ in range(ITEMS)])
    vectors = [None if row % 17 == 0 else images[item] for row, item in enumerate(items)]
    moods = [["calm", "loud"][: 1 + item % 2] if item % 3 else [] for item in items]
    price = dice.random(ROWS)
    labels = [dice.random(ROWS) < 1 / (1 + np.exp(sign * logits)) for sign in (-1, 1)]
    return pa.table(
        {
            "user": users,
            "item": items,
            "price": price,
            "play": price * dice.beta(2 + np.tanh(logits), 2),
            "worth": dice.choice([0.0, 1.0, 2.0], ROWS),
            "moods": moods,
            "image": pa.array(vectors, pa.list_(pa.float32())),
            "title": titles[items],
            "seen": [dice.integers(0, ITEMS, n).tolist() for n in dice.integers(0, 6, ROWS)],
            **dict(
                zip(("click", "like"), (label.astype(np.int64) for label in labels), strict=True)
            ),
        }
    )


@pytest.mark.slow
def test_a_job_on_content_ends_with_a_bundle_that_ranks_requests_as_files(tmp_path: Path) -> None:
    table = make_log()
    pq.write_table(table, tmp_path / "log.parquet")
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    (tmp_path / "config.yaml").write_text(CONFIG)
    run = recmtl.fit(
        tmp_path / "log.parquet",
        schema=tmp_path / "schema.yaml",
        config=tmp_path / "config.yaml",
        out=tmp_path / "out",
    )
    results = read_json(tmp_path / "out" / "results.json", remedy="run again")
    features = results["importance"]["tasks"]["click"]["features"]
    assert {"image", "seen.image", "title.ngrams", "click.tree"} <= set(features)
    assert features["seen.image"]["source"] == "vectors"
    assert {"lightgbm", "logistic"} <= set(results["tasks"]["click"])
    assert np.isfinite(results["tasks"]["play"]["searched"]["xauc"]["mean"])
    rows = table.slice(0, 40)
    scores = run.scorer().score(rows)["p_click"].to_numpy()
    assert (run.scorer().score(rows)["value_play"].to_numpy() <= 1).all()
    ranker = Ranker.load(tmp_path / "out" / "bundle")
    user, candidates, joined = as_request(rows, ["user", "seen"])
    of_request = ranker.rank_request(user, candidates, "p_click")
    assert of_request["rank_score"].equals(ranker.rank(joined, "p_click")["rank_score"])
    assert scores[0] == run.scorer().score(joined)["p_click"].to_numpy()[0]
