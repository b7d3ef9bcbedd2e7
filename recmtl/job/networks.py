"""The networks of a study by name: the search spaces, and the fixed ones beside them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from recmtl.grid import Layout, Routes, prune
from recmtl.grid.catalog import CATALOG
from recmtl.train.config import Budget, Config
from recmtl.train.problem import Problem

__all__ = ["FIXED", "SEARCHED", "SPACES", "fixed_layout", "search_settings", "search_space"]

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
