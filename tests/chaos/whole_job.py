"""The main job in processes of its own, which are killed, and what must be the same afterwards."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recmtl.simulate import simulate

SCHEMA = """
version: 1
name: small
tables:
  - {path: side/items.parquet, key: item_id}
features:
  user_id: {kind: categorical, min_count: 5}
  item_id: {kind: categorical, min_count: 5}
  margin: {kind: numeric}
  tags: {kind: list, max_length: 4, pooling: mean}
tasks:
  click: {kind: binary, label: click}
  dislike: {kind: binary, label: dislike}
roles: {group: request_id, time: time_ms, row_id: impression_id}
split: {by: time, validation: 0.2, test: 0.2}
"""
CONFIG = """
sizes: {embedding: 4, tower: [8]}
grid: {cells: 3, depth: 2, widths: [8], max_edges: 2}
training: {batch_size: 256, epochs: 2, save_every: 1}
search: {epochs: 1, candidates: 2, race: false}
evidence:
  {seeds: 1, control_seeds: 1, bootstrap: 10, controls: [mmoe], baselines: [lightgbm]}
calibration: {method: platt, min_rows: 50}
threads: 1
workers: 1
"""
CLOCKS = {"train_s", "cpu_s", "cpu_seconds", "score_rows_per_s", "seconds"}
"""Figures that depend on the clock."""
PROCESSES = multiprocessing.get_context("forkserver")
LATE = ("mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store")
"""What a job imports while it runs; here each would do so again after every kill."""
PROCESSES.set_forkserver_preload(
    [
        "recmtl.job.whole_job",
        "recmtl.daily.open_update",
        "recmtl.baselines.lightgbm",
        "tests.chaos.whole_job",
        "mlflow.pyfunc",
        *LATE,
    ]
)


@dataclass(frozen=True)
class Place:
    """A folder with the input of a job, its output, and its tracking store.

    Attributes:
        folder: where all of it lies.
        command: words of the command; empty for the main job on the log.
    """

    folder: Path
    command: tuple[str, ...] = ()

    @property
    def log(self) -> Path:
        """The log."""
        return self.folder / "log.parquet"

    @property
    def out(self) -> Path:
        """The output folder."""
        return self.folder / "out"

    @property
    def words(self) -> Path:
        """What the newest process wrote to its standard error."""
        return self.folder / "stderr.txt"

    def clear(self) -> None:
        """Remove what jobs have left, the tracking store included."""
        for path in (self.out, self.folder / "store"):
            shutil.rmtree(path, ignore_errors=True)


def make_place(folder: Path, *, workers: int = 1) -> Place:
    """Write a small log and a configuration."""
    folder.mkdir(parents=True)
    simulate(folder / "log.parquet", 1500, users=60, items=40, row_group_rows=400)
    config = CONFIG.replace("workers: 1", f"workers: {workers}")
    (folder / "config.yaml").write_text(config)
    (folder / "schema.yaml").write_text(SCHEMA)
    items = pq.read_table(folder / "log.parquet", columns=["item_id"])["item_id"].unique()
    side = pa.table({"item_id": items, "margin": [float(n) for n in range(len(items))]})
    (folder / "side").mkdir()
    pq.write_table(side, folder / "side" / "items.parquet")
    return Place(folder)


def make_update(folder: Path) -> Place:
    """An update of a finished job by the last rows of its log, with the test of its wiring."""
    whole = make_place(folder / "whole")
    log, parent = pq.read_table(whole.log), Place(folder / "parent")
    shutil.copytree(whole.folder, parent.folder)
    pq.write_table(log.slice(0, 1000), parent.log, row_group_size=400)
    assert finish(parent) == 0, parent.words.read_text()
    pq.write_table(log.slice(1000), whole.folder / "days.parquet", row_group_size=200)
    days = ("--data", str(whole.folder / "days.parquet"))
    return Place(whole.folder, ("update", "--run", str(parent.out), *days, "--search", "auto"))


@dataclass(frozen=True)
class Running:
    """A job under way."""

    place: Place
    process: BaseProcess

    def send(self, number: int) -> None:
        """Send a signal to the job and its workers, as a terminal does."""
        if self.process.is_alive() and self.process.pid is not None:
            os.killpg(self.process.pid, number)

    def status(self, seconds: float = 300) -> int:
        """Wait for its end; its exit status."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, "the job does not end"
        return self.process.exitcode


def start(place: Place, *, die_at: int | None = None) -> Running:
    """Start the job, or go on with it; returns once it answers signals.

    With `die_at` it kills itself at its n-th step on the disk.
    """
    ours, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=_job, args=(place, theirs, die_at))
    process.start()
    theirs.close()
    assert ours.recv() == "ready"
    return Running(place, process)


def finish(place: Place) -> int:
    """Run the job to its end; its exit status."""
    return start(place).status()


def _job(place: Place, connection: Connection, die_at: int | None) -> None:
    from recmtl.command.main import main
    from recmtl.interrupts import answer_signals, leave

    os.setsid()
    with place.words.open("w") as words:
        os.dup2(words.fileno(), 2)
        os.dup2(words.fileno(), 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    (place.folder / "store").mkdir(exist_ok=True)
    os.chdir(place.folder / "store")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{place.folder / 'store' / 'mlflow.db'}"
    if die_at is not None:
        _die(die_at)
    answer_signals()
    connection.send("ready")
    schema, config = (str(place.folder / name) for name in ("schema.yaml", "config.yaml"))
    run = ("run", "--data", str(place.log), "--schema", schema, "--config", config)
    try:
        leave(main([*(place.command or run), "--out", str(place.out)]))
    except SystemExit:
        raise
    except BaseException as error:  # as at the top of a script
        sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(1)


def _die(at: int) -> None:
    """Kill this process at its n-th call of a function that changes the disk."""
    calls = iter(range(10**9))

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if next(calls) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    for name in ("replace", "mkdir", "unlink", "rename", "fsync"):
        setattr(os, name, deadly(getattr(os, name)))


def kill_once(place: Place, dice: random.Random, *, takes: float) -> tuple[int, str]:
    """Start or go on with the job, and end it at a random moment; its status, and how.

    A kill at a step on the disk is not shifted by the load of the machine; one at a random time
    falls into computations, too. The status is 0 if the job was done before.
    """
    how = dice.choice(["step", "step", "time", "time", "time", "SIGTERM", "SIGINT"])
    if how == "step":
        return start(place, die_at=round(10 ** dice.uniform(0, 3))).status(), how
    job = start(place)
    job.process.join(dice.uniform(0.0, takes))
    if how == "time":
        job.send(signal.SIGKILL)
        return job.status(), how
    began, number = time.monotonic(), getattr(signal, how)
    job.send(number)
    status = job.status()
    if status:
        assert_ended_well(place, status, number, time.monotonic() - began)
    return status, how


def assert_ended_well(place: Place, status: int, number: int, seconds: float) -> None:
    """The status of a shell, one line that says how to go on, in time, and the lock given back."""
    words = place.words.read_text()
    assert status == 128 + number, words
    assert "Traceback" not in words and "error:" not in words, words
    last = words.strip().splitlines()[-1]
    assert "run the same command again" in last, words
    assert seconds < 4, "two seconds, and as many for a busy machine"
    assert not (place.out / ".lock").exists()


def outcome(place: Place) -> dict[str, Any]:
    """All that a finished job has left but for the clock's part: JSON, and bytes by name."""
    left: dict[str, Any] = {}
    for path in sorted(place.out.rglob("*")):
        name = path.relative_to(place.out).as_posix()
        if not path.is_file() or name in NOT_COMPARED:
            continue
        left[name] = _content(path)
    return left


NOT_COMPARED = {"report.html", "bundle/README.md", "tracking.jsonl"}
"""They show seconds, or every attempt; the other figures in them are those of results.json."""


def _content(path: Path) -> Any:
    if path.suffix == ".parquet":
        return repr(pq.read_table(path).replace_schema_metadata(None).to_pydict())  # NaN is NaN
    if path.suffix != ".json":
        return path.read_bytes()
    content = json.loads(path.read_text())
    if path.name == "_manifest.json":
        content["job"].pop("bundle")  # a hash of the clock's part, too
    if path.name == "manifest.json" and path.parent.name == "bundle":
        # Its hash of the metrics holds the clock's part of them.
        content.pop("seal", None)
        for name in ("metrics.json", "README.md"):
            content["files"].pop(name, None)
    return json.dumps(_timeless(content))


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(item) for name, item in value.items() if name not in CLOCKS}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def assert_same(left: dict[str, Any], expected: dict[str, Any]) -> None:
    """Fail with the names of the files that differ."""
    assert sorted(left) == sorted(expected), sorted(left.keys() ^ expected.keys())
    differ = [name for name in left if left[name] != expected[name]]
    assert differ == [], differ
