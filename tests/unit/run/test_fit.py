"""`fit` takes a frame to a verdict, and the steps one by one come to the same one."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import recmtl
from recmtl.errors import ConfigError, DataError, SchemaError
from recmtl.train.config import Config
from tests.unit.run.conftest import CONFIG, TASKS, Fitted

SCRIPT = """
import sys
import recmtl
run = recmtl.fit(sys.argv[1], schema=sys.argv[2], config=sys.argv[3], out=sys.argv[4], quiet=True)
print("verdicts", run.verdict()["verdict"].tolist())
"""
TINY = """
sizes: {embedding: 2, tower: [4]}
grid: {cells: 2, depth: 1, widths: [4], max_edges: 1}
training: {batch_size: 512, epochs: 1, checks: 1}
search: {epochs: 1, candidates: 1, race: false}
evidence: {seeds: 1, controls: [], baselines: [], bootstrap: 20, ablation_seeds: 0}
workers: 2
"""


def test_every_step_of_the_job_is_done(fitted: Fitted) -> None:
    steps = ("prepared", "searched", "trained", "judged", "bundled", "reported", "scored")
    assert fitted.run.done == steps
    assert fitted.run.verdict().index.tolist() == TASKS


def test_the_drafted_schema_is_shown_and_left_in_the_folder(fitted: Fitted) -> None:
    text = (fitted.run.folder / "schema.yaml").read_text()
    assert text in fitted.shown
    assert "click: {kind: binary, label: click}  # as you said" in text
    assert fitted.run.schema.name == "my_shop"
    assert fitted.run.schema.roles.group == "request_id"
    assert fitted.run.schema.split.by == "time"


def test_rows_of_the_encoded_log_are_rows_of_the_frame(fitted: Fitted) -> None:
    rows = fitted.run.log.split("train")
    clicks = fitted.frame["click"].to_numpy()[np.asarray(rows.row)]
    position = [task.name for task in fitted.run.schema.tasks].index("click")
    assert np.array_equal(np.asarray(rows.labels)[:, position], clicks)


def test_the_bundle_scores_and_ranks_the_frame(fitted: Fitted) -> None:
    scores = fitted.run.scorer().score(fitted.frame.head(20))
    assert list(scores) == ["p_click", "p_purchase_given_click", "p_click_and_purchase"]
    stored = pd.read_parquet(fitted.run.scored).head(20)
    assert np.array_equal(scores["p_click"], stored["p_click"])
    ranked = fitted.run.ranker().rank(fitted.frame.head(50), by="p_click", group="request_id", k=2)
    assert ranked["rank"].max() == 2
    assert set(fitted.run.ranking()) >= {"rank", "rank_score", "request_id"}


def test_the_same_call_goes_on_and_changes_nothing(fitted: Fitted) -> None:
    before = (fitted.run.folder / "results.json").read_bytes()
    models = sorted(path.stat().st_mtime_ns for path in fitted.run.folder.rglob("trained.json"))
    again = recmtl.fit(
        fitted.frame,
        tasks=TASKS,
        group="request_id",
        time="time_ms",
        out=fitted.run.folder,
        config=CONFIG,
        quiet=True,
    )
    assert (again.folder / "results.json").read_bytes() == before
    after = sorted(path.stat().st_mtime_ns for path in again.folder.rglob("trained.json"))
    assert after == models
    assert len(list(again.folder.glob("frame-*.parquet"))) == 1
    without_data = recmtl.fit(out=fitted.run.folder, quiet=True)
    assert (without_data.folder / "results.json").read_bytes() == before


def test_another_frame_is_refused_and_leaves_the_folder_as_it_was(fitted: Fitted) -> None:
    names = sorted(path.name for path in fitted.run.folder.iterdir())
    schema = (fitted.run.folder / "schema.yaml").read_bytes()
    with pytest.raises(ConfigError, match="was begun with another job"):
        recmtl.fit(
            fitted.frame.head(2000),
            tasks=["click"],
            time="time_ms",
            out=fitted.run.folder,
            config=CONFIG,
            quiet=True,
        )
    assert sorted(path.name for path in fitted.run.folder.iterdir()) == names
    assert (fitted.run.folder / "schema.yaml").read_bytes() == schema


@pytest.mark.slow
def test_the_steps_one_by_one_come_to_the_same_verdict(
    fitted: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = recmtl.describe(fitted.frame, tasks=TASKS, group="request_id", time="time_ms")
    assert "a DataFrame" in draft.text and "frame-" not in draft.text
    schema = recmtl.describe(
        fitted.frame, tasks=TASKS, group="request_id", time="time_ms", name="my-shop"
    ).schema
    run = recmtl.prepare(fitted.frame, schema, out=tmp_path / "steps", config=CONFIG, quiet=True)
    assert run.done == ("prepared",)
    assert "not judged yet" in repr(run)
    with pytest.raises(DataError, match=r"is not trained yet; train with recmtl.train"):
        _ = run.routes
    run = recmtl.search(run, quiet=True)
    assert run.done == ("prepared", "searched")
    run = recmtl.train(run.folder, quiet=True)
    assert run.routes.text == fitted.run.routes.text
    run = recmtl.evaluate(str(run.folder), quiet=True)
    costs = ["train_s", "cpu_s", "score_rows_per_s"]
    pd.testing.assert_frame_equal(
        run.leaderboard().drop(columns=costs), fitted.run.leaderboard().drop(columns=costs)
    )
    with pytest.raises(DataError, match="is not scored yet"):
        run.ranking()
    assert "rows/s" not in capsys.readouterr().err, "quiet shows warnings and no progress"


def test_wishes_beside_a_schema_are_refused(frame: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="state them in the schema"):
        recmtl.fit(frame, schema="schema.yaml", tasks=["click"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_frame_without_a_task_is_refused_before_anything_is_begun(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(SchemaError, match="tasks"):
        recmtl.fit(frame[["user_id", "price"]], out=tmp_path / "out", quiet=True)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_preset_that_is_unknown_names_the_nearest(frame: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'fast'"):
        recmtl.fit(frame, tasks=["click"], out=tmp_path / "out", preset="fats", quiet=True)


def test_a_step_without_a_run_says_so(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").mkdir()
    with pytest.raises(DataError, match="no such folder; did you mean 'mine'"):
        recmtl.search(tmp_path / "runs" / "nine")
    with pytest.raises(DataError, match="is not the output folder of a job"):
        recmtl.open(tmp_path / "runs" / "mine")


@pytest.mark.slow
def test_a_script_without_a_main_guard_trains_in_several_processes(
    fitted: Fitted, tmp_path: Path
) -> None:
    data = next(fitted.run.folder.glob("frame-*.parquet"))
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "config.yaml").write_text(TINY)
    arguments = [data, (fitted.run.folder / "schema.yaml"), "config.yaml", "out"]
    done = subprocess.run(
        [sys.executable, "script.py", *map(str, arguments)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("verdicts") == 1


def test_a_configuration_object_is_kept_in_the_folder(fitted: Fitted) -> None:
    assert Config.load(fitted.run.folder / "config.yaml") == CONFIG


def test_settings_as_a_dict_go_before_those_of_the_preset(fitted: Fitted, tmp_path: Path) -> None:
    settings = {"evidence": {"seeds": 3}, "seed": 4}
    schema = fitted.run.schema
    run = recmtl.prepare(
        fitted.frame, schema, out=tmp_path, preset="fast", config=settings, quiet=True
    )
    config, fast = Config.load(run.folder / "config.yaml"), Config.load(preset="fast")
    evidence = replace(fast.evidence, seeds=3)
    assert config == replace(fast, evidence=evidence, seed=4)
    with pytest.raises(ConfigError, match="did you mean 'fast'"):
        recmtl.prepare(fitted.frame, schema, out=tmp_path, preset="fats", config=settings)
