"""The front of networks that trade tasks against one another, and the one that meets the aim.

Networks of the searched wiring are trained with each task's loss emphasised, and with none; their
scores on validation rows say what one task costs the others. The point that meets `aim` best is
kept in `front.json`, and the searched network is trained with its factors.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from recmtl.atomic import write_json
from recmtl.evaluate.results import plain
from recmtl.job.outcome import TabularStudy
from recmtl.job.study import FRONT_FILE
from recmtl.job.work.items import WorkItem, at_point
from recmtl.job.work.workers import complete

__all__ = ["EVEN", "choose_point"]

EVEN = "none"
"""The name of the point at which no task is emphasised."""


def choose_point(study: TabularStudy, finished: Callable[[WorkItem], None]) -> None:
    """Train the front and choose the point that meets the aim, unless that was done before.

    The choice is left in `front.json`: of each point its name, the `factors` of the losses, the
    mean `scores` of the tasks on validation rows over the seeds, whether it `meets` what is
    promised to the other tasks, and the `value` of the aim; `chosen` names one. The point without
    emphasis always meets it.

    Args:
        study: with a point chosen, or without.
        finished: called with each work item as soon as it is done.
    """
    aim, tasks = study.config.aim, [task.name for task in study.problem.tasks]
    if not aim.enabled or len(tasks) < 2 or (study.folder / FRONT_FILE).is_file():
        return
    aim.check(tasks)
    seeds = range(study.config.seed, study.config.seed + aim.seeds)
    names = [EVEN, *tasks]
    models = [at_point("searched", number) for number in range(len(names))]
    complete(study, [WorkItem(model, seed) for model in models for seed in seeds], finished)
    scores = [_mean_scores(study, model, seeds) for model in models]
    points: list[dict[str, Any]] = [
        {
            "name": name,
            "factors": study.factors(model),
            "scores": of_tasks,
            "meets": aim.is_met(of_tasks, scores[0]),
            "value": aim.value(of_tasks),
        }
        for name, model, of_tasks in zip(names, models, scores, strict=True)
    ]
    chosen = max((point for point in points if point["meets"]), key=lambda point: point["value"])
    record = {"chosen": chosen["name"], "factors": chosen["factors"], "points": points}
    write_json(study.folder / FRONT_FILE, plain(record), durable=True)


def _mean_scores(study: TabularStudy, model: str, seeds: range) -> dict[str, float]:
    """The stop metric of each task on validation rows, its mean over the seeds."""
    results = [study.trained(model, seed) for seed in seeds]
    by_seed = [study.problem.task_scores(result.validation) for result in results]
    return {task: float(np.mean([scores[task] for scores in by_seed])) for task in by_seed[0]}
