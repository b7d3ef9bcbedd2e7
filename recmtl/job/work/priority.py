"""What of a study matters most, and what it shows if not all of it was done.

Work items are done in groups, the most important first: what the verdict rests on with one seed;
LightGBM; the simplest fixed network; more seeds of the verdict; other controls; what moved the
metric; the verdict's models on samples of the train rows. A group is worth nothing by halves, so it
is begun only as a whole.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TypeVar

from recmtl.job.work.items import JUDGED, WorkItem, sample_of, voters, with_needed
from recmtl.train.config import Config

C = TypeVar("C", bound=Config)

__all__ = ["groups_of", "left_out", "without"]

SIMPLEST = "shared_bottom"


def groups_of(items: Iterable[WorkItem], config: Config) -> list[list[WorkItem]]:
    """The items in groups, the most important first; each group with what it needs."""
    compared = dict(config.models())
    groups: dict[tuple[float, int, str], list[WorkItem]] = {}
    for item in items:
        number = item.seed - config.seed
        groups.setdefault(_place(item.name, number, compared), []).append(item)
    ordered = [with_needed(groups[place], config) for place in sorted(groups)]
    before: set[WorkItem] = set()
    rest = []
    for group in ordered:
        rest.append([item for item in group if item not in before])
        before.update(group)
    return rest


def _place(name: str, number: int, compared: Collection[str]) -> tuple[float, int, str]:
    """The place of a model's group among all: its importance, its seed, and what tells it apart."""
    sample = sample_of(name)
    if sample is not None:
        return (7, sample, "")
    if name not in compared:
        return (6, number, "")  # a step of what moved the metric
    if name in (*JUDGED, "constant"):
        return (0, 0, "") if number == 0 else (3, number, "")
    if name in ("lightgbm", "logistic"):
        return (1, 0, name) if number == 0 else (3, number, "")
    if name == SIMPLEST and number == 0:
        return (2, 0, "")
    if name == "random_route":
        return (5, number, name)
    return (4, number, name)


def without(config: C, lost: Collection[WorkItem], ablation: Collection[WorkItem] = ()) -> C:
    """The configuration of the study that was done, if these items of it were not.

    What it asks less of is evidence: seeds, controls, baselines, steps of what moved the metric.
    The verdict of such a study is that of one which never asked for more.

    Args:
        config: of the study that was asked for.
        lost: its items that were not done; not those of the first seed of the verdict.
        ablation: its items that show what moved the metric.
    """
    evidence, first = config.evidence, config.seed
    gone = {item.name for item in lost if item.seed == first}
    baselines = tuple(name for name in evidence.baselines if name not in gone)
    seeds = _least(evidence.seeds, lost, {*JUDGED, *baselines}, first)
    gone -= {"random_route"}
    if _least(seeds, lost, {"random_route"}, first) < seeds:
        gone.add("random_route")  # it is drawn anew for every seed of the verdict
    controls = tuple(name for name in evidence.controls if name not in gone)
    of_controls = _least(evidence.seeds_of_controls, lost, {*controls} - {"random_route"}, first)
    samples = [number for item in lost if (number := sample_of(item.name)) is not None]
    resamples = min([evidence.resamples, *samples])
    steps = [item for item in lost if item in ablation]
    of_ablation = _least(evidence.ablation_seeds, steps, {item.name for item in steps}, first)
    done = replace(
        evidence,
        seeds=seeds,
        control_seeds=of_controls,
        ablation_seeds=of_ablation,
        resamples=resamples if resamples > 1 else 0,
        controls=controls,
        baselines=baselines,
    )
    return replace(config, evidence=done)


def left_out(asked: Config, done: Config) -> list[str]:
    """What a study has less than was asked for, a sentence for each kind."""
    before, now = asked.evidence, done.evidence
    lines = []
    if done.training.rows != asked.training.rows:
        lines.append(f"models learned from a sample of {done.training.rows:,} train rows")
    votes_asked = len(voters(asked, asked.seed))
    votes = done.search.votes or votes_asked
    if done.search.race == asked.search.race and votes < votes_asked:
        lines.append(f"only {votes} of the races voted on the searched network")
    if done.search.race != asked.search.race:
        lines.append("no ways to share raced: the searched route was trained unrivalled")
    if done.search.source_seeds != asked.search.source_seeds:
        lines.append("no sources were chosen: all are heard")
    if now.seeds < before.seeds:
        lines.append(f"{now.seeds} of {before.seeds} seeds of the verdict were done")
    models = [*before.controls, *before.baselines]
    missing = [name for name in models if name not in (*now.controls, *now.baselines)]
    if missing:
        lines.append(f"no comparison with {', '.join(missing)}")
    if now.controls and now.seeds_of_controls < before.seeds_of_controls:
        lines.append(f"{now.seeds_of_controls} of {before.seeds_of_controls} seeds of the controls")
    if now.resamples < before.resamples:
        lines.append(f"{now.resamples} of {before.resamples} samples of the train rows")
    if now.ablation_seeds < before.ablation_seeds:
        count = f"{now.ablation_seeds} of {before.ablation_seeds} seeds of"
        lines.append(f"{count if now.ablation_seeds else 'nothing of'} what moved the metric")
    return lines


def _least(most: int, lost: Iterable[WorkItem], names: Collection[str], first: int) -> int:
    """The number of leading seeds of which none of these models was lost."""
    return min([most, *(item.seed - first for item in lost if item.name in names)])
