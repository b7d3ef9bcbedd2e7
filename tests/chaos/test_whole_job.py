"""The main job, killed at random moments of all it does, goes on to the same bits."""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.chaos.whole_job import (
    Place,
    assert_ended_well,
    assert_same,
    finish,
    kill_once,
    make_place,
    make_update,
    outcome,
    start,
)

pytestmark = pytest.mark.chaos
MOST_KILLS_OF_A_JOB = 4


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(tmp_path_factory.mktemp("whole") / "place")


def done_undisturbed(place: Place) -> dict[str, Any]:
    """What the job of a place leaves that nobody kills, and the seconds that it takes."""
    finish(place)  # compiles what is compiled once a machine
    place.clear()
    began = time.monotonic()
    assert finish(place) == 0, place.words.read_text()
    takes = time.monotonic() - began
    left = outcome(place)
    place.clear()
    return {"left": left, "takes": takes}


@pytest.fixture(scope="module")
def undisturbed(place: Place) -> dict[str, Any]:
    """Of the main job."""
    return done_undisturbed(place)


def test_two_undisturbed_jobs_leave_the_same(place: Place, undisturbed: dict[str, Any]) -> None:
    """Otherwise nothing could be said of those that were killed."""
    assert finish(place) == 0
    assert_same(outcome(place), undisturbed["left"])
    assert finish(place) == 0, "a finished job goes on to the same, too"
    assert_same(outcome(place), undisturbed["left"])
    assert {"results.json", "routes.json", "ranking.parquet"} <= set(undisturbed["left"])


def test_random_kills(
    place: Place, undisturbed: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """A job is killed up to four times, each time later on, before it may end."""
    kill_at_random(place, undisturbed, request.config.getoption("--kills"))


def test_an_update_that_is_killed_at_random_ends_with_the_same_bits(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """... and its parent is as it was."""
    place = make_update(tmp_path / "update")
    parent = Place(Path(place.command[2]).parent)
    before = outcome(parent)
    kill_at_random(place, done_undisturbed(place), request.config.getoption("--kills"))
    assert_same(outcome(parent), before)


def kill_at_random(place: Place, undisturbed: dict[str, Any], wanted: int) -> None:
    """Kill the job of a place so many times; after each end compare what it leaves."""
    kills, seen = 0, Counter[str]()
    dice = random.Random(wanted)  # another number of kills has other moments
    while kills < wanted:
        place.clear()
        for _ in range(dice.randint(1, MOST_KILLS_OF_A_JOB)):
            status, how = kill_once(place, dice, takes=undisturbed["takes"])
            assert status in (0, -signal.SIGKILL, 130, 143), place.words.read_text()
            kills += status != 0
            seen[f"{how} {_stage(place)}"] += status != 0
            if status == 0:
                break
        assert finish(place) == 0, (seen, place.words.read_text())
        assert "Traceback" not in place.words.read_text()
        assert_same(outcome(place), undisturbed["left"])
    assert [path.name for path in place.out.rglob("*.partial")] == []
    print("\n".join(f"{count:4} {what}" for what, count in sorted(seen.items())))


def _stage(place: Place) -> str:
    """How far the job had come."""
    marks = ["ranking.parquet", "scored", "report.html", "bundle", "results.json", "routes.json"]
    marks += ["models", "search", "log", ".lock"]
    return next((f"after {mark}" for mark in marks if (place.out / mark).exists()), "at the start")


def test_a_change_between_kill_and_resume_is_refused(
    place: Place, undisturbed: dict[str, Any]
) -> None:
    place.clear()
    job = start(place)
    while not (place.out / "search").exists():
        time.sleep(0.005)
    job.send(signal.SIGKILL)
    assert job.status() == -signal.SIGKILL
    original, config = place.log.read_bytes(), (place.folder / "config.yaml").read_text()
    table = pq.read_table(place.log)
    turned = table.set_column(table.column_names.index("click"), "click", table["click"][::-1])
    pq.write_table(turned, place.log, row_group_size=400)
    assert_refused(place, "inputs.log.parquet was ")
    place.log.write_bytes(original)
    items = place.folder / "side" / "items.parquet"
    side, table = items.read_bytes(), pq.read_table(items)
    pq.write_table(table.set_column(1, "margin", table["margin"][::-1]), items)
    assert_refused(place, "inputs.side table 1, items.parquet was ")
    items.write_bytes(side)
    (place.folder / "config.yaml").write_text(config.replace("widths: [8]", "widths: [16]"))
    assert_refused(place, "grid.widths was [8] and is [16]")
    (place.folder / "config.yaml").write_text(config)
    os.utime(place.log)
    assert finish(place) == 0, "a new time alone changes nothing"
    assert_same(outcome(place), undisturbed["left"])


def assert_refused(place: Place, text: str) -> None:
    assert finish(place) == 2
    words = place.words.read_text()
    lines = [line for line in words.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and text in lines[0] and "Traceback" not in words, words


def test_two_jobs_at_once_in_one_folder(place: Place, undisturbed: dict[str, Any]) -> None:
    """One of them works, the other is told so, whoever came first."""
    place.clear()
    first, second = start(place), start(place)
    statuses = sorted([first.status(), second.status()])
    assert statuses == [0, 2]
    assert_same(outcome(place), undisturbed["left"])


def test_a_disk_that_is_full_again_and_again(
    place: Place, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    """The disk of the output folder grows only after the job has said that it is full."""
    shutil.rmtree(place.out, ignore_errors=True)
    place.clear()
    place.out.mkdir()
    size, refused = 60_000, 0
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(place.out), "-o"]
    if subprocess.run([*mount, f"size={size}"], capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a disk")
    try:
        while (status := finish(place)) != 0:
            words = place.words.read_text()
            lines = [line for line in words.splitlines() if line.startswith("error: ")]
            assert status == 2 and "Traceback" not in words, words
            assert len(lines) == 1 and ("No space" in words or " free" in lines[0]), words
            assert [path.name for path in place.out.rglob("*.partial*")] == []
            size, refused = round(1.3 * size), refused + 1
            subprocess.run([*mount, f"remount,size={size}"], check=True)
        assert refused > 3
        assert_same(outcome(place), undisturbed["left"])
    finally:
        subprocess.run(["umount", "-l", str(place.out)], check=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("during", ["imports", "work"])
def test_worker_processes_end_with_the_job(
    number: int, during: str, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    place = make_place(tmp_path / "place", workers=2)
    job = start(place)
    while not (place.out / ("study.json" if during == "imports" else "checkpoints")).exists():
        assert job.process.is_alive(), place.words.read_text()
        time.sleep(0.01)
    if during == "imports":
        time.sleep(1.0)
    began = time.monotonic()
    job.send(number)
    status = job.status()
    assert_ended_well(place, status, number, time.monotonic() - began)
    assert job.process.pid is not None
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.killpg(job.process.pid, 0)
            time.sleep(0.02)
    assert finish(place) == 0, place.words.read_text()
    assert_same(outcome(place) | _settings(place), undisturbed["left"] | _settings(place))
    assert multiprocessing.active_children() == []


def _settings(place: Place) -> dict[str, Any]:
    """Files that name the folder of the data."""
    return {name: "" for name in outcome(place) if name in ("job.json", "log/manifest.json")}
