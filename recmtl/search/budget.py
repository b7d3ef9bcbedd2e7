"""What cost is worth while routes are searched: a fixed price, or one that finds the budget.

A budget in figures: what a route's network costs, and the widths with which it fits.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from recmtl.errors import ConfigError
from recmtl.grid import Layout, Routes, layout_cost, matched, prune, scaled
from recmtl.grid.routes import LayerRoutes
from recmtl.train.config import Budget, Config
from recmtl.train.problem import Problem, network_cost

__all__ = ["BudgetTarget", "CostMultiplier"]

LEAST, MOST = 1e-3, 1.0
PACE = 20.0
"""Rise of the price's logarithm over a whole search for an excess of 1; more than 0.5 counts as
that, and 20 brought routes to within some percent of a reachable budget without swinging."""


class CostMultiplier:
    """Price of the full grid's multiply-adds, in units of the normalised loss.

    Without a budget it stays. With one it is the multiplier of the constraint "expected cost at
    most the budget", found by dual ascent on its logarithm: it rises while drawn routes cost more
    than the budget, and falls while they cost less, but not below the first price.

    Args:
        start: the first price and the least, or the only one.
        steps: how often `observe` will be called.
    """

    def __init__(self, start: float, *, steps: int) -> None:
        self.value = self.least = start
        self.rate = PACE / max(1, steps)

    def observe(self, excess: float) -> None:
        """Move the price: `excess` is the cost of a drawn route over the budget, minus 1."""
        now = math.log(max(self.value, LEAST))
        moved = now + self.rate * min(max(excess, -0.5), 0.5)
        self.value = min(max(math.exp(moved), self.least), MOST)


TOLERANCE = 0.05
NARROWEST = 0.5
"""Share of the grid's widths below which a network is not what was searched any more."""


class BudgetTarget:
    """The cost that a network of a search space should have.

    Args:
        budget: what the user asked for.
        space: the search space.
        problem: what the network is trained on; its fields and tasks cost something too.
        config: its sizes do as well.

    Attributes:
        unit: `multiply_adds` or `parameters`.
        amount: how much of it.

    Raises:
        ConfigError: the cheapest route at half its widths costs more.
    """

    def __init__(self, budget: Budget, space: Layout, *, problem: Problem, config: Config) -> None:
        self.space, self.problem, self.config = space, problem, config
        self._around: dict[int, float] = {}
        self.unit = "multiply_adds" if budget.multiply_adds is not None else "parameters"
        self.amount = float(budget.multiply_adds or budget.parameters or 0)
        if budget.share is not None:
            self.unit = budget.of
            self.amount = budget.share * self.cost(_pruned(space, Routes.full(space)))
        least = min(
            self.cost(scaled(_pruned(space, routes), NARROWEST)) for routes in _narrow(space)
        )
        if least > self.amount * (1.0 + TOLERANCE):
            raise ConfigError(
                f"search.budget: {self.amount:,.0f} {self.unit} are less than the {least:,.0f} of "
                "the cheapest route at half its widths; allow more, or lower sizes.embedding, "
                "sizes.tower or grid.widths"
            )

    def cost(self, layout: Layout) -> float:
        """What the network of a layout costs: encoder, grid and heads."""
        problem, sizes = self.problem, self.config.sizes
        cost = network_cost(problem, layout, sizes)
        return float(getattr(cost, self.unit))

    def excess(self, routes: Routes) -> float:
        """Cost of a route's network, as narrow as it may be, over the budget, minus 1.

        Widths take up the rest of the budget, so that routes are not merged for its sake.
        """
        layout = scaled(_pruned(self.space, routes), NARROWEST)
        lanes = layout.input_lanes
        if lanes not in self._around:  # encoder and heads are the same for all such routes
            self._around[lanes] = self.cost(layout) - self._grid(layout)
        return (self._around[lanes] + self._grid(layout)) / self.amount - 1.0

    def fitted(self, routes: Routes) -> tuple[Layout, dict[str, Any]]:
        """The layout of a route at the size of the budget, and `Found.budget` about it."""
        layout = _pruned(self.space, routes)
        facts: dict[str, Any] = {"unit": self.unit, "amount": self.amount}
        if abs(self.cost(layout) / self.amount - 1.0) > TOLERANCE:
            try:
                layout = matched(layout, self.amount, self.cost, tolerance=TOLERANCE)
            except ConfigError as error:
                facts["remedy"] = str(error)
        return layout, {**facts, "cost": self.cost(layout), "met": "remedy" not in facts}

    def _grid(self, layout: Layout) -> float:
        lane = self.problem.lane_shape(self.config.sizes)
        cost = layout_cost(layout, input_width=lane.input_width, pixels=lane.pixels)
        return float(getattr(cost, self.unit))


def _pruned(space: Layout, routes: Routes) -> Layout:
    return prune(space, routes).layout


def _narrow(space: Layout) -> Iterator[Routes]:
    """Routes on which every searched lane hears the same edge and all that may skip does."""
    for number in range(max(len(layer.applications) for layer in space.layers)):
        full, layers = Routes.full(space), list[LayerRoutes]()
        for layer, routes in zip(space.layers, full.layers, strict=True):
            one = tuple(tuple(e[n % len(e)] for n in (number,) if e) for e in layer.edges)
            run = tuple(lane is None for lane in layer.shortcut)
            layers.append(replace(routes, edges=one if layer.searched else layer.edges, run=run))
        yield Routes(tuple(layers))
