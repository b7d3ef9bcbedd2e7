"""Plain models to be measured against: one model a task, no sharing at all.

`recmtl.baselines.lightgbm`, `recmtl.baselines.logistic` and `recmtl.baselines.constant` each have
one function, `fit_predict(train, validation, test, tasks, encoding, ...)`, which returns scored
columns under the same names as a recmtl model's, and the cost. LightGBM itself is imported only
by the module of that name.
"""

from recmtl.baselines.one_a_task import BaselineResult

__all__ = ["BaselineResult"]
