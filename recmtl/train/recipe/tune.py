"""What `recmtl tune` tries: the space of settings, how it is searched, and what a trial trains."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field

from recmtl.errors import ConfigError
from recmtl.schema.settings import COUNT, FINITE, settings

__all__ = ["DEFAULT_SPACE", "Range", "Tune"]


@settings(ConfigError)
class Range:
    """Numbers from `low` to `high`, both included; whole ones where the setting is a whole number.

    Attributes:
        low: the smallest.
        high: the largest.
        log: whether equal ratios are equally likely, in place of equal differences.
    """

    low: Annotated[float, FINITE]
    high: Annotated[float, FINITE]
    log: bool = False

    def __post_init__(self) -> None:
        """Refuse a range that holds no number, or whose logarithm is none."""
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}; swap them")
        if self.log and self.low <= 0:
            raise ValueError("low must be above 0 where log is true")


Values = Range | tuple[Any, ...]

DEFAULT_SPACE: Mapping[str, Values] = {
    "training.learning_rate": Range(low=5e-4, high=2e-2, log=True),
    "training.table_learning_rate": Range(low=5e-4, high=2e-2, log=True),
    "training.weight_decay": Range(low=1e-6, high=1e-2, log=True),
    "training.batch_size": (512, 1024, 2048),
    "training.balance": Range(low=0.0, high=1.0),
    "training.average": (0.0, 0.99, 0.999),
    "sizes.dropout": Range(low=0.0, high=0.4),
    "sizes.embedding": (4, 8, 16, 32),
    "grid.widths": ((32, 16), (64, 32), (128, 64)),
}
"""What is tried where a configuration names no space."""


@settings(ConfigError)
class Tune:
    """What `recmtl tune` tries on tables: settings are drawn, trained, and halved.

    Attributes:
        space: the settings that are tried, each by its place: `training.learning_rate`, or in the
            schema `schema.statistics.NAMES.smoothing` and `schema.features.NAMES.OPTION`, where
            NAMES is a name, several with commas, or `*`. A list holds its choices, a `Range` its
            numbers. Empty: the published space.
        model: the network that a trial trains: one of the catalog, `full_grid`, or `searched`, for
            which every trial searches a route first.
        trials: settings that are tried beside those of the configuration.
        generation: trials that are drawn at once, and halved against one another.
        sampler: `tpe` draws near what did well (tree-structured Parzen estimators); `random` draws
            evenly.
        halving: whether trials that are behind end after a quarter or a half of their training.
        finalists: the best trials, which are trained with more seeds beside the configuration's
            own settings.
        seeds: trainings of each finalist, whose mean decides; 1 trains none anew.
    """

    space: dict[str, Values] = field(default_factory=dict)
    model: str = "mmoe"
    trials: Annotated[int, COUNT] = 40
    generation: Annotated[int, Field(ge=2, le=1000)] = 8
    sampler: Literal["tpe", "random"] = "tpe"
    halving: bool = True
    finalists: Annotated[int, Field(ge=1, le=100)] = 3
    seeds: Annotated[int, Field(ge=1, le=100)] = 3

    def __post_init__(self) -> None:
        """Refuse a setting without a value to choose."""
        for path, values in self.space.items():
            if values == ():
                raise ValueError(f"space: {path} names no value; list one or more")
