"""Importance of features: how much worse a task becomes if a feature tells nothing any more.

The values of a feature are shuffled among validation rows, so that they keep their distribution and
lose their relation to the labels (Breiman, Random Forests, 2001, section 10; the network is not
trained again). What other features tell too is not lost with it: of two features that say the same,
neither seems important, which is why every source of knowledge is shuffled as a whole, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recmtl.data.encoded_log import LogSplit
from recmtl.evaluate.label_space import defined_rows, scores_of, task_position, weight_of
from recmtl.evaluate.measured import Grouped, primary_measure
from recmtl.evaluate.results import plain
from recmtl.evaluate.task_metrics import PRIMARY
from recmtl.model import TabularModel, predict
from recmtl.train.problem import Predictions
from recmtl.train.tabular_problem import TabularProblem

__all__ = ["importance"]

REPEATS = 3
FEWEST_ROWS = 1000
SEED = 20


@dataclass(frozen=True)
class _Columns:
    """Columns of `ids` and of `numeric` that are shuffled together."""

    ids: list[int]
    numeric: list[int]


def importance(
    network: TabularModel, problem: TabularProblem, *, row_scores: int
) -> dict[str, Any] | None:
    """Loss of each task's primary metric on validation rows if features are shuffled.

    Args:
        network: in evaluation mode.
        problem: its rows.
        row_scores: the most scores of a row that this may cost. Where all validation rows would
            cost more, a random part of them is taken, at least 1,000.

    Returns:
        `part`, `rows` and `repeats`, and for each task its `metric`, its `value` on these rows, and
        `features` and `sources`: name -> `loss`, the mean of what the metric loses over the
        repeats (positive: the task is better off with the feature), `std`, and the feature's
        `source`. Lists that are aligned with a history are shuffled with it. None where it may cost
        nothing or there are no validation rows.
    """
    features, sources = _features(problem), _sources(problem)
    if not row_scores or not len(problem.validation):
        return None
    rows = _sampled(problem, row_scores // (REPEATS * (len(features) + len(sources))))
    before = _metrics(predict(network, rows), rows, problem)
    entries: dict[str, dict[str, Any]] = {
        task.name: {
            "metric": PRIMARY[task.judged_as].name,
            "value": before[task.name],
            "features": {},
            "sources": {},
        }
        for task in problem.tasks
    }
    for kind, groups in (("features", features), ("sources", sources)):
        for name, columns in groups.items():
            shuffled = [
                _metrics(predict(network, part), part, problem) for part in _shuffled(rows, columns)
            ]
            for task in problem.tasks:
                sign = 1.0 if PRIMARY[task.judged_as].higher_is_better else -1.0
                losses = [sign * (before[task.name] - after[task.name]) for after in shuffled]
                entries[task.name][kind][name] = {
                    "loss": float(np.mean(losses)),
                    "std": float(np.std(losses, ddof=1)),
                }
    for entry in entries.values():
        for name, source in _source_by_feature(problem).items():
            if name in entry["features"]:
                entry["features"][name]["source"] = source
    facts: dict[str, Any] = {"part": "validation", "rows": len(rows), "repeats": REPEATS}
    result: dict[str, Any] = plain({**facts, "tasks": entries})
    return result


def _sampled(problem: TabularProblem, most: int) -> LogSplit:
    """Random validation rows, in their order."""
    rows = problem.validation
    count = min(len(rows), max(most, FEWEST_ROWS))
    drawn = np.random.default_rng(SEED).choice(len(rows), count, replace=False)
    return rows.take(np.sort(drawn))


def _shuffled(rows: LogSplit, columns: _Columns) -> Iterator[LogSplit]:
    """The rows with these columns in another order of rows, once for each repeat."""
    for repeat in range(REPEATS):
        order = np.random.default_rng([SEED, repeat]).permutation(len(rows))
        ids, numeric = rows.ids, rows.numeric
        if columns.ids:
            ids = ids.copy()
            ids[:, columns.ids] = rows.ids[order][:, columns.ids]
        if columns.numeric:
            numeric = numeric.copy()
            numeric[:, columns.numeric] = rows.numeric[order][:, columns.numeric]
        yield replace(rows, ids=ids, numeric=numeric)


def _metrics(
    predictions: Predictions, rows: LogSplit, problem: TabularProblem
) -> Mapping[str, float]:
    """The primary metric of every task on the rows on which it is defined."""
    labels, weight = np.asarray(rows.labels), np.asarray(rows.weight_by_task, np.float64)
    values = {}
    for task in problem.tasks:
        defined = defined_rows(labels, problem.tasks, task)
        position = task_position(problem.tasks, task.name)
        label = labels[defined, position]
        scores = scores_of(predictions, problem.tasks, task)[defined]
        weights: Any = weight_of(weight, position)[defined]
        groups, value = Grouped(rows.group[defined], weights), float("nan")
        if len(label):
            measure = primary_measure(task.judged_as, label, scores, groups)
            value = float(measure(weights[:, np.newaxis])[0])
        values[task.name] = value
    return values


def _features(problem: TabularProblem) -> dict[str, _Columns]:
    """The columns of each feature; those of a history's aligned lists are with the history."""
    histories = problem.encoding.histories
    aligned = {field.name for lists in histories.values() for field in lists[1:]}
    groups: dict[str, tuple[str, ...]] = {
        name: (name,) for name in problem.encoding.fields if name not in aligned
    }
    groups |= {name: tuple(field.name for field in lists) for name, lists in histories.items()}
    return {name: _columns(problem, names) for name, names in groups.items()}


def _sources(problem: TabularProblem) -> dict[str, _Columns]:
    return {source: _columns(problem, names) for source, names in problem.sources.items()}


def _source_by_feature(problem: TabularProblem) -> dict[str, str]:
    return {name: source for source, names in problem.sources.items() for name in names}


def _columns(problem: TabularProblem, names: Sequence[str]) -> _Columns:
    encoding = problem.encoding
    return _Columns(*encoding.columns_of(encoding.part(set(names))))
