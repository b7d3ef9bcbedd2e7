"""Who enters a race: the found route, and networks that share in ways which nothing searched.

All have the same inputs, the same kind of experts and, with a budget, the same cost. They span who
trains which embedding (one for all, one a task, both) and who trains which experts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from recmtl.errors import ConfigError
from recmtl.grid import Layout, Routes, cross_features, prune, same_wiring
from recmtl.grid.catalog.shared import branched
from recmtl.search.budget import BudgetReport, BudgetTarget
from recmtl.train.config import Grid
from recmtl.train.problem import Problem

__all__ = ["FIXED_ENTRANTS", "FOUND", "NOTHING_SHARED", "Entrant", "field_of", "with_other_experts"]

FOUND, NOTHING_SHARED = "found", "all_apart"
FIXED_ENTRANTS = ("shared_bottom", "towers_apart", "embeddings_apart", NOTHING_SHARED, "stem")
"""Networks of the catalog that enter every race, as far as the kind of problem has them."""


@dataclass(frozen=True)
class Entrant:
    """A network that competes.

    Attributes:
        name: `found`, `full_grid`, `branched`, or a name of the catalog.
        layout: as large as it will be.
        routes: the kept edges: of the search space, or all of those of a fixed layout.
        budget: whether it meets the budget; None without one.
    """

    name: str
    layout: Layout
    routes: Routes
    budget: BudgetReport | None = None

    @property
    def experts(self) -> str:
        """Kind of the experts on the input."""
        return next(layer.experts for layer in self.layout.layers if not layer.only_mixes)

    @property
    def key(self) -> str:
        """What tells it from every other entrant of a race."""
        return f"{self.name}-{self.experts}"


def field_of(
    found: Routes,
    space: Layout,
    *,
    partitions: Sequence[Sequence[int]],
    problem: Problem,
    grid: Grid,
    target: BudgetTarget | None,
) -> tuple[list[Entrant], dict[str, str]]:
    """The entrants, the found route first, and for each one left out the reason.

    Left out is what the kind of problem does not have, what no width brings to the budget, and
    what is wired as an earlier entrant.

    Args:
        found: the route that the search found.
        space: the search space.
        partitions: of a tree in which tasks that agree part late: for each depth the branch of
            each task; empty enters no tree.
        problem: what they are trained on.
        grid: sizes of the fixed networks.
        target: the budget; without one every network has its own size.
    """
    entrants, left_out = list[Entrant](), dict[str, str]()

    def enter(name: str, build: Callable[[], tuple[Layout, Routes | None]]) -> None:
        try:
            layout, routes = build()
        except ConfigError as error:
            left_out[name] = str(error)
            return
        layout, budget = (layout, None) if target is None else target.at_budget(layout)
        if budget is not None and not budget["met"] and name != FOUND:
            left_out[name] = budget["remedy"]
        elif twin := next((e.name for e in entrants if same_wiring(e.layout, layout)), ""):
            left_out[name] = f"has the wiring of {twin}"
        else:
            entrants.append(Entrant(name, layout, routes or Routes.full(layout), budget))

    full = Routes.full(space)
    enter(FOUND, lambda: (prune(space, found).layout, found))
    for name in FIXED_ENTRANTS:
        enter(name, lambda name=name: (problem.layout(name, grid), None))  # type: ignore[misc]
    enter("full_grid", lambda: (prune(space, full).layout, full))
    if partitions:
        enter("branched", lambda: (_tree(partitions, problem, grid), None))
    return entrants, left_out


def with_other_experts(entrant: Entrant, grid: Grid, target: BudgetTarget | None) -> Entrant | None:
    """The same wiring with cross features for perceptrons, or the reverse; None for other experts.

    It is brought to the budget, or without one keeps its widths.
    """
    if entrant.experts not in ("mlp", "cross"):
        return None
    layout = entrant.layout
    layout = cross_features(layout) if entrant.experts == "mlp" else _perceptrons(layout, grid)
    budget = None
    if target is not None:
        layout, budget = target.at_budget(layout)
        if not budget["met"]:
            return None
    return replace(entrant, layout=layout, budget=budget)


def _perceptrons(layout: Layout, grid: Grid) -> Layout:
    """The layout with perceptrons in place of its cross features, as wide as the grid's at that."""
    layers = list(layout.layers)
    for number, layer in enumerate(layers):
        if layer.experts == "cross":
            factor = layer.width / grid.widths[-1]
            hidden = tuple(max(1, round(width * factor)) for width in grid.widths[:-1])
            layers[number] = replace(layer, experts="mlp", hidden=hidden)
    return replace(layout, layers=tuple(layers))


def _tree(partitions: Sequence[Sequence[int]], problem: Problem, grid: Grid) -> Layout:
    levels = problem.levels(grid)
    layout = branched(partitions[: len(levels)], levels=levels)
    if grid.experts == "cross" and any(layer.experts == "mlp" for layer in layout.layers):
        return cross_features(layout)
    return layout
