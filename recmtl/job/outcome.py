"""From trained models to results.json: metrics, verdicts, costs and what was shared."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from recmtl.evaluate import assemble, audit, evaluate, reliability_curve
from recmtl.evaluate.population import own_rows, scores_of, task_position
from recmtl.evaluate.reliability import ReliabilityCurve
from recmtl.grid import shared_experts
from recmtl.job.study import Study
from recmtl.job.trained import Trained

__all__ = ["all_trained", "outcome", "reliability"]

Models = dict[str, dict[int, Trained]]
SHOWN = ("searched", "single_task", "lightgbm")


def all_trained(study: Study) -> Models:
    """Every model that the configuration asks for, by name and seed."""
    evidence, first = study.config.evidence, study.config.seed
    judged = range(first, first + evidence.seeds)
    controls = range(first, first + evidence.control_seeds)
    models: Models = {name: {s: study.trained(name, s) for s in judged} for name in SHOWN[:2]}
    for name in evidence.controls:
        models[name] = {seed: study.trained(name, seed) for seed in controls}
    for baseline in (*evidence.baselines, "constant"):
        models[baseline] = {first: study.trained(baseline, first)}
    return models


def outcome(study: Study, models: Models, *, fingerprint: str, truth: Path) -> dict[str, Any]:
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
    verdicts = audit(
        predictions,
        labels,
        tasks,
        group=group,
        weight=np.asarray(rows.weight),
        resamples=study.config.evidence.bootstrap,
        opponents=[name for name in SHOWN[1:] if name in predictions],
    )
    cost = {name: _mean_cost(list(seeds.values())) for name, seeds in models.items()}
    results = assemble(metrics, verdicts=verdicts, cost=cost, fingerprint=fingerprint)
    results["sharing"] = _sharing(study, truth)
    return results


def reliability(study: Study, models: Models) -> dict[str, dict[str, ReliabilityCurve]]:
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


def _sharing(study: Study, truth: Path) -> dict[str, Any]:
    """Mean overlap of the tasks' experts over the searches, and how far seeds agree."""
    seeds = range(study.config.seed, study.config.seed + study.config.evidence.seeds)
    overlaps = np.stack([shared_experts(study.searched_layout(s)).numpy() for s in seeds])
    names = [task.name for task in study.material.tasks]
    facts: dict[str, Any] = {
        "tasks": names,
        "overlap": overlaps.mean(0).round(4).tolist(),
        "std": overlaps.std(0).round(4).tolist(),
        "seeds": len(overlaps),
    }
    if truth.is_file():
        related = {frozenset(pair) for pair in json.loads(truth.read_text())["related"]}
        pairs = [(i, j) for i in range(len(names)) for j in range(i)]
        is_related = np.array([frozenset((names[i], names[j])) in related for i, j in pairs])
        values = np.array([[o[i, j] for i, j in pairs] for o in overlaps])
        gaps = values[:, is_related].mean(1) - values[:, ~is_related].mean(1)
        facts["planted"] = {
            "related": float(values[:, is_related].mean()),
            "unrelated": float(values[:, ~is_related].mean()),
            "gap_by_seed": gaps.round(4).tolist(),
        }
    return facts


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
