"""Every kind of feature, task, head and role in one log, and equal scores at every door."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from mlflow.pyfunc import load_model

import recmtl
from recmtl.data.prepare import prepare
from recmtl.mlflow_store import without_warnings
from recmtl.schema import load_schema
from recmtl.serve import Ranker, Scorer
from recmtl.serve.batch.parquet import score_parquet
from recmtl.serve.batch.spark import score_spark
from recmtl.serve.bundle import load_bundle
from tests.chaos.local_spark import local_spark
from tests.everything import ITEM_COLUMNS, USER, make_items, make_log, write_log
from tests.unit.engines.pieces import Pieces, differing_files
from tests.unit.serve.served import save_model
from tests.unit.serve.shop import as_request

pytestmark = pytest.mark.slow
BY = "p_click * value_spend"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("everything")
    write_log(folder)
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> recmtl.Run:
    return recmtl.fit(
        folder / "log",
        schema=folder / "schema.yaml",
        config=folder / "config.yaml",
        out=folder / "out",
    )


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """Rows of a day that follows, joined with what is known of their items."""
    log = make_log(90, seed=7, first_day=6).drop_columns(["slot", "w"])
    items = make_items().take([int(name.removeprefix("item ")) for name in log["item"].to_pylist()])
    for name in ITEM_COLUMNS:
        log = log.append_column(name, items[name])
    return log


@pytest.fixture(scope="module")
def scorer(run: recmtl.Run) -> Scorer:
    return run.scorer()


def test_a_draft_of_it_can_be_prepared(folder: Path, tmp_path: Path) -> None:
    """Outcomes are proposed by their names, or stand as comments."""
    recmtl.describe(str(folder / "log")).save(tmp_path / "draft.yaml")
    document = yaml.safe_load((tmp_path / "draft.yaml").read_text())
    assert {"user", "item", "price", "seen", "genres"} <= set(document["features"])
    prepare(folder / "log", load_schema(tmp_path / "draft.yaml"), tmp_path / "log")


def test_it_is_prepared_in_pieces_with_equal_bytes(folder: Path, tmp_path: Path) -> None:
    schema = load_schema(folder / "schema.yaml")
    prepare(folder / "log", schema, tmp_path / "whole")
    for count in (2, 5):
        prepare(folder / "log", schema, tmp_path / f"{count}", engine=Pieces(count, seed=count))
        assert differing_files(tmp_path / "whole", tmp_path / f"{count}") == []


def test_the_verdict_page_and_bundle_know_every_task(run: recmtl.Run) -> None:
    names = {task.name for task in run.schema.tasks}
    assert set(run.results["tasks"]) == names
    page = (run.folder / "report.html").read_text()
    assert all(name in page for name in names)
    features = run.results["importance"]["tasks"]["click"]["features"]
    assert {"image", "seen.image", "taste", "title.ngrams", "uploaded.age", "price.value"} <= set(
        features
    )


def test_files_rankings_requests_and_mlflow_get_the_scorers_bits(
    run: recmtl.Run, scorer: Scorer, rows: pa.Table, folder: Path, tmp_path: Path
) -> None:
    expected = scorer.scores(rows)
    assert np.isfinite(expected).all()
    for row in (0, 41, 89):
        np.testing.assert_array_equal(scorer.scores(rows.slice(row, 1))[0], expected[row])
    pq.write_table(rows.drop_columns(ITEM_COLUMNS), tmp_path / "rows.parquet")
    sides = {"../items.parquet": folder / "items.parquet"}
    placed = Scorer.load(run.bundle, side_tables=sides)
    score_parquet(placed, tmp_path / "rows.parquet", tmp_path / "scored")
    scored = pq.read_table(tmp_path / "scored").select(list(scorer.columns))
    np.testing.assert_array_equal(np.stack([c.to_numpy() for c in scored.columns], 1), expected)

    with without_warnings():
        model = load_model(str(save_model(load_bundle(run.bundle), tmp_path / "model")))
        served = model.predict(_as_pandas(rows.select(list(scorer.input_columns))))
    np.testing.assert_array_equal(served[list(scorer.columns)].to_numpy(), expected)

    ranker = Ranker(scorer)
    values, candidates, joined = as_request(rows.slice(0, 30), USER)
    of_request = ranker.rank_request(values, candidates, BY, keep=["item"])
    assert of_request.equals(ranker.rank(joined, BY, keep=["item"]))


def _as_pandas(rows: pa.Table) -> pd.DataFrame:
    """A frame whose lists of times keep their zone, which NumPy's arrays of times do not."""
    frame = rows.to_pandas()
    frame["seen_at"] = rows["seen_at"].to_pylist()
    return frame


def test_an_explanation_adds_up_for_every_task(scorer: Scorer, rows: pa.Table) -> None:
    explanation = Ranker(scorer).explain(rows.slice(0, 5), steps=256)
    gap = np.abs(explanation.gap)
    assert np.isfinite(gap).all() and gap.max() < 0.02


def test_onnx_scores_it_to_rounding(run: recmtl.Run, rows: pa.Table, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    ours, plain = (Scorer.load(run.bundle, engine=engine) for engine in ("onnx", "torch"))
    np.testing.assert_allclose(ours.scores(rows), plain.scores(rows), rtol=1e-3, atol=1e-5)


def test_spark_gets_the_scorers_bits(
    run: recmtl.Run, scorer: Scorer, rows: pa.Table, folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pyspark")
    placed = load_bundle(run.bundle, side_tables={"../items.parquet": folder / "items.parquet"})
    alone = rows.drop_columns(ITEM_COLUMNS)
    pq.write_table(alone, tmp_path / "rows.parquet", row_group_size=30)
    with local_spark():
        source, target = str(tmp_path / "rows.parquet"), str(tmp_path / "s")
        score_spark(placed, source, target, keep=["row"])
    scored = pq.read_table(tmp_path / "s").sort_by("row")
    assert scored.select(list(scorer.columns)).to_pydict() == scorer.score(rows).to_pydict()


def test_a_day_is_added_and_the_bundle_scores_the_same_once_loaded_again(
    run: recmtl.Run, rows: pa.Table, folder: Path, tmp_path: Path
) -> None:
    (folder / "days").mkdir()
    pq.write_table(make_log(400, seed=9, first_day=6), folder / "days" / "day.parquet")
    updated = run.update(folder / "days", out=tmp_path / "updated")
    first, again = (Scorer.load(updated.bundle) for _ in range(2))
    np.testing.assert_array_equal(first.scores(rows), again.scores(rows))
    assert not np.array_equal(first.scores(rows), run.scorer().scores(rows))
