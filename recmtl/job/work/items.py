"""What a study consists of: its models by name, and the work items that search and train them.

A work item is done once, some only after others: a searched network is trained after the searches
whose races vote on what it is.
The name of a model is that of its network, such as `shared_bottom`, or with a dot the sources that
it hears, `shared_bottom.ids-numbers`; without one it hears those that were chosen for the study.
After `_aim_` stands the number of the point of the front at which its losses are weighed (`Aim`).
After `~` stands the number of the bootstrap sample of the train rows that it is trained on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from recmtl.grid import Layout, Routes, prune
from recmtl.grid.catalog import CATALOG
from recmtl.train.config import Budget, Config
from recmtl.train.problem import Problem

__all__ = [
    "FIXED",
    "JUDGED",
    "SEARCHED",
    "SPACES",
    "WorkItem",
    "all_items",
    "at_point",
    "fixed_layout",
    "model_name",
    "network_and_sources",
    "on_sample",
    "point_of",
    "sample_of",
    "sampled_items",
    "search_settings",
    "search_space",
    "searched_items",
    "voters",
    "voting",
    "with_needed",
]

SPACES = {"searched": "recmtl_grid", **{n: n for n, entry in CATALOG.items() if entry.searched}}
"""Searched model -> the entry of the catalog in which its route is searched."""

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "snr_aver": {"estimator": "hard_concrete", "refine": 0, "race": False},
    "snr_trans": {"estimator": "hard_concrete", "refine": 0, "race": False},
    "mtnas": {"estimator": "reinforce", "refine": 0, "race": False},
    "adashare": {"run_odds": 0.0, "race": False},
    "dynashare": {"run_odds": 0.0, "race": False},
}
"""Settings of the search that a model's paper fixes; the configuration says all others."""

SEARCHED = (*SPACES, "branched")
"""Models in whose wiring something is searched: a route through a space, or a tree."""

JUDGED = ("searched", "single_task")
"""Models without which there is no verdict."""

POINT = "_aim_"
MOST_VOTES = 3
"""Races that vote where the configuration does not say how many do."""

FIXED = (*(name for name in CATALOG if name not in SEARCHED), "full_grid")
"""Networks in whose wiring nothing is searched."""


def search_space(name: str, config: Config, problem: Problem) -> Layout:
    """The space in which the route of a searched model is searched."""
    return problem.layout(SPACES[name], config.grid)


def search_settings(name: str, config: Config) -> Config:
    """The configuration with which a model's route is searched.

    Only the search of `searched` keeps to a budget. Routes in other spaces are searched without
    one; their networks are then widened or narrowed to it, as fixed networks are.
    """
    fixed: dict[str, Any] = {"budget": None, **SETTINGS.get(name, {})}
    share = config.evidence.budget
    if name == "searched":
        fixed = {"budget": Budget(share=share)} if share else {}
    return replace(config, search=replace(config.search, **fixed))


def fixed_layout(name: str, config: Config, problem: Problem) -> Layout:
    """The layout of a network in whose wiring nothing is searched, with the grid's sizes."""
    if name == "full_grid":
        space = search_space("searched", config, problem)
        return prune(space, Routes.full(space)).layout  # keeps one query a lane, the one in use
    return problem.layout(name, config.grid)


@dataclass(frozen=True)
class WorkItem:
    """The training of one model with one seed, or the search of the route that it trains.

    >>> str(WorkItem("searched", 3)), str(WorkItem("searched", 3, search=True))
    ('searched-3', 'searched-search-3')
    """

    name: str
    seed: int
    search: bool = False

    def __str__(self) -> str:
        """The name under which its progress is shown and its run is tracked."""
        return f"{self.name}-search-{self.seed}" if self.search else f"{self.name}-{self.seed}"

    def needs(self, config: Config) -> "tuple[WorkItem, ...]":
        """The work items that must be done before this one."""
        network = network_and_sources(self.name)[0]
        if self.search:
            return ()
        if network in ("searched", "random_route"):  # which is drawn anew where it is the searched
            seeds = voters(config, self.seed)
            return tuple(WorkItem("searched", seed, search=True) for seed in seeds)
        return (WorkItem(network, self.seed, search=True),) if network in SEARCHED else ()


def model_name(network: str, sources: Iterable[str]) -> str:
    """The name of a model that hears these sources, whatever was chosen for the study.

    >>> model_name("shared_bottom", ("ids", "numbers"))
    'shared_bottom.ids-numbers'
    """
    return f"{network}.{'-'.join(sources)}"


def on_sample(name: str, number: int) -> str:
    """The name of a model that is trained on a bootstrap sample of the train rows.

    >>> on_sample("searched", 3), sample_of("searched~3"), sample_of("searched")
    ('searched~3', 3, None)
    """
    return f"{name}~{number}"


def sample_of(name: str) -> int | None:
    """The number of the sample in a model's name; None if it is trained on the train rows."""
    number = name.partition("~")[2]
    return int(number) if number else None


def at_point(name: str, number: int) -> str:
    """The name of a model whose losses are weighed as at a point of the front.

    >>> at_point("searched", 2), point_of("searched_aim_2"), point_of("searched")
    ('searched_aim_2', 2, None)
    """
    return f"{name}{POINT}{number}"


def point_of(name: str) -> int | None:
    """The number of the point in a model's name: 0 emphasises no task; None without a point."""
    number = name.partition(POINT)[2]
    return int(number) if number else None


def network_and_sources(name: str) -> tuple[str, tuple[str, ...] | None]:
    """The network of a model's name, and the sources in it, if there are any; see `model_name`.

    >>> network_and_sources("shared_bottom.ids-numbers"), network_and_sources("mmoe")
    (('shared_bottom', ('ids', 'numbers')), ('mmoe', None))
    """
    network, dot, sources = name.partition("~")[0].partition(POINT)[0].partition(".")
    return network, tuple(sources.split("-")) if dot else None


def voters(config: Config, seed: int) -> range:
    """The seeds whose searches decide what the searched network of a seed is.

    Without races that is its own search.
    """
    if config.search.race is False:
        return range(seed, seed + 1)
    return _seeds(config, config.search.votes or min(MOST_VOTES, config.evidence.seeds))


def voting(config: Config) -> Config:
    """The configuration with as many votes, however many seeds are asked for later."""
    votes = len(voters(config, config.seed))
    return replace(config, search=replace(config.search, votes=votes))


def with_needed(items: Iterable[WorkItem], config: Config) -> list[WorkItem]:
    """These work items and those that they need, each once: first those that others wait for."""
    items = list(items)
    needed = [needed for item in items for needed in item.needs(config)]
    return list(dict.fromkeys([*needed, *items]))


def searched_items(config: Config) -> list[WorkItem]:
    """The training of the searched network with every seed that the verdict rests on."""
    return [WorkItem("searched", seed) for seed in _seeds(config, config.evidence.seeds)]


def all_items(config: Config) -> list[WorkItem]:
    """The training of every model and seed that the configuration compares."""
    models = config.models()
    return [WorkItem(name, seed) for name, count in models for seed in _seeds(config, count)]


def sampled_items(config: Config) -> list[WorkItem]:
    """The trainings of the verdict's models on bootstrap samples of the train rows."""
    evidence = config.evidence
    names = [*JUDGED, *(name for name in evidence.baselines if name == "lightgbm")]
    numbers = range(evidence.resamples)
    return [WorkItem(on_sample(name, number), config.seed) for number in numbers for name in names]


def _seeds(config: Config, count: int) -> range:
    return range(config.seed, config.seed + count)
