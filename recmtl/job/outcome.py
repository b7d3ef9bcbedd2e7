"""From trained models to results.json: metrics, verdicts, costs, and what the searches share."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recmtl.atomic import reading, write_json, write_text
from recmtl.evaluate import assemble, evaluate, reliability_curve
from recmtl.evaluate.enough_training import enough_training
from recmtl.evaluate.label_space import defined_rows, scores_of, task_position, weight_of
from recmtl.evaluate.metrics import ReliabilityCurve
from recmtl.evaluate.results import strongest_opponent
from recmtl.evaluate.task_metrics import Metrics, validation_score
from recmtl.evaluate.transfer_test import judge_transfer
from recmtl.grid import Layout, Routes, draw_svg, draw_text, shared_experts
from recmtl.job.fit import ModelResult
from recmtl.job.study import C, P, Study
from recmtl.job.work.items import (
    FIXED,
    WorkItem,
    network_and_sources,
    sample_of,
    sampled_items,
    voters,
)
from recmtl.schema import TaskSpec
from recmtl.search.vote import vote
from recmtl.train.config import Config
from recmtl.train.problem import Predictions
from recmtl.train.tabular_problem import TabularProblem

__all__ = [
    "Models",
    "Results",
    "TabularStudy",
    "agreement",
    "curves_of",
    "judged_results",
    "mean_costs",
    "metric_groups",
    "reliability",
    "sharing",
    "trained_models",
    "validation_results",
    "write_routes",
]

TabularStudy: TypeAlias = Study[TabularProblem, Config]
Models: TypeAlias = dict[str, dict[int, ModelResult]]
"""Model -> seed -> what it scored and cost."""
Results: TypeAlias = dict[str, Any]
"""The content of results.json."""
FloatArray = NDArray[np.float64]

WITH_RELIABILITY = ("searched", "single_task", "lightgbm")
UNSEEDED = ("logistic", "constant", "blend")
"""Models that no seed changes, and the one that is judged as it is, whatever its seeds were."""
RIVALS = {"single_task", *FIXED} - {"full_grid"}
"""The fixed models at matched cost, which the searched network should not fall behind."""


def trained_models(study: Study[P, C], items: Iterable[WorkItem]) -> Models:
    """What the models of these work items scored and cost, by name and seed."""
    models: Models = {}
    for item in items:
        models.setdefault(item.name, {})[item.seed] = study.trained(item.name, item.seed)
    return models


def judged_results(
    study: TabularStudy, models: Models, *, fingerprint: str, truth: Path
) -> Results:
    """The content of results.json, its metrics and verdicts on test rows.

    Args:
        study: whose configuration says how the verdict is made.
        models: every model that is compared.
        fingerprint: of the data.
        truth: where the truth of a simulated log lies, if the log is one.
    """
    rows, tasks = study.problem.test, study.problem.tasks
    labels, weight, group = (
        np.asarray(rows.labels),
        np.asarray(rows.weight_by_task),
        metric_groups(rows.group),
    )
    predictions = {
        name: {seed: result.predictions for seed, result in seeds.items()}
        for name, seeds in models.items()
    }
    metrics = {
        name: {
            seed: evaluate(scores, labels, tasks, group, weight) for seed, scores in seeds.items()
        }
        for name, seeds in predictions.items()
    }
    resamples = study.config.evidence.bootstrap
    verdict = judge_transfer(
        predictions,
        labels,
        tasks,
        group=group,
        weight=weight,
        resamples=resamples,
        fixed=UNSEEDED,
        false_discovery=study.config.evidence.false_discovery,
        resampled=_on_samples(study),
    )
    best = {task: strongest_opponent(gains, RIVALS) for task, gains in verdict.tasks.items()}
    return assemble(
        metrics,
        verdicts=verdict.tasks,
        cost=mean_costs(models),
        scores=_scores(study, metrics),
        fingerprint=fingerprint,
        more={
            "mean": verdict.mean,
            "best_fixed": {"tasks": best, "mean": strongest_opponent(verdict.mean, RIVALS)},
            "sharing": sharing(study, truth),
            "training": _enough(models, tasks),
            **({"front": study.front} if study.front else {}),
        },
    )


def validation_results(study: TabularStudy, models: Models, *, fingerprint: str) -> Results:
    """Metrics on validation rows alone, in the form of results.json and without verdicts."""
    metrics = {name: {s: r.validation for s, r in seeds.items()} for name, seeds in models.items()}
    return assemble(
        metrics,
        verdicts={},
        cost=mean_costs(models),
        scores=_scores(study, metrics),
        fingerprint=fingerprint,
    )


def mean_costs(models: Models) -> dict[str, dict[str, float | None]]:
    """Every cost of each model, as its mean over the seeds; None where no seed counts it."""
    return {name: _mean_cost(list(seeds.values())) for name, seeds in models.items()}


def reliability(study: TabularStudy, models: Models) -> dict[str, dict[str, ReliabilityCurve]]:
    """Binary task -> model -> reliability curve on test rows, of each model's first seed."""
    tasks, test = study.problem.tasks, study.problem.test
    labels, weight = np.asarray(test.labels), np.asarray(test.weight_by_task)
    shown = {name: next(iter(models[name].values())) for name in WITH_RELIABILITY if name in models}
    curves: dict[str, dict[str, ReliabilityCurve]] = {}
    for task in tasks:
        rows = defined_rows(labels, tasks, task)
        position = task_position(tasks, task.name)
        label, weights = labels[rows, position], weight_of(weight, position)
        if task.kind != "binary" or len(label) == 0:
            continue
        curves[task.name] = {
            name: reliability_curve(
                label, scores_of(result.predictions, tasks, task)[rows], weights[rows]
            )
            for name, result in shown.items()
        }
    return curves


def curves_of(models: Models) -> dict[str, dict[str, list[Sequence[Mapping[str, float]]]]]:
    """Model -> network -> for each seed epoch, score and loss of every check of its training."""
    return {
        name: {
            network: [result.curves[network] for result in seeds.values()]
            for network in next(iter(seeds.values())).curves
        }
        for name, seeds in models.items()
    }


def sharing(study: TabularStudy, truth: Path) -> dict[str, Any]:
    """Mean overlap of the tasks' experts over the searches, and how far the seeds agree.

    Where searches raced, `race` says who won with each seed and which class the seeds vote for.
    With the truth of a simulated log, the overlap of related tasks stands beside that of others.
    """
    evidence, first = study.config.evidence, study.config.seed
    names = [task.name for task in study.problem.tasks]
    seeds = range(first, first + evidence.seeds)
    voting = dict.fromkeys(voter for seed in seeds for voter in voters(study.config, seed))
    searches = {seed: study.search_result("searched", seed) for seed in voting}
    overlaps = _overlaps([Layout.from_json(search.layout) for search in searches.values()])
    facts: dict[str, Any] = {
        "tasks": names,
        "overlap": overlaps.mean(0).round(4).tolist(),
        "std": overlaps.std(0).round(4).tolist(),
        "seeds": len(overlaps),
    }
    if len(overlaps) > 1 and len(names) > 1:
        facts["agreement"] = agreement(overlaps)
        facts["differs"] = _differs(overlaps, names)
    votes = vote(searches)
    if votes is not None:
        facts["race"] = dict(votes)
    if "random_route" in evidence.controls and min(evidence.seeds, len(names)) > 1:
        random = _overlaps([study.wiring("random_route", seed) for seed in seeds])
        facts["agreement_of_random_routes"] = agreement(random)
    planted = _planted(overlaps, names, truth) if truth.is_file() else {}
    if planted:
        facts["planted"] = planted
    return facts


def agreement(overlaps: FloatArray) -> float:
    """How alike the overlaps `[seeds, T, T]` are: mean Jaccard index over all pairs of seeds.

    The index of two overlaps is the sum over pairs of tasks of the smaller value, divided by the
    sum of the larger; 1 where neither shares anything. Overlaps are compared because experts have
    no names on which two searches could agree, while pairs of tasks do.

    >>> same, less = np.eye(2) + [[0, 1], [1, 0]], np.eye(2) + [[0, 0.25], [0.25, 0]]
    >>> agreement(np.stack([same, less]))
    0.25
    """
    pairs = _by_pair(overlaps)
    both = [(np.minimum(a, b).sum(), np.maximum(a, b).sum()) for a, b in combinations(pairs, 2)]
    return round(float(np.mean([low / high if high > 0 else 1.0 for low, high in both])), 4)


def _on_samples(study: TabularStudy) -> dict[str, dict[int, Predictions]]:
    """Model -> number of a sample of the train rows -> what the model scored that learned it."""
    scores: dict[str, dict[int, Predictions]] = {}
    for item in sampled_items(study.config):
        network, number = network_and_sources(item.name)[0], sample_of(item.name)
        predictions = study.trained(item.name, item.seed).predictions
        scores.setdefault(network, {})[number or 0] = predictions
    return scores


def _scores(
    study: TabularStudy, metrics: Mapping[str, Mapping[int, Metrics]]
) -> dict[str, dict[int, float]]:
    """One number for each model and seed: the mean over the tasks of AUC or R2."""
    tasks = study.problem.tasks
    return {
        name: {seed: validation_score(of_tasks, tasks) for seed, of_tasks in seeds.items()}
        for name, seeds in metrics.items()
    }


def _enough(models: Models, tasks: Sequence[TaskSpec]) -> dict[str, Any]:
    """Whether the networks were trained enough; see `enough_training`."""
    curves = curves_of(models)
    validation = {name: [r.validation for r in seeds.values()] for name, seeds in models.items()}
    return enough_training(curves, validation, tasks)


def _mean_cost(results: Sequence[ModelResult]) -> dict[str, float | None]:
    mean: dict[str, float | None] = {}
    for name in results[0].cost:
        counted = [cost for cost in (result.cost[name] for result in results) if cost is not None]
        mean[name] = float(np.mean(counted)) if counted else None
    return mean


def write_routes(folder: Path, routes: Routes, layout: Layout, tasks: tuple[str, ...]) -> None:
    """Write the route of a network as data, picture and text: `routes.json`, `.svg`, `.txt`."""
    write_json(folder / "routes.json", routes.to_json())
    write_text(folder / "routes.svg", draw_svg(layout, tasks))
    write_text(folder / "routes.txt", draw_text(layout, tasks) + "\n")


def metric_groups(codes: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Group codes `[R]` as metrics take them; None without groups, all codes being equal then."""
    group = np.asarray(codes)
    return group if len(group) and group.min() != group.max() else None


def _overlaps(layouts: Sequence[Layout]) -> FloatArray:
    """Overlap of the tasks' experts `[seeds, T, T]` in a network of each seed."""
    return np.stack([shared_experts(layout).numpy() for layout in layouts]).astype(np.float64)


def _by_pair(overlaps: FloatArray) -> FloatArray:
    """The entries `[seeds, pairs]` above the diagonal, in the order of `combinations`."""
    first, second = np.triu_indices(overlaps.shape[1], k=1)
    return overlaps[:, first, second]


def _differs(overlaps: FloatArray, names: Sequence[str]) -> list[dict[str, Any]]:
    """Pairs of tasks whose overlap is not the same in all searches, the widest range first."""
    pairs = [
        {"tasks": pair, "lowest": low, "highest": high}
        for pair, low, high in zip(
            combinations(names, 2),
            _by_pair(overlaps).min(0).round(4).tolist(),
            _by_pair(overlaps).max(0).round(4).tolist(),
            strict=True,
        )
        if high > low
    ]
    return sorted(pairs, key=lambda pair: pair["lowest"] - pair["highest"])


def _planted(overlaps: FloatArray, names: Sequence[str], truth: Path) -> dict[str, Any]:
    """Mean overlap of the pairs that a simulated log relates, and of the others."""
    with reading(truth, remedy="delete it: it only tells what was planted in a simulated log"):
        related = {frozenset(pair) for pair in json.loads(truth.read_text())["related"]}
    is_related = np.array([frozenset(pair) in related for pair in combinations(names, 2)])
    if is_related.all() or not is_related.any():
        return {}  # of one kind only: there is nothing to compare
    values = _by_pair(overlaps)
    gaps = values[:, is_related].mean(1) - values[:, ~is_related].mean(1)
    return {
        "related": float(values[:, is_related].mean()),
        "unrelated": float(values[:, ~is_related].mean()),
        "gap_by_seed": gaps.round(4).tolist(),
    }
