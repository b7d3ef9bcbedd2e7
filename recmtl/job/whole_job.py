"""The whole job: from a log to a verdict, a bundle, scores, a report and a registered model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recmtl.job import steps
from recmtl.tracking import TrackedRun

__all__ = ["WholeJob", "run_whole_job"]


@dataclass(frozen=True)
class WholeJob:
    """What a whole job leaves.

    Attributes:
        evaluation: the trained models, judged on test rows.
        bundled: the folder that serves the chosen network.
        report: the page that shows the evaluation.
        scores: the folder of the scored input.
        ranking: the file of the ranked first groups of the input.
    """

    evaluation: steps.Evaluation
    bundled: steps.BundledNetwork
    report: Path
    scores: Path
    ranking: Path


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
    prepared = steps.prepare(job, run)
    evaluation = steps.evaluate(job, steps.train_all(job, prepared, run), run)
    bundled = steps.bundle(job, evaluation)
    page = steps.report(job, evaluation, run)
    steps.score(job, bundled)
    whole = WholeJob(evaluation, bundled, page, job.out / "scored", job.out / "ranking.parquet")
    on_verdict(whole)
    steps.register(job, evaluation, bundled, run)
    return whole
