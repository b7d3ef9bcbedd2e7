"""The last step of the main job: the bundle becomes a version of the schema's registered model."""

from recmtl.job.steps import BundledNetwork, Evaluation, JobContext
from recmtl.report.benchmark_page import model_description
from recmtl.tracking import Run

__all__ = ["register"]


def register(job: JobContext, evaluation: Evaluation, bundled: BundledNetwork, run: Run) -> None:
    """Log the bundle as a new version, described by its tasks, verdicts, data and routes."""
    log, results = bundled.prepared.log, evaluation.results
    tags = {"data.fingerprint": log.fingerprint, "data": job.data}
    if job.like is not None:
        tags["vocabulary.fingerprint"] = str(log.manifest["like"])
    routes = (job.out / "routes.txt").read_text(encoding="utf-8")
    run.log_model(
        bundled.folder,
        name=log.schema.name,
        tags=tags,
        description=model_description(results, log.manifest, data=job.data, routes=routes),
        promote=job.promote,
    )
