"""results.json holds what was measured, and the tables say what it holds."""

import json

import numpy as np
import pytest

from recmtl.evaluate import assemble
from recmtl.report import model_table, verdict_table


def test_assemble_gives_mean_sample_deviation_and_number_of_seeds():
    metrics = {
        "searched": {
            s: {"click": {"auc": v, "gauc": float("nan")}} for s, v in enumerate([0.7, 0.8])
        },
        "lightgbm": {0: {"click": {"auc": np.float64(0.75)}}},
    }
    results = assemble(
        metrics,
        verdicts={"click": {"verdict": "helped", "metric": "auc", "low": np.inf}},
        cost={"lightgbm": {"parameters": np.int64(3), "multiply_adds": None}},
        fingerprint="abc",
    )
    click = json.loads(json.dumps(results, allow_nan=False))["tasks"]["click"]
    assert click["searched"]["auc"] == pytest.approx(
        {"mean": 0.75, "std": np.std([0.7, 0.8], ddof=1), "seeds": 2}
    )
    assert click["searched"]["gauc"] == {"mean": None, "std": None, "seeds": 0}
    assert click["lightgbm"]["auc"] == {"mean": 0.75, "std": 0.0, "seeds": 1}
    assert click["verdict"] == "helped"
    assert results["cost"]["lightgbm"] == {"parameters": 3, "multiply_adds": None}
    assert results["verdicts"]["click"]["low"] is None


def test_verdict_table_has_one_row_a_task(report_input):
    lines = verdict_table(report_input.results).splitlines()
    assert [line.split()[0] for line in lines[2:]] == list(report_input.results["tasks"])
    assert len({line.index(lines[2].split()[1]) for line in lines[2:4]}) == 1  # columns line up
    for line, (task, entry) in zip(lines[2:], report_input.results["tasks"].items(), strict=True):
        assert line.endswith(entry["verdict"])
        gain = report_input.results["verdicts"][task]["single_task"]["gain"]
        assert f"{gain:+.4f}" in line


def test_model_table_has_every_model_and_task(report_input):
    header, _, *rows = model_table(report_input.results).splitlines()
    for task in report_input.results["tasks"]:
        assert task in header
    assert [row.split()[0] for row in rows][:2] == ["searched", "single_task"]
    assert len(rows) == 9


def test_tables_live_with_missing_parts():
    results = assemble(
        {"shared_bottom": {0: {"click": {"auc": 0.7}}}}, verdicts={}, cost={}, fingerprint="f"
    )
    assert verdict_table(results).splitlines()[2].split() == ["click", "auc", *"-----"]
    assert "0.7000" in model_table(results)
