"""The metric by which the checks of a training, and the networks of several seeds, are compared.

Every metric is read on a scale on which more is better and 1 is perfect, so that a mean over tasks
makes sense: AUC and GAUC as they are (a constant prediction has .5); log loss as 1 - loss / loss of
the best constant on train rows; normalised entropy as 1 - it; RMSE as R2, which orders networks
alike (a constant has 0 on these three).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from recmtl.data.encoded_log import NO_GROUP
from recmtl.errors import ConfigError, refuse_unknown_tasks
from recmtl.evaluate.label_space import defined_rows, scores_of, telling_share, weight_of
from recmtl.evaluate.metrics import gauc, mean_over_tasks
from recmtl.evaluate.task_metrics import METRICS, Metrics
from recmtl.model.heads import HeadSpec
from recmtl.schema import TaskSpec
from recmtl.train.config import StopMetric

__all__ = [
    "check_stop_tasks",
    "counted_tasks",
    "folds_of_rows",
    "scores_without_folds",
    "stop_metrics",
    "stop_score",
    "task_weights",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FITTING: dict[str, tuple[StopMetric, ...]] = {
    "binary": ("auc", "gauc", "log_loss", "normalized_entropy"),
    "multiclass": ("auc", "log_loss"),
    "regression": ("rmse",),
    "rank": ("gauc",),
}
"""By kind of task its metrics, the default first."""


def stop_metrics(
    setting: StopMetric | Mapping[str, StopMetric], tasks: Sequence[TaskSpec], *, has_groups: bool
) -> dict[str, StopMetric]:
    """The metric of every task.

    Args:
        setting: `training.stop_metric`: one for all tasks, or by task; tasks that are not named
            keep the default of their kind.
        tasks: the schema's tasks.
        has_groups: whether the schema names a group.

    Raises:
        ConfigError: it names a task that does not exist, or a metric that does not fit a task.
    """
    by_task: Mapping[str, StopMetric] = (
        {task.name: setting for task in tasks} if isinstance(setting, str) else setting
    )
    refuse_unknown_tasks("training.stop_metric", by_task, [task.name for task in tasks])
    metrics = {}
    for task in tasks:
        fitting, metric = FITTING[task.judged_as], by_task.get(task.name, "default")
        metrics[task.name] = fitting[0] if metric == "default" else metric
        if metrics[task.name] not in fitting:
            raise ConfigError(
                f"training.stop_metric: {metric} does not fit task {task.name!r}, which is "
                f"{task.judged_as}; give it {' or '.join(fitting)}, for instance "
                f"{{{task.name}: {fitting[0]}}}"
            )
        if metric == "gauc" and not has_groups:
            raise ConfigError(
                f"training.stop_metric: gauc of task {task.name!r} needs groups; name their "
                "column under roles.group in the schema, or give auc"
            )
    return metrics


def counted_tasks(stop_tasks: Sequence[str], names: Sequence[str]) -> list[int]:
    """Positions of the tasks whose stop metrics are averaged: all where none of them is named.

    >>> counted_tasks(["like"], ["click", "like"]), counted_tasks(["like"], ["click"])
    ([1], [0])
    """
    named = [position for position, name in enumerate(names) if name in stop_tasks]
    return named or list(range(len(names)))


def task_weights(labels: npt.NDArray[np.float32], tasks: Sequence[TaskSpec]) -> Floats:
    """What each task counts `[T]` where a mean over tasks chooses: its `telling_share`.

    In a plain mean the luck of a task with two dozen positive rows would choose, and not what the
    other tasks say.

    Args:
        labels: `[R, T]` of the validation rows.
        tasks: in the order of the labels.
    """
    shares = [
        telling_share(labels[defined_rows(labels, tasks, task), position], task.kind)
        for position, task in enumerate(tasks)
    ]
    return np.array(shares, dtype=np.float64)


def check_stop_tasks(stop_tasks: Sequence[str], tasks: Sequence[TaskSpec]) -> None:
    """Refuse names of tasks that do not exist.

    Raises:
        ConfigError: there is no such task.
    """
    refuse_unknown_tasks("training.stop_tasks", stop_tasks, [task.name for task in tasks])


def stop_score(
    metrics: Metrics,
    heads: Sequence[HeadSpec],
    chosen: Mapping[str, StopMetric],
    weights: Floats | None = None,
) -> float:
    """Mean over the tasks of their chosen metrics, each with 1 as the best; NaN if none is defined.

    Args:
        metrics: as `evaluate` returns them.
        heads: of the tasks that are averaged.
        chosen: the metric of each of them, from `stop_metrics`.
        weights: what each of them counts, from `task_weights`; all the same if None.
    """
    values = [_on_scale(metrics[head.name], head, chosen) for head in heads]
    return float(mean_over_tasks(np.array([values]), weights)[0])


def folds_of_rows(group: Ints, count: int) -> Ints:
    """One of `count` folds for each row `[R]`; the rows of a group are in one fold.

    Rows of a group are alike, so that an error estimated from folds which divide groups is too
    small. Rows without a group are groups of their own.

    >>> folds_of_rows(np.array([7, 7, 5, 9, 5]), 2).tolist()
    [1, 1, 0, 0, 0]
    """
    rows = np.arange(len(group))
    if len(group) == 0 or group.min() == group.max():
        return rows % count
    _, codes = np.unique(group, return_inverse=True)
    return np.where(group == NO_GROUP, rows, codes) % count


def scores_without_folds(
    predictions: Mapping[str, npt.NDArray[np.generic]],
    labels: npt.NDArray[np.float32],
    tasks: Sequence[TaskSpec],
    *,
    heads: Sequence[HeadSpec],
    chosen: Mapping[str, StopMetric],
    folds: Ints,
    group: Ints,
    weight: npt.NDArray[np.float32] | None,
) -> Floats:
    """The chosen metric of every task on all rows, then on all rows but one fold: `[1 + F, T]`.

    The mean over the tasks of the first row is the `stop_score`. The other rows say how certain it
    is, by the jackknife.

    Args:
        predictions: scored columns `[R]`.
        labels: `[R, T]`.
        tasks: in the order of the labels.
        heads: of the tasks.
        chosen: the metric of each task, from `stop_metrics`.
        folds: fold `[R]` of each row, from `folds_of_rows`.
        group: codes `[R]`.
        weight: `[R]`, or `[R, T]` where tasks have their own, or None.
    """
    scores = np.empty((2 + int(folds.max(initial=0)), len(tasks)))
    for number, (task, head) in enumerate(zip(tasks, heads, strict=True)):
        of_task = weight_of(weight, number)
        counts = True if of_task is None else of_task > 0
        is_defined = defined_rows(labels, tasks, task) & counts
        label, values = labels[:, number], scores_of(predictions, tasks, task)
        name = {"rmse": "r2"}.get(chosen[task.name], chosen[task.name])
        for row in range(len(scores)):
            rows = np.flatnonzero(is_defined & (folds != row - 1))
            weights = None if of_task is None else of_task[rows]
            if name == "gauc":
                value = gauc(label[rows], values[rows], group[rows], weights)
            else:
                value = METRICS[task.kind][name](label[rows], values[rows], weights)
            scores[row, number] = _on_scale({name: value}, head, chosen)
    return scores


def _on_scale(
    metrics: Mapping[str, float], head: HeadSpec, chosen: Mapping[str, StopMetric]
) -> float:
    metric = chosen[head.name]
    if metric == "rmse":
        return metrics["r2"]
    if metric == "log_loss":
        return 1.0 - metrics["log_loss"] / head.constant_loss
    return 1.0 - metrics[metric] if metric == "normalized_entropy" else metrics[metric]
