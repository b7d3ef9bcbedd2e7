"""Which sources of knowledge the networks of a study hear: chosen before any search.

A shared bottom that hears ids and numbers is trained, and then with one source more at a time, each
network at the same multiply-adds. A source stays if it is proven on validation rows that the mean
over the tasks, or a task, gains by it, and not proven that the mean loses; the next source is tried
beside those that stay. What is not proven is dropped, since every source costs.

Every decision is a test at the level `LEVEL`, shared equally among the mean and the tasks: so
rarely is a source heard that is worth nothing. Its intervals hold the luck of rows and of seeds.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from recmtl.atomic import write_json
from recmtl.data.columns.sources import OPTIONAL, PLAIN, SOURCES
from recmtl.job.outcome import TabularStudy
from recmtl.job.study import SOURCES_FILE
from recmtl.job.what_matters.compare import Comparison, compare_models, results_of
from recmtl.job.work.items import WorkItem, model_name
from recmtl.job.work.workers import complete

__all__ = ["LEVEL", "choose_sources", "plain_sources"]

LEVEL = 0.02
"""The chance that a source without any worth is heard."""
TOGETHER = "shared_bottom"
"""The network by which sources are judged: no wiring is simpler."""


def choose_sources(study: TabularStudy, finished: Callable[[WorkItem], None]) -> None:
    """Choose the sources that the study's networks hear, unless they have been chosen before.

    The choice is left in `sources.json`: `hears`, and of each source that was tried what it gained
    and whether it is `kept`. Without `search.source_seeds`, or where there is nothing beside ids
    and numbers, all sources are heard and nothing is trained.

    Args:
        study: without a choice, or with one.
        finished: called with each work item as soon as it is done.
    """
    count, first = study.config.search.source_seeds, study.config.seed
    heard = plain_sources(tuple(study.problem.sources))
    tried = [source for source in OPTIONAL if source in study.problem.sources]
    tried = [source for source in tried if source not in heard]
    if not count or not tried or (study.folder / SOURCES_FILE).is_file():
        return
    seeds, steps = range(first, first + count), list[dict[str, Any]]()
    confidence = 1 - 2 * LEVEL / (1 + len(study.problem.tasks))
    for source in tried:
        more = with_source(heard, source)
        models = [model_name(TOGETHER, sources) for sources in (more, heard)]
        complete(study, [WorkItem(model, seed) for model in models for seed in seeds], finished)
        results = [results_of(study, model, seeds) for model in models]
        gains = compare_models(study, *results, part="validation", confidence=confidence)
        steps.append(_record(source, heard, gains))
        heard = more if gains.helps else heard
    write_json(study.folder / SOURCES_FILE, {"hears": heard, "steps": steps}, durable=True)
    _share_with_control(study, heard)


def plain_sources(sources: Sequence[str]) -> tuple[str, ...]:
    """The sources that every network hears: ids and numbers, or the first if there are neither."""
    return tuple(source for source in sources if source in PLAIN) or tuple(sources[:1])


def with_source(sources: Sequence[str], source: str) -> tuple[str, ...]:
    """The sources with one more, in the order of all."""
    return tuple(name for name in SOURCES if name in (*sources, source))


def _record(source: str, beside: Sequence[str], gains: Comparison) -> dict[str, Any]:
    facts = {"source": source, "beside": list(beside), "kept": gains.helps}
    return {**facts, "gains": asdict(gains)}


def _share_with_control(study: TabularStudy, heard: Sequence[str]) -> None:
    """Let the network that hears what was chosen be the study's own, if they are the same."""
    trained = study.folder / "models" / model_name(TOGETHER, heard)
    same = study.folder / "models" / study.model_hearing(TOGETHER, heard)
    if trained != same and not same.exists():
        trained.rename(same)
