"""Growing the forest of one task with LightGBM."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import lightgbm

from recmtl.forest.task_rows import TaskRows

__all__ = ["ForestSettings", "grow", "leaves"]

Kind = Literal["binary", "regression", "multiclass"]
OBJECTIVE = {"binary": "binary", "regression": "regression", "multiclass": "multiclass"}


@dataclass(frozen=True)
class ForestSettings:
    """The parameters of LightGBM that matter here, and how it reads ids.

    Attributes:
        rounds: trees at most.
        patience: trees without a better validation loss after which growing stops.
        learning_rate: factor of every tree.
        leaves: leaves of a tree at most.
        smallest_leaf: train rows in a leaf at least.
        feature_share: share of the features that each tree may use.
        largest_category: distinct ids up to which a feature is a category.
    """

    rounds: int = 500
    patience: int = 30
    learning_rate: float = 0.1
    leaves: int = 31
    smallest_leaf: int = 50
    feature_share: float = 0.8
    largest_category: int = 1000

    def parameters(self, *, threads: int, seed: int) -> dict[str, Any]:
        """LightGBM's parameters but for the objective: equal threads and seed give equal trees."""
        return {
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.smallest_leaf,
            "feature_fraction": self.feature_share,
            "num_threads": threads,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }


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
        seed: fixes the sample of features that each tree may use.

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
