"""`recmtl.tune` and its command: the same tuning, and what they hand back."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import recmtl
from recmtl.command.main import main
from recmtl.run.tune import Tuning
from recmtl.train.config import Config, Tune
from tests.unit.run.conftest import CONFIG, TASKS

SPACE = {"training.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}}
SMALL = replace(
    CONFIG,
    tune=Tune(space=SPACE, model="shared_bottom", generation=2, halving=False, finalists=1),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tuning")


@pytest.fixture(scope="module")
def tuning(frame: pd.DataFrame, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuning:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recmtl.tracking.tracker.Tracker.feed", lambda self: True)
        return recmtl.tune(
            frame, tasks=TASKS, time="time_ms", out=folder / "out", config=SMALL, trials=2,
            seeds=1, quiet=True,
        )  # fmt: skip


def test_what_is_handed_back_is_what_was_chosen(tuning: Tuning) -> None:
    values = tuning.results["chosen"]["values"]
    rate = values.get("training.learning_rate", SMALL.training.learning_rate)
    assert tuning.config.training.learning_rate == rate
    assert tuning.config.sizes == SMALL.sizes
    assert tuning.schema is None and tuning.report.is_file()
    assert repr(tuning).startswith(tuning.results["chosen"]["text"])


def test_trials_are_a_frame(tuning: Tuning) -> None:
    trials = tuning.trials()
    assert list(trials.index) == [0, 1, 2] and (trials["standing"] == "done").all()
    assert trials.loc[0, "training.learning_rate"] == SMALL.training.learning_rate
    assert trials["training.learning_rate"].nunique() == 3 and trials["score"].notna().all()


def test_the_command_goes_on_where_the_function_ended(
    tuning: Tuning,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("recmtl.tracking.tracker.Tracker.feed", lambda self: True)
    words = ["tune", "--out", str(tuning.folder), "--trials", "2", "--seeds", "1", "--json"]
    before = tuning.trials()
    assert main([*words, "--quiet", "--processes", "1"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["tuned"] == str(tuning.folder / "tuned.yaml")
    pd.testing.assert_frame_equal(tuning.trials(), before)


def test_an_empty_space_is_the_published_one() -> None:
    assert Config().tune.space == {}
