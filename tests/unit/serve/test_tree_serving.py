"""Trees behind a bundle: scored, ranked, explained as the network heard them in training."""

import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from mlflow.pyfunc import load_model

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.errors import BundleError
from recmtl.forest.grown import GrownForests, grow_forests
from recmtl.forest.settings import Trees
from recmtl.grid import catalog
from recmtl.mlflow_store import without_warnings
from recmtl.model import ModelSizes, TabularModel, predict
from recmtl.schema import parse_schema
from recmtl.serve import Ranker, Scorer, save_bundle
from recmtl.serve.batch.parquet import score_parquet
from recmtl.serve.batch.spark import score_spark
from recmtl.serve.bundle import load_bundle
from recmtl.serve.bundle.manifest import write_manifest
from recmtl.train.tabular_problem import TabularProblem
from tests.chaos.local_spark import local_spark
from tests.unit.serve.served import save_model
from tests.unit.serve.shop import SCHEMA, USER, make_log

FEW = Trees(enabled=True, rounds=8, leaves=5, smallest_leaf=5, folds=3)
ITEMS = ["item", "price"]
BY = "p_click * value_watch"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EncodedLog:
    folder = tmp_path_factory.mktemp("shop")
    pq.write_table(make_log(600), folder / "log.parquet")
    schema = parse_schema(SCHEMA, source="shop.yaml")
    return prepare(str(folder / "log.parquet"), schema, folder / "log")


@pytest.fixture(scope="module")
def grown(log: EncodedLog) -> GrownForests:
    return grow_forests(log, log.folder.parent / "forest", FEW, threads=1, seed=0)


def network(problem: TabularProblem) -> TabularModel:
    """An untrained network with weights that are large enough for scores to differ."""
    torch.manual_seed(0)
    layout = catalog.mmoe(len(problem.tasks), experts=3, widths=(16, 8))
    model = problem.network(layout, ModelSizes(embedding=4, tower=(8,)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model.eval()


def saved(folder: Path, log: EncodedLog, grown: GrownForests, model: TabularModel) -> Path:
    options = {"model": model, "encoder": log.encoder(), "forests": grown.forests}
    return save_bundle(folder, rows=make_log(600), metrics={}, user=USER, **options)


@pytest.fixture(scope="module")
def bundle(log: EncodedLog, grown: GrownForests, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = network(TabularProblem.of(log, trees=grown))
    return saved(tmp_path_factory.mktemp("bundle") / "bundle", log, grown, model)


@pytest.fixture(scope="module")
def scorer(bundle: Path) -> Scorer:
    return Scorer.load(bundle, record=False)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_the_scorer_hears_what_training_heard(
    part: str, log: EncodedLog, grown: GrownForests, scorer: Scorer
) -> None:
    rows = grown.split(part)
    raw = make_log(600).take(pa.array(rows.row))
    encoded = scorer.bundle.encoder.encode(raw)
    heard = scorer.bundle.network_input(encoded.ids, encoded.numeric)
    np.testing.assert_array_equal(heard[0], rows.ids)
    np.testing.assert_array_equal(heard[1], rows.numeric)
    expected = predict(scorer.bundle.model, rows)
    for column, scores in zip(scorer.columns, scorer.scores(raw).T, strict=True):
        np.testing.assert_allclose(scores, expected[column], rtol=1e-5)


def test_a_rows_scores_depend_on_that_row_alone(scorer: Scorer, bundle: Path) -> None:
    rows = make_log(600, seed=3)
    together = scorer.scores(rows)
    for row in (0, 77, 599):
        np.testing.assert_array_equal(scorer.scores(rows.slice(row, 1))[0], together[row])
    threads = Scorer.load(bundle, threads=3, record=False)
    np.testing.assert_array_equal(threads.scores(rows), together)


def test_files_and_mlflow_get_the_scorers_bits(
    scorer: Scorer, bundle: Path, tmp_path: Path
) -> None:
    rows = make_log(90, seed=4)
    expected = scorer.scores(rows)
    pq.write_table(rows, tmp_path / "rows.parquet")
    score_parquet(scorer, tmp_path / "rows.parquet", tmp_path / "scored")
    from_files = pq.read_table(tmp_path / "scored").select(list(scorer.columns))
    np.testing.assert_array_equal(np.stack([c.to_numpy() for c in from_files.columns], 1), expected)
    with without_warnings():
        model = load_model(str(save_model(load_bundle(bundle), tmp_path / "model")))
        served = model.predict(rows.select(list(scorer.input_columns)).to_pandas())
    np.testing.assert_array_equal(served[list(scorer.columns)].to_numpy(), expected)


@pytest.mark.parametrize("user", [USER, USER[:2]])
def test_a_request_is_ranked_as_its_joined_rows(user: list[str], scorer: Scorer) -> None:
    rows = make_log(600).slice(100, 40)
    values = {name: rows[name][3].as_py() for name in user}
    candidates = rows.select([c for c in (*ITEMS, *USER) if c not in user])
    joined = candidates
    for name in user:
        joined = joined.append_column(name, rows[name].take(pa.array([3] * 40)))
    ranker = Ranker(scorer)
    expected = ranker.rank(joined, BY, keep=ITEMS)
    assert ranker.rank_request(values, candidates, BY, keep=ITEMS).equals(expected)


def test_an_explanation_names_the_trees_with_their_logits(
    scorer: Scorer, log: EncodedLog, grown: GrownForests
) -> None:
    rows = make_log(3, seed=5)
    explanation = Ranker(scorer).explain(rows, "click")
    encoded = log.encoder().encode(rows)
    logits = grown.forests.logits(encoded.ids, encoded.numeric)
    np.testing.assert_array_equal(explanation.values["click.tree"].to_numpy(), logits[:, 0])
    place = explanation.features.index("click.tree")
    assert np.abs(explanation.contributions[:, 0, place]).max() > 0
    assert np.abs(explanation.gap).max() < 0.01
    assert "click.tree = " in explanation.text(0, k=99)


@pytest.fixture(scope="module")
def hearing(log: EncodedLog, grown: GrownForests) -> TabularProblem:
    """The problem of networks that leave out columns which the trees read."""
    return TabularProblem.of(log, trees=grown).hearing(["ids", "trees"])


def test_a_network_may_leave_out_columns_that_its_trees_read(
    hearing: TabularProblem, log: EncodedLog, grown: GrownForests, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "bundle", log, grown, network(hearing))
    scorer = Scorer.load(folder, record=False)
    assert set(scorer.input_columns) == {*USER, *ITEMS}
    rows = make_log(600).take(pa.array(np.asarray(hearing.test.row)))
    expected = predict(scorer.bundle.model, hearing.test)
    for column, scores in zip(scorer.columns, scorer.scores(rows).T, strict=True):
        np.testing.assert_allclose(scores, expected[column], rtol=1e-5)


def test_onnx_scores_and_ranks_with_the_same_trees(
    hearing: TabularProblem, log: EncodedLog, grown: GrownForests, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = saved(tmp_path / "bundle", log, grown, network(hearing))
    ours, plain = Ranker.load(folder, engine="onnx"), Ranker.load(folder, engine="torch")
    rows = make_log(600).slice(100, 30)
    np.testing.assert_allclose(ours.scorer.scores(rows), plain.scorer.scores(rows), rtol=1e-4)
    user = {name: rows[name][0].as_py() for name in USER}
    ranked, expected = (
        ranker.rank_request(user, rows.select(ITEMS), BY, keep=ITEMS) for ranker in (ours, plain)
    )
    np.testing.assert_allclose(ranked["rank_score"], expected["rank_score"], rtol=1e-4)


@pytest.mark.slow
def test_spark_scores_with_the_scorers_bits(scorer: Scorer, tmp_path: Path) -> None:
    rows = make_log(90, seed=4).append_column("row", pa.array(np.arange(90)))
    pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=30)
    with local_spark():
        place = str(tmp_path / "rows.parquet"), str(tmp_path / "s")
        score_spark(scorer.bundle, *place, keep=["row"])
    scored = pq.read_table(tmp_path / "s").sort_by("row")
    assert scored.select(list(scorer.columns)).to_pydict() == scorer.score(rows).to_pydict()


def test_other_trees_than_those_of_the_network_are_refused(
    bundle: Path, scorer: Scorer, tmp_path: Path
) -> None:
    for change in ("altered", "forged", "absent"):
        folder = tmp_path / change
        shutil.copytree(bundle, folder)
        path = folder / "forests" / "0.txt"
        if change == "absent":
            shutil.rmtree(folder / "forests")
        else:
            text = path.read_text()
            path.write_text(re.sub(r"leaf_value=(-?)\d", r"leaf_value=\g<1>9", text))
        if change != "altered":
            names = {name: list(getattr(scorer, name)) for name in ("columns", "input_columns")}
            write_manifest(folder, {"recmtl": "0", **names})
        said = {
            "altered": "0.txt",
            "forged": "golden rows differs",
            "absent": "encoder and model are not of one bundle",
        }
        with pytest.raises(BundleError, match=said[change]):
            load_bundle(folder)
