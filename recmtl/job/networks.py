"""The networks of a study by name: the search space, and the fixed ones beside it."""

from recmtl.errors import ConfigError
from recmtl.grid import Layout, Routes, mmoe, ple, prune, recmtl_grid, shared_bottom
from recmtl.train.config import Config

__all__ = ["FIXED", "fixed_layout", "search_space"]

FIXED = ("shared_bottom", "mmoe", "ple", "full_grid")


def search_space(config: Config, num_tasks: int) -> Layout:
    """The grid whose routes are searched."""
    grid = config.grid
    cells = _cells(config, num_tasks)
    return recmtl_grid(num_tasks, cells=cells, widths=grid.widths, depth=grid.depth)


def fixed_layout(name: str, config: Config, num_tasks: int) -> Layout:
    """A named network with the grid's experts: as many, and as wide.

    MMoE and the full grid have `cells` experts a layer; PLE has one expert a task, the rest
    shared (at least one), on two levels.

    Raises:
        ConfigError: no network of that name.
    """
    grid, cells = config.grid, _cells(config, num_tasks)
    if name == "shared_bottom":
        return shared_bottom(num_tasks, widths=grid.widths)
    if name == "mmoe":
        return mmoe(num_tasks, experts=cells, widths=grid.widths)
    if name == "ple":
        levels = (grid.widths, grid.widths[-1:])
        return ple(num_tasks, own=1, shared=max(1, cells - num_tasks), levels=levels)
    if name == "full_grid":
        space = search_space(config, num_tasks)
        return prune(space, Routes.full(space)).layout  # one query a lane: the others would idle
    raise ConfigError(f"evidence.controls: no network {name!r}; choose among {', '.join(FIXED)}")


def _cells(config: Config, num_tasks: int) -> int:
    return config.grid.cells or num_tasks + 2
