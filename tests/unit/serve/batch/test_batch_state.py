"""A few kills of tests/chaos/test_kills.py: around the first list, renames and the last list."""

import time
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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("kills") / "site"
    return make_site(folder, rows=300, part_rows=100, quarantine=False)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", [0, 2, 4, 5, 9, 15])
def test_a_job_killed_at_a_step_on_the_disk_can_be_resumed(
    site: Site, tmp_path: Path, step: int, after: bool
) -> None:
    out = tmp_path / "out"
    job = start(site, out, resume=False, die_at=(step, after))
    job.join()
    assert job.exitcode == -9
    if out.exists():
        assert_consistent(out)
    assert finish(site, out) == 0
    assert_as_undisturbed(site, out)


def test_of_two_jobs_on_one_folder_one_is_refused(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    jobs = [start(site, out, resume=True) for _ in range(2)]
    for job in jobs:
        job.join()
    assert {job.exitcode for job in jobs} <= {0, 3}
    assert 0 in {job.exitcode for job in jobs}
    assert_as_undisturbed(site, out)


def test_a_job_killed_from_outside_can_be_resumed(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = start(site, out, resume=False)
    while not out.exists() or not list(out.glob("part-*")):
        time.sleep(0.001)
    job.kill()
    job.join()
    assert finish(site, out) == 0
    assert_as_undisturbed(site, out)
