"""Champion and challenger on the same day: both score it in one pass, and the rule decides.

The rule is that of promotion (`recmtl.job.champion`): the challenger has to be better than a
constant, worse on no task than the champion, and better on one or as good and cheaper. The constant
here knows the day's mean labels. Neither bundle may have been trained on the day.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recmtl.data.columns.funnel import joint_labels, task_position
from recmtl.errors import BundleError
from recmtl.evaluate.label_space import defined_rows
from recmtl.evaluate.metrics import spearman
from recmtl.evaluate.results import plain
from recmtl.evaluate.transfer_test import TransferVerdict, judge_transfer
from recmtl.formula import Formula, usual_order
from recmtl.job.champion import CANDIDATE, CONSTANT, PRESENT, decide, require_same_tasks
from recmtl.model.heads import HeadSpec
from recmtl.schema import TaskSpec
from recmtl.serve.bundle import Bundle
from recmtl.tracking.champion import ChampionDecision
from recmtl.watch.day import OnBatch, ScoredDay, score_day
from recmtl.watch.segments import Segment, SegmentReader
from recmtl.watch.top_lists import TopLists, compare_lists

__all__ = ["Challenge", "ScoreChange", "challenge"]

FEWEST_ROWS = 200
"""Of a segment, from which on it is judged."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScoreChange:
    """A scored column of both bundles.

    Attributes:
        champion: its mean.
        challenger: its mean.
        difference: mean of the absolute differences, row by row.
        rank_correlation: Spearman's, NaN where one is constant.
    """

    champion: float
    challenger: float
    difference: float
    rank_correlation: float


@dataclass(frozen=True)
class Challenge:
    """What a day says of a champion and its challenger.

    Attributes:
        source: the day.
        bundles: name -> folder and fingerprint.
        rows: of the day.
        decision: whether the challenger should become champion, and why.
        tasks: as `TransferVerdict.tasks`, the challenger over each opponent.
        mean: as `TransferVerdict.mean`.
        segments: name of a segment -> task -> gain over the champion.
        scores: scored column -> how it changes.
        lists: the top lists; None without a group.
        cost: multiply-adds an example of both.
    """

    source: str
    bundles: Mapping[str, tuple[str, str]]
    rows: int
    decision: ChampionDecision
    tasks: Mapping[str, Mapping[str, Any]]
    mean: Mapping[str, Any]
    segments: Mapping[str, Mapping[str, Any]]
    scores: Mapping[str, ScoreChange]
    lists: TopLists | None
    cost: Mapping[str, float]

    def __repr__(self) -> str:
        return f"Challenge on {self.source}: {self.rows:,} rows; {self.decision.reason}"

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON data."""
        content: dict[str, Any] = plain(asdict(self))
        return content

    def metrics(self) -> dict[str, float]:
        """The gains and changes by name, for a tracker."""
        metrics = {"challenge.promote": float(self.decision.promote)}
        for task, gains in self.tasks.items():
            metrics[f"challenge.gain.{task}"] = gains[PRESENT]["gain"]
        for column, change in self.scores.items():
            metrics[f"challenge.score_difference.{column}"] = change.difference
        if self.lists is not None:
            metrics["challenge.overlap"] = self.lists.overlap
        return {name: value for name, value in metrics.items() if np.isfinite(value)}


def challenge(
    champion: Bundle,
    challenger: Bundle,
    data: str | Path,
    *,
    by: str = "",
    k: int = 10,
    segments: Sequence[str] = (),
    known_until: str | None = None,
    on_batch: OnBatch | None = None,
) -> Challenge:
    """Compare two bundles on a day.

    Args:
        champion: the present one; labels are those of its schema.
        challenger: scores the same columns.
        data: file, folder or glob of raw rows.
        by: formula over scored columns by which lists are ranked; if empty, `usual_order` says it.
        k: rows that a list shows.
        segments: columns of the day whose values are judged apart.
        known_until: as for `monitor`.
        on_batch: sees every batch with the scores of both, for instance to write them.

    Raises:
        BundleError: they are one bundle, or have other columns.
        DataError: the day has no row, or a column is missing or holds what it may not.
    """
    bundles = {PRESENT: champion, CANDIDATE: challenger}
    if champion.fingerprint == challenger.fingerprint:
        raise BundleError(f"{challenger.folder}: is the champion itself; give another bundle")
    require_same_tasks(bundles)
    formula = Formula(by or usual_order(champion.model.columns))
    formula.check_names(champion.model.columns)
    reader = SegmentReader(segments, on_batch)
    day = score_day(bundles, data, known_until=known_until, columns=segments, on_batch=reader.read)
    verdict = _judged(day, champion, np.ones(len(day), np.bool_), constant=True)
    cost = {name: float(bundle.model.cost().multiply_adds) for name, bundle in bundles.items()}
    return Challenge(
        day.source,
        {name: (str(bundle.folder), bundle.fingerprint) for name, bundle in bundles.items()},
        len(day),
        _decision(verdict, cost),
        {} if verdict is None else verdict.tasks,
        {} if verdict is None else verdict.mean,
        _by_segment(day, champion, reader.segments()),
        {name: _score_change(day, name) for name in champion.model.columns},
        _lists(day, champion, formula, k),
        cost,
    )


def _decision(verdict: TransferVerdict | None, cost: Mapping[str, float]) -> ChampionDecision:
    if verdict is None:
        return ChampionDecision(False, "left: the day has no labels yet, which alone can decide")
    return decide(verdict, cost)


def _judged(
    day: ScoredDay, champion: Bundle, rows: npt.NDArray[np.bool_], *, constant: bool
) -> TransferVerdict | None:
    """The challenger against the champion on some rows; None if they have no label."""
    every, labels = champion.encoder.schema.tasks, day.labels[rows]
    tasks = [task for task in every if defined_rows(labels, every, task).any()]
    if not tasks:
        return None
    positions = [task_position(every, task.name) for task in tasks]
    labels, weight = labels[:, positions], day.weight_by_task
    if weight is not None:
        weight = weight[rows] if weight.ndim == 1 else weight[rows][:, positions]
    predictions = {
        name: {0: {column: values[rows] for column, values in of.items()}}
        for name, of in day.scores.items()
    }
    if constant:
        heads = {head.name: head for head in champion.model.heads.specs}
        predictions[CONSTANT] = {0: dict(_constant(labels, tasks, heads))}
    return judge_transfer(
        predictions,
        labels,
        tasks,
        group=None if day.group is None else day.group[rows],
        weight=weight,
        subject=CANDIDATE,
        decisive=PRESENT,
        fixed=tuple(predictions),
    )


def _constant(
    labels: npt.NDArray[np.float32], tasks: Sequence[TaskSpec], heads: Mapping[str, HeadSpec]
) -> Iterator[tuple[str, Floats]]:
    """Every scored column of a model that knows the mean labels, and nothing of a row."""
    for task in tasks:
        label = labels[defined_rows(labels, tasks, task), task_position(tasks, task.name)]
        means = [float(label.mean())]
        if task.kind == "multiclass":
            means = [float(np.mean(label == place)) for place in range(heads[task.name].size)]
        elif task.parent is not None:
            means.append(float(np.nanmean(joint_labels(labels, tasks, task))))
        for column, mean in zip(heads[task.name].columns, means, strict=True):
            yield column, np.full(len(labels), mean)


def _by_segment(
    day: ScoredDay, champion: Bundle, segments: Sequence[Segment]
) -> dict[str, dict[str, Any]]:
    judged = {}
    for segment in segments:
        rows = int(np.count_nonzero(segment.rows))
        verdict = None
        if rows >= FEWEST_ROWS:
            verdict = _judged(day, champion, segment.rows, constant=False)
        gains = {} if verdict is None else verdict.tasks
        tasks = {
            task: {**entry[PRESENT], "metric": entry["metric"]} for task, entry in gains.items()
        }
        judged[segment.name] = {"rows": rows, "tasks": tasks}
    return judged


def _score_change(day: ScoredDay, column: str) -> ScoreChange:
    before, after = (day.scores[name][column] for name in (PRESENT, CANDIDATE))
    return ScoreChange(
        float(np.average(before, weights=day.weight)),
        float(np.average(after, weights=day.weight)),
        float(np.average(np.abs(after - before), weights=day.weight)),
        spearman(before, after, day.weight),
    )


def _lists(day: ScoredDay, champion: Bundle, formula: Formula, k: int) -> TopLists | None:
    if day.group is None:
        return None
    before, after = (formula.evaluate(day.scores[n], rows=len(day)) for n in (PRESENT, CANDIDATE))
    tasks = champion.encoder.schema.tasks
    return compare_lists(before, after, day.group, k=k, labels=day.labels, tasks=tasks)
