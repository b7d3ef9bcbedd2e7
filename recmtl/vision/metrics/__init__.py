"""Metrics of image tasks, pooled over the whole set, and relative gain over single-task models.

The true definitions carry plain names; what published code computes instead stands beside them as
`legacy_<whose>_<name>`, for comparison with its tables and for nothing else.
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
