"""A run shows what its folder holds, and says what is missing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import recmtl
from recmtl.errors import DataError
from recmtl.grid import Routes
from recmtl.run.tables import (
    importance_frame,
    leaderboard_frame,
    metrics_frame,
    verdict_frame,
    what_mattered_frame,
)
from tests.unit.run.conftest import Fitted


def cell(mean: float | None, seeds: int = 2) -> dict[str, Any]:
    return {"mean": mean, "std": 0.0, "seeds": seeds}


GAIN = {"gain": 0.1, "low": 0.05, "high": 0.15, "verdict": "helped"}
RESULTS = {
    "tasks": {
        "click": {
            "searched": {"auc": cell(0.8), "log_loss": cell(0.3)},
            "single_task": {"auc": cell(0.7), "log_loss": cell(0.4)},
            "verdict": "helped",
        },
        "watch": {
            "searched": {"rmse": cell(2.0)},
            "single_task": {"rmse": cell(None, 0)},
            "verdict": "not proven",
        },
    },
    "verdicts": {"click": {"metric": "auc", "rows": 90, "verdict": "helped", "single_task": GAIN}},
    "cost": {"searched": {"parameters": 9.0, "multiply_adds": 7.0, "train_s": 1.0}},
    "score": {"searched": cell(0.6), "single_task": cell(0.65)},
    "mean": {"single_task": {"gain": -0.05, "low": -0.1, "high": 0.0}},
}
"""By hand: a task that was judged, one without a verdict of its own, and costs of 0.1."""


def test_a_verdict_has_a_row_for_each_task_and_nan_where_there_is_no_value() -> None:
    frame = verdict_frame(RESULTS)
    assert frame.loc[
        "click", ["verdict", "metric", "searched", "gain", "low", "rows"]
    ].tolist() == [
        "helped",
        "auc",
        0.8,
        0.1,
        0.05,
        90,
    ]
    assert frame.loc["watch", "metric"] == "rmse"
    assert np.isnan(
        frame.loc["watch", ["single_task", "lightgbm", "gain", "rows"]].astype(float)
    ).all()


def test_a_leaderboard_begins_with_the_best_and_joins_metrics_gains_and_costs() -> None:
    frame = leaderboard_frame(RESULTS)
    assert frame.index.tolist() == ["single_task", "searched"]
    assert frame["click auc"].tolist() == [0.7, 0.8]
    assert frame.loc["single_task", "gain"] == -0.05
    assert frame.loc["searched", "multiply_adds"] == 7.0
    assert frame["cpu_s"].isna().all(), "results of 0.1 have none"


def test_every_metric_is_a_row() -> None:
    frame = metrics_frame(RESULTS)
    assert len(frame) == 6
    one = frame.query("task == 'click' and model == 'searched' and metric == 'log_loss'")
    assert one["mean"].item() == 0.3


def test_results_without_the_networks_of_what_mattered_make_an_empty_frame() -> None:
    assert what_mattered_frame(RESULTS).empty


def test_frames_hold_what_results_json_holds(fitted: Fitted) -> None:
    results = json.loads((fitted.run.folder / "results.json").read_text())
    board, run = fitted.run.leaderboard(), fitted.run
    assert set(board.index) == set(results["score"])
    assert board["score"].is_monotonic_decreasing
    for model, row in board.iterrows():
        assert row["click auc"] == results["tasks"]["click"][model]["auc"]["mean"]
    cells = sum(
        len(metrics)
        for entry in results["tasks"].values()
        for model, metrics in entry.items()
        if model != "verdict"
    )
    assert len(run.metrics()) == cells
    assert len(run.what_mattered()) == len(results["what_mattered"])
    assert (run.what_mattered()["kind"] == "wiring").any()


def test_a_run_shows_its_verdicts_in_one_line_a_task(fitted: Fitted) -> None:
    head, *lines = repr(fitted.run).splitlines()
    assert head == f"Run {fitted.run.folder}: my_shop, 2,500 rows, tasks click, purchase"
    assert [line.split()[0] for line in lines] == ["click", "purchase"]
    assert all("over a network of its own" in line and "AUC" in line for line in lines)
    page = fitted.run._repr_html_()
    assert page.count("<tr>") == 2 and "report.html" in page


def test_report_and_routes_show_themselves_in_a_notebook(fitted: Fitted) -> None:
    report, routes = fitted.run.report, fitted.run.routes
    assert Path(report) == fitted.run.folder / "report.html"
    assert str(report) == str(fitted.run.folder / "report.html")
    assert report._repr_html_().startswith('<iframe srcdoc="&lt;!')
    assert routes._repr_svg_().startswith("<svg")
    assert "layer 1" in repr(routes)
    assert isinstance(routes.routes, Routes)


def test_a_folder_that_is_opened_is_the_run(fitted: Fitted) -> None:
    again = recmtl.open(fitted.run.folder)
    assert repr(again) == repr(fitted.run)
    pd.testing.assert_frame_equal(again.verdict(), fitted.run.verdict())
    assert again.bundle == fitted.run.bundle


def test_what_was_not_trained_is_named_with_what_trains_it(fitted: Fitted, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    run = recmtl.open(tmp_path)
    assert run.verdict().shape[0] == 2
    with pytest.raises(DataError, match=r"no what_mattered; .*ablation=True"):
        run.what_mattered()
    with pytest.raises(DataError, match=r"is not bundled yet; judge .*recmtl.evaluate"):
        run.scorer()
    assert repr(run).splitlines()[0] == f"Run {tmp_path}", "a study on images has no log"


def test_tables_of_a_run_load_neither_torch_nor_mlflow(fitted: Fitted) -> None:
    script = (
        "import sys, recmtl; run = recmtl.open(sys.argv[1]); run.verdict(), run.leaderboard(), "
        "repr(run), run._repr_html_(), run.report, run.routes.text, run.log.split('test'); "
        "print(sorted({'torch', 'mlflow', 'lightgbm', 'matplotlib'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, str(fitted.run.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importance_begins_with_what_matters_most_to_any_task() -> None:
    features = {
        "a": {"loss": 0.01, "std": 0.0, "source": "ids"},
        "b": {"loss": 0.03, "std": 0.0, "source": "numbers"},
        "c": {"loss": None, "std": None, "source": "ids"},
    }
    watch = {"a": {"loss": 9.0, "std": 1.0, "source": "ids"}, "b": {"loss": -1.0, "std": 1.0}}
    tasks = {
        "click": {"metric": "auc", "features": features, "sources": {"ids": features["a"]}},
        "watch": {"metric": "rmse", "features": watch, "sources": {"ids": watch["a"]}},
    }
    frame = importance_frame({"importance": {"tasks": tasks}})
    assert frame.index.tolist() == ["a", "b", "c"]
    assert frame["source"].tolist() == ["ids", "numbers", "ids"]
    assert frame["watch rmse"].tolist()[:2] == [9.0, -1.0]
    assert np.isnan(frame.loc["c", "click auc"])
    sources = importance_frame({"importance": {"tasks": tasks}}, "sources")
    assert sources.index.tolist() == ["ids"] and "source" not in sources


def test_importance_slices_and_drift_are_those_of_results_json(fitted: Fitted) -> None:
    results, run = json.loads((fitted.run.folder / "results.json").read_text()), fitted.run
    losses = results["importance"]["tasks"]["click"]["features"]
    shown = run.importance()["click auc"]
    assert shown.to_dict() == pytest.approx({name: c["loss"] for name, c in losses.items()})
    assert set(run.importance("sources").index) == set(
        results["importance"]["tasks"]["click"]["sources"]
    )
    slices = run.slices()
    assert set(slices["task"]) == {"click", "purchase"}
    assert slices["feature"].nunique() == len(results["slices"])
    drift = run.drift()
    assert set(drift.index) == set(results["drift"]["features"])
    assert drift["test"].is_monotonic_decreasing


def test_what_a_time_limit_left_out_is_said(tmp_path: Path, fitted: Fitted) -> None:
    results = RESULTS | {"left_out": ["no comparison with <ple>"]}
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "log").symlink_to(fitted.run.log.folder)
    run = recmtl.open(tmp_path)
    assert repr(run).splitlines()[-1] == "  left out: no comparison with <ple>"
    assert "no comparison with &lt;ple&gt;" in run._repr_html_()


def test_a_run_that_has_just_begun_says_so(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("{}")
    run = recmtl.open(tmp_path)
    assert run.done == ()
    assert repr(run).splitlines() == [f"Run {tmp_path}", "  nothing is done, not judged yet"]
    assert run._repr_html_() == f"<pre>{run!r}</pre>"
    with pytest.raises(DataError, match=r"is not prepared yet; prepare it with recmtl\.prepare"):
        _ = run.log
