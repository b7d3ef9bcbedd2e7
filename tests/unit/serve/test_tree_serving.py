"""Trees behind a bundle: scored, ranked, explained as the network heard them in training."""

import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recmtl.data.encoded_log import EncodedLog
from recmtl.errors import BundleError
from recmtl.forest.grown import GrownForests
from recmtl.model import predict
from recmtl.serve import Ranker, Scorer
from recmtl.serve.bundle import load_bundle
from recmtl.serve.bundle.manifest import write_manifest
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
    require_that_rows_stand_alone(scorer, Scorer.load(bundle, threads=3, record=False))


def test_files_and_mlflow_get_the_scorers_bits(
    scorer: Scorer, bundle: Path, tmp_path: Path
) -> None:
    require_equal_files_and_mlflow(scorer, bundle, tmp_path)


@pytest.mark.parametrize("user", [USER, USER[:2]])
def test_a_request_is_ranked_as_its_joined_rows(user: list[str], scorer: Scorer) -> None:
    require_equal_requests(scorer, user)


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
    require_equal_spark(scorer, tmp_path)


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
