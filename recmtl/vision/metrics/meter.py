"""What a task is measured by: its meter, its primary metric, and gains over single-task models.

Relative gains exist in four conventions, which can differ in sign: on NYUv2 linear scalarisation is
5.6 % worse by the mean over all nine metrics and 0.9 % better by the mean over tasks, because five
of the nine metrics are about normals. Always say which convention a figure follows.

Results are task -> metric -> value, for the method and for the single-task models.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np
from torch import Tensor

from recmtl.errors import ConfigError
from recmtl.vision.data.examples import ImageTask, Kind
from recmtl.vision.metrics.classes import ClassificationMeter, MultilabelMeter, SegmentationMeter
from recmtl.vision.metrics.maps import DepthMeter, NormalsMeter, RegressionMeter

__all__ = [
    "AUTO_LAMBDA",
    "PRIMARY",
    "REPORTED",
    "SURVEY",
    "Meter",
    "TaskMetrics",
    "delta_by_task",
    "delta_flat",
    "higher_is_better",
    "make_meter",
    "primary_metric",
    "relative_gains",
    "select_metrics",
]

PRIMARY: dict[Kind, str] = {
    "classification": "accuracy",
    "multilabel": "f1",
    "segmentation": "miou",
    "depth": "abs",
    "normals": "mean",
    "regression_map": "abs",
}
LOWER = frozenset({"error", "cross_entropy", "abs", "rel", "sq_rel", "rmse", "mean", "median"})
SOURCES = ("adashare", "astmt", "libmtl", "mtan", "survey")


class Meter(Protocol):
    """Collects predictions batch by batch; its result covers all of them."""

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: the outputs of the task's head, and the stacked targets."""

    def result(self) -> dict[str, float]:
        """Metric -> value; NaN without a known target."""


def make_meter(task: ImageTask) -> Meter:
    """A new meter for the task; predictions and targets must have the same H, W."""
    if task.kind == "classification":
        return ClassificationMeter()
    if task.kind == "multilabel":
        return MultilabelMeter(task.classes)
    if task.kind == "segmentation":
        return SegmentationMeter(task.classes, task.class_weights)
    if task.kind == "depth":
        return DepthMeter()
    return NormalsMeter() if task.kind == "normals" else RegressionMeter()


def primary_metric(task: ImageTask) -> tuple[str, bool]:
    """The metric by which validation selects, and whether more of it is better.

    >>> primary_metric(ImageTask("far", "depth"))
    ('abs', False)
    """
    metric = PRIMARY[task.kind]
    return metric, higher_is_better(metric)


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better; `legacy_...` follows the true metric of that name."""
    name = metric
    for source in SOURCES:
        name = name.removeprefix(f"legacy_{source}_")
    return name not in LOWER


TaskMetrics = Mapping[str, Mapping[str, float]]

# The metrics in the tables of MTAN, LibMTL, CAGrad, Nash-MTL and FAMO.
REPORTED: dict[Kind, tuple[str, ...]] = {
    "classification": ("accuracy",),
    "multilabel": ("f1",),
    "segmentation": ("miou", "pixel_accuracy"),
    "depth": ("abs", "rel"),
    "normals": ("mean", "median", "within_11.25", "within_22.5", "within_30"),
    "regression_map": ("abs",),
}
# One metric per task: the survey of Vandenhende et al. 2021 (there with odsF for boundaries), and
# auto-lambda (Liu et al. 2022).
SURVEY = REPORTED | {"segmentation": ("miou",), "depth": ("rmse",), "normals": ("mean",)}
AUTO_LAMBDA = SURVEY | {"depth": ("abs",)}


def select_metrics(
    results: TaskMetrics, tasks: Iterable[ImageTask], metrics: Mapping[Kind, tuple[str, ...]]
) -> dict[str, dict[str, float]]:
    """The results of these tasks, with the metrics of a convention: `REPORTED`, `SURVEY`, ..."""
    return {task.name: {m: results[task.name][m] for m in metrics[task.kind]} for task in tasks}


def relative_gains(method: TaskMetrics, single: TaskMetrics) -> dict[str, dict[str, float]]:
    """Gain of every metric over the single-task value, in percent; positive is better.

    Args:
        method: results of the method.
        single: results of one model per task, with the same tasks and metrics.

    Returns:
        `100 (M - B) / B`, with the opposite sign if less is better; NaN if B is 0.

    Raises:
        ConfigError: the two do not have the same tasks and metrics.

    >>> relative_gains({"far": {"abs": 1.5, "delta1": 0.75}}, {"far": {"abs": 2.0, "delta1": 0.5}})
    {'far': {'abs': 25.0, 'delta1': 50.0}}
    """
    by_task: dict[str, dict[str, float]] = {}
    for task in [*method, *(task for task in single if task not in method)]:
        metrics, base = method.get(task, {}), single.get(task, {})
        if not metrics or set(metrics) != set(base):
            missing = sorted(set(metrics) ^ set(base)) or ["any metric"]
            message = f"task {task!r}: method and single-task model do not both have {missing[0]}"
            raise ConfigError(f"{message}; compare the same metrics of the same tasks")
        by_task[task] = {name: _gain(name, metrics[name], base[name]) for name in metrics}
    return by_task


def delta_flat(method: TaskMetrics, single: TaskMetrics) -> float:
    """Convention (a), percent: mean over all metrics of all tasks; **negative is better**.

    `Delta_m = (100 / S) sum_i (-1)^{d_i} (M_i - B_i) / B_i` with d = 1 if more is better: CAGrad,
    Nash-MTL, FAMO, and all that compare themselves with them.
    """
    every = [gain for task in relative_gains(method, single).values() for gain in task.values()]
    return -float(np.mean(every))


def delta_by_task(method: TaskMetrics, single: TaskMetrics) -> float:
    """Convention (b), percent: mean over each task's metrics, then over tasks; positive is better.

    This is LibMTL's `Delta_p`. With one metric per task it is (c), the survey's Delta_MTL (select
    `SURVEY`), or (d), auto-lambda's (select `AUTO_LAMBDA`).
    """
    tasks = relative_gains(method, single).values()
    return float(np.mean([np.mean(list(task.values())) for task in tasks]))


def _gain(metric: str, value: float, base: float) -> float:
    if base == 0:
        return float("nan")
    change = 100 * (value - base) / base
    return change if higher_is_better(metric) else -change
