"""The last steps of a job: judged once, shown as often as one likes."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from recmtl.errors import DataError
from recmtl.job import steps
from recmtl.job.handed_on import JobContext
from recmtl.job.whole_job import JudgedJob, run_to_verdict, write_report_again
from tests.unit.job.test_steps import as_run, fresh, simulated_job


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> JobContext:
    return simulated_job(tmp_path_factory.mktemp("whole"), 2000)


@pytest.fixture(scope="module")
def judged(job: JobContext) -> JudgedJob:
    return run_to_verdict(job, as_run(job))


@pytest.fixture
def judgements(judged: JudgedJob, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[JobContext]]:
    """The jobs that are judged from here on; results.json is afterwards as it was."""
    jobs, judge, file = list[JobContext](), steps.evaluate, judged.report.with_name("results.json")
    before = file.read_text()

    def evaluate(job: JobContext, *arguments: object) -> steps.Evaluation:
        jobs.append(job)
        return judge(job, *arguments)  # type: ignore[arg-type] # as they were

    monkeypatch.setattr(steps, "evaluate", evaluate)
    yield jobs
    file.write_text(before)


def shown(page: Path) -> str:
    """The page without what differs from minute to minute."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if " UTC" not in line)


def test_a_verdict_leaves_results_bundle_and_page(job: JobContext, judged: JudgedJob) -> None:
    assert json.loads((job.out / "results.json").read_text())["judged"]
    assert judged.bundled.folder == job.out / "bundle" and judged.bundled.folder.is_dir()
    assert judged.report == job.out / "report.html"


def test_a_page_is_written_again_of_the_results_as_they_are(
    job: JobContext, judged: JudgedJob, judgements: list[JobContext]
) -> None:
    before = shown(judged.report)
    judged.report.unlink()
    again = fresh(job)
    assert write_report_again(again, as_run(again)) == judged.report
    assert judgements == []
    assert shown(judged.report) == before


def test_a_page_trains_nothing_that_is_missing(
    job: JobContext, judged: JudgedJob, judgements: list[JobContext], tmp_path: Path
) -> None:
    """As after a time limit: the page shows the seed that was done."""
    part = fresh(job)
    part = replace(part, out=tmp_path / "part")
    shutil.copytree(job.out, part.out)
    for folder in (part.out / "models").glob("*/1"):
        shutil.rmtree(folder)
    write_report_again(part, as_run(part))
    assert not list((part.out / "models").glob("*/1")) and len(judgements) == 1
    shutil.rmtree(part.out / "models")
    with pytest.raises(DataError, match=r"part: holds no trained study; start with"):
        write_report_again(part, as_run(part))


@pytest.mark.slow
@pytest.mark.parametrize("why", ["settings", "absent", "earlier release"])
def test_models_are_judged_again_where_the_results_are_not_theirs(
    job: JobContext, judged: JudgedJob, judgements: list[JobContext], why: str
) -> None:
    file, config = job.out / "results.json", job.config
    if why == "settings":
        config = replace(config, evidence=replace(config.evidence, bootstrap=30))
    elif why == "absent":
        file.unlink()
    else:
        results = json.loads(file.read_text())
        del results["judged"]
        file.write_text(json.dumps(results))
    again = fresh(job, config=config)
    write_report_again(again, as_run(again))
    assert len(judgements) == 1
    assert json.loads(file.read_text())["judged"]
