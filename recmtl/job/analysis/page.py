"""The page that shows judged models: its content, gathered from the study and from results.json."""

import hashlib
from importlib.metadata import version
from pathlib import Path

from recmtl.grid import expert_names, expert_use, route_pictures
from recmtl.job.analysis.provenance import provenance, summary_line
from recmtl.job.handed_on import JobContext, TrainedModels
from recmtl.job.outcome import Results, curves_of, reliability
from recmtl.report import ExpertUse, ReportInput, write_report
from recmtl.tracking import TrackedRun

__all__ = ["judged_mark", "write_page"]


def write_page(job: JobContext, trained: TrainedModels, results: Results, run: TrackedRun) -> Path:
    """Write `report.html` of trained models and the results of judging them."""
    study, network, log = trained.study, trained.chosen.network, trained.prepared.log
    tasks = [task.name for task in study.problem.tasks]
    batch = next(study.heard.validation.batches(batch_size=4096, seed=None))
    use = expert_use(network.grid, network.encoder(*batch.inputs))
    content = ReportInput(
        results=results,
        data=log.manifest,
        search_history=trained.chosen.search.history,
        routes=route_pictures(network.grid.layout, tuple(tasks)),
        expert_use=ExpertUse(use.numpy(), tasks, expert_names(network.grid.layout)),
        health=trained.chosen.result.health,
        reliability=reliability(study, trained.models),
        curves=curves_of(trained.models),
        weights=trained.chosen.result.weights,
        provenance=provenance(job, trained),
        config=study.config.dump(),
        subtitle=summary_line(log),
        title=f"What the tasks of {log.schema.name} should share",
    )
    page = job.out / "report.html"
    write_report(page, content)
    run.log_file(page)
    return page


def judged_mark(trained: TrainedModels) -> str:
    """A mark of all that the results of judging depend on: equal marks, equal results.

    The release, the settings, and the models with their seeds; the data are the study's.
    """
    models = {name: list(seeds) for name, seeds in trained.models.items()}
    text = f"{version('recmtl')}\n{trained.study.config.dump()}\n{models}"
    return hashlib.sha256(text.encode()).hexdigest()
