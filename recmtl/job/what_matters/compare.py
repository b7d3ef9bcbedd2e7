"""Two models on the same rows: what one of them is worth more than the other, with its interval."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from recmtl.evaluate.transfer_test import TransferVerdict, judge_transfer
from recmtl.job.fit import ModelResult
from recmtl.job.outcome import TabularStudy, metric_groups

__all__ = ["Comparison", "compare_models", "results_of"]

WITH, WITHOUT = "with", "without"


@dataclass(frozen=True)
class Comparison:
    """What the first of two models is worth more than the second.

    Attributes:
        mean: the fields of a `Gain` on the mean over the tasks; empty if no task can be judged.
        tasks: task -> the fields of a `Gain`.
    """

    mean: Mapping[str, Any]
    tasks: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, verdict: TransferVerdict) -> "Comparison":
        """The comparison in a verdict on `WITH` and `WITHOUT`."""
        tasks = {task: entry[WITHOUT] for task, entry in verdict.tasks.items()}
        return cls(verdict.mean.get(WITHOUT, {}), tasks)

    @property
    def helps(self) -> bool:
        """Whether the mean or a task is proven to gain, and the mean is not proven to lose."""
        verdicts = {gain["verdict"] for gain in (*self.tasks.values(), self.mean) if gain}
        return "helped" in verdicts and self.mean.get("verdict") != "hurt"


def results_of(study: TabularStudy, model: str, seeds: Iterable[int]) -> dict[int, ModelResult]:
    """What a model scored with each of the seeds."""
    return {seed: study.trained(model, seed) for seed in seeds}


def compare_models(
    study: TabularStudy,
    model: Mapping[int, ModelResult],
    other: Mapping[int, ModelResult],
    *,
    part: Literal["validation", "test"],
    confidence: float = 0.95,
) -> Comparison:
    """Compare two models of a study by the test of the verdict.

    Args:
        study: whose tasks and rows they are.
        model: what one scored, by seed.
        other: what the other scored.
        part: the rows on which they are compared.
        confidence: of every interval.
    """
    rows = study.problem.test if part == "test" else study.problem.validation
    name = "predictions" if part == "test" else "on_validation"
    predictions = {
        side: {seed: getattr(result, name) for seed, result in results.items()}
        for side, results in ((WITH, model), (WITHOUT, other))
    }
    verdict = judge_transfer(
        predictions,
        np.asarray(rows.labels),
        study.problem.tasks,
        group=metric_groups(rows.group),
        weight=np.asarray(rows.weight_by_task),
        subject=WITH,
        decisive=WITHOUT,
        resamples=study.config.evidence.bootstrap,
        confidence=confidence,
    )
    return Comparison.of(verdict)
