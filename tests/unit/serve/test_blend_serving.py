"""A blend behind a bundle: every door scores what the blend scores in training."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from mlflow.pyfunc import load_model

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.errors import BundleError, ConfigError
from recmtl.forest.grown import GrownForests, grow_forests
from recmtl.forest.settings import Trees
from recmtl.grid import catalog
from recmtl.mlflow_store import without_warnings
from recmtl.model import BlendedModel, ModelSizes, TabularModel
from recmtl.schema import parse_schema
from recmtl.serve import Ranker, Scorer, save_bundle
from recmtl.serve.batch.parquet import score_parquet
from recmtl.serve.batch.spark import score_spark
from recmtl.serve.bundle import load_bundle
from recmtl.serve.bundle.manifest import write_manifest
from recmtl.serve.bundle.onnx_export import export
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


def network(problem: TabularProblem, seed: int) -> TabularModel:
    """An untrained network with weights that are large enough for scores to differ."""
    torch.manual_seed(seed)
    layout = catalog.mmoe(len(problem.tasks), experts=3 - seed, widths=(16, 8))
    model = problem.network(layout, ModelSizes(embedding=4, tower=(8,)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model.eval()


def blend_of(problem: TabularProblem, grown: GrownForests) -> BlendedModel:
    """Two networks and the forests, weighted differently for each task."""
    first, places = 0, {}
    for forest in grown.forests.forests:
        places[forest.task] = range(first, first + len(forest.fields))
        first += len(forest.fields)
    forest_places = [list(places.get(task.name, ())) for task in problem.tasks]
    weights = torch.rand(3, len(problem.tasks), generator=torch.Generator().manual_seed(0)) + 0.1
    weights[2] *= torch.tensor([float(bool(p)) for p in forest_places])
    networks = [network(problem, seed) for seed in (0, 1)]
    return BlendedModel(networks, weights / weights.sum(0), forest=forest_places, fields=first)


HEARD = {"all": None, "ids and trees": ["ids", "trees"], "no trees": ["ids", "numbers"]}


def heard(log: EncodedLog, grown: GrownForests, name: str) -> TabularProblem:
    problem, sources = TabularProblem.of(log, trees=grown), HEARD[name]
    return problem if sources is None else problem.hearing(sources)


def saved(folder: Path, log: EncodedLog, grown: GrownForests, model: TabularModel) -> Path:
    options = {"model": model, "encoder": log.encoder(), "forests": grown.forests}
    return save_bundle(folder, rows=make_log(600), metrics={}, user=USER, **options)


@pytest.fixture(scope="module", params=list(HEARD))
def bundle(
    request: Any, log: EncodedLog, grown: GrownForests, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    model = blend_of(heard(log, grown, request.param), grown)
    return saved(tmp_path_factory.mktemp("bundle") / request.param, log, grown, model)


@pytest.fixture(scope="module")
def scorer(bundle: Path) -> Scorer:
    return Scorer.load(bundle)


def test_raw_rows_get_the_scores_of_training(
    scorer: Scorer, bundle: Path, log: EncodedLog, grown: GrownForests
) -> None:
    problem = heard(log, grown, bundle.name)
    rows, logits = problem.validation, grown.logits("validation").astype(np.float32)
    numeric = torch.from_numpy(np.concatenate([np.asarray(rows.numeric), logits], 1))
    model = blend_of(problem, grown)
    expected = model.predict(torch.from_numpy(np.array(rows.ids)), numeric).numpy()
    raw = make_log(600).take(pa.array(np.asarray(rows.row)))
    np.testing.assert_allclose(scorer.scores(raw), expected, rtol=1e-5, atol=1e-6)
    assert isinstance(scorer.bundle.model, BlendedModel)


def test_a_rows_scores_depend_on_that_row_alone(scorer: Scorer, bundle: Path) -> None:
    rows = make_log(600, seed=3)
    together = scorer.scores(rows)
    for row in (0, 77, 599):
        np.testing.assert_array_equal(scorer.scores(rows.slice(row, 1))[0], together[row])
    untraced = Scorer.load(bundle, threads=3, record=False)
    np.testing.assert_array_equal(untraced.scores(rows), together)


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


def test_an_explanation_adds_up_to_the_blended_prediction(scorer: Scorer) -> None:
    rows = make_log(20, seed=5)
    explanation = Ranker(scorer).explain(rows, steps=256)
    assert np.abs(explanation.gap).max() < 0.01
    click = explanation.tasks.index("click")
    scores = scorer.scores(rows)[:, scorer.columns.index("p_click")].astype(np.float64)
    log_odds = np.log(scores / (1 - scores))
    np.testing.assert_allclose(explanation.predicted[:, click], log_odds, atol=1e-4)
    place = explanation.features.index("click.tree")
    assert np.abs(explanation.contributions[:, click, place]).max() > 0
    assert "click.tree = " in explanation.text(0, k=99)


def test_onnx_scores_the_blend_and_requests_go_by_whole_rows(
    log: EncodedLog, grown: GrownForests, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = saved(tmp_path / "b", log, grown, blend_of(heard(log, grown, "all"), grown))
    ours, plain = Ranker.load(folder, engine="onnx"), Ranker.load(folder, engine="torch")
    rows = make_log(600).slice(100, 30)
    np.testing.assert_allclose(
        ours.scorer.scores(rows), plain.scorer.scores(rows), rtol=1e-4, atol=1e-6
    )
    assert ours.scorer.engine == "onnx"
    user = {name: rows[name][0].as_py() for name in USER}
    ranked, expected = (
        ranker.rank_request(user, rows.select(ITEMS), BY, keep=ITEMS) for ranker in (ours, plain)
    )
    np.testing.assert_allclose(ranked["rank_score"], expected["rank_score"], rtol=1e-4)
    with pytest.raises(ConfigError, match="a blend has no network for requests"):
        export(folder, tmp_path / "request.onnx", user=USER)


@pytest.mark.slow
def test_spark_scores_with_the_scorers_bits(scorer: Scorer, tmp_path: Path) -> None:
    rows = make_log(90, seed=4).append_column("row", pa.array(np.arange(90)))
    pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=30)
    with local_spark():
        place = str(tmp_path / "rows.parquet"), str(tmp_path / "s")
        score_spark(scorer.bundle, *place, keep=["row"])
    scored = pq.read_table(tmp_path / "s").sort_by("row")
    assert scored.select(list(scorer.columns)).to_pydict() == scorer.score(rows).to_pydict()


@pytest.mark.parametrize("change", ["altered", "forged", "absent"])
def test_other_members_than_those_that_were_saved_are_refused(
    change: str, log: EncodedLog, grown: GrownForests, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "b", log, grown, blend_of(heard(log, grown, "all"), grown))
    scorer = Scorer.load(folder, record=False)
    if change == "absent":
        (folder / "blend.json").unlink()
        shutil.rmtree(folder / "members")
    else:
        weights = "weights.safetensors"
        first = network(heard(log, grown, "all"), 1)
        with torch.no_grad():
            for parameter in first.parameters():
                parameter.mul_(1.1)
        (tmp_path / "other" / "model").mkdir(parents=True)
        saved_again = saved(tmp_path / "c", log, grown, first)
        shutil.copy(saved_again / "model" / weights, folder / "members" / "1" / weights)
    if change != "altered":
        names = {name: list(getattr(scorer, name)) for name in ("columns", "input_columns")}
        write_manifest(folder, {"recmtl": "0", **names})
    fault = "was altered" if change == "altered" else "golden rows differs"
    with pytest.raises(BundleError, match=fault):
        load_bundle(folder)
