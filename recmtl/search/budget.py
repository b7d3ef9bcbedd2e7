"""A budget for the found network: the multiplier that steers to it, and the widths that meet it.

`CostMultiplier` is the weight of cost in the objective of the search. `BudgetTarget` knows what the
network of a route costs, encoder and heads included, and scales its widths to the budget.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, NotRequired, TypedDict

from recmtl.errors import ConfigError
from recmtl.grid import Layout, Routes, layout_cost, matched, prune, scaled
from recmtl.grid.routes import LayerRoutes
from recmtl.train.config import Budget, Config
from recmtl.train.problem import Problem, network_cost

__all__ = ["BudgetReport", "BudgetTarget", "CostMultiplier"]

MIN_MULTIPLIER, MAX_MULTIPLIER = 1e-3, 1.0
PACE, MAX_EXCESS = 20.0, 0.5
"""Rise of the multiplier's logarithm over a whole search at an excess of 1. A larger excess than
0.5 counts as 0.5. A pace of 20 brought routes to within a few percent of a budget that they can
reach, without oscillation."""

TOLERANCE = 0.05
"""Relative distance from the budget at which a network still meets it."""
NARROWEST = 0.5
"""Share of the grid's widths below which a network is too unlike the one that was searched."""


class CostMultiplier:
    """Weight of cost in the objective: normalised loss per share of the full grid's multiply-adds.

    Without a budget it is constant. With one it is the Lagrange multiplier of the constraint
    "expected cost at most the budget", found by dual ascent on its logarithm: it rises while drawn
    routes cost more than the budget, and falls while they cost less, but not below its start.

    Args:
        start: the first and least value, or the constant one.
        steps: how often `observe` will be called.
    """

    def __init__(self, start: float, *, steps: int) -> None:
        self.value = self.least = start
        self.rate = PACE / max(1, steps)

    def observe(self, excess: float) -> None:
        """Move the multiplier: `excess` is the cost of a drawn route over the budget, minus 1."""
        now = math.log(max(self.value, MIN_MULTIPLIER))
        moved = now + self.rate * min(max(excess, -MAX_EXCESS), MAX_EXCESS)
        self.value = min(max(math.exp(moved), self.least), MAX_MULTIPLIER)


class BudgetReport(TypedDict):
    """Whether a network meets its budget.

    Attributes:
        unit: `multiply_adds` or `parameters`.
        amount: the budget.
        cost: what the network costs.
        met: whether the cost is within 5 percent of the budget.
        remedy: what to change if it is not.
    """

    unit: str
    amount: float
    cost: float
    met: bool
    remedy: NotRequired[str]


class BudgetTarget:
    """The cost that the found network of a search space should have.

    Args:
        budget: as configured.
        space: the search space.
        problem: what the network is trained on; its encoder and heads cost something too.
        config: with the sizes of both.

    Attributes:
        unit: `multiply_adds` or `parameters`.
        amount: the budget in this unit.

    Raises:
        ConfigError: the cheapest route at half its widths costs more.
    """

    def __init__(self, budget: Budget, space: Layout, *, problem: Problem, config: Config) -> None:
        self.space, self.problem, self.config = space, problem, config
        self._outside_grid: dict[int, float] = {}
        self.unit: Literal["multiply_adds", "parameters"] = "parameters"
        if budget.multiply_adds is not None:
            self.unit = "multiply_adds"
        self.amount = float(budget.multiply_adds or budget.parameters or 0)
        if budget.share is not None:
            self.unit = budget.of
            self.amount = budget.share * self.cost(_pruned(space, Routes.full(space)))
        self._refuse_impossible()

    def cost(self, layout: Layout) -> float:
        """What the network of a layout costs: encoder, grid and heads."""
        return float(getattr(network_cost(self.problem, layout, self.config.sizes), self.unit))

    def excess(self, routes: Routes) -> float:
        """Cost of a route's network at half its widths over the budget, minus 1.

        Half is as narrow as it may become: what is left of the budget goes into wider experts, so
        that a route need not share more only because of its present widths.
        """
        layout = scaled(_pruned(self.space, routes), NARROWEST)
        lanes = layout.embedding_lanes
        # Building a network to count it is slow; its encoder and heads depend on the lanes alone.
        if lanes not in self._outside_grid:
            self._outside_grid[lanes] = self.cost(layout) - self._grid_cost(layout)
        return (self._outside_grid[lanes] + self._grid_cost(layout)) / self.amount - 1.0

    def at_budget(self, layout: Layout) -> tuple[Layout, BudgetReport]:
        """The layout with the widths that meet the budget, and whether they do."""
        remedy = ""
        if abs(self.cost(layout) / self.amount - 1.0) > TOLERANCE:
            try:
                layout = matched(layout, self.amount, self.cost, tolerance=TOLERANCE)
            except ConfigError as error:
                remedy = str(error)
        report = BudgetReport(
            unit=self.unit, amount=self.amount, cost=self.cost(layout), met=not remedy
        )
        if remedy:
            report["remedy"] = remedy
        return layout, report

    def _refuse_impossible(self) -> None:
        layouts = (_pruned(self.space, routes) for routes in _cheapest_routes(self.space))
        least = min(self.cost(scaled(layout, NARROWEST)) for layout in layouts)
        if least > self.amount * (1.0 + TOLERANCE):
            raise ConfigError(
                f"search.budget: {self.amount:,.0f} {self.unit} are less than the {least:,.0f} of "
                "the cheapest route at half its widths; allow more, or lower sizes.embedding, "
                "sizes.tower or grid.widths"
            )

    def _grid_cost(self, layout: Layout) -> float:
        lane = self.problem.lane_shape(self.config.sizes)
        cost = layout_cost(layout, input_width=lane.input_width, pixels=lane.pixels)
        return float(getattr(cost, self.unit))


def _pruned(space: Layout, routes: Routes) -> Layout:
    return prune(space, routes).layout


def _cheapest_routes(space: Layout) -> Iterator[Routes]:
    """For each column, the route on which all searched lanes keep it alone and no lane runs more.

    Lanes that may skip do.
    """
    for number in range(max(len(layer.applications) for layer in space.layers)):
        full, layers = Routes.full(space), list[LayerRoutes]()
        for layer, routes in zip(space.layers, full.layers, strict=True):
            column = tuple((e[number % len(e)],) if e else () for e in layer.edges)
            run = tuple(lane is None for lane in layer.shortcut)
            edges = column if layer.searched else layer.edges
            layers.append(replace(routes, edges=edges, run=run))
        yield Routes(tuple(layers))
