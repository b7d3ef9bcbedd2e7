"""Importance, slices, learning curves, drift and provenance as sections of the page."""

from typing import Any

import pytest

from recmtl.report.sections.analysis import importance, learning, slices
from recmtl.report.sections.data import drift, provenance

EVIL = "<b>user</b>"
GAIN = {"gain": 0.02, "low": 0.01, "high": 0.03, "verdict": "helped", "seeds": [2, 2]}


def losses(*values: float | None) -> dict[str, Any]:
    names = (EVIL, "age", "price")
    return {
        name: {"loss": value, "std": value and 0.001, "source": "ids"}
        for name, value in zip(names, values, strict=False)
    }


def test_features_are_shown_the_most_important_first_and_by_source() -> None:
    tasks = {
        "click": {
            "metric": "auc",
            "value": 0.7,
            "features": losses(0.01, 0.05, -0.001),
            "sources": {"ids": {"loss": 0.06, "std": 0.0}, "statistics": {"loss": 0.1, "std": 0.0}},
        },
        "rare": {
            "metric": "auc",
            "value": None,
            "features": losses(None, None, None),
            "sources": {"ids": {"loss": None, "std": None}, "statistics": {"loss": None}},
        },
    }
    facts = {"part": "validation", "rows": 1200, "repeats": 3, "tasks": tasks}
    shown = importance({"importance": facts})
    assert shown is not None
    markup = shown.markup
    assert EVIL not in markup and "3 shuffles of 1,200 rows" in markup
    alts = markup.partition('alt="')[2].partition('"')[0]
    assert alts.index("age 0.0500") < alts.index("0.0100") < alts.index("price")
    assert markup.count("<img ") == 1, "a task without a metric has no picture"
    assert "statistics of the past" in markup and "+0.1000" in markup
    for results in ({}, {"importance": None}):
        assert importance(results) is None


def test_slices_have_rows_metrics_and_coloured_verdicts() -> None:
    click = {"rows": 50, "metric": "auc", "models": {"searched": {"mean": 0.7, "std": 0.01,
             "seeds": 2}}, "single_task": GAIN}  # fmt: skip
    empty = {"rows": 0, "metric": "auc", "models": {}}
    parts = [
        {"name": EVIL, "rows": 50, "share": 0.5, "tasks": {"click": click}},
        {"name": "others", "rows": 50, "share": 0.5, "tasks": {"click": empty}},
    ]
    shown = slices({"slices": [{"feature": EVIL, "by": "value", "slices": parts}]})
    assert shown is not None and EVIL not in shown.markup
    assert '<td class="signed helped">0.7000 ± 0.0100</td>' in shown.markup
    assert "50.0%" in shown.markup and "<td>-</td>" in shown.markup
    assert shown.markup.count("<img ") == 1
    nothing: list[dict[str, Any]] = [{}, {"slices": None}, {"slices": []}]
    nothing.append({"slices": [{"feature": "x", "by": "value", "slices": []}]})
    assert [slices(results) for results in nothing] == [None] * 4


def test_curves_of_networks_for_all_tasks_and_for_each_are_drawn_apart() -> None:
    checks = [{"epoch": 1.0, "score": 0.5, "loss": 0.9}, {"epoch": 2.0, "score": 0.6, "loss": 0.8}]
    curves = {
        "searched": {"searched": [checks, checks[:1]]},
        "mmoe": {"mmoe": [checks]},
        "single_task": {"single_task-click": [checks], "single_task-buy": [checks]},
        "lightgbm": {},
        "found": {"found": [[]]},
    }
    shown = learning(curves)
    assert shown is not None and shown.markup.count("<img ") == 3
    assert "for searched, MMoE" in shown.markup and "for click, buy" in shown.markup
    assert learning({}) is None and learning({"lightgbm": {}}) is None


def feature(test: float | None) -> dict[str, Any]:
    distance = {"validation": 0.01, "test": test}
    missing = {"train": 0.0, "validation": None, "test": 0.5}
    chance = {"validation": 0.01, "test": 0.01}
    return {"kind": "category", "values": 3, "missing": missing, "distance": distance,
            "chance": chance}  # fmt: skip


def test_what_drifts_most_stands_first_and_is_coloured() -> None:
    features = {"still": feature(0.02), "moved": feature(0.2), EVIL: feature(3.0)}
    labels = {"click": {p: {"rows": 9, "mean": 0.2} for p in ("train", "validation", "test")}}
    labels["click"]["test"]["mean"] = None
    facts = {"rows": {"train": 900, "validation": 9, "test": 9}, "features": features}
    shown = drift({"drift": {**facts, "labels": labels}})
    assert shown is not None and EVIL not in shown.markup
    markup = shown.markup.partition('<th scope="col">feature')[2]
    assert markup.index("&lt;b&gt;") < markup.index("moved") < markup.index("still")
    assert '<td class="much">3.000</td>' in markup and '<td class="little">0.200</td>' in markup
    assert "changed until the test rows: moved, &lt;b&gt;" in shown.markup
    calm = drift({"drift": {**facts, "features": {"still": feature(0.02)}, "labels": labels}})
    assert calm is not None and "No feature changed noticeably" in calm.markup
    assert drift({}) is None


@pytest.mark.parametrize("config", ["", "seed: <0>"])
def test_where_figures_come_from_is_a_list_with_the_configuration(config: str) -> None:
    shown = provenance({"data": "<x>", "seeds": "0 1"}, config)
    assert shown is not None
    assert "<dt>data</dt><dd>&lt;x&gt;</dd>" in shown.markup
    assert ("<pre>seed: &lt;0&gt;</pre>" in shown.markup) == bool(config)
    assert provenance({}, config) is None
