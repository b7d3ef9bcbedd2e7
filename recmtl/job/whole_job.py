"""From a log to a verdict with bundle and report, and on to scores and a registered model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recmtl.atomic import read_json
from recmtl.job import steps
from recmtl.job.analysis.page import judged_mark, write_page
from recmtl.tracking import TrackedRun

__all__ = ["JudgedJob", "WholeJob", "run_to_verdict", "run_whole_job", "write_report_again"]


@dataclass(frozen=True)
class JudgedJob:
    """What a job leaves that goes as far as the verdict.

    Attributes:
        evaluation: the trained models, judged on test rows.
        bundled: the folder that serves the chosen network.
        report: the page that shows the evaluation.
    """

    evaluation: steps.Evaluation
    bundled: steps.BundledNetwork
    report: Path


@dataclass(frozen=True)
class WholeJob(JudgedJob):
    """What a whole job leaves.

    Attributes:
        scores: the folder of the scored input.
        ranking: the file of the ranked first groups of the input.
    """

    scores: Path
    ranking: Path


def run_to_verdict(job: steps.JobContext, run: TrackedRun) -> JudgedJob:
    """Run the steps as far as the verdict; what the output folder holds is not done again."""
    trained = steps.train_all(job, steps.prepare(job, run), run)
    evaluation = steps.evaluate(job, trained, run)
    bundled = steps.bundle(job, evaluation)
    return JudgedJob(evaluation, bundled, steps.report(job, evaluation, run))


def write_report_again(job: steps.JobContext, run: TrackedRun) -> Path:
    """Write the page of a folder's models; they are judged only where results.json is not theirs.

    Raises:
        DataError: the folder holds no trained study, or results.json is damaged.
    """
    trained = steps.trained_before(job, steps.prepare(job, run))
    file = job.out / "results.json"
    results = read_json(file, remedy="delete it: models are judged again") if file.exists() else {}
    if results.get("judged") != judged_mark(trained):
        results = steps.evaluate(job, trained, run).results
    return write_page(job, trained, results, run)


def run_whole_job(
    job: steps.JobContext,
    run: TrackedRun,
    *,
    on_verdict: Callable[[WholeJob], None] = lambda whole: None,
) -> WholeJob:
    """Run every step; what the output folder holds already is not done again.

    Args:
        job: the context.
        run: of the job's tracker.
        on_verdict: called when all is done but the registration of the model, which waits for it.
    """
    judged = run_to_verdict(job, run)
    steps.score(job, judged.bundled)
    scores, ranking = job.out / "scored", job.out / "ranking.parquet"
    whole = WholeJob(judged.evaluation, judged.bundled, judged.report, scores, ranking)
    on_verdict(whole)
    steps.register(job, judged.evaluation, judged.bundled, run)
    return whole
