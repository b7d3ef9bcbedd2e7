"""The page opens with what to ship, and with what speaks against acting on it."""

from typing import Any

import pytest

from recmtl.report.sections.opening import advice, recommendation, title


def gain(verdict: str, value: float = 0.01, *, seeds: int = 3) -> dict[str, Any]:
    ends = {"gain": value, "low": value - 0.005, "high": value + 0.005}
    return {**ends, "verdict": verdict, "seeds": [seeds, seeds]}


def results(**gains: dict[str, Any]) -> dict[str, Any]:
    tasks = {"click": {"verdict": "helped"}, "buy": {"verdict": "not proven"}}
    return {"tasks": tasks, "mean": {"tasks": list(tasks), "verdict": "helped", **gains}}


@pytest.mark.parametrize(
    ("gains", "starts", "kind"),
    [
        (
            {"single_task": gain("helped"), "lightgbm": gain("helped")},
            "Ship the searched network: it does better than LightGBM and networks trained",
            "helped",
        ),
        (
            {"single_task": gain("helped"), "lightgbm": gain("not proven")},
            "Ship the searched network: it does better than networks trained for each task alone; "
            "it is not proven to differ from LightGBM.",
            "helped",
        ),
        (
            {"single_task": gain("helped"), "lightgbm": gain("hurt", -0.02)},
            "Ship LightGBM, not the searched network",
            "hurt",
        ),
        (
            {"lightgbm": gain("hurt", -0.01), "logistic": gain("hurt", -0.03)},
            "Ship logistic regression",
            "hurt",
        ),
        ({"single_task": gain("not proven")}, "No proven difference", ""),
    ],
)
def test_what_to_ship_follows_from_the_verdicts_on_the_mean(
    gains: dict[str, Any], starts: str, kind: str
) -> None:
    advised = advice(results(**gains))
    assert advised is not None and advised[0].startswith(starts) and advised[1] == kind


def test_without_a_comparison_nothing_is_advised() -> None:
    assert advice({"tasks": {}}) is None and advice({"tasks": {}, "mean": {"tasks": []}}) is None
    assert advice(results(single_task=gain("helped") | {"gain": None})) is None
    assert recommendation({"tasks": {}}, {}) is None


def test_reasons_have_figures_and_cautions_lead_to_their_sections() -> None:
    content = results(single_task=gain("helped", 0.02, seeds=1))
    content["mean"]["tasks"] = ["click"]
    content["cost"] = {"searched": {"multiply_adds": 50.0}, "single_task": {"multiply_adds": 200.0}}
    content["left_out"] = ["1 of 3 seeds of the verdict were done"]
    content["training"] = {"warnings": ["a", "b"]}
    moved = {"distance": {"test": 0.9}, "chance": {"test": 0.01}}
    still = {"distance": {"test": 0.2}, "chance": {"test": 0.01}}
    content["drift"] = {"features": {"<b>": moved, "age": still}}
    shown = recommendation(content, {"warnings": ["one"]})
    assert shown is not None and shown.kind == "advice helped"
    markup = shown.markup
    assert "+0.0200 (+0.0150 to +0.0250)" in markup.replace("\u00a0", " ")
    assert "0.25 times those of the networks" in markup
    assert "helped: click; not proven: buy" in markup
    assert "left something out: 1 of 3 seeds of the verdict were done." in markup
    assert "Every model was trained once" in markup and "rare on the test rows: buy" in markup
    assert '2 warnings of the training (<a href="#not-trained-enough">' in markup
    assert '1 warning of the data (<a href="#data">' in markup
    assert "&lt;b&gt;" in markup and "<b>" not in markup and "age" not in markup


def test_a_better_network_of_the_study_and_a_blend_are_named() -> None:
    content = results(single_task=gain("helped"))
    content["best_fixed"] = {"mean": {"model": "mmoe", **gain("hurt", -0.02)}}
    content["blend"] = {"tasks": {"click": {"taken": True}, "buy": {"taken": False}}}
    shown = recommendation(content, {})
    assert shown is not None and "Of the other networks MMoE does better" in shown.markup
    assert "a blend of several members for click." in shown.markup


def test_nothing_to_be_careful_about_is_not_mentioned() -> None:
    shown = recommendation(results(single_task=gain("helped")), {})
    assert shown is not None and "Before you act" not in shown.markup


def test_the_title_and_its_line_are_escaped() -> None:
    assert title("<x>", "<y>") == '<h1>&lt;x&gt;</h1><p class="quiet">&lt;y&gt;</p>'
