"""A study on images: the same pieces as on tables, judged by the metrics of images.

search/, models/    what was found and trained, each once
routes/             pictures and data of what the policies chose
results.json, results.md, report.html
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from recmtl.atomic import write_json, write_text
from recmtl.evaluate.results import assemble, summary
from recmtl.grid import draw_svg, draw_text
from recmtl.job.logbook import Logbook
from recmtl.job.outcome import Models, all_trained, mean_costs
from recmtl.job.study import Study, refuse_another_study
from recmtl.job.work_items import SEARCHED, all_pieces, with_needed
from recmtl.job.workers import complete, cores
from recmtl.tracking import Run, Tracker
from recmtl.train.loop import OnProgress
from recmtl.train.training_state import Metrics
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

__all__ = ["VisionJob"]


@dataclass(frozen=True)
class VisionJob:
    """One run: its settings, its output folder and its tracking."""

    config: VisionConfig
    out: Path
    tracker: Tracker
    on_progress: OnProgress
    console: Console

    def run(self, run: Run) -> dict[str, Any]:
        """Search, train and measure every model; write results, report and pictures."""
        self.out.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(self.config.threads or cores())
        problem, fingerprint = ImageProblem.open(self.config)
        refuse_another_study(self.out, self._facts(fingerprint))
        config = self.config.at(len(problem.train))
        study = Study(self.out, problem, config, self.on_progress)
        pieces = with_needed(all_pieces(config))
        study.check(pieces)
        complete(study, pieces, Logbook(study, self.tracker, test=True).finished)
        models = all_trained(study)
        results = _results(study, models, fingerprint)
        write_json(self.out / "results.json", results)
        write_text(self.out / "results.md", vision_table(results))
        pictures = self._pictures(study, models)
        title = f"Sharing among the tasks of {self.config.data.reader.replace('_', ' ')}"
        content = VisionReport(title, results, pictures)
        write_vision_report(self.out / "report.html", content)
        for name in ("results.json", "report.html"):
            run.log_file(self.out / name)
        return results

    def _facts(self, fingerprint: str) -> Mapping[str, Any]:
        settings = asdict(self.config)
        settings["data"] = {k: v for k, v in settings["data"].items() if k not in PLACES}
        parts = ("data", "network", "steps", "task_weights", "grid", "training", "search", "seed")
        known = {name: settings[name] for name in parts}
        return {"fingerprint": fingerprint, **known, "budget": self.config.evidence.budget}

    def _pictures(self, study: Study[ImageProblem], models: Models) -> dict[str, str]:
        """What each search left, drawn; the first seed of every other network with two lanes."""
        folder, pictures = self.out / "routes", dict[str, str]()
        folder.mkdir(exist_ok=True)
        tasks = tuple(task.name for task in study.problem.tasks)
        for name, seeds in models.items():
            for seed in seeds if name in SEARCHED else ():
                layout = study.wiring(name, seed)
                label = f"{name}-{seed}"
                pictures[label] = draw_svg(layout, tasks)
                write_text(folder / f"{label}.svg", pictures[label])
                write_text(folder / f"{label}.txt", draw_text(layout, tasks) + "\n")
                write_json(folder / f"{label}.json", study.record(name, seed), allow_nan=True)
        return pictures


PLACES = ("folder", "threads", "evaluated_at_once")
"""What of the data's settings changes no result."""


def _results(study: Study[ImageProblem], models: Models, fingerprint: str) -> dict[str, Any]:
    problem = study.problem
    metrics = {name: {s: t.test for s, t in seeds.items()} for name, seeds in models.items()}
    scores = {
        name: {seed: problem.score(found) for seed, found in seeds.items()}
        for name, seeds in metrics.items()
    }
    cost = mean_costs(models)
    whole = "full_grid" if "full_grid" in cost else "single_task"
    most = float(cost.get(whole, {}).get("multiply_adds") or 0.0)
    shares = {n: float(c["multiply_adds"] or 0.0) / most for n, c in cost.items() if most}
    validation = {
        name: {seed: trained.validation_score for seed, trained in seeds.items()}
        for name, seeds in models.items()
    }
    more = {
        "primary": {task.name: primary_metric(task)[0] for task in problem.tasks},
        "share": {"of": whole, "multiply_adds": shares},
        "validation_score": validation,
        "gains": _gains(problem, metrics),
    }
    return assemble(
        metrics, verdicts={}, cost=cost, scores=scores, fingerprint=fingerprint, more=more
    )


def _gains(
    problem: ImageProblem, metrics: Mapping[str, Mapping[int, Metrics]]
) -> dict[str, dict[str, Any]]:
    """Of each model the gain over the single-task models' mean, by task and flat, over seeds."""
    if "single_task" not in metrics:
        return {}
    reported = {
        name: [select_metrics(found, problem.tasks, REPORTED) for found in seeds.values()]
        for name, seeds in metrics.items()
    }
    base = {
        task: {m: float(np.mean([one[task][m] for one in reported["single_task"]])) for m in own}
        for task, own in reported["single_task"][0].items()
    }
    return {
        name: {
            "by_task": summary([delta_by_task(one, base) for one in found]),
            "flat": summary([delta_flat(one, base) for one in found]),
        }
        for name, found in reported.items()
    }
