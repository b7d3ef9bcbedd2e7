"""How far models are behind the best one, and at what cost."""

from typing import Any

import pytest

from recmtl.vision.report import best_table


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
