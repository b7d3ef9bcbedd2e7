"""The study on images: the work items of tables, judged by the metrics of images.

search/, models/    what was searched and trained, each once
routes/             pictures and data of what the searches chose
results.json, results.md, report.html
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from rich.console import Console

from recmtl.atomic import write_json, write_text
from recmtl.evaluate.results import assemble, summary
from recmtl.evaluate.task_metrics import Metrics
from recmtl.folder_lock import hold_folder
from recmtl.grid import draw_svg, draw_text
from recmtl.job.console import progress_display
from recmtl.job.logbook import Logbook, log_results
from recmtl.job.outcome import Models, Results, mean_costs, trained_models
from recmtl.job.problem_kind import ProblemKind
from recmtl.job.study import Study
from recmtl.job.work.agenda import unseen
from recmtl.job.work.begun import refuse_another_study
from recmtl.job.work.items import SEARCHED, all_items
from recmtl.job.work.workers import complete, cores
from recmtl.tracking import TrackedRun, Tracker
from recmtl.train.loop import OnProgress, silent
from recmtl.vision.config import VisionConfig
from recmtl.vision.metrics import (
    REPORTED,
    delta_by_task,
    delta_flat,
    primary_metric,
    select_metrics,
)
from recmtl.vision.problem import ImageProblem
from recmtl.vision.report import VisionReport, vision_table, write_vision_report

__all__ = ["IMAGE_PROBLEMS", "VisionContext", "load_vision_config", "run_study", "run_vision"]

ImageStudy: TypeAlias = Study[ImageProblem, VisionConfig]

NO_RESULT_DEPENDS_ON = ("folder", "threads", "evaluated_at_once")
"""Settings of the data that may change while a study goes on."""


def open_problem(folder: Path, config: VisionConfig) -> ImageProblem:
    """The images that a configuration names; nothing of them is in the output folder."""
    return ImageProblem.open(config)[0]


IMAGE_PROBLEMS = ProblemKind("images", VisionConfig, open_problem)


@dataclass(frozen=True)
class VisionContext:
    """What a study on images was given, and where it reports.

    Attributes:
        config: the images, the network, and how it is searched and trained.
        out: the output folder.
        tracker: of runs.
        on_progress: called with the progress of every work item.
    """

    config: VisionConfig
    out: Path
    tracker: Tracker
    on_progress: OnProgress


def run_vision(
    config: VisionConfig, out: Path, console: Console, *, quiet: bool = False
) -> Results:
    """Run a study on images in an output folder; nothing is done twice.

    Args:
        config: the images, the network, and how it is searched and trained.
        out: the output folder.
        console: for progress.
        quiet: show no progress.
    """
    with hold_folder(out), progress_display(console) as shown:
        job = VisionContext(config, out, Tracker(out), silent if quiet else shown)
        with job.tracker.run("vision") as run:
            run.log_params({"out": str(out), "config": asdict(config)})
            run.log_environment()
            return run_study(job, run)


def load_vision_config(path: Path, *, data: str = "", seeds: int = 0) -> VisionConfig:
    """Read the configuration of a study on images.

    Args:
        path: YAML file.
        data: folder of the images, in place of the file's.
        seeds: of every model, in place of the file's; 0 for the file's.

    Raises:
        ConfigError: the file cannot be read, or it holds unknown keys or wrong values.
    """
    config = IMAGE_PROBLEMS.config_class.load(path)
    if data:
        config = replace(config, data=replace(config.data, folder=data))
    if seeds:
        config = replace(config, evidence=replace(config.evidence, seeds=seeds))
    return config


def run_study(job: VisionContext, run: TrackedRun) -> Results:
    """Search, train and measure every model; write results, pictures and report."""
    job.out.mkdir(parents=True, exist_ok=True)
    study, fingerprint = _open_study(job)
    complete(study, all_items(study.config), Logbook(study, job.tracker, test=True).finished)
    models = trained_models(study, all_items(study.config))
    results = _results(study, models, fingerprint)
    write_json(job.out / "results.json", results)
    write_text(job.out / "results.md", vision_table(results))
    title = f"Sharing among the tasks of {job.config.data.reader.replace('_', ' ')}"
    content = VisionReport(title, results, _pictures(study, models))
    write_vision_report(job.out / "report.html", content)
    for name in ("results.json", "report.html"):
        run.log_file(job.out / name)
    log_results(run, results)
    return results


def _open_study(job: VisionContext) -> tuple[ImageStudy, str]:
    """The study in the output folder, and the fingerprint of its images."""
    torch.set_num_threads(job.config.threads or cores())
    problem, fingerprint = ImageProblem.open(job.config)
    settings = asdict(job.config)
    for name in NO_RESULT_DEPENDS_ON:
        del settings["data"][name]
    parts = ("data", "network", "steps", "task_weights", "grid", "training", "search", "seed")
    facts = {name: settings[name] for name in parts}
    budget = job.config.evidence.budget
    refuse_another_study(job.out, {"fingerprint": fingerprint, **facts, "budget": budget})
    config = job.config.with_epochs(len(problem.train))
    on_outlook = getattr(job.on_progress, "outlook", unseen)
    study = Study(job.out, IMAGE_PROBLEMS, problem, config, job.on_progress, on_outlook)
    return study, fingerprint


def _pictures(study: ImageStudy, models: Models) -> dict[str, str]:
    """Pictures of the networks whose wiring was searched, also written to `routes/`."""
    folder, pictures = study.folder / "routes", dict[str, str]()
    folder.mkdir(exist_ok=True)
    tasks = tuple(task.name for task in study.problem.tasks)
    for name in (model for model in models if model in SEARCHED):
        for seed in models[name]:
            layout, label = study.wiring(name, seed), f"{name}-{seed}"
            pictures[label] = draw_svg(layout, tasks)
            write_text(folder / f"{label}.svg", pictures[label])
            write_text(folder / f"{label}.txt", draw_text(layout, tasks) + "\n")
            write_json(folder / f"{label}.json", study.record(name, seed), allow_nan=True)
    return pictures


def _results(study: ImageStudy, models: Models, fingerprint: str) -> Results:
    problem = study.problem
    metrics = {name: {s: r.test for s, r in seeds.items()} for name, seeds in models.items()}
    scores = {
        name: {seed: problem.score(of_tasks) for seed, of_tasks in seeds.items()}
        for name, seeds in metrics.items()
    }
    cost = mean_costs(models)
    whole = "full_grid" if "full_grid" in cost else "single_task"
    most = float(cost.get(whole, {}).get("multiply_adds") or 0.0)
    shares = {n: float(c["multiply_adds"] or 0.0) / most for n, c in cost.items() if most}
    more = {
        "primary": {task.name: primary_metric(task)[0] for task in problem.tasks},
        "share": {"of": whole, "multiply_adds": shares},
        "validation_score": {
            name: {seed: result.validation_score for seed, result in seeds.items()}
            for name, seeds in models.items()
        },
        "gains": _gains(problem, metrics),
    }
    return assemble(
        metrics, verdicts={}, cost=cost, scores=scores, fingerprint=fingerprint, more=more
    )


def _gains(
    problem: ImageProblem, metrics: Mapping[str, Mapping[int, Metrics]]
) -> dict[str, dict[str, Any]]:
    """Each model's gain over the mean of the single-task models, by task and flat, over seeds."""
    if "single_task" not in metrics:
        return {}
    reported = {
        name: [select_metrics(of_seed, problem.tasks, REPORTED) for of_seed in seeds.values()]
        for name, seeds in metrics.items()
    }
    alone = reported["single_task"]
    base = {
        task: {name: float(np.mean([of_seed[task][name] for of_seed in alone])) for name in names}
        for task, names in alone[0].items()
    }
    return {
        name: {
            "by_task": summary([delta_by_task(of_seed, base) for of_seed in seeds]),
            "flat": summary([delta_flat(of_seed, base) for of_seed in seeds]),
        }
        for name, seeds in reported.items()
    }
