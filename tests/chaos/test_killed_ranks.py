"""A job of two ranks, one of which is killed at random moments: all end, and it goes on."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.whole_job import Place, assert_same, make_place, outcome

pytestmark = pytest.mark.chaos
MOST_KILLS_OF_A_JOB = 4


def start(place: Place) -> subprocess.Popen[str]:
    """The job with two ranks, or what is left to do of it."""
    store = place.folder / "store"
    store.mkdir(exist_ok=True)
    words = ["--data", "log.parquet", "--schema", "schema.yaml", "--config", "config.yaml"]
    options = [str(place.folder / word) if word[0] != "-" else word for word in words]
    options += ["--out", str(place.out), "--processes", "2", "--quiet"]
    tracking = f"sqlite:///{store / 'mlflow.db'}"
    return subprocess.Popen(
        [sys.executable, "-m", "recmtl", "run", *options],
        cwd=store,
        env={**os.environ, "MLFLOW_TRACKING_URI": tracking},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ranks_of(leader: int) -> list[int]:
    """The processes that a job has started."""
    children = Path(f"/proc/{leader}/task/{leader}/children")
    return [int(number) for number in children.read_text().split()] if children.exists() else []


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{process}/status").read_text()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(tmp_path_factory.mktemp("killed") / "place")


@pytest.fixture(scope="module")
def undisturbed(place: Place) -> dict[str, Any]:
    """What the job leaves that nobody kills, and the seconds that it takes."""
    began = time.monotonic()
    job = start(place)
    words = job.communicate()[1]
    assert job.returncode == 0, words
    takes, left = time.monotonic() - began, outcome(place)
    place.clear()
    return {"left": left, "takes": takes}


def kill_once(place: Place, dice: random.Random, takes: float) -> int:
    """Kill one of the ranks at a random moment; the job's status, 0 if it was done before."""
    job = start(place)
    try:
        job.wait(dice.uniform(0.0, takes))
    except subprocess.TimeoutExpired:
        members = ranks_of(job.pid)
        victim = dice.choice([job.pid, *members])
        os.kill(victim, signal.SIGKILL)
        words = job.communicate(timeout=120)[1]
        for _ in range(100):
            if not any(map(is_alive, members)):
                break
            time.sleep(0.1)
        assert not any(map(is_alive, members)), "a rank outlives its job"
        assert "Traceback" not in words, words
        if victim != job.pid and job.returncode:
            errors = [line for line in words.splitlines() if line.startswith("error: ")]
            assert job.returncode == 2 and len(errors) == 1, words
            assert "exit code -9" in errors[0] and "run the same command again" in errors[0]
    return job.returncode


def test_a_rank_that_is_killed_ends_all_and_the_job_goes_on(
    place: Place, undisturbed: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    wanted, kills = request.config.getoption("--kills"), 0
    dice = random.Random(wanted)  # another number of kills has other moments
    while kills < wanted:
        place.clear()
        for _ in range(dice.randint(1, MOST_KILLS_OF_A_JOB)):
            status = kill_once(place, dice, undisturbed["takes"])
            kills += status != 0
            if status == 0:
                break
        job = start(place)
        words = job.communicate()[1]
        assert job.returncode == 0, words
        assert_same(outcome(place), undisturbed["left"])
