"""From trained models to results.json: metrics, verdicts, costs and what was shared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recmtl.evaluate import assemble, audit, evaluate, reliability_curve
from recmtl.evaluate.population import own_rows, scores_of, task_position
from recmtl.evaluate.reliability import ReliabilityCurve
from recmtl.evaluate.results import nearest
from recmtl.job.networks import FIXED
from recmtl.job.piece import all_pieces
from recmtl.job.sharing import sharing
from recmtl.job.study import Study
from recmtl.job.trained import Trained
from recmtl.train.fitted import Metrics
from recmtl.train.loop import validation_score
from recmtl.train.material import Material

__all__ = ["all_trained", "mean_costs", "outcome", "reliability", "validation"]

Models = dict[str, dict[int, Trained]]
SHOWN = ("searched", "single_task", "lightgbm")
RIVALS = {"single_task", *FIXED} - {"full_grid"}
"""The fixed models at matched cost, which the searched network should not fall behind."""


def all_trained(study: Study[Any]) -> Models:
    """Every model that the configuration asks for, by name and seed."""
    models: Models = {}
    for piece in all_pieces(study.config):
        models.setdefault(piece.name, {})[piece.seed] = study.trained(piece.name, piece.seed)
    return models


def validation(study: Study[Material], models: Models, *, fingerprint: str) -> dict[str, Any]:
    """As results.json, of the validation rows alone, and without verdicts."""
    metrics = {name: {s: t.validation for s, t in seeds.items()} for name, seeds in models.items()}
    return assemble(
        metrics,
        verdicts={},
        cost=mean_costs(models),
        scores=_scores(study, metrics),
        fingerprint=fingerprint,
    )


def outcome(
    study: Study[Material], models: Models, *, fingerprint: str, truth: Path
) -> dict[str, Any]:
    """The content of results.json; `truth` is read if a simulated log left one there."""
    rows, tasks = study.material.test, study.material.tasks
    labels, group = np.asarray(rows.labels), _group(rows.group)
    predictions = {
        name: {seed: trained.predictions for seed, trained in seeds.items()}
        for name, seeds in models.items()
    }
    metrics = {
        name: {
            seed: evaluate(scores, labels, tasks, group, np.asarray(rows.weight))
            for seed, scores in seeds.items()
        }
        for name, seeds in predictions.items()
    }
    found = audit(
        predictions,
        labels,
        tasks,
        group=group,
        weight=np.asarray(rows.weight),
        resamples=study.config.evidence.bootstrap,
    )
    best = {task: nearest(gains, RIVALS) for task, gains in found.tasks.items()}
    return assemble(
        metrics,
        verdicts=found.tasks,
        cost=mean_costs(models),
        scores=_scores(study, metrics),
        fingerprint=fingerprint,
        more={
            "mean": found.mean,
            "best_fixed": {"tasks": best, "mean": nearest(found.mean, RIVALS)},
            "sharing": sharing(study, truth),
        },
    )


def reliability(study: Study[Material], models: Models) -> dict[str, dict[str, ReliabilityCurve]]:
    """Reliability curves of the binary tasks, first seed of each model shown."""
    tasks, labels = study.material.tasks, np.asarray(study.material.test.labels)
    curves: dict[str, dict[str, ReliabilityCurve]] = {}
    for task in tasks:
        own = own_rows(labels, tasks, task)
        label = labels[own, task_position(tasks, task.name)]
        if task.kind != "binary" or len(label) == 0:
            continue
        curves[task.name] = {
            name: reliability_curve(label, scores_of(first.predictions, tasks, task)[own])
            for name in SHOWN
            if name in models
            for first in [next(iter(models[name].values()))]
        }
    return curves


def _scores(
    study: Study[Material], metrics: Mapping[str, Mapping[int, Metrics]]
) -> dict[str, dict[int, float]]:
    """One number a model and seed: the mean over the tasks, of AUC or R2."""
    tasks = study.material.tasks
    return {
        name: {seed: validation_score(found, tasks) for seed, found in seeds.items()}
        for name, seeds in metrics.items()
    }


def mean_costs(models: Models) -> dict[str, dict[str, float | None]]:
    """Of each model every cost, its mean over the seeds."""
    return {name: _mean_cost(list(seeds.values())) for name, seeds in models.items()}


def _mean_cost(models: list[Trained]) -> dict[str, float | None]:
    mean: dict[str, float | None] = {}
    for name in models[0].cost:
        known = [value for value in (model.cost[name] for model in models) if value is not None]
        mean[name] = float(np.mean(known)) if known else None
    return mean


def _group(codes: np.ndarray) -> np.ndarray | None:
    """The group codes, or None where the schema names no group (all codes are then equal)."""
    group = np.asarray(codes)
    return group if len(group) and group.min() != group.max() else None
