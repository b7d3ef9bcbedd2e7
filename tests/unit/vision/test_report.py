"""The report of a study on images: its tables by hand, and what its page holds."""

from pathlib import Path
from typing import Any

import pytest

from recmtl.vision.report import (
    VisionReport,
    best_table,
    summary_table,
    vision_table,
    write_vision_report,
)


def results(seeds: int) -> dict[str, Any]:
    means = {"single_task": 0.80, "mmoe": 0.81, "adashare": 0.806, "branched": None}
    score = {name: {"mean": m, "std": 0.005, "seeds": seeds} for name, m in means.items()}
    tasks = {"left": {name: {} for name in means}}
    shares = {"single_task": 1.0, "mmoe": 1.5, "adashare": 0.46}
    share = {"of": "single_task", "multiply_adds": shares}
    return {"tasks": tasks, "score": score, "share": share, "cost": dict(score)}


@pytest.mark.parametrize("seeds", [1, 5])
def test_close_is_within_a_deviation_of_the_best(seeds: int) -> None:
    head, rows = best_table(results(seeds))
    assert head[1:3] == ["behind MMoE, the best", "within its ± 0.0050"]
    assert head[3] == "of the multiply-adds of single task"
    found = {name: cells for name, *cells in rows}
    yes, no = ("yes", "no") if seeds > 1 else ("-", "-")
    assert found == {
        "single task": ["0.0100", no, "100.0%"],
        "MMoE": ["0.0000", yes, "150.0%"],
        "AdaShare": ["0.0040", yes, "46.0%"],
    }


def test_nothing_known_is_no_table() -> None:
    empty: dict[str, Any] = {"tasks": {}, "score": {}, "share": {}, "cost": {}}
    assert best_table(empty) == (["model"], [])


def cell(mean: float | None, seeds: int = 2) -> dict[str, Any]:
    return {"mean": mean, "std": 0.01, "seeds": seeds}


def a_study() -> dict[str, Any]:
    """Results of two models on two tasks, one of them without its cost in seconds."""
    cost = {"parameters": 1200.0, "multiply_adds": 5e6, "train_s": 31.4, "score_rows_per_s": 900.0}
    return {
        "fingerprint": "abc123",
        "primary": {"parts": "miou", "far": "abs"},
        "tasks": {
            "parts": {"single_task": {"miou": cell(0.41)}, "adashare": {"miou": cell(0.43)}},
            "far": {"single_task": {"abs": cell(0.52)}, "adashare": {"abs": cell(None)}},
        },
        "score": {"single_task": cell(0.61), "adashare": cell(0.64)},
        "gains": {"adashare": {"by_task": cell(2.5), "flat": cell(-1.25)}},
        "share": {"of": "single_task", "multiply_adds": {"single_task": 1.0, "adashare": 0.51}},
        "cost": {"single_task": cost, "adashare": cost | {"train_s": None}},
    }


def test_a_row_of_the_summary_has_metrics_gains_and_costs() -> None:
    head, rows = summary_table(a_study())
    assert head[:4] == ["model", "seeds", "parts (miou)", "far (abs)"]
    by_model = {name: dict(zip(head[1:], cells, strict=True)) for name, *cells in rows}
    assert set(by_model) == {"single task", "AdaShare"}
    adashare = by_model["AdaShare"]
    assert adashare["seeds"] == "2" and adashare["parts (miou)"].startswith("0.43")
    assert adashare["far (abs)"] == "-" and adashare["train s"] == "-"
    assert adashare["parameters"] == "1,200" and adashare["multiply-adds"] == "5,000,000"
    assert adashare["of single task"] == "51%"
    assert adashare["gain by task %"].startswith("2.5") and adashare["flat %"].startswith("-1.25")
    assert by_model["single task"]["gain by task %"] == "-"


def test_every_row_of_a_table_is_as_long_as_its_head() -> None:
    for head, rows in (summary_table(a_study()), best_table(a_study())):
        assert {len(row) for row in rows} == {len(head)}
    lines = [line for line in vision_table(a_study()).splitlines() if line]
    assert sum("AdaShare" in line for line in lines) >= 2


def test_the_page_shows_every_metric_with_its_direction_and_every_picture(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    picture = '<svg xmlns="http://www.w3.org/2000/svg"></svg>'
    write_vision_report(path, VisionReport("Two <tasks>", a_study(), {"adashare-0": picture}))
    page = path.read_text()
    assert "Two &lt;tasks&gt;" in page and "Fingerprint abc123." in page
    assert "miou ↑" in page and "abs ↓" in page
    assert "What each task uses of adashare-0" in page
    write_vision_report(path, VisionReport("Two tasks", a_study()))
    assert "What the policies chose" not in path.read_text()
