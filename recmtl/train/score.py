"""What a network of tables makes of rows, and the one number by which networks are chosen."""

from collections.abc import Iterable, Sequence

import numpy as np

from recmtl.data.feed import batches
from recmtl.data.log import Split
from recmtl.grid import Decision
from recmtl.model import Model
from recmtl.schema import Task
from recmtl.train.fitted import Metrics

__all__ = ["known_mean", "predict", "validation_score"]


def predict(
    model: Model,
    split: Split,
    *,
    batch_size: int = 4096,
    decisions: Sequence[Decision] | None = None,
) -> dict[str, np.ndarray]:
    """Scored columns of a whole split, `[R]` each, in file order."""
    scores = [
        model.predict(batch.ids, batch.numeric, decisions).numpy()
        for batch in batches(split, batch_size=batch_size, seed=None)
    ]
    table = np.concatenate(scores) if scores else np.empty((0, len(model.columns)), np.float32)
    return {name: table[:, position] for position, name in enumerate(model.columns)}


def validation_score(metrics: Metrics, tasks: Sequence[Task]) -> float:
    """Mean over tasks of AUC (binary, multiclass) or R2 (regression): what "best" means.

    Tasks whose metric is not defined on the rows at hand are left out; NaN if there is no other.
    """
    kinds = {"binary": "auc", "multiclass": "auc", "regression": "r2"}
    return known_mean(metrics[task.name][kinds[task.kind]] for task in tasks)


def known_mean(values: Iterable[float]) -> float:
    """Mean of the values that are numbers, NaN if none is."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
