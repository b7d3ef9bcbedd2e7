"""The blocks of docs/guides/serving.md run as written, in their order, on a small simulated run."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recmtl.data.prepare import prepare
from recmtl.grid import catalog
from recmtl.model import ModelSizes, TabularModel
from recmtl.schema import load_schema
from recmtl.serve import save_bundle
from recmtl.simulate import simulate
from recmtl.train.config import Config
from recmtl.train.tabular_problem import TabularProblem
from tests.pipelines.conftest import SCHEMA

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "serving.md"


def blocks(language: str) -> list[str]:
    """The page's code blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that the page's blocks leave behind, and what they printed."""
    folder = tmp_path_factory.mktemp("notebook")
    simulate(folder / "log.parquet", 3000, users=200, items=100)
    log = prepare(folder / "log.parquet", load_schema(SCHEMA), folder / "runs" / "mine" / "log")
    problem = TabularProblem.of(log)
    torch.manual_seed(0)
    layout = catalog.mmoe(len(problem.tasks), experts=3, widths=(8,))
    model = TabularModel(
        problem.encoding, problem.heads, layout=layout, sizes=ModelSizes(embedding=4)
    )
    import pyarrow.parquet as pq

    save_bundle(
        folder / "runs" / "mine" / "bundle",
        model=model.eval(),
        encoder=log.encoder(),
        rows=pq.read_table(folder / "log.parquet").slice(0, 64),
        metrics={},
    )
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        for number, block in enumerate(blocks("python")):
            exec(compile(block, f"serving.md, block {number + 1}", "exec"), names)
    return {**names, "printed": printed.getvalue()}


def test_the_page_has_the_blocks_that_it_talks_of(ran: dict[str, Any]) -> None:
    assert len(blocks("python")) == 7 and len(blocks("yaml")) == 2
    assert set(ran["scores"].column_names[:3]) == {
        "p_click",
        "p_purchase_given_click",
        "p_click_and_purchase",
    }


def test_a_request_is_the_joined_ranking(ran: dict[str, Any]) -> None:
    ranker, user, candidates = ran["ranker"], ran["user"], ran["candidates"]
    joined = candidates
    import pyarrow as pa

    for name, value in user.items():
        joined = joined.append_column(name, pa.array([value] * joined.num_rows))
    by = "p_click_and_purchase * max(price, 1)"
    whole = ranker.rank(joined, by=by, k=20, keep=candidates.column_names)
    assert ran["best"].equals(whole)
    assert ran["best"]["rank"].to_pylist() == list(range(1, 21))


def test_reasons_and_formulas_are_printed(ran: dict[str, Any]) -> None:
    assert "click: p_click = " in ran["printed"]
    assert "where nothing is known" in ran["printed"]
    assert f"best    {ran['fusion'].best.target:.4f}  {ran['fusion'].formula}" in ran["printed"]


def test_metrics_and_calibration_are_as_told(ran: dict[str, Any]) -> None:
    names = {"ndcg", "map", "mrr", "hit_rate", "recall", "groups", "groups_left_out"}
    assert set(ran["metrics"]) == names and 0 < ran["metrics"]["ndcg"] <= 1
    assert ran["gain"]["p_click"]["after"]["log_loss"] < 1
    assert ran["maps"].columns["p_click"].curve is not None
    calibrated = np.asarray(ran["calibrated"]["p_click"])
    assert (calibrated != np.asarray(ran["scores"]["p_click"])).any()


def test_the_configurations_are_such_that_a_run_takes(tmp_path: Path) -> None:
    serving, calibration = blocks("yaml")
    (tmp_path / "config.yaml").write_text(serving + calibration)
    config = Config.load(tmp_path / "config.yaml")
    assert config.calibration.method == "platt"
    assert config.serving.onnx and config.serving.user == ("user_id", "segment", "history")
