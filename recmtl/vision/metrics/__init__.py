"""Metrics of image tasks, pooled over the whole set, and relative gains over single-task models.

Plain names are the true definitions. What published code computes instead is reported beside them
as `legacy_<whose>_<name>`, for comparison with its tables and for nothing else.
"""

from recmtl.vision.metrics.meter import (
    AUTO_LAMBDA,
    REPORTED,
    SURVEY,
    Meter,
    delta_by_task,
    delta_flat,
    higher_is_better,
    make_meter,
    primary_metric,
    relative_gains,
    select_metrics,
)

__all__ = [
    "AUTO_LAMBDA",
    "REPORTED",
    "SURVEY",
    "Meter",
    "delta_by_task",
    "delta_flat",
    "higher_is_better",
    "make_meter",
    "primary_metric",
    "relative_gains",
    "select_metrics",
]
