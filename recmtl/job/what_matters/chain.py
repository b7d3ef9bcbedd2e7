"""What moved the metric: a chain of networks of equal cost, and the shipped one without each part.

The chain begins with a shared bottom that hears ids and numbers. Each source is added to those that
the study hears; then the wiring is changed: embeddings apart, towers apart, the searched route.
Every step is compared on test rows with the network before it, every wiring with the shared bottom
that hears the same. Last, the searched network is trained without each of its sources. All networks
have the multiply-adds of `Study.equal_cost`, as nearly as widths allow.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from recmtl.data.columns.sources import OPTIONAL
from recmtl.evaluate import evaluate
from recmtl.evaluate.results import plain, summary
from recmtl.evaluate.task_metrics import PRIMARY, validation_score
from recmtl.job.fit import ModelResult
from recmtl.job.outcome import TabularStudy, mean_costs
from recmtl.job.what_matters.compare import Comparison, compare_models, results_of
from recmtl.job.what_matters.source_choice import TOGETHER, plain_sources, with_source
from recmtl.job.work.items import WorkItem

__all__ = ["Step", "ablation_items", "steps_of", "what_mattered"]

WIRINGS = ("embeddings_apart", "towers_apart", "searched")
"""What is tried beside the shared bottom, from the simplest."""


@dataclass(frozen=True)
class Step:
    """A network of the chain, or the shipped one without a part.

    Attributes:
        step: the source or the wiring that it adds, or leaves out.
        kind: `plain`, `source`, `wiring` or `without`.
        network: how the tasks share.
        hears: the sources that it hears.
        against: the step, of those before, with which it is compared; none for the first.
        kept: whether the shipped network has it; None where nothing was decided.
    """

    step: str
    kind: str
    network: str
    hears: tuple[str, ...]
    against: str | None = None
    kept: bool | None = None


def steps_of(study: TabularStudy) -> tuple[Step, ...]:
    """The steps of a study whose sources have been chosen."""
    return (*_sources(study), *_wirings(study), *_without(study))


def _sources(study: TabularStudy) -> Iterator[Step]:
    everything, heard = tuple(study.problem.sources), study.hears
    beside, before = plain_sources(everything), "plain"
    yield Step(before, "plain", TOGETHER, beside)
    for source in OPTIONAL:
        if source in everything and source not in beside:
            more = with_source(beside, source)
            kept = source in heard
            yield Step(source, "source", TOGETHER, more, before, kept)
            beside, before = (more, source) if kept else (beside, before)


def _wirings(study: TabularStudy) -> Iterator[Step]:
    kept = [step.step for step in _sources(study) if step.kept is not False]
    for network in WIRINGS:
        yield Step(network, "wiring", network, study.hears, kept[-1], network == "searched")


def _without(study: TabularStudy) -> Iterator[Step]:
    for source in study.hears:
        # A history cannot be read against ids that are not heard.
        gone = (source, "histories") if source == "ids" else (source,)
        others = tuple(name for name in study.hears if name not in gone)
        if others:
            yield Step(source, "without", "searched", others, "searched")


def ablation_items(study: TabularStudy) -> list[WorkItem]:
    """The trainings of all steps."""
    return [
        WorkItem(study.model_hearing(step.network, step.hears), seed)
        for step in steps_of(study)
        for seed in _seeds(study, step)
    ]


def _seeds(study: TabularStudy, step: Step) -> range:
    """The seeds of a step: those by which sources were chosen, no more searches than are judged."""
    config = study.config
    count = config.evidence.ablation_seeds
    if step.network == TOGETHER:
        count = max(count, config.search.source_seeds)
    if step.network == "searched":
        count = min(count, config.evidence.seeds)
    return range(config.seed, config.seed + count)


def what_mattered(study: TabularStudy) -> list[dict[str, Any]]:
    """What each step scores on test rows, and what it gains over the step that it is compared with.

    Returns:
        For each step, in the order of `steps_of`, its fields and `mean` (over the tasks, as
        `score` of results.json), `tasks` (primary metric and `interval` of the gain), `interval` of
        the mean's gain, with the fields of a `Gain` and empty for the first step, and `cost`.
    """
    results: dict[str, dict[int, ModelResult]] = {}
    entries = []
    for step in steps_of(study):
        model = study.model_hearing(step.network, step.hears)
        scored = results_of(study, model, _seeds(study, step))
        gains = Comparison({}, {})
        if step.against is not None:
            gains = compare_models(study, scored, results[step.against], part="test")
        if step.kind != "without":
            results[step.step] = scored
        facts = {
            "step": step.step,
            "kind": step.kind,
            "hears": step.hears,
            "against": step.against,
            "kept": step.kept,
        }
        measured = _measured(study, scored, gains)
        entries.append({**facts, **measured, "cost": mean_costs({"": scored})[""]})
    content: list[dict[str, Any]] = plain(entries)
    return content


def _measured(
    study: TabularStudy, scored: dict[int, ModelResult], gains: Comparison
) -> dict[str, Any]:
    rows, tasks = study.problem.test, study.problem.tasks
    labels, weight = np.asarray(rows.labels), np.asarray(rows.weight_by_task)
    metrics = [
        evaluate(result.predictions, labels, tasks, study.problem.ranked(rows), weight)
        for result in scored.values()
    ]
    by_task = {
        task.name: {
            "metric": PRIMARY[task.judged_as].name,
            **summary([values[task.name][PRIMARY[task.judged_as].name] for values in metrics]),
            "interval": gains.tasks.get(task.name, {}),
        }
        for task in tasks
    }
    mean = summary([validation_score(values, tasks) for values in metrics])
    return {"mean": mean, "tasks": by_task, "interval": gains.mean}
