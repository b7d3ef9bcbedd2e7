"""How forests are grown; light to import, since every configuration holds these settings."""

from typing import Annotated, Any

from pydantic import Field

from recmtl.errors import ConfigError
from recmtl.schema.settings import COUNT, RATE, WEIGHT, settings

__all__ = ["ForestSettings", "Trees"]


@settings(ConfigError)
class ForestSettings:
    """The parameters of LightGBM that matter here, and how it reads ids.

    Attributes:
        rounds: trees at most.
        patience: trees without a better validation loss after which growing stops.
        learning_rate: factor of every tree.
        leaves: leaves of a tree at most.
        smallest_leaf: train rows in a leaf at least.
        feature_share: share of the features that each tree may use.
        row_share: share of the rows that each tree is grown on.
        category_l2: penalty of a split of categories, and the rows by which their rates are
            smoothed, then 10 at least.
        largest_category: distinct ids up to which a feature is a category.
        tune: whether a short list of settings (`recmtl.forest.tuned.CANDIDATES`) is tried on
            validation rows, for every task.
    """

    rounds: Annotated[int, Field(ge=1, le=100_000)] = 2000
    patience: Annotated[int, COUNT] = 60
    learning_rate: Annotated[float, RATE] = 0.03
    leaves: Annotated[int, Field(ge=2, le=131_072)] = 31
    smallest_leaf: Annotated[int, COUNT] = 50
    feature_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    row_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    category_l2: Annotated[float, WEIGHT] = 10.0
    largest_category: Annotated[int, COUNT] = 1000
    tune: bool = True

    def parameters(self, *, threads: int, seed: int) -> dict[str, Any]:
        """LightGBM's parameters but for the objective: equal threads and seed give equal trees."""
        return {
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.smallest_leaf,
            "feature_fraction": self.feature_share,
            "bagging_fraction": self.row_share,
            "bagging_freq": int(self.row_share < 1),
            "cat_l2": self.category_l2,
            "cat_smooth": max(10.0, self.category_l2),
            "num_threads": threads,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }


@settings(ConfigError)
class Trees(ForestSettings):
    """Forests as a source of knowledge of the networks: the field `<task>.tree` of every task.

    Attributes:
        enabled: whether forests are grown before the networks, which then hear their logits.
        folds: parts of the train rows: a task has one forest a fold, grown without it. A train row
            gets the logit of the forest that has not seen it, every other row the mean of all.
    """

    enabled: bool = False
    folds: Annotated[int, Field(ge=2, le=100)] = 5
