"""A blend behind a bundle: every door scores what the blend scores in training."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from recmtl.data.encoded_log import EncodedLog
from recmtl.errors import BundleError, ConfigError
from recmtl.forest.grown import GrownForests
from recmtl.model import BlendedModel
from recmtl.serve import Ranker, Scorer
from recmtl.serve.bundle import load_bundle
from recmtl.serve.bundle.manifest import write_manifest
from recmtl.serve.bundle.onnx_export import export
from recmtl.train.tabular_problem import TabularProblem
from tests.unit.serve.forest_shop import (
    BY,
    ITEMS,
    encoded_log,
    forests_of,
    network,
    require_equal_files_and_mlflow,
    require_equal_requests,
    require_equal_spark,
    require_that_rows_stand_alone,
    saved,
)
from tests.unit.serve.shop import USER, make_log


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EncodedLog:
    return encoded_log(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def grown(log: EncodedLog) -> GrownForests:
    return forests_of(log)


def blend_of(problem: TabularProblem, grown: GrownForests) -> BlendedModel:
    """Two networks and the forests, weighted differently for each task."""
    forest_places = grown.forests.places([task.name for task in problem.tasks])
    weights = torch.rand(3, len(problem.tasks), generator=torch.Generator().manual_seed(0)) + 0.1
    weights[2] *= torch.tensor([float(bool(p)) for p in forest_places])
    networks = [network(problem, seed) for seed in (0, 1)]
    return BlendedModel(
        networks, weights / weights.sum(0), forest=forest_places, fields=len(grown.forests.fields)
    )


HEARD = {"all": None, "ids and trees": ["ids", "trees"], "no trees": ["ids", "numbers"]}


def heard(log: EncodedLog, grown: GrownForests, name: str) -> TabularProblem:
    problem, sources = TabularProblem.of(log, trees=grown), HEARD[name]
    return problem if sources is None else problem.hearing(sources)


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
    require_that_rows_stand_alone(scorer, Scorer.load(bundle, threads=3, record=False))


def test_files_and_mlflow_get_the_scorers_bits(
    scorer: Scorer, bundle: Path, tmp_path: Path
) -> None:
    require_equal_files_and_mlflow(scorer, bundle, tmp_path)


@pytest.mark.parametrize("user", [USER, USER[:2]])
def test_a_request_is_ranked_as_its_joined_rows(user: list[str], scorer: Scorer) -> None:
    require_equal_requests(scorer, user)


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
    require_equal_spark(scorer, tmp_path)


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
