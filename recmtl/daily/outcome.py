"""What an update comes to: results.json, calibration, the bundle, its report, its registration."""

import platform
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from recmtl.daily.trained_on import MODEL, TrainedOn
from recmtl.data.vocabulary_drift import unknown_shares
from recmtl.evaluate import assemble, evaluate
from recmtl.evaluate.task_metrics import validation_score
from recmtl.evaluate.transfer_test import judge_transfer
from recmtl.grid import route_pictures
from recmtl.job import steps
from recmtl.job.analysis.provenance import summary_line
from recmtl.job.analysis.raw_scores import scores_of_part
from recmtl.job.analysis.reference import reference_of
from recmtl.job.handed_on import JobContext, PreparedLog
from recmtl.job.outcome import metric_groups
from recmtl.report import ReportInput, write_report
from recmtl.report.benchmark_page import model_description
from recmtl.serve.bundle import Bundle, save_bundle
from recmtl.serve.calibration.calibrators import Calibrators
from recmtl.serve.calibration.fit import calibration_gain, fit_calibrators
from recmtl.tracking import TrackedRun

__all__ = ["PARENT", "bundle", "calibrate", "judge", "register", "report"]

PARENT, CONSTANT = "parent", "constant"
Results = dict[str, Any]


def judge(job: JobContext, trained: TrainedOn, cpu_s: float) -> Results:
    """The content of results.json: the updated model against its parent and a constant.

    All are measured on the same test rows of the added days. The parent scores their raw rows as
    it would in service, without its calibration, as the networks are measured.
    """
    problem, days = trained.problem, trained.days
    parent = replace(days.parent.bundle, calibrators=None)
    scores = scores_of_part({PARENT: parent}, days.log, job.data)
    scores |= {MODEL: trained.predictions, CONSTANT: trained.constant.predictions}
    rows, tasks = problem.test, problem.tasks
    labels, weight, group = (
        np.asarray(rows.labels),
        np.asarray(rows.weight_by_task),
        metric_groups(rows.group),
    )
    metrics = {name: {0: evaluate(s, labels, tasks, group, weight)} for name, s in scores.items()}
    verdict = judge_transfer(
        {name: {0: of_model} for name, of_model in scores.items()},
        labels,
        tasks,
        group=group,
        weight=weight,
        subject=MODEL,
        decisive=PARENT,
        resamples=job.config.evidence.bootstrap,
        fixed=tuple(scores),  # these very models are compared, not trainings like theirs
    )
    return assemble(
        metrics,
        verdicts=verdict.tasks,
        cost=_costs(trained, parent),
        scores={n: {0: validation_score(m[0], tasks)} for n, m in metrics.items()},
        fingerprint=days.log.fingerprint,
        more={"mean": verdict.mean, "update": _facts(trained, cpu_s)},
    )


def calibrate(job: JobContext, trained: TrainedOn, results: Results) -> Calibrators:
    """Fit the maps of the probabilities on the days; add their gain on test rows to results."""
    settings, problem, days = job.config.calibration, trained.problem, trained.days
    model, encoder = trained.model, days.encoder
    # A segment is a column of the encoder, of which the network may hear less.
    validation, test = (days.log.split(part).ids for part in ("validation", "test"))
    calibrators = fit_calibrators(
        model, encoder, rows=problem.validation, settings=settings, ids=validation
    )
    if calibrators.columns:
        gain = calibration_gain(
            model, encoder, calibrators=calibrators, rows=problem.test, ids=test
        )
        results["calibration"] = {**asdict(settings), "columns": gain}
    return calibrators


def bundle(job: JobContext, trained: TrainedOn, results: Results, calibrators: Calibrators) -> Path:
    """Write the updated bundle, with its lineage."""
    days, serving = trained.days, job.config.serving
    encoder, parent, log = days.encoder, days.parent.bundle, days.log
    prepared = PreparedLog(log, log.schema)
    user = serving.user or encoder.schema.columns_of(parent.user)
    return save_bundle(
        job.out / "bundle",
        model=trained.model,
        encoder=encoder,
        rows=steps.first_rows(job, prepared, encoder.input_columns, steps.GOLDEN_ROWS),
        metrics=results,
        calibrators=calibrators,
        unknown=unknown_shares(encoder, log.split("validation").ids),
        forests=None if days.trees is None else days.trees.forests,
        user=user,
        onnx=serving.onnx,
        reference=reference_of(
            trained.model,
            trained.problem.test,
            encoder=encoder,
            calibrators=calibrators,
            encoded=log.split("test"),
        ),
        lineage=[*parent.lineage, results["update"]["lineage"]],
    )


def report(job: JobContext, trained: TrainedOn, results: Results) -> Path:
    """Write the page that says what changed, and why."""
    layout, log = trained.model.grid.layout, trained.days.log
    tasks = tuple(task.name for task in trained.problem.tasks)
    result, page = trained.result, job.out / "report.html"
    curves = {MODEL: {name: [rows] for name, rows in result.curves.items()}}
    content = ReportInput(
        results=results,
        data=log.manifest,
        routes=route_pictures(layout, tasks),
        health=result.health,
        curves=curves,
        provenance=_provenance(job, trained),
        config=trained.config.dump(),
        title=f"{log.schema.name}, updated",
        subtitle=summary_line(log),
    )
    write_report(page, content)
    return page


def register(
    job: JobContext, trained: TrainedOn, results: Results, folder: Path, run: TrackedRun
) -> None:
    """Log the bundle as a new version of the schema's model; the rule of promotion judges it."""
    log, lineage = trained.days.log, results["update"]["lineage"]
    routes = (job.out / "routes.txt").read_text(encoding="utf-8")
    tags = {"data.fingerprint": log.fingerprint, "data": job.data}
    tags |= {"update.parent": lineage["parent"], "update.number": str(results["update"]["number"])}
    run.set_tags(tags)
    run.log_model(
        folder,
        name=log.schema.name,
        tags=tags,
        description=model_description(results, log.manifest, data=job.data, routes=routes),
        promote=job.promote,
    )


def _facts(trained: TrainedOn, cpu_s: float) -> dict[str, Any]:
    """What changed and why: `update` in results.json."""
    days, test, parent = trained.days, trained.test, trained.days.parent.bundle
    lineage = {
        "parent": parent.fingerprint,
        "data": days.log.fingerprint,
        "rows": sum(days.log.manifest["rows"].values()),
        "span": days.grown["span"],
    }
    facts: dict[str, Any] = {
        "lineage": lineage,
        "number": len(parent.lineage) + 1,
        "cpu_s": cpu_s,
        **days.grown,
        "networks": [{"before": r.started, "after": r.validation_score} for r in trained.results],
        "test": None if test is None else asdict(test),
        "new_route": None,
    }
    if trained.new_route is not None:
        route, result = trained.new_route
        facts["new_route"] = {
            "winner": route.winner,
            "validation": result.validation_score,
            "serves": trained.serves_new_route,
        }
    return facts


def _costs(trained: TrainedOn, parent: Bundle) -> dict[str, dict[str, float | None]]:
    """The cost of every model; the updated one's training is that of all its networks."""
    clocks = {
        name: sum(result.cost.get(name) or 0.0 for result in trained.results)
        for name in ("train_s", "cpu_s")
    }
    cost, of_parent = trained.model.cost(), parent.model.cost()
    nothing = dict.fromkeys(("train_s", "cpu_s", "score_rows_per_s"))
    return {
        MODEL: {
            **trained.result.cost,
            **clocks,
            "parameters": cost.parameters,
            "multiply_adds": cost.multiply_adds,
        },
        PARENT: {
            "parameters": of_parent.parameters,
            "multiply_adds": of_parent.multiply_adds,
            **nothing,
        },
        CONSTANT: trained.constant.cost,
    }


def _provenance(job: JobContext, trained: TrainedOn) -> dict[str, str]:
    log, parent = trained.days.log, trained.days.parent.bundle
    return {
        "written": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "recmtl": version("recmtl"),
        "data": job.data,
        "fingerprint of data and schema": log.fingerprint,
        "parent": f"{parent.folder}, fingerprint {parent.fingerprint}",
        "machine": f"Python {platform.python_version()}, torch {version('torch')}",
    }
