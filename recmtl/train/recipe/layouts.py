"""Networks of the catalog in the sizes of a configuration, for the fields and tasks of a log."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from recmtl.data.encoding import Encoding
from recmtl.errors import ConfigError, did_you_mean
from recmtl.evaluate.label_space import task_position
from recmtl.grid import Layout, recmtl_grid
from recmtl.grid.catalog import CATALOG, with_feature_gates
from recmtl.grid.layout import Interaction, Prior
from recmtl.schema import TaskSpec
from recmtl.train.config import Grid

__all__ = ["layout_of"]


def layout_of(name: str, grid: Grid, encoding: Encoding, tasks: Sequence[TaskSpec]) -> Layout:
    """The catalog's layout of this name, in the widths, depth and kind of experts of `grid`.

    Args:
        name: of the catalog.
        grid: its sizes.
        encoding: the fields of a lane, at which interactions and feature gates look.
        tasks: in their order; a funnel's are a graph for networks that know one.

    Raises:
        ConfigError: `grid.prior` names a feature that there is not.
    """
    build = CATALOG[name].layout
    if name == "recmtl_grid":
        fields, rank = encoding.num_fields, max(1, grid.widths[0] // 4)
        interactions = [
            Interaction(kind, fields, rank if kind == "dcn_low_rank" else 0)
            for kind in grid.interactions
        ]
        build = partial(recmtl_grid, embeddings=grid.embeddings, interactions=interactions)
    elif any(task.parent is not None for task in tasks):
        build = partial(build, parents=[_parents(task, tasks) for task in tasks])
    layout = build(
        len(tasks),
        cells=grid.cells or len(tasks) + 2,
        widths=grid.widths,
        depth=grid.depth,
        experts=grid.experts,
    )
    if name == "recmtl_grid" and grid.feature_gates:
        hidden = max(1, grid.widths[-1] // 2)
        layout = with_feature_gates(layout, grid.feature_gates, hidden=hidden)
    return replace(layout, prior=_prior(grid, encoding)) if layout.looks_at_prior else layout


def _parents(task: TaskSpec, tasks: Sequence[TaskSpec]) -> tuple[int, ...]:
    """The position of the task's parent in a funnel."""
    return () if task.parent is None else (task_position(tasks, task.parent),)


def _prior(grid: Grid, encoding: Encoding) -> Prior | None:
    """The fields at which feature gates look, in the order of a lane; None for all."""
    sizes = {name: sized.size for sized in encoding.own_sizes for name in sized.fields}
    fields = [*encoding.columns_of_fields(1)]
    for name in grid.prior:
        if name not in fields:
            hint = did_you_mean(name, fields)
            text = f"there is no feature {name!r} that every network hears{hint}"
            raise ConfigError(f"grid.prior: {text}")
    numbers = tuple(number for number, name in enumerate(fields) if name in grid.prior)
    return Prior(numbers, tuple(sizes.get(name, 0) for name in fields)) if numbers else None
