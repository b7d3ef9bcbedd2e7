"""From the arms of a log to the content of its page: every arm is judged in the same way.

An arm's opponent is the best other arm on validation rows: of each task, and for the mean. Then
`judge_transfer` compares the two on test rows. Nothing here is chosen on test rows, and the order
of the arms changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from benchmarks.board.arms import Arm
from recmtl.evaluate.results import plain, summary
from recmtl.evaluate.task_metrics import PRIMARY, evaluate, validation_score
from recmtl.evaluate.transfer_test import judge_transfer
from recmtl.schema import TaskSpec

__all__ = ["RARE", "HeldOut", "judged_arms"]

RARE = 300
"""Positives among the test rows below which a task is called rare."""


@dataclass(frozen=True)
class HeldOut:
    """The rows on which arms are judged: labels [R, T], groups [R] or None, weights [R] or None."""

    labels: np.ndarray
    tasks: Sequence[TaskSpec]
    group: np.ndarray | None = None
    weight: np.ndarray | None = None

    @property
    def common(self) -> tuple[str, ...]:
        """The tasks that are not rare: a mean of more tells of the luck of a few rows."""
        return tuple(
            task.name
            for place, task in enumerate(self.tasks)
            if task.kind != "binary" or np.nansum(self.labels[:, place]) >= RARE
        )

    def of(self, names: Sequence[str]) -> "HeldOut":
        """The same rows with these tasks alone."""
        places = [i for i, task in enumerate(self.tasks) if task.name in names]
        tasks = [self.tasks[i] for i in places]
        return HeldOut(self.labels[:, places], tasks, self.group, self.weight)


def judged_arms(arms: Sequence[Arm], rows: HeldOut, *, resamples: int) -> dict[str, Any]:
    """Arm -> its quality, its proof against the best other arm, and its cost; ready for JSON."""
    by_name = {arm.name: arm for arm in sorted(arms, key=lambda arm: arm.name)}
    every = tuple(task.name for task in rows.tasks)
    means = {"mean": every, "common_mean": rows.common}
    if rows.common in ((), every):
        del means["common_mean"]
    validation = {name: _on_validation(arm, rows.tasks, means) for name, arm in by_name.items()}

    @cache
    def gains(subject: str, opponent: str, tasks: tuple[str, ...] = every) -> Any:
        return _gains(by_name[subject], by_name[opponent], rows.of(tasks), resamples)

    judged = {}
    for name, arm in by_name.items():
        others = [n for n, other in by_name.items() if n != name and name not in other.parts]
        test = _on_test(arm, rows, means)
        tasks = {}
        for task in (t for t in rows.tasks if t.name in arm.tasks):
            best = _best(others, validation, task.name)
            proof = {} if best is None else _proof(best, gains(name, best).tasks[task.name])
            tasks[task.name] = {**test[task.name], "against": proof}
        of_means: dict[str, dict[str, Any]] = {mean: {} for mean in means}
        for mean, averaged in means.items():
            if mean in validation[name]:
                best = _best(others, validation, mean)
                proof = {} if best is None else _proof(best, gains(name, best, averaged).mean)
                value = validation[name][mean]
                of_means[mean] = {**test[mean], "validation": value, "against": proof}
        judged[name] = {
            "kind": arm.kind,
            "preset": arm.preset,
            "seeds": len(arm.results),
            "tasks": tasks,
            **of_means,
            "cost": _cost(arm),
            **arm.facts,
        }
    return plain(judged)  # type: ignore[no-any-return]


def _on_validation(
    arm: Arm, tasks: Sequence[TaskSpec], means: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Of each task the mean of its primary metric over seeds, signed so that more is better.

    And those of the means over tasks of which the arm scores every one.
    """
    of_arm = [task for task in tasks if task.name in arm.tasks]
    values = {}
    for task in of_arm:
        primary = PRIMARY[task.kind]
        sign = 1.0 if primary.higher_is_better else -1.0
        by_seed = [r.validation[task.name][primary.name] for r in arm.results.values()]
        values[task.name] = sign * float(np.mean(by_seed))
    for name, averaged in means.items():
        if set(averaged) <= set(arm.tasks):
            part = [task for task in tasks if task.name in averaged]
            scores = [validation_score(r.validation, part) for r in arm.results.values()]
            values[name] = float(np.mean(scores))
    return values


def _best(
    names: Sequence[str], validation: Mapping[str, Mapping[str, float]], what: str
) -> str | None:
    """The arm with the best validation figure; of equals the first by name."""
    having = [n for n in names if np.isfinite(validation[n].get(what, np.nan))]
    return min(having, key=lambda name: (-validation[name][what], name), default=None)


def _on_test(arm: Arm, rows: HeldOut, means: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    part = rows.of(arm.tasks)
    metrics = [
        evaluate(result.predictions, part.labels, part.tasks, weight=rows.weight)
        for result in arm.results.values()
    ]
    quality: dict[str, Any] = {
        task.name: summary([seed[task.name][PRIMARY[task.kind].name] for seed in metrics])
        for task in part.tasks
    }
    for name, averaged in means.items():
        if set(averaged) <= set(arm.tasks):
            tasks = [task for task in part.tasks if task.name in averaged]
            quality[name] = summary([validation_score(seed, tasks) for seed in metrics])
    return quality


def _gains(subject: Arm, opponent: Arm, rows: HeldOut, resamples: int) -> Any:
    """The verdict on a pair, over the tasks that both score."""
    part = rows.of([name for name in subject.tasks if name in opponent.tasks])
    arms = {arm.name: arm for arm in (subject, opponent)}
    return judge_transfer(
        {n: {s: r.predictions for s, r in arm.results.items()} for n, arm in arms.items()},
        part.labels,
        part.tasks,
        group=rows.group,
        weight=rows.weight,
        subject=subject.name,
        decisive=opponent.name,
        resamples=resamples,
        fixed=[name for name, arm in arms.items() if not arm.has_luck],
    )


def _proof(opponent: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Who the opponent is, and the gain over it; no verdict on tasks that cannot be judged."""
    if opponent not in entry:
        return {"arm": opponent}
    gain = {name: entry[opponent][name] for name in ("gain", "low", "high", "verdict")}
    return {"arm": opponent, **gain}


def _cost(arm: Arm) -> dict[str, float | None]:
    """Mean cost of a seed, and the processor seconds of all seeds."""
    names = ("parameters", "multiply_adds", "cpu_s", "score_rows_per_s")
    mean: dict[str, float | None] = {}
    for name in names:
        values = [result.cost.get(name) for result in arm.results.values()]
        counted = [value for value in values if value is not None]
        mean[name] = float(np.mean(counted)) if counted else None
    return {**mean, "cpu_s_of_all_seeds": arm.cpu_s}
