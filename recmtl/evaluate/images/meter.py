"""The meter that belongs to a task, and the metric by which a task is selected."""

from typing import Protocol

from torch import Tensor

from recmtl.data.images.examples import ImageTask, Kind
from recmtl.evaluate.images.classes import (
    ClassificationMeter,
    MultilabelMeter,
    SegmentationMeter,
)
from recmtl.evaluate.images.maps import DepthMeter, RegressionMeter
from recmtl.evaluate.images.normals import NormalsMeter

__all__ = ["PRIMARY", "Meter", "higher_is_better", "meter_of", "primary"]

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
    """Collects predictions batch by batch; its result is of all of them together."""

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch: what the task's head gives, and its stacked targets."""

    def result(self) -> dict[str, float]:
        """Metric -> value; NaN where nothing was known."""


def meter_of(task: ImageTask) -> Meter:
    """A fresh meter for the task; targets of another H, W than the prediction are an error."""
    if task.kind == "classification":
        return ClassificationMeter()
    if task.kind == "multilabel":
        return MultilabelMeter(task.classes)
    if task.kind == "segmentation":
        return SegmentationMeter(task.classes, task.class_weights)
    if task.kind == "depth":
        return DepthMeter()
    return NormalsMeter() if task.kind == "normals" else RegressionMeter()


def primary(task: ImageTask) -> tuple[str, bool]:
    """The metric that selects on validation, and whether more of it is better."""
    metric = PRIMARY[task.kind]
    return metric, higher_is_better(metric)


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better; `legacy_...` goes with the true metric of that name."""
    name = metric
    for source in SOURCES:
        name = name.removeprefix(f"legacy_{source}_")
    return name not in LOWER
