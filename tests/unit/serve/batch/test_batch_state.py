"""A job on disk: its parts, what a resumed job takes over, and kills around every list of it."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.errors import DataError
from recmtl.folder_lock import hold_folder
from recmtl.serve.batch.batch_state import (
    Part,
    QuarantineRecord,
    ScoringJob,
    require_unused,
)
from tests.chaos.killing import (
    Site,
    assert_as_undisturbed,
    assert_consistent,
    finish,
    make_site,
    start,
)


def job_in(folder: Path, *, rows: int = 100, part_rows: int = 30, **identity: object) -> ScoringJob:
    folder.mkdir(exist_ok=True)
    return ScoringJob(folder, {"bundle": "b", **identity}, rows=rows, part_rows=part_rows)


def record(rows: int, *, first: int = 0) -> QuarantineRecord:
    return {
        "file": "a.parquet", "row_group": 0, "first": first, "last": first + 30, "rows": rows,
        "reason": "damaged", "copy": None,
    }  # fmt: skip


def write(job: ScoringJob, part: Part, content: bytes = b"rows") -> Path:
    path = job.folder / part.name
    path.write_bytes(content)
    return path


def manifest(folder: Path) -> dict:
    return json.loads((folder / "_manifest.json").read_text())


@given(st.integers(0, 5000), st.integers(1, 700))
def test_parts_hold_every_row_once_in_order(rows: int, part_rows: int) -> None:
    parts = ScoringJob(Path("out"), {}, rows=rows, part_rows=part_rows).parts
    assert [row for part in parts for row in range(part.first, part.last)] == list(range(rows))
    assert [part.number for part in parts] == list(range(len(parts)))
    assert all(part.rows == part_rows for part in parts[:-1])
    assert all(0 < part.rows <= part_rows for part in parts)
    assert len({part.name for part in parts}) == len(parts)


@given(st.integers(0, 99_999), st.integers(0, 99_999))
def test_names_of_parts_sort_as_their_numbers(first: int, second: int) -> None:
    names = [Part(number, 0, 1).name for number in (first, second)]
    assert (names[0] < names[1]) == (first < second)


@settings(max_examples=40)
@given(st.sets(st.integers(0, 3)), st.sets(st.integers(0, 3)), st.sets(st.integers(0, 3)))
def test_a_resumed_job_does_what_is_not_listed_or_not_whole(
    tmp_path_factory: pytest.TempPathFactory, listed: set[int], lost: set[int], damaged: set[int]
) -> None:
    first = job_in(tmp_path_factory.mktemp("state") / "out")
    assert first.start(resume=False) == first.parts
    for part in first.parts:
        path = write(first, part)
        if part.number in listed:
            first.finish_part(part, [record(part.number + 1)])
        if part.number in damaged:
            path.write_bytes(b"ro")
        if part.number in lost:
            path.unlink()
    whole = listed - lost - damaged
    second = job_in(first.folder)
    todo = second.start(resume=True)
    assert [part.number for part in todo] == sorted(set(range(4)) - whole)
    assert set(second.quarantined) == {first.parts[number].name for number in whole}
    assert second.quarantined_rows == sum(number + 1 for number in whole)
    assert manifest(first.folder)["state"] == "running"


def test_the_manifest_lists_identity_sizes_records_and_warnings(tmp_path: Path) -> None:
    job = job_in(tmp_path / "out", keep=["row"])
    job.start(resume=False)
    write(job, job.parts[0], b"12345")
    job.finish_part(job.parts[0], [])
    write(job, job.parts[1], b"123")
    job.finish_part(job.parts[1], [record(7, first=30)])
    job.close(["column 'a' drifted"])
    assert manifest(job.folder) == {
        "job": {"bundle": "b", "keep": ["row"], "rows": 100, "part_rows": 30},
        "state": "finished",
        "finished": {"part-00000.parquet": 5, "part-00001.parquet": 3},
        "quarantined": {"part-00001.parquet": [record(7, first=30)]},
        "warnings": ["column 'a' drifted"],
    }
    assert job.quarantined_rows == 7


def test_warnings_of_all_runs_are_kept_once_each(tmp_path: Path) -> None:
    for warnings in (["a"], ["a", "b"], ["c", "a"]):
        job = job_in(tmp_path / "out")
        job.start(resume=(tmp_path / "out" / "_manifest.json").exists())
        job.close(warnings)
    assert manifest(tmp_path / "out")["warnings"] == ["a", "b", "c"]


def test_a_manifest_from_before_the_quarantine_is_resumed(tmp_path: Path) -> None:
    job = job_in(tmp_path / "out")
    size = write(job, job.parts[2]).stat().st_size
    identity = {"bundle": "b", "rows": 100, "part_rows": 30}
    old = {"job": identity, "state": "running", "finished": {"part-00002.parquet": size}}
    (job.folder / "_manifest.json").write_text(json.dumps(old))
    assert [part.number for part in job.start(resume=True)] == [0, 1, 3]
    assert job.quarantined_rows == 0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"job": {}}', '{"job": 3, "finished": {}}', "\udcff"]
)
def test_a_manifest_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    job = job_in(tmp_path / "out")
    content = text.encode(errors="surrogateescape")
    (job.folder / "_manifest.json").write_bytes(content)
    with pytest.raises(DataError, match=r"has no readable _manifest\.json"):
        job.start(resume=True)
    assert (job.folder / "_manifest.json").read_bytes() == content


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rows": 101}, "rows was 100 and is 101"),
        ({"part_rows": 31}, "part_rows was 30 and is 31"),
        ({"bundle": "c"}, "bundle was b and is c"),
        ({"rows": 99, "bundle": "c"}, "bundle was b and is c, rows was 100 and is 99"),
    ],
)
def test_every_difference_to_the_job_that_began_is_named(
    tmp_path: Path, change: dict, named: str
) -> None:
    job_in(tmp_path / "out").start(resume=False)
    folder, sizes = tmp_path / "out", {"rows": 100, "part_rows": 30}
    identity = {"bundle": "b", **{k: v for k, v in change.items() if k not in sizes}}
    sizes |= {k: v for k, v in change.items() if k in sizes}
    with pytest.raises(DataError, match=f"another job began there: {named}; resume it with"):
        ScoringJob(folder, identity, **sizes).start(resume=True)


def test_a_fact_that_an_earlier_release_did_not_note_is_not_compared(tmp_path: Path) -> None:
    job_in(tmp_path / "out").start(resume=False)
    identity = {"bundle": "b", "engine": "torch"}
    assert ScoringJob(tmp_path / "out", identity, rows=100, part_rows=30).start(resume=True)


def test_an_identity_that_json_writes_otherwise_is_still_the_same(tmp_path: Path) -> None:
    job_in(tmp_path / "out", keep=("row", "item")).start(resume=False)
    assert job_in(tmp_path / "out", keep=("row", "item")).start(resume=True)


@pytest.mark.parametrize("name", ["part-00000.parquet", "_manifest.json", ".hidden", "folder/x"])
def test_a_folder_with_anything_in_it_is_used(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"is not empty; .* resume the job that began there with"):
        require_unused(tmp_path)
    with pytest.raises(DataError, match="is not empty"):
        job_in(tmp_path).start(resume=False)


def test_a_lock_is_no_use_of_the_folder(tmp_path: Path) -> None:
    with hold_folder(tmp_path):
        require_unused(tmp_path)
    require_unused(tmp_path)


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
