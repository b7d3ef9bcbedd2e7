"""The metrics of each kind of task, and their values for every task on its own rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recmtl.errors import DataError
from recmtl.evaluate.heads.fit import pinball, poisson_deviance, weighted_kappa
from recmtl.evaluate.heads.order import xauc
from recmtl.evaluate.label_space import (
    defined_rows,
    joint_labels,
    scores_of,
    task_position,
    weight_of,
)
from recmtl.evaluate.metrics import (
    accuracy,
    auc,
    calibration_ratio,
    ece,
    gauc,
    log_loss,
    mae,
    mean_of_defined,
    multiclass_auc,
    multiclass_log_loss,
    normalized_entropy,
    pr_auc,
    r2,
    rmse,
    spearman,
)
from recmtl.evaluate.ranking_metrics import ranking_metrics
from recmtl.schema import TaskSpec
from recmtl.schema.names import joint_column, quantile_column

__all__ = ["PRIMARY", "Metrics", "PrimaryMetric", "evaluate", "validation_score"]

Metrics = dict[str, dict[str, float]]
"""Task -> metric -> value."""


@dataclass(frozen=True)
class PrimaryMetric:
    """The metric on which a kind of task is judged (`TaskSpec.judged_as`), and its direction."""

    name: str
    higher_is_better: bool


PRIMARY: dict[str, PrimaryMetric] = {
    "binary": PrimaryMetric("auc", True),
    "regression": PrimaryMetric("rmse", False),
    "multiclass": PrimaryMetric("log_loss", False),
    "rank": PrimaryMetric("gauc", True),
}

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]

METRICS: dict[str, dict[str, Metric]] = {
    "binary": {
        "auc": auc,
        "log_loss": log_loss,
        "normalized_entropy": normalized_entropy,
        "calibration_ratio": calibration_ratio,
        "ece": ece,
        "pr_auc": pr_auc,
    },
    "regression": {"rmse": rmse, "mae": mae, "r2": r2, "spearman": spearman, "xauc": xauc},
    "multiclass": {
        "log_loss": multiclass_log_loss,
        "accuracy": accuracy,
        "auc": multiclass_auc,
    },
    "rank": {},
}
METRICS_OF_HEAD: dict[str, dict[str, Metric]] = {
    "ordinal": {"weighted_kappa": weighted_kappa},
    "poisson": {"poisson_deviance": poisson_deviance},
    "negative_binomial": {"poisson_deviance": poisson_deviance},
}
"""What a model of the label has beside the metrics of its kind of task."""
RANKED = ("ndcg", "map", "mrr", "hit_rate", "recall")
SHOWN_RANKS = 10


def evaluate(
    predictions: Mapping[str, np.ndarray],
    labels: np.ndarray,
    tasks: Sequence[TaskSpec],
    group: np.ndarray | None = None,
    weight: np.ndarray | None = None,
) -> Metrics:
    """Every metric of every task.

    Args:
        predictions: scored columns by name, each of shape [R]: `p_<task>`, `value_<task>`,
            `p_<task>_<class>`, `p_<child>_given_<parent>` and `p_<parent>_and_<child>`.
        labels: shape [R, T] in the order of `tasks`; NaN = the task is not defined on this row.
        tasks: the schema's tasks.
        group: integer codes [R] for the grouped AUC and the ranking metrics at 10 (`ndcg_at_10`
            and others, see `ranking_metrics`), for which rows without one, `NO_GROUP`, do not
            count; None leaves them out.
        weight: row weights [R], 0 or more; None counts every row once. A row of weight 0 is as if
            it were absent. [R, T] where tasks have their own, all above 0.

    Returns:
        task -> metric -> value. A funnel child is judged on the rows whose parent label is 1; its
        joint probability is judged on all rows, with metrics prefixed `joint_`. A metric that is
        not defined on the rows (one class only, no row) is NaN.

    Raises:
        DataError: a column is missing, of another length, not finite or no probability.
    """
    if weight is not None and not np.all(weight > 0):
        counted = np.flatnonzero(weight > 0)
        predictions = {name: scores[counted] for name, scores in predictions.items()}
        labels, group, weight = labels[counted], _at(group, counted), weight[counted]
    result = {}
    for task in tasks:
        position = task_position(tasks, task.name)
        label, weights = labels[:, position], weight_of(weight, position)
        rows = defined_rows(labels, tasks, task)
        scores = scores_of(predictions, tasks, task)
        check_scores(task.name, task.kind, scores, rows)
        at = _at(group, rows), _at(weights, rows)
        values = _metrics(task.judged_as, label[rows], scores[rows], *at)
        values |= _head_metrics(task, predictions, label, scores, rows, weights)
        joint = joint_column(task)
        if task.parent is not None and joint in predictions:
            label = joint_labels(labels, tasks, task)
            rows = ~np.isnan(label)
            check_scores(task.name, "binary", predictions[joint], rows)
            at = _at(group, rows), _at(weights, rows)
            for name, value in _metrics(
                "binary", label[rows], predictions[joint][rows], *at
            ).items():
                values[f"joint_{name}"] = value
        result[task.name] = values
    return result


def validation_score(metrics: Metrics, tasks: Sequence[TaskSpec]) -> float:
    """Mean over the tasks of AUC (binary, multiclass), R2 (regression) or GAUC (rank).

    More is better, and networks are chosen by it. Tasks whose metric is NaN are left out; NaN if
    all are.
    """
    names = {"binary": "auc", "multiclass": "auc", "regression": "r2", "rank": "gauc"}
    return mean_of_defined([metrics[task.name][names[task.judged_as]] for task in tasks])


def check_scores(task: str, kind: str, scores: np.ndarray, rows: np.ndarray) -> None:
    """Refuse scores that cannot be judged on `rows` (bool [R]).

    Raises:
        DataError: another number of rows, a value that is not finite, a probability outside 0..1.
    """
    if len(scores) != len(rows):
        raise DataError(
            f"predictions of task {task!r} have {len(scores)} rows, the labels {len(rows)}; "
            "score the same split"
        )
    used = scores[rows]
    if not np.isfinite(used).all():
        raise DataError(
            f"predictions of task {task!r} hold {np.count_nonzero(~np.isfinite(used))} values "
            "that are not finite; the training diverged, lower the learning rate"
        )
    if kind != "regression" and len(used) and not (used.min() >= 0 and used.max() <= 1 + 1e-6):
        raise DataError(
            f"predictions of task {task!r} range from {used.min():g} to {used.max():g}; "
            "give probabilities, not logits"
        )


def _metrics(
    kind: str,
    label: np.ndarray,
    scores: np.ndarray,
    group: np.ndarray | None,
    weight: np.ndarray | None,
) -> dict[str, float]:
    values = {name: function(label, scores, weight) for name, function in METRICS[kind].items()}
    if kind == "rank" and group is None:
        return {"gauc": float("nan")}
    if kind in ("binary", "rank") and group is not None:
        values["gauc"] = gauc(label, scores, group, weight)
        ranked = ranking_metrics(label, scores, group, k=SHOWN_RANKS, weights=weight)
        values |= {f"{name}_at_{SHOWN_RANKS}": ranked[name] for name in RANKED}
    return values


def _head_metrics(
    task: TaskSpec,
    predictions: Mapping[str, np.ndarray],
    label: np.ndarray,
    scores: np.ndarray,
    rows: np.ndarray,
    weight: np.ndarray | None,
) -> dict[str, float]:
    """The metrics of a task's head, and of the quantiles that the predictions hold, on `rows`."""
    if task.head is None:
        return {}
    label, scores, weight = label[rows], scores[rows], _at(weight, rows)
    metrics = METRICS_OF_HEAD.get(task.head.kind, {})
    values = {name: function(label, scores, weight) for name, function in metrics.items()}
    for share in task.quantiles:
        column = quantile_column(task, share)
        if column in predictions:
            check_scores(task.name, task.kind, predictions[column], rows)
            name = f"pinball_{column.removeprefix(f'value_{task.name}_')}"
            values[name] = pinball(label, predictions[column][rows], weight, share=share)
    return values


def _at(values: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if values is None else values[rows]
