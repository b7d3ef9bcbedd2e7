"""Update a bundle by added days; what is finished lies in the output folder.

    base/, log/           the days, encoded by grown vocabularies       added_days
    models/, wirings/     networks trained on; whether their wiring     trained_on
    search/               still holds, and a new search if not
    results.json          the updated bundle against its parent         outcome
    bundle/, report.html  what serves, and what changed

The parent is only read. A job that was killed goes on with the same arguments, to the same weights.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recmtl.atomic import write_json
from recmtl.daily.added_days import added_days
from recmtl.daily.outcome import bundle, calibrate, judge, register, report
from recmtl.daily.parent import Parent, require_calibration
from recmtl.daily.trained_on import SearchWhen, TrainedOn, train_on
from recmtl.grid import Routes
from recmtl.job.handed_on import JobContext
from recmtl.job.logbook import log_results
from recmtl.job.outcome import write_routes
from recmtl.tracking import TrackedRun

__all__ = ["Update", "cpu_seconds", "update", "updated"]


@dataclass(frozen=True)
class Update:
    """What an update leaves.

    Attributes:
        trained: the networks.
        bundle: the folder of the updated bundle.
        results: the content of results.json.
        report: the page that says what changed; None where nobody wants one.
    """

    trained: TrainedOn
    bundle: Path
    results: dict[str, Any]
    report: Path | None


def update(
    job: JobContext,
    run: TrackedRun,
    parent: Parent,
    *,
    retire_after: str = "",
    search_when: SearchWhen = "auto",
) -> Update:
    """Update a bundle by the job's data, track it, and register the new bundle.

    The rule of promotion (`recmtl.job.champion`) says whether it becomes champion.

    Args:
        job: with the added days as its data, and the output folder of the update.
        run: of the job's tracker.
        parent: what is updated.
        retire_after: retire ids that no train row has had for so long, such as `90d`; empty
            retires none.
        search_when: when a new search is made.

    Raises:
        ConfigError: a setting does not fit the parent.
        DataError: the days are not what the schema says, or were counted already.
    """
    done = updated(job, parent, retire_after=retire_after, search_when=search_when)
    run.log_data(fingerprint=done.trained.days.log.fingerprint, schema=job.schema)
    for name in ("results.json", "report.html", "routes.json", "routes.svg"):
        run.log_file(job.out / name)
    log_results(run, done.results)
    register(job, done.trained, done.results, done.bundle, run)
    return done


def updated(
    job: JobContext,
    parent: Parent,
    *,
    retire_after: str = "",
    search_when: SearchWhen = "auto",
    with_report: bool = True,
) -> Update:
    """Update a bundle without tracking or registering it; see `update`."""
    began = cpu_seconds()
    require_calibration(parent, job.config.calibration.method)
    days = added_days(job, parent, retire_after=retire_after)
    for warning in days.log.manifest["warnings"]:
        job.console.print(f"warning: {warning}", style="yellow", markup=False)
    trained = train_on(job, days, search_when)
    layout, tasks = trained.model.grid.layout, tuple(t.name for t in trained.problem.tasks)
    write_routes(job.out, Routes.full(layout), layout, tasks)
    results = judge(job, trained, cpu_seconds() - began)
    calibrators = calibrate(job, trained, results)
    write_json(job.out / "results.json", results)
    folder = bundle(job, trained, results, calibrators)
    page = report(job, trained, results) if with_report else None
    return Update(trained, folder, results, page)


def cpu_seconds() -> float:
    """Processor time of this process and of those that it has waited for, in seconds."""
    return sum(os.times()[:4])
