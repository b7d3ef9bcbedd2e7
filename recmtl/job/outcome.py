"""What the searches found that tasks should share, and how far searches of other seeds agree.

From trained models to results.json: metrics, verdicts, costs and what was shared.
"""

import json
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recmtl.evaluate import assemble, evaluate, reliability_curve
from recmtl.evaluate.label_space import defined_rows, scores_of, task_position
from recmtl.evaluate.metrics import ReliabilityCurve
from recmtl.evaluate.results import strongest_opponent
from recmtl.evaluate.task_metrics import Metrics, validation_score
from recmtl.evaluate.transfer_test import judge_transfer
from recmtl.grid import Layout, shared_experts
from recmtl.job.fit import ModelResult
from recmtl.job.study import C, P, Study
from recmtl.job.work_items import FIXED, WorkItem
from recmtl.train.config import Config
from recmtl.train.tabular_problem import TabularProblem

__all__ = [
    "Models",
    "Results",
    "TabularStudy",
    "agreement",
    "mean_costs",
    "outcome",
    "reliability",
    "sharing",
    "trained_models",
    "validation",
]

FloatArray = NDArray[np.float64]
TabularStudy: TypeAlias = Study[TabularProblem, Config]
Models: TypeAlias = dict[str, dict[int, ModelResult]]
"""Model -> seed -> what it scored and cost."""
Results: TypeAlias = dict[str, Any]
"""The content of results.json."""


def sharing(study: TabularStudy, truth: Path) -> dict[str, Any]:
    """Mean overlap of the tasks' experts over the searches, and how far seeds agree.

    `truth` is read if a simulated log left one there.
    """
    evidence, first = study.config.evidence, study.config.seed
    names = [task.name for task in study.problem.tasks]
    overlaps = _overlaps(study, "searched", range(first, first + evidence.seeds))
    facts: dict[str, Any] = {
        "tasks": names,
        "overlap": overlaps.mean(0).round(4).tolist(),
        "std": overlaps.std(0).round(4).tolist(),
        "seeds": len(overlaps),
    }
    if len(overlaps) > 1 and len(names) > 1:
        facts["agreement"] = agreement(overlaps)
        facts["differs"] = _differs(overlaps, names)
    if "random_route" in evidence.controls and min(evidence.control_seeds, len(names)) > 1:
        drawn = _overlaps(study, "random_route", range(first, first + evidence.control_seeds))
        facts["agreement_of_random_routes"] = agreement(drawn)
    if truth.is_file():
        facts["planted"] = _planted(overlaps, names, truth)
    return facts


def agreement(overlaps: FloatArray) -> float:
    """How alike the overlaps `[seeds, T, T]` are: mean over pairs of seeds of their Jaccard index.

    That of two overlaps is the sum over pairs of tasks of the smaller value by that of the larger;
    experts have no names that two searches could agree on, the pairs of tasks have. 1 where
    neither shares anything.
    """
    pairs = _by_pair(overlaps)
    both = [(np.minimum(a, b).sum(), np.maximum(a, b).sum()) for a, b in combinations(pairs, 2)]
    return round(float(np.mean([low / high if high > 0 else 1.0 for low, high in both])), 4)


def _differs(overlaps: FloatArray, names: list[str]) -> list[dict[str, Any]]:
    """Pairs of tasks of which one search says another thing than the others, the worst first."""
    found = [
        {"tasks": pair, "lowest": low, "highest": high}
        for pair, low, high in zip(
            combinations(names, 2),
            _by_pair(overlaps).min(0).round(4).tolist(),
            _by_pair(overlaps).max(0).round(4).tolist(),
            strict=True,
        )
        if high > low
    ]
    return sorted(found, key=lambda pair: pair["lowest"] - pair["highest"])


def _planted(overlaps: FloatArray, names: list[str], truth: Path) -> dict[str, Any]:
    """Mean overlap of the pairs that a simulated log relates, and of the others."""
    related = {frozenset(pair) for pair in json.loads(truth.read_text())["related"]}
    is_related = np.array([frozenset(pair) in related for pair in combinations(names, 2)])
    values = _by_pair(overlaps)
    gaps = values[:, is_related].mean(1) - values[:, ~is_related].mean(1)
    return {
        "related": float(values[:, is_related].mean()),
        "unrelated": float(values[:, ~is_related].mean()),
        "gap_by_seed": gaps.round(4).tolist(),
    }


def _by_pair(overlaps: FloatArray) -> FloatArray:
    """The entries `[seeds, pairs]` above the diagonal, in the order of `combinations`."""
    first, second = np.triu_indices(overlaps.shape[1], k=1)
    return overlaps[:, first, second]


def _overlaps(study: TabularStudy, name: str, seeds: range) -> FloatArray:
    layouts: list[Layout] = [study.wiring(name, seed) for seed in seeds]
    return np.stack([shared_experts(layout).numpy() for layout in layouts]).astype(np.float64)


SHOWN = ("searched", "single_task", "lightgbm")
RIVALS = {"single_task", *FIXED} - {"full_grid"}
"""The fixed models at matched cost, which the searched network should not fall behind."""


def trained_models(study: Study[P, C], items: Iterable[WorkItem]) -> Models:
    """What the models of these work items scored and cost, by name and seed."""
    models: Models = {}
    for item in items:
        models.setdefault(item.name, {})[item.seed] = study.trained(item.name, item.seed)
    return models


def validation(study: TabularStudy, models: Models, *, fingerprint: str) -> dict[str, Any]:
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
    study: TabularStudy, models: Models, *, fingerprint: str, truth: Path
) -> dict[str, Any]:
    """The content of results.json; `truth` is read if a simulated log left one there."""
    rows, tasks = study.problem.test, study.problem.tasks
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
    found = judge_transfer(
        predictions,
        labels,
        tasks,
        group=group,
        weight=np.asarray(rows.weight),
        resamples=study.config.evidence.bootstrap,
    )
    best = {task: strongest_opponent(gains, RIVALS) for task, gains in found.tasks.items()}
    return assemble(
        metrics,
        verdicts=found.tasks,
        cost=mean_costs(models),
        scores=_scores(study, metrics),
        fingerprint=fingerprint,
        more={
            "mean": found.mean,
            "best_fixed": {"tasks": best, "mean": strongest_opponent(found.mean, RIVALS)},
            "sharing": sharing(study, truth),
        },
    )


def reliability(study: TabularStudy, models: Models) -> dict[str, dict[str, ReliabilityCurve]]:
    """Reliability curves of the binary tasks, first seed of each model shown."""
    tasks, labels = study.problem.tasks, np.asarray(study.problem.test.labels)
    curves: dict[str, dict[str, ReliabilityCurve]] = {}
    for task in tasks:
        own = defined_rows(labels, tasks, task)
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
    study: TabularStudy, metrics: Mapping[str, Mapping[int, Metrics]]
) -> dict[str, dict[int, float]]:
    """One number a model and seed: the mean over the tasks, of AUC or R2."""
    tasks = study.problem.tasks
    return {
        name: {seed: validation_score(found, tasks) for seed, found in seeds.items()}
        for name, seeds in metrics.items()
    }


def mean_costs(models: Models) -> dict[str, dict[str, float | None]]:
    """Of each model every cost, its mean over the seeds."""
    return {name: _mean_cost(list(seeds.values())) for name, seeds in models.items()}


def _mean_cost(models: list[ModelResult]) -> dict[str, float | None]:
    mean: dict[str, float | None] = {}
    for name in models[0].cost:
        known = [value for value in (model.cost[name] for model in models) if value is not None]
        mean[name] = float(np.mean(known)) if known else None
    return mean


def _group(codes: np.ndarray) -> np.ndarray | None:
    """The group codes, or None where the schema names no group (all codes are then equal)."""
    group = np.asarray(codes)
    return group if len(group) and group.min() != group.max() else None
