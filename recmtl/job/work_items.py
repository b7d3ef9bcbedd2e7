"""The networks of a study by name: the search spaces, and the fixed ones beside them.

What a study consists of: pieces of work, each done once, some after others.
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
    "SEARCHED",
    "SPACES",
    "WorkItem",
    "all_pieces",
    "fixed_layout",
    "search_settings",
    "search_space",
    "searched_pieces",
    "with_needed",
]

SPACES = {"searched": "recmtl_grid", **{n: n for n, entry in CATALOG.items() if entry.searched}}
"""Searched model -> the space of the catalog in which its route is searched."""

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "snr_aver": {"estimator": "hard_concrete", "refine": 0, "race": False},
    "snr_trans": {"estimator": "hard_concrete", "refine": 0, "race": False},
    "mtnas": {"estimator": "reinforce", "refine": 0, "race": False},
    "adashare": {"run_odds": 0.0, "race": False},
    "dynashare": {"run_odds": 0.0, "race": False},
}
"""Settings of the search that a model's paper fixes; all others are the configured ones."""

SEARCHED = (*SPACES, "branched")
"""Models in whose wiring something is searched: a route through a space, or a tree."""

FIXED = (*(name for name in CATALOG if name not in SEARCHED), "full_grid")
"""Networks in whose wiring nothing is searched."""


def search_space(name: str, config: Config, problem: Problem) -> Layout:
    """The space in which the route of a searched model is searched."""
    return problem.layout(SPACES[name], config.grid)


def search_settings(name: str, config: Config) -> Config:
    """The configuration with which a model's route is searched.

    A budget is the searched network's. Routes of other spaces are found without one, and their
    networks are brought to its size like those of fixed networks.
    """
    fixed: dict[str, Any] = {"budget": None, **SETTINGS.get(name, {})}
    share = config.evidence.budget
    if name == "searched":
        fixed = {"budget": Budget(share=share)} if share else {}
    return replace(config, search=replace(config.search, **fixed))


def fixed_layout(name: str, config: Config, problem: Problem) -> Layout:
    """A network in whose wiring nothing is searched, with the grid's sizes."""
    if name == "full_grid":
        space = search_space("searched", config, problem)
        return prune(space, Routes.full(space)).layout  # one query a lane: the others would idle
    return problem.layout(name, config.grid)


@dataclass(frozen=True)
class WorkItem:
    """The training of one model with one seed, or the search of the route that it trains."""

    name: str
    seed: int
    search: bool = False

    def __str__(self) -> str:
        """The name under which its progress is shown and its run is tracked."""
        return f"{self.name}-search-{self.seed}" if self.search else f"{self.name}-{self.seed}"

    @property
    def needs(self) -> "WorkItem | None":
        """The piece without which this one cannot begin."""
        if self.search:
            return None
        if self.name in SEARCHED:
            return WorkItem(self.name, self.seed, search=True)
        # A random route has about the cost of the searched one.
        return WorkItem("searched", self.seed, search=True) if self.name == "random_route" else None


def with_needed(pieces: Iterable[WorkItem]) -> list[WorkItem]:
    """The pieces and all that they need, each once: first what others wait for."""
    pieces = list(pieces)
    needed = [piece.needs for piece in pieces if piece.needs is not None]
    return list(dict.fromkeys([*needed, *pieces]))


def searched_pieces(config: Config) -> list[WorkItem]:
    """The searched network of every seed that the verdict rests on."""
    return [WorkItem("searched", seed) for seed in _seeds(config, config.evidence.seeds)]


def all_pieces(config: Config) -> list[WorkItem]:
    """Every model and seed that the configuration asks for."""
    models = config.models()
    return [WorkItem(name, seed) for name, count in models for seed in _seeds(config, count)]


def _seeds(config: Config, count: int) -> range:
    return range(config.seed, config.seed + count)
