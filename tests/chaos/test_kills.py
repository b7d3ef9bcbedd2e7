"""Two hundred kills at random moments: every resume ends as an undisturbed run does."""

import random
import shutil
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.chaos.killing import (
    Site,
    assert_as_undisturbed,
    assert_consistent,
    finish,
    make_site,
    start,
)

pytestmark = pytest.mark.chaos
KILLS = 200
MOST_KILLS_OF_A_JOB = 4


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "quarantine"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("kills") / "site", quarantine=request.param)


def clear(out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(out.with_name(out.name + "-aside"), ignore_errors=True)


def duration(site: Site, out: Path) -> float:
    started = time.monotonic()
    assert finish(site, out, resume=False) == 0
    clear(out)
    return time.monotonic() - started


def wait(job: BaseProcess, out: Path, parts: int, *, takes: float, dice: random.Random) -> None:
    """Until a random moment: of the whole time, or after a random part, which load cannot shift."""
    if dice.random() < 0.5:
        time.sleep(dice.uniform(0.0, takes))
        return
    enough = dice.randrange(parts)
    while job.is_alive() and len(list(out.glob("part-*"))) < enough:
        time.sleep(0.001)
    time.sleep(dice.uniform(0.0, takes / parts))


def test_random_kills(site: Site, tmp_path: Path) -> None:
    """Half of the kills on either site; a job is killed up to four times before it may finish."""
    dice, out, kills, midway = random.Random(1), tmp_path / "out", 0, 0
    takes = duration(site, out)
    while kills < KILLS // 2:
        clear(out)
        for attempt in range(dice.randint(1, MOST_KILLS_OF_A_JOB)):
            job = start(site, out, resume=attempt > 0)
            wait(job, out, site.rows // site.part_rows, takes=takes, dice=dice)
            job.kill()
            job.join()
            kills += job.exitcode == -9
            if out.exists():
                midway += 0 < len(list(out.glob("part-*"))) < site.rows // site.part_rows
                assert_consistent(out)
        # A job killed before it made its folder has nothing to resume, and --resume may say so.
        assert finish(site, out) == 0
        assert_as_undisturbed(site, out)
    # Delays that all fell before or after the work would prove nothing.
    assert midway > KILLS // 8


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_every_step_on_the_disk(site: Site, tmp_path: Path, after: bool) -> None:
    """Before or after each rename, sync and folder that the job makes."""
    out = tmp_path / "out"
    for step in range(10**6):
        clear(out)
        job = start(site, out, resume=False, die_at=(step, after))
        job.join()
        if job.exitcode == 0:
            break
        assert job.exitcode == -9
        if out.exists():
            assert_consistent(out)
        assert finish(site, out) == 0
        assert_as_undisturbed(site, out)
    assert step > 3 * site.rows // site.part_rows


def test_jobs_that_race_for_one_folder(site: Site, tmp_path: Path) -> None:
    """Three at once, one of them killed now and then: the folder takes no harm."""
    dice, out, refused = random.Random(2), tmp_path / "out", 0
    takes = duration(site, out)
    for _ in range(15):
        clear(out)
        jobs = [start(site, out, resume=True) for _ in range(3)]
        time.sleep(dice.uniform(0.0, takes))
        dice.choice(jobs).kill()
        for job in jobs:
            job.join()
        assert {job.exitcode for job in jobs} <= {0, 3, -9}
        refused += sum(job.exitcode == 3 for job in jobs)
        assert finish(site, out) == 0
        assert_as_undisturbed(site, out)
    assert refused > 5
