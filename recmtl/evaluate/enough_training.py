"""Whether networks were trained enough, by their checks on validation rows and by a linear model.

A network that validation shows behind logistic regression has learned too little, whatever it is
compared with; so has one whose score still rises at its last check.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recmtl.evaluate.task_metrics import Metrics, validation_score
from recmtl.schema import TaskSpec

__all__ = ["enough_training", "still_improves"]

Checks = Sequence[Mapping[str, float]]
"""`epoch` and `score` of every check of a training."""

LEAST_RISE = 0.001
"""A smaller rise of the score (a mean of AUC and R2) at the last check is no reason to go on."""
LINEAR = "logistic"


def enough_training(
    curves: Mapping[str, Mapping[str, Sequence[Checks]]],
    validation: Mapping[str, Sequence[Metrics]],
    tasks: Sequence[TaskSpec],
) -> dict[str, Any]:
    """The entry `training` of results.json.

    Args:
        curves: model -> name of a network -> its checks with each seed.
        validation: model -> metrics on validation rows with each seed; `logistic` if there is one.
        tasks: over which scores are averaged.

    Returns:
        `improving`: the networks that still improved at their last check with most seeds;
        `validation`: score of each network and of logistic regression, the mean over seeds;
        `behind_logistic`: the models whose score is lower; `warnings`: the same in words.
    """
    improving = [
        name
        for networks in curves.values()
        for name, seeds in networks.items()
        if 2 * sum(map(still_improves, seeds)) > len(seeds)
    ]
    scores = {
        name: float(np.mean([validation_score(metrics, tasks) for metrics in seeds]))
        for name, seeds in validation.items()
        if name == LINEAR or curves.get(name)
    }
    linear = scores.get(LINEAR, float("nan"))
    behind = [name for name, score in scores.items() if score < linear]
    warnings = []
    if behind:
        figures = ", ".join(f"{name} {scores[name]:.4f}" for name in behind)
        warnings.append(
            f"on validation rows logistic regression ({linear:.4f}) is ahead of {figures}: these "
            "networks learned too little or overfit; train longer (training.epochs), raise "
            "training.rare_ids or sizes.dropout, or take the linear model"
        )
    if improving:
        warnings.append(
            f"still improving at the last check: {', '.join(improving)}; raise training.epochs"
        )
    return {
        "validation": scores,
        "behind_logistic": behind,
        "improving": improving,
        "warnings": warnings,
    }


def still_improves(checks: Checks) -> bool:
    """Whether the last check of a training is its best, by more than .001.

    >>> still_improves([{"score": 0.70}, {"score": 0.72}])
    True
    >>> still_improves([{"score": 0.72}, {"score": 0.7205}])
    False
    """
    scores = [check["score"] for check in checks]
    return len(scores) > 1 and scores[-1] > max(scores[:-1]) + LEAST_RISE
