"""A tracker that fails, at any moment and in any way, costs one warning and no time to speak of."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recmtl.tracking import Tracker
from recmtl.tracking.journal import Journal
from recmtl.tracking.tracker import THREAD

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No store is named, and no thread outlives a test: it would disturb the warnings of others."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    yield
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join(60)


class FakeFeed:
    """A feed that takes events until it fails, on the call of a given number."""

    def __init__(self, journal: Journal, fails_at: int, fault: BaseException | float) -> None:
        self.journal, self.fails_at, self.fault = journal, fails_at, fault
        self.calls, self.offset = 0, 0
        self.events: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.models: list[Any] = []
        self.runs = 0
        self.woke = threading.Event()

    def send(self) -> None:
        self.calls += 1
        if self.calls >= self.fails_at:
            if isinstance(self.fault, BaseException):
                raise self.fault
            time.sleep(self.fault)
            self.woke.set()
        events, self.offset = self.journal.read(self.offset)
        self.events += events


def tracker_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fails_at: int, fault: BaseException | float
) -> tuple[Tracker, FakeFeed, list[str]]:
    warnings: list[str] = []
    tracker = Tracker(tmp_path, root=tmp_path / "store", warn=warnings.append)
    feed = FakeFeed(tracker.journal, fails_at, fault)
    monkeypatch.setattr(tracker, "_connect", lambda: feed)
    return tracker, feed, warnings


def job(tracker: Tracker) -> int:
    """A job of a run with two runs in it; returns how many events it logs."""
    with tracker.run("main") as main:
        main.log_params({"a": 1})
        tracker.feed()
        for name in ("b", "c"):
            with tracker.run(name) as run:
                run.log_metrics({"loss": 1.0})
        main.set_tags({"verdict": "helped"})
    return 2 + 3 + 3 + 2


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "fault",
    [ConnectionError("refused\nat length"), ImportError("no mlflow"), SystemExit(3), OSError(28)],
    ids=lambda fault: type(fault).__name__,
)
def test_a_failure_at_any_moment_is_one_warning_and_the_journal_goes_on(
    fails_at: int, fault: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, feed, warnings = tracker_with(tmp_path, monkeypatch, fails_at=fails_at, fault=fault)
    events = job(tracker)
    assert feed.calls == fails_at, "not tried again"
    assert len(warnings) == 1 and "\n" not in warnings[0]
    assert type(fault).__name__ in warnings[0]
    assert f"`recmtl log --out {tmp_path}` logs the rest" in warnings[0]
    assert len(tracker.journal.read()[0]) == events
    assert tracker.journal.unfinished() == []


def test_without_a_failure_everything_arrives_and_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, feed, warnings = tracker_with(tmp_path, monkeypatch, fails_at=99, fault=0.0)
    assert len(feed.events) == 0
    events = job(tracker)
    assert (len(feed.events), warnings, tracker.fault) == (events, [], "")
    assert feed.events == tracker.journal.read()[0]


def test_a_tracker_that_hangs_is_left_behind_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recmtl.tracking.tracker.PATIENCE_S", 0.3)
    tracker, feed, warnings = tracker_with(tmp_path, monkeypatch, fails_at=1, fault=3.0)
    began = time.monotonic()
    with tracker.run("main"):
        assert not tracker.feed()
        assert not tracker.feed()
    assert time.monotonic() - began < 2.5
    assert len(warnings) == 1 and "did not answer within 0 s" in warnings[0]
    feed.woke.wait(10)


def test_a_hanging_thread_that_wakes_up_sends_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, _, _ = tracker_with(tmp_path, monkeypatch, fails_at=1, fault=0.5)
    monkeypatch.setattr("recmtl.tracking.tracker.PATIENCE_S", 0.1)
    assert not tracker.feed()
    with pytest.raises(Exception, match="no longer waits"):
        tracker._alive(0.0)


def test_an_interrupt_ends_the_runs_without_a_word_or_a_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, feed, warnings = tracker_with(tmp_path, monkeypatch, fails_at=1, fault=30.0)
    with pytest.raises(KeyboardInterrupt), tracker.run("main"), tracker.run("inner"):
        raise KeyboardInterrupt
    assert (feed.calls, warnings) == (0, [])
    ends = [event for event in tracker.journal.read()[0] if event["event"] == "end"]
    assert [event["status"] for event in ends] == ["KILLED", "KILLED"]


def test_notes_of_the_store_are_said_once_with_secrets_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, feed, warnings = tracker_with(tmp_path, monkeypatch, fails_at=99, fault=0.0)
    feed.notes.append("parameter a: refused by https://me:hunter2@host")
    job(tracker)
    assert warnings == ["tracking: parameter a: refused by https://***@host"]


def test_runs_of_a_killed_process_are_closed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Journal(tmp_path).append("dead", "start", name="main")
    tracker, _, _ = tracker_with(tmp_path, monkeypatch, fails_at=99, fault=0.0)
    with tracker.run("main"):
        pass
    events = tracker.journal.read()[0]
    assert [(e["run"], e["event"]) for e in events[:2]] == [("dead", "start"), ("dead", "end")]
    assert events[1]["status"] == "KILLED"


def test_neither_uri_nor_warning_names_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:9/")
    warnings: list[str] = []
    tracker = Tracker(tmp_path, warn=warnings.append)
    fault = ConnectionError("http://me:hunter2@127.0.0.1:9/api?token=hunter2 refused")
    monkeypatch.setattr(tracker, "_connect", lambda: FakeFeed(tracker.journal, 1, fault))
    job(tracker)
    assert "hunter2" not in tracker.uri + "".join(warnings) and "127.0.0.1:9" in warnings[0]
    assert "hunter2" not in tracker.journal.path.read_text()


def test_a_process_logs_without_mlflow(tmp_path: Path) -> None:
    """Neither the journal nor the tracker needs it, and its absence is one line."""
    code = (
        "import sys; sys.modules['mlflow'] = None\n"
        "from recmtl.tracking import Tracker\n"
        f"with Tracker({str(tmp_path / 'out')!r}).run('main') as run: run.log_params({{'a': 1}})\n"
        "print('done')"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "done\n"
    assert done.stderr.count("warning: tracking:") == 1 and "recmtl log" in done.stderr
    assert len(Journal(tmp_path / "out").read()[0]) == 3


def wrong_store(kind: str, tmp_path: Path) -> str:
    if kind == "no folder":
        (tmp_path / "file").write_text("")
        return f"sqlite:///{tmp_path}/file/mlflow.db"
    return {"down": "http://127.0.0.1:9", "no scheme": "htp://nowhere"}[kind]


@pytest.mark.parametrize("kind", ["down", "no scheme", "no folder"])
def test_real_stores_that_cannot_be_used_are_one_warning(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", wrong_store(kind, tmp_path))
    warnings: list[str] = []
    tracker = Tracker(tmp_path / "out", warn=warnings.append)
    began = time.monotonic()
    job(tracker)
    assert time.monotonic() - began < 50
    assert len(warnings) == 1 and "\n" not in warnings[0]
    assert len(tracker.journal.read()[0]) == 10


def test_a_locked_store_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "locked.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    monkeypatch.setattr("recmtl.tracking.tracker.PATIENCE_S", 3.0)
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("create table t (x)")
    connection.execute("begin exclusive")
    warnings: list[str] = []
    tracker = Tracker(tmp_path / "out", warn=warnings.append)
    with tracker.run("main"):
        assert not tracker.feed()
    assert len(warnings) == 1
    connection.close()
