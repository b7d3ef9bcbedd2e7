"""Growing the forest of one task with LightGBM."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import lightgbm

from recmtl.forest.settings import ForestSettings
from recmtl.forest.task_rows import TaskRows

__all__ = ["grow", "leaves"]

Kind = Literal["binary", "regression", "multiclass"]
OBJECTIVE = {"binary": "binary", "regression": "regression", "multiclass": "multiclass"}


def grow(
    kind: Kind,
    train: TaskRows,
    validation: TaskRows,
    *,
    settings: ForestSettings,
    categories: Sequence[int],
    classes: int,
    threads: int,
    seed: int,
) -> lightgbm.Booster:
    """Grow the forest of one task; validation rows, if there are any, choose the number of trees.

    Args:
        kind: of the task.
        train: rows to grow on, with labels that are not all equal.
        validation: rows on which growing is stopped early (log loss, or squared error).
        settings: of LightGBM.
        categories: the columns that are categories.
        classes: number of classes of a multiclass task.
        threads: threads of LightGBM.
        seed: fixes the samples of features and rows that each tree may use.

    Returns:
        The forest; its `best_iteration` is 0 where nothing stopped it.
    """
    parameters = settings.parameters(threads=threads, seed=seed) | {"objective": OBJECTIVE[kind]}
    if kind == "multiclass":
        parameters["num_class"] = classes
    data = lightgbm.Dataset(
        train.x,
        train.label,
        # LightGBM splits no leaf whose Hessians, which have the unit of weights, sum to little.
        weight=train.weight / train.weight.mean(),
        categorical_feature=list(categories),
        params=parameters,
    )
    callbacks: list[Callable[..., Any]] = []
    if len(validation.label):
        callbacks = [lightgbm.early_stopping(settings.patience, verbose=False)]
    held_out = data.create_valid(validation.x, validation.label, weight=validation.weight)
    return lightgbm.train(
        parameters,
        data,
        num_boost_round=settings.rounds,
        valid_sets=[held_out] if callbacks else None,
        callbacks=callbacks,
    )


def leaves(forest: lightgbm.Booster) -> int:
    """Number of leaves of the trees that a forest predicts with."""
    trees = forest.dump_model(num_iteration=forest.best_iteration or None)["tree_info"]
    return sum(tree["num_leaves"] for tree in trees)
