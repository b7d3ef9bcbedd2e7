"""Plain models to measure against: one model a task, no sharing at all.

`recmtl.baselines.lightgbm`, `recmtl.baselines.logistic` and `recmtl.baselines.constant` each have
one function, `fit_predict(train, validation, test, tasks, encoding, ...)`. It returns the cost, and
scored columns under the names that a recmtl model gives them. Only `recmtl.baselines.lightgbm`
imports LightGBM.
"""

from recmtl.baselines.per_task import BaselineResult

__all__ = ["BaselineResult"]
