"""The strategies of a backtest, judged: by day and task, with intervals, and what they cost.

A strategy's quality is the mean over days of each task's primary metric. The gain of one over
another has its interval from one paired bootstrap of all days together: units (groups, or rows) are
drawn anew, and every day, strategy and seed is measured on the same draw. A user of several days is
therefore drawn with all of them. The luck of the training seeds adds to it as in
`recmtl.evaluate.transfer_test`; with a single seed, the bundles are compared as they are.

The first day is scored by the same bundle whatever the strategy, so that comparisons leave it out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from recmtl.daily.rolling.day_scores import DayScores, RolledDay
from recmtl.data.encoded_log import NO_GROUP
from recmtl.evaluate.gain import Gain, gain_of
from recmtl.evaluate.groups import resampled_units
from recmtl.evaluate.label_space import defined_rows, scores_of, task_position, weight_of
from recmtl.evaluate.measured import (
    FEWEST_OF_A_CLASS,
    Grouped,
    Measure,
    constant_loss,
    paired_bootstrap,
    primary_measure,
)
from recmtl.evaluate.results import plain, summary
from recmtl.evaluate.task_metrics import PRIMARY
from recmtl.schema import TaskSpec
from recmtl.train.config import Config

__all__ = ["judged_days"]

CONFIDENCE = 0.95
MEAN = "mean"
Floats = npt.NDArray[np.float64]
Rolls = Sequence[Sequence[RolledDay]]


def judged_days(
    rolls: Rolls, tasks: Sequence[TaskSpec], reference: str, config: Config
) -> dict[str, Any]:
    """The content of backtest.json.

    Args:
        rolls: of each seed the days, on the same rows.
        tasks: of the schema.
        reference: the strategy that the others are compared with.
        config: says how often rows are drawn.

    Returns:
        `reference`; `tasks`, task -> metric; `days`, each with its `name`, `rows`, `quality`
        (strategy -> task -> mean, std, seeds) and `gains` over the reference (strategy -> task);
        `strategies`, each with `cpu_s` (mean over seeds), `refreshes`, `failed`, `quality` and
        `gains` over all days; and `answers`, in sentences.
    """
    strategies = list(rolls[0][0].scores.scores)
    measured = {
        task.name: _Task.of(rolls, tasks, task, config.evidence.bootstrap) for task in tasks
    }
    cpu = {name: _cpu(rolls, name) for name in strategies}
    overall = {name: _gains(measured, name, reference) for name in strategies if name != reference}
    results: dict[str, Any] = {
        "reference": reference,
        "seeds": len(rolls),
        "tasks": {task.name: PRIMARY[task.judged_as].name for task in tasks},
        "days": [
            {
                "name": rolled.day.name,
                "rows": len(rolled.scores.labels),
                "quality": {n: _quality(measured, n, number) for n in strategies},
                "gains": {
                    name: _gains(measured, name, reference, number)
                    for name in strategies
                    if name != reference and number
                },
            }
            for number, rolled in enumerate(rolls[0])
        ],
        "strategies": {
            name: {
                **cpu[name],
                "quality": _quality(measured, name, None),
                "gains": overall.get(name, {}),
            }
            for name in strategies
        },
    }
    results["answers"] = list(_answers(results, measured))
    answered: dict[str, Any] = plain(results)
    return answered


@dataclass(frozen=True)
class _Task:
    """A task's metric of every day, strategy and seed, on the rows and on every draw of them.

    Attributes:
        strategies: their names.
        values: `[1 + draws, days, strategies, seeds]`, higher is better; row 0 on the rows.
        scaled: the same on the scale on which tasks are averaged.
        sign: -1 where the metric itself is better if lower.
        units: that hold rows of the task, of a binary one rows of its rarer class.
    """

    strategies: list[str]
    values: Floats
    scaled: Floats
    sign: float
    units: int

    @classmethod
    def of(cls, rolls: Rolls, tasks: Sequence[TaskSpec], task: TaskSpec, resamples: int) -> "_Task":
        """Measure everything on the same draws."""
        days = [rolled.scores for rolled in rolls[0]]
        strategies = list(days[0].scores)
        rows = _Rows.of(days, tasks, task)
        measures = list(_measures(rolls, rows, tasks, task))
        whole = rows.weight[rows.is_defined]
        undrawn = np.array([measure(whole[:, np.newaxis])[0] for measure in measures])
        drawn = paired_bootstrap(
            measures, rows.unit, rows.weight, rows=rows.is_defined, resamples=resamples, seed=0
        )
        shape = (1 + resamples, len(days), len(strategies), len(rolls))
        values = np.vstack([undrawn, drawn]).reshape(shape)
        if task.kind == "binary":
            return cls(strategies, values, values, 1.0, rows.units_of_rarer_class)
        if task.ranks:
            return cls(strategies, values, values, 1.0, rows.units)
        power = 2 if task.kind == "regression" else 1
        scaled = 1.0 - values**power / rows.constant_losses(task)[None, :, None, None]
        return cls(strategies, -values, scaled, -1.0, rows.units)

    def gain(self, ours: str, theirs: str, day: int | None, *, scaled: bool = False) -> Gain:
        """The gain of a strategy over another on a day, or on the mean of all but the first."""
        values = self.scaled if scaled else self.values
        of_days = values[:, 1:] if day is None else values[:, day : day + 1]
        means = np.nanmean(of_days, axis=1) if np.isfinite(of_days).any() else of_days[:, 0]
        return _gain(means, self.strategies, ours, theirs, self.units)


@dataclass(frozen=True)
class _Rows:
    """The rows of all days, one after the other."""

    labels: Floats
    weight: Floats
    unit: npt.NDArray[np.int64]
    day: npt.NDArray[np.int64]
    is_defined: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, days: Sequence[DayScores], tasks: Sequence[TaskSpec], task: TaskSpec) -> "_Rows":
        labels = np.concatenate([day.labels for day in days])
        group = None
        if days[0].group is not None:
            group = np.concatenate([d.group for d in days if d.group is not None])
            group = group if (group != NO_GROUP).any() else None
        position = task_position(tasks, task.name)
        return cls(
            labels[:, position].astype(np.float64),
            weight_of(np.concatenate([day.weight for day in days]), position),
            resampled_units(group, len(labels)),
            np.repeat(np.arange(len(days)), [len(day.labels) for day in days]),
            defined_rows(labels, tasks, task),
        )

    @cached_property
    def units(self) -> int:
        return len(np.unique(self.unit[self.is_defined]))

    @property
    def units_of_rarer_class(self) -> int:
        label, unit = self.labels[self.is_defined], self.unit[self.is_defined]
        return min(len(np.unique(unit[label == value])) for value in (0, 1))

    def constant_losses(self, task: TaskSpec) -> Floats:
        """The loss of the best constant of each day."""
        of_days = [self.is_defined & (self.day == day) for day in range(int(self.day.max()) + 1)]
        losses = [constant_loss(task.kind, self.labels[r], self.weight[r]) for r in of_days]
        return np.array(losses)


def _measures(
    rolls: Rolls, rows: _Rows, tasks: Sequence[TaskSpec], task: TaskSpec
) -> Iterator[Measure]:
    """Of every day, strategy and seed, its metric as a function of the weights of all rows."""
    of_defined = rows.day[rows.is_defined]
    for number, rolled in enumerate(rolls[0]):
        mine = np.flatnonzero(of_defined == number)
        defined = rows.is_defined[rows.day == number]
        label = rows.labels[rows.day == number][defined]
        groups = Grouped(rows.unit[rows.is_defined][mine], rows.weight[rows.is_defined][mine])
        for name in rolled.scores.scores:
            for roll in rolls:
                scores = scores_of(roll[number].scores.scores[name], tasks, task)[defined]
                yield _on_day(task.judged_as, label, scores, mine, groups)


def _on_day(
    kind: str,
    label: Floats,
    scores: npt.NDArray[Any],
    mine: npt.NDArray[np.int64],
    groups: Grouped,
) -> Measure:
    """The metric of one day; NaN where the day has too few rows of a class, or none."""
    too_few = not len(label) or (
        kind == "binary" and min((label == 0).sum(), (label == 1).sum()) < FEWEST_OF_A_CLASS
    )
    if too_few:
        return lambda weights: np.full(weights.shape[1], np.nan)
    measure = primary_measure(kind, label, scores, groups)
    return lambda weights: measure(weights[mine])


def _gain(values: Floats, strategies: list[str], ours: str, theirs: str, units: int) -> Gain:
    """The gain from values `[1 + draws, strategies, seeds]`."""
    mine, other = (values[:, strategies.index(name)] for name in (ours, theirs))
    alone = values.shape[2] == 1
    return gain_of(mine, other, confidence=CONFIDENCE, units=units, fixed=(alone, alone))


def _gains(
    measured: Mapping[str, _Task], ours: str, theirs: str, day: int | None = None
) -> dict[str, Any]:
    """The gains of a strategy over another by task, and on the mean over the tasks."""
    gains = {name: asdict(task.gain(ours, theirs, day)) for name, task in measured.items()}
    usable = [t for t in measured.values() if np.isfinite(t.gain(ours, theirs, day).gain)]
    if usable:
        means = np.mean(
            [t.scaled if day is None else t.scaled[:, day : day + 1] for t in usable], 0
        )
        means = means[:, 1:] if day is None else means
        values = np.nanmean(means, axis=1) if np.isfinite(means).any() else means[:, 0]
        units = min(task.units for task in usable)
        gains[MEAN] = asdict(_gain(values, usable[0].strategies, ours, theirs, units))
    return gains


def _quality(measured: Mapping[str, _Task], name: str, day: int | None) -> dict[str, Any]:
    """The primary metric of every task on a day, or its mean over the days but the first."""
    cells = {}
    for task, of_task in measured.items():
        values = of_task.sign * of_task.values[0, :, of_task.strategies.index(name)]
        of_days = values[1:] if day is None else values[day : day + 1]
        has_days = np.isfinite(of_days).any()
        cells[task] = summary(np.nanmean(of_days, axis=0).tolist() if has_days else [])
    return cells


def _cpu(rolls: Rolls, name: str) -> dict[str, Any]:
    """What a strategy did over all days, as the mean over the seeds."""
    done = [[r.refreshes[name] for r in roll if name in r.refreshes] for roll in rolls]
    return {
        "cpu_s": float(np.mean([sum(refresh["cpu_s"] for refresh in of_seed) for of_seed in done])),
        "refreshes": sum("failed" not in refresh for refresh in done[0]),
        "failed": [refresh["failed"] for refresh in done[0] if "failed" in refresh],
    }


def _answers(results: Mapping[str, Any], measured: Mapping[str, _Task]) -> Iterator[str]:
    """Whether a warm start is safe, and how often one has to refresh, in sentences."""
    strategies, reference = results["strategies"], results["reference"]
    for name, entry in strategies.items():
        if name == reference:
            continue
        worse = [t for t, gain in entry["gains"].items() if gain["verdict"] == "hurt"]
        cost, of_reference = entry["cpu_s"], strategies[reference]["cpu_s"]
        share = f", at {cost / of_reference:.2f} of its CPU" if of_reference else ""
        if worse:
            yield f"{name} is behind {reference} on {', '.join(worse)}{share}"
        else:
            yield f"{name} is proven behind {reference} on no task{share}"
    for kind in dict.fromkeys(name.partition(":")[0] for name in strategies):
        yield from _how_often([n for n in strategies if n.partition(":")[0] == kind], measured)


def _how_often(names: list[str], measured: Mapping[str, _Task]) -> Iterator[str]:
    """The rarest refresh of a kind that is not proven behind the most frequent one."""
    if len(names) < 2:
        return
    every = {name: int(name.partition(":")[2] or 1) for name in names}
    often, *rarer = sorted(names, key=lambda name: every[name])
    enough = often
    for name in rarer:
        gains = _gains(measured, name, often)
        if any(gain["verdict"] == "hurt" for gain in gains.values()):
            worse = [task for task, gain in gains.items() if gain["verdict"] == "hurt"]
            yield f"{name} is behind {often} on {', '.join(worse)}"
            break
        enough = name
    kind, days = often.partition(":")[0], every[enough]
    yield f"{kind}: a refresh every {days} day{'s' * (days > 1)} is enough here"
