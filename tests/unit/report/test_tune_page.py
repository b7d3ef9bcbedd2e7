"""The page of a tuning says what was chosen, what it is worth, and what it is not."""

from pathlib import Path
from typing import Any

import pytest

from recmtl.report.tune_page import tune_table, value_text, write_tune_page

GAIN = {
    "gain": 0.012,
    "low": 0.004,
    "high": 0.02,
    "verdict": "helped",
    "seeds": [2, 2],
}


def trial(number: int, standing: str, score: float | None, **more: Any) -> dict[str, Any]:
    return {
        "number": number,
        "standing": standing,
        "trained": 1.0 if standing == "done" else 0.25,
        "score": score,
        "by_round": {"0.25": score, **({"1.0": score} if standing == "done" else {})},
        "values": {"training.learning_rate": 0.01 * number, "grid.widths": [8]} if number else {},
        "cpu_s": 3.0,
        "why": "",
        **more,
    }


@pytest.fixture
def results() -> dict[str, Any]:
    final = {"std": 0.002, "seeds": {"0": 0.6, "1": 0.62}, "meets": True, "multiply_adds": 900}
    tasks = {"click": 0.7, "buy": 0.6}
    hurt = {**GAIN, "gain": -0.01, "low": -0.02, "high": -0.004, "verdict": "hurt"}
    return {
        "model": "mmoe",
        "rows": {"train": 1000, "validation": 200},
        "space": {"training.learning_rate": "0.001 to 0.1", "grid.widths": "8 | 16, 8"},
        "rounds": [0.25, 1.0],
        "settings": [
            {"path": "training.learning_rate", "configured": 0.003, "chosen": 0.02, "scale": "log"},
            {"path": "grid.widths", "configured": [16, 8], "chosen": [8], "scale": "choices"},
        ],
        "chosen": {"number": 2, "text": "Trial 2: 0.6543 on validation rows.", "tasks": tasks},
        "configured": {"number": 0, "tasks": tasks, "seeds": final["seeds"]},
        "finals": [
            {"number": 0, "score": 0.61, "tasks": tasks, **final},
            {"number": 2, "score": 0.6543, "tasks": tasks, **final},
        ],
        "tasks": {
            "click": {"metric": "auc", "configured": GAIN},
            "buy": {"metric": "auc", "configured": hurt},
        },
        "mean": {"configured": GAIN},
        "hurt": ["buy"],
        "trials": [
            trial(0, "done", 0.61),
            trial(1, "dropped", 0.5),
            trial(2, "done", 0.65),
            trial(3, "failed", None, why="Config: refused <together>"),
        ],
        "cpu_s": 1234.5,
        "left_out": ["3 of 4 trials were drawn"],
    }


def page_of(results: dict[str, Any], folder: Path) -> str:
    write_tune_page(folder / "tune.html", results, title="shop: tuning")
    return (folder / "tune.html").read_text()


def test_the_page_names_settings_worth_and_what_is_left_out(
    results: dict[str, Any], tmp_path: Path
) -> None:
    page = page_of(results, tmp_path)
    for text in (
        "3 trials of mmoe on 1,000 train rows",
        "1,234 CPU s. No test row was read.",
        "Trial 2: 0.6543 on validation rows.",
        "proven behind the configured ones on buy",
        "3 of 4 trials were drawn",
        "Config: refused &lt;together&gt;",
        "0.001 to 0.1",
    ):
        assert text in page, text
    assert page.count("<img") == 3  # the trials, and each setting


def test_a_page_without_a_better_trial_has_no_worth(
    results: dict[str, Any], tmp_path: Path
) -> None:
    results |= {"tasks": {}, "mean": {}, "hurt": [], "left_out": []}
    page = page_of(results, tmp_path)
    assert "What it is worth" not in page and "proven behind" not in page


def test_the_same_results_are_the_same_page(results: dict[str, Any], tmp_path: Path) -> None:
    assert page_of(results, tmp_path) == page_of(results, tmp_path)


def test_a_page_of_the_configuration_alone_can_be_drawn(
    results: dict[str, Any], tmp_path: Path
) -> None:
    results["trials"] = results["trials"][:1]
    assert "0 trials of mmoe" in page_of(results, tmp_path)


def test_the_text_shows_what_changed(results: dict[str, Any]) -> None:
    text = tune_table(results)
    assert "training.learning_rate  0.02  (configured: 0.003)" in text
    assert "grid.widths             8  (configured: 16, 8)" in text
    assert text.endswith("3 of 4 trials were drawn")
    results |= {"mean": {}, "left_out": []}
    assert "mean over the tasks" not in tune_table(results)


def test_values_are_written_as_people_write_them() -> None:
    shown = {"none": None, "true": True, "64, 32": (64, 32), "1e-05": 1e-5, "adamw": "adamw"}
    assert {value_text(value): value for value in shown.values()} == shown
