"""What is logged later is what would have been logged at once; and the store is made whole."""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from recmtl.command.main import main
from recmtl.mlflow_store import make_store, without_warnings
from recmtl.tracking import Tracker
from recmtl.tracking.feed import Feed
from tests.unit.serve.shop import make_bundle
from tests.unit.tracking.test_tracker import NAMES, ROOT


@pytest.fixture(autouse=True)
def no_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with without_warnings():  # of what MLflow loads when a store is first opened
        importlib.import_module("mlflow.store.tracking.sqlalchemy_store")
    yield
    mlflow.set_tracking_uri(None)


def job(tracker: Tracker, out: Path) -> None:
    """A job with settings, curves, nested runs, artifacts and a model."""
    with tracker.run("main", tags={"kind": "test"}) as main:
        main.log_params({"a": {"b": 1, "long": "x" * 9000}, "odd(key)": None})
        main.log_params({"a.b": 2})
        for name in ("one", "two"):
            with tracker.run(name) as run:
                for step in range(5):
                    run.log_metrics({"loss": 1.0 / (step + 1), "nan": float("nan")}, step=step)
                run.log_json({"name": name}, "facts.json")
        (out / "results.json").write_text("{}")
        main.log_file(out / "results.json")
        main.log_model(out / "bundle", name="shop", tags={"data": "d"}, description="a model")


def content(uri: str) -> dict[str, Any]:
    """All that a store holds, without the numbers that it gives by itself."""
    client = MlflowClient(uri)
    experiments = {e.experiment_id: e.name for e in client.search_experiments()}
    runs = client.search_runs(list(experiments))
    names = {run.info.run_id: run.info.run_name for run in runs}
    told: dict[str, Any] = {}
    for run in runs:
        run_id, tags = run.info.run_id, dict(run.data.tags)
        parent = names.get(tags.pop("mlflow.parentRunId", ""))
        tags.pop("recmtl.run")
        folder = Path("/nowhere")
        if client.list_artifacts(run_id):
            folder = Path(mlflow.artifacts.download_artifacts(run_id=run_id, tracking_uri=uri))
        told[run.info.run_name] = {
            "experiment": experiments[run.info.experiment_id],
            "status": run.info.status,
            "ended": run.info.end_time is not None,
            "parent": parent,
            "params": run.data.params,
            "tags": {name: text for name, text in tags.items() if "history" not in name},
            "curves": {
                name: [(p.step, str(p.value)) for p in client.get_metric_history(run_id, name)]
                for name in run.data.metrics
            },
            "artifacts": {
                str(path.relative_to(folder)): path.read_bytes()
                for path in folder.rglob("*")
                if path.is_file()
            },
        }
    for version in client.search_model_versions():
        tags = {name: text for name, text in version.tags.items() if name != "run_id"}
        told[f"{version.name}/{version.version}"] = {
            "run": names[version.run_id],
            "tags": {n: t for n, t in tags.items() if not n.startswith("champion")},
            "description": version.description,
        }
    return told


@pytest.mark.slow
def test_logging_later_gives_the_same_runs_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stores = {name: f"sqlite:///{tmp_path}/{name}/mlflow.db" for name in ("at_once", "later")}
    for name, uri in stores.items():
        out = tmp_path / name / "out"
        make_bundle(out / "bundle")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        tracker = Tracker(out, warn=pytest.fail)
        tracker.fault = "down" if name == "later" else ""
        job(tracker, out)
        mlflow.set_tracking_uri(None)
    assert not (tmp_path / "later" / "mlflow.db").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stores["later"])
    command = ["log", "--out", str(tmp_path / "later" / "out")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "events; 3 runs are there" in printed
    assert "model     models:/shop/1 (no champion: cannot be compared" in printed
    later = content(stores["later"])
    assert later == content(stores["at_once"])
    assert later["one"]["parent"] == "main" and len(later["one"]["curves"]["loss"]) == 5
    assert later["main"]["params"]["config.a.b"] == "2"
    for _ in range(2):
        assert main(command) == 0
        assert "logged    0 events; 3 runs are there" in capsys.readouterr().out
    assert content(stores["later"]) == later
    assert not (tmp_path / "mlruns").exists()


def test_a_feed_that_is_cut_off_anywhere_goes_on_without_repeating(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store goes down at the n-th call, for every n; each time it comes back for the next."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    out = tmp_path / "out"
    tracker = Tracker(out, warn=pytest.fail)
    tracker.fault = "down"
    with tracker.run("main") as main:
        main.log_params({"a": 1})
        with tracker.run("one") as run:
            for step in range(3):
                run.log_metrics({"loss": step}, step=step)
            run.log_text("x", "x.txt")
        main.set_tags({"verdict": "helped"})
    calls, allowed, store = 0, 0, (tmp_path / "artifacts").as_uri()

    def limited(name: str) -> Any:
        real = getattr(MlflowClient, name)

        def call(*arguments: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > allowed:
                raise MlflowException("down")
            return real(*arguments, **more)

        return call

    for name in ("create_run", "log_batch", "set_tag", "log_text", "set_terminated"):
        monkeypatch.setattr(MlflowClient, name, limited(name))
    for attempt in range(1, 60):
        calls, allowed = 0, 1 + attempt % 3
        with without_warnings():
            feed = Feed(
                tracker.journal, uri, artifacts=store, judge=None, alive=lambda seconds: None
            )
        try:
            feed.send()
        except MlflowException:
            continue
        break
    monkeypatch.undo()
    stored = content(uri)
    assert attempt > 3 and set(stored) == {"main", "one"}
    assert stored["one"]["curves"]["loss"] == [(0, "0.0"), (1, "1.0"), (2, "2.0")]
    assert (stored["main"]["status"], stored["one"]["status"]) == ("FINISHED", "FINISHED")
    assert stored["main"]["tags"]["verdict"] == "helped"
    assert stored["main"]["tags"]["recmtl.logged"] == "4"


def test_what_the_store_refuses_is_noted_and_the_rest_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    notes: list[str] = []
    tracker = Tracker(tmp_path / "out", warn=notes.append)
    with tracker.run("main") as run:
        run.log_metrics({"": 1.0, "good": 2.0})
        run.set_tags({"ok": "y" * 100_000, "fine": "1"})
        (tmp_path / "out" / "a.txt").write_text("a")
        run.log_file(tmp_path / "out" / "a.txt")
        (tmp_path / "out" / "a.txt").write_text("another")
    assert tracker.fault == "", "what one value cannot do, the store still can"
    stored = content(f"sqlite:///{tmp_path}/mlflow.db")["main"]
    assert stored["status"] == "FINISHED" and stored["tags"]["fine"] == "1"
    assert stored["curves"]["good"] == [(0, "2.0")] and stored["artifacts"] == {}
    assert any("metric : refused by the tracker" in note for note in notes)
    assert any("a.txt: left out, since it is not the file" in note for note in notes)


START = "from recmtl.tracking import Tracker\nwith Tracker({out!r}).run('main'): pass"


def process(code: str, folder: Path) -> subprocess.Popen[str]:
    environment = {name: text for name, text in os.environ.items() if name not in NAMES}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_the_first_two_jobs_at_once_share_a_store(tmp_path: Path) -> None:
    jobs = [process(START.format(out=name), tmp_path) for name in ("a", "b")]
    shown = [job.communicate(timeout=300)[1] for job in jobs]
    assert shown == ["", ""] and [job.returncode for job in jobs] == [0, 0]
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiments = [e.experiment_id for e in client.search_experiments()]
    assert len(experiments) == 2 and len(client.search_runs(experiments)) == 2


@pytest.mark.slow
def test_a_job_killed_while_the_store_is_made_leaves_a_usable_store(tmp_path: Path) -> None:
    partial = tmp_path / ".mlflow.db.partial"
    job = process(START.format(out="a"), tmp_path)
    while not (partial.exists() and partial.stat().st_size > 0):
        assert job.poll() is None
        time.sleep(0.005)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    assert not (tmp_path / "mlflow.db").exists()
    make_store(f"sqlite:///{tmp_path}/mlflow.db")
    assert MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_experiment("0").name == "Default"
    assert not partial.exists()
