"""What the searched network is compared with, and how the comparison is judged."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from recmtl.errors import ConfigError, did_you_mean
from recmtl.forest.settings import ForestSettings
from recmtl.grid.catalog import CATALOG
from recmtl.schema.settings import SHARE, settings

__all__ = ["Evidence", "LightGBM", "Report"]


@settings(ConfigError)
class LightGBM(ForestSettings):
    """The LightGBM that the searched network is compared with: one model a task.

    Attributes:
        bag: forests whose logits are averaged; each of several is grown on samples of the rows.
    """

    bag: Annotated[int, Field(ge=1, le=100)] = 3


@settings(ConfigError)
class Evidence:
    """The models with which the searched network is compared.

    Attributes:
        seeds: number of networks trained for each model of the verdict.
        control_seeds: number of networks trained for each other control; None: `seeds`.
        ablation_seeds: number of networks trained for each step of what moved the metric; 0 leaves
            that out, and with 1 nothing is proven.
        controls: other networks on equal data: any of the catalog, `full_grid`, `random_route`
            (drawn anew for each of `seeds`).
        baselines: models of other kinds, one a task. LightGBM has as many seeds as the verdict.
        lightgbm: how that baseline is tuned and bagged.
        bootstrap: number of resamples of the test rows.
        resamples: bootstrap samples of the train rows (of whole groups, where there are any) on
            each of which the models of the verdict are trained once more, so that its intervals
            cover the luck of the train rows too; 0 leaves that luck out. A sample is held in
            memory.
        false_discovery: share of false ones among the verdicts of all tasks that is allowed
            (Benjamini and Hochberg); 0: each task is judged for itself.
        budget: multiply-adds of every network as a share of the full grid's network, embeddings and
            heads included. Fixed networks are widened or narrowed to it, the search stays within
            it, and the single-task networks share it. 0 leaves every network at its own size.
    """

    seeds: Annotated[int, Field(ge=1, le=1000)] = 3
    control_seeds: Annotated[int, Field(ge=1, le=1000)] | None = None
    ablation_seeds: Annotated[int, Field(ge=0, le=1000)] = 2
    controls: tuple[str, ...] = ("shared_bottom", "mmoe", "ple", "full_grid", "random_route")
    baselines: tuple[Literal["lightgbm", "logistic"], ...] = ("lightgbm", "logistic")
    lightgbm: LightGBM = field(default_factory=LightGBM)
    bootstrap: Annotated[int, Field(ge=2, le=1_000_000)] = 200
    resamples: Annotated[int, Field(ge=0, le=1000)] = 0
    false_discovery: Annotated[float, SHARE] = 0.0
    budget: Annotated[float, SHARE] = 0.0

    @property
    def seeds_of_controls(self) -> int:
        """Number of networks trained for each other control."""
        return self.seeds if self.control_seeds is None else self.control_seeds

    def __post_init__(self) -> None:
        """Refuse unknown networks, and values with which nothing can be judged."""
        if self.resamples == 1:
            raise ValueError("resamples must be 0, or at least 2: one sample shows no spread")
        networks = (*CATALOG, "full_grid", "random_route")
        for name in self.controls:
            if name not in networks:
                hint = did_you_mean(name, networks)
                raise ValueError(
                    f"controls: no network {name!r}{hint}; there are {', '.join(networks)}"
                )


@settings(ConfigError)
class Report:
    """What the report looks into beside the comparison of models.

    Attributes:
        slices: categorical and numeric features by whose values test rows are told apart. None: the
            two categorical features with the most values, such as users and items.
        importance: the most scores of a row that the importance of features may cost, of all
            shuffled features together; 0 leaves it out.
    """

    slices: tuple[str, ...] | None = None
    importance: Annotated[int, Field(ge=0, le=10**12)] = 200_000
