"""The logbook tracks a study: a run for every finished work item, and results in the job's run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recmtl.job.fit import ModelResult
from recmtl.job.study import SearchRecord, Study
from recmtl.job.work.items import WorkItem
from recmtl.tracking import TrackedRun, Tracker
from recmtl.train.expert_monitor import health_curves
from recmtl.train.recipe.weight_record import weight_curves

__all__ = ["Logbook", "flat_metrics", "log_results"]

STEPS_A_PASS = 1000
"""MLflow counts steps in whole numbers; a curve's step is the epoch times this."""


@dataclass(frozen=True)
class Logbook:
    """Logs work items as they are finished.

    Attributes:
        study: in whose folder the results are.
        tracker: where runs are opened, nested in the one that is open.
        test: whether metrics on test rows are logged, too.
    """

    study: Study[Any, Any]
    tracker: Tracker
    test: bool

    def finished(self, item: WorkItem) -> None:
        """Log the search or the model that a work item has left in the study's folder."""
        with self.tracker.run(str(item)) as run:
            run.log_params({"seed": item.seed, "config": asdict(self.study.config)})
            if item.search:
                _log_search(run, self.study.record(item.name, item.seed))
            else:
                self._log_model(run, self.study.trained(item.name, item.seed))

    def _log_model(self, run: TrackedRun, result: ModelResult) -> None:
        for network, checks in result.curves.items():
            for check in checks:
                values = {f"{network}.{name}": check[name] for name in ("score", "loss")}
                run.log_metrics(values, step=round(STEPS_A_PASS * check["epoch"]))
        for epoch, numbers in (*health_curves(result.health), *weight_curves(result.weights)):
            run.log_metrics(numbers, step=round(STEPS_A_PASS * epoch))
        if result.health:
            warnings = "\n".join(result.health["warnings"]) or "none"
            run.log_text(warnings, "expert_warnings.txt")
        run.log_metrics({name: cost for name, cost in result.cost.items() if cost is not None})
        run.log_metrics(flat_metrics("validation", result.validation))
        if self.test:
            metrics = result.test or self.study.problem.judged(result.predictions)
            run.log_metrics(flat_metrics("test", metrics))


def log_results(run: TrackedRun, results: Mapping[str, Any]) -> None:
    """Log verdicts as tags, and test metrics and gains as metrics, by which runs can be sorted.

    `verdict.<task>`; `test.<task>.<metric>` of the searched network, the mean over its seeds;
    `gain.<task>` over a network trained for the task alone; `score.<model>`, the mean over tasks.
    """
    tasks, verdicts = results["tasks"], results["verdicts"]
    run.set_tags({f"verdict.{t}": e["verdict"] for t, e in tasks.items() if "verdict" in e})
    searched = {task: entry.get("searched", {}) for task, entry in tasks.items()}
    metrics = {
        f"test.{task}.{metric}": cell["mean"]
        for task, cells in searched.items()
        for metric, cell in cells.items()
    }
    metrics |= {
        f"gain.{task}": gains["single_task"]["gain"]
        for task, gains in verdicts.items()
        if "single_task" in gains
    }
    metrics |= {f"score.{model}": cell["mean"] for model, cell in results["score"].items()}
    run.log_metrics({name: value for name, value in metrics.items() if value is not None})


def _log_search(run: TrackedRun, record: SearchRecord) -> None:
    for step, check in enumerate(record.get("history", ())):
        run.log_metrics({n: v for n, v in check.items() if isinstance(v, float)}, step=step)
    what = "routes" if "routes" in record else "tree"
    run.log_json(record[what], f"{what}.json")


def flat_metrics(part: str, metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Metrics under names such as `validation.click.auc`, those left out that are not defined."""
    return {
        f"{part}.{task}.{metric}": value
        for task, values in metrics.items()
        for metric, value in values.items()
        if np.isfinite(value)
    }
