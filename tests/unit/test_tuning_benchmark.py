"""The benchmark of tuning: every arm gets the CPU of the tuning, and the page says who is ahead."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import tuning
from benchmarks.board.logs import LOGS
from benchmarks.tuning import ARMS, Repetition, page
from recmtl.job.fit import ModelResult
from recmtl.model import ModelSizes
from recmtl.train.config import Config, Training, Tune

CONFIG = Config(
    sizes=ModelSizes(embedding=4, tower=(4,)),
    training=Training(batch_size=64, epochs=1, checks=1),
    tune=Tune(model="shared_bottom", trials=2, generation=2, finalists=1, seeds=2),
    workers=1,
)


def gain(value: float, verdict: str) -> dict[str, Any]:
    return {"gain": value, "low": value - 0.01, "high": value + 0.01, "verdict": verdict}


def results() -> dict[str, Any]:
    cell = {"mean": 0.7, "std": 0.01, "seeds": 2}
    arm = {"score": cell, "tasks": {"click": cell}, "cpu_s": 12.0, "chose": ["a", "b"]}
    others = {"random": gain(0.0, "not proven"), "defaults": gain(0.02, "helped")}
    others["default"] = gain(0.02, "helped")
    click = {"metric": "auc", **others, "random": gain(-0.02, "hurt")}
    return {
        "log": "shop",
        "rows": "the last day.",
        "model": "mmoe",
        "trials": 40,
        "arms": dict.fromkeys(ARMS, arm),
        "mean": others,
        "tasks": {"click": click},
    }


def test_the_page_says_where_tuning_is_ahead_and_where_a_task_is_behind() -> None:
    text = page(results()).replace("\n", " ")
    assert "the tuned networks are neither proven ahead of nor behind random." in text
    assert "They are proven behind random on click." in text
    assert "the tuned networks are proven ahead of defaults." in text
    assert text.count("proven behind") == 1 and "| tuned | 0.7000 ± 0.0100 |" in text


def repetition(tmp_path: Path, config: Config = CONFIG) -> Repetition:
    return Repetition(tmp_path, tmp_path / "tuned", tmp_path / "log", tmp_path / "s", config)


def test_a_random_search_goes_on_until_it_has_taken_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[Config]()

    def tuned(self: Repetition, name: str, config: Config) -> dict[str, Any]:
        asked.append(config)
        trials = [{"cpu_s": 2.0}] * (config.tune.trials + 1)
        return {"cpu_s": 2.0 * len(trials), "trials": trials}

    monkeypatch.setattr(Repetition, "tuned", tuned)
    results = repetition(tmp_path).random_search({"trials": [{"cpu_s": 5.0}]}, budget=31.0)
    assert 31.0 <= results["cpu_s"] < 33.0
    assert {(c.tune.sampler, c.tune.halving) for c in asked} == {("random", False)}
    assert [c.tune.trials for c in asked] == sorted({c.tune.trials for c in asked})


def test_the_defaults_are_trained_until_they_have_taken_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Trained:
        def trained(self, name: str, seed: int) -> ModelResult:
            return ModelResult({}, {"cpu_s": 3.0}, validation_score=float(seed))

    monkeypatch.setattr(Repetition, "_study", lambda *_: Trained())
    assert list(repetition(tmp_path).defaults(10.0)) == [0, 1, 2, 3]
    assert list(repetition(tmp_path).defaults(0.0)) == [0]


@pytest.mark.slow
def test_a_log_is_measured_and_what_is_done_is_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "SIMULATED_ROWS", 2000)
    monkeypatch.setattr("recmtl.tracking.tracker.Tracker.feed", lambda self: True)
    monkeypatch.setattr("recmtl.search.race.FEWEST_STEPS", 1)
    monkeypatch.setattr(tuning, "_cpu_s", lambda result: 1000.0)  # one training of the defaults
    first = tuning.measured("simulated", LOGS["simulated"], CONFIG, seeds=1, out=tmp_path)
    arms = first["arms"]
    assert list(arms) == list(ARMS) and all(len(arms[arm]["chose"]) == 1 for arm in ARMS)
    assert arms["defaults"]["cpu_s"] > arms["random"]["cpu_s"] >= arms["tuned"]["cpu_s"] > 0
    assert tuning.measured("simulated", LOGS["simulated"], CONFIG, seeds=1, out=tmp_path) == first
    assert page(first).startswith("# Tuning on simulated")
