"""Choose the route of a finished search.

`choose_route` freezes the policy: it refines the most probable route or compares draws, with the
shared weights, on validation rows. Whether another network is better than that of the chosen route
is for the `race` to find out.
"""

from collections.abc import Callable, Sequence
from functools import cache, cached_property

import numpy as np
import torch
from torch import Tensor

from recmtl.data.arrays.groups import drawn_rows
from recmtl.data.batches import Rows
from recmtl.grid import Decision, Routes
from recmtl.policies import Policy, RoutePolicy
from recmtl.search.budget import BudgetTarget, CostMultiplier
from recmtl.search.refine import refine
from recmtl.search.supernet import Supernet
from recmtl.train.config import Search

__all__ = [
    "RouteObjective",
    "choose_route",
    "sample_route",
    "sample_rows",
]

COLD = 1e-3
"""A temperature at which draws that mix softly are hard."""
OVERRUN = 0.1
"""Normalised loss that a route must save for doubling the budget."""


class RouteObjective:
    """What a frozen route is judged by: normalised loss, weighted cost, and overrun of a budget.

    Less is better. Costs are cached by route, because refining asks for the same ones on many parts
    of the rows.

    Args:
        supernet: the trained weights.
        multiplier: weight of the cost.
        target: the budget; a route within it has no overrun.
    """

    def __init__(
        self, supernet: Supernet, *, multiplier: CostMultiplier, target: BudgetTarget | None
    ) -> None:
        self.supernet, self.multiplier, self.target = supernet, multiplier, target

    def __call__(self, losses: Tensor, decisions: Sequence[Decision]) -> float:
        """The value of hard decisions that lead to losses `[T]`.

        Lanes that coincide count apart: that is quick enough for the many alternatives of `refine`.
        """
        routes = Routes.of(self.supernet.layout, decisions)
        return self._value(losses, routes, self._unpruned_share(routes))

    def values(self, split: Rows, candidates: Sequence[Routes]) -> list[tuple[float, float]]:
        """(value, multiply-adds of the pruned grid) of each route on a whole split.

        Lanes that coincide count once.
        """
        decided = [routes.decisions(self.supernet.layout) for routes in candidates]
        losses = self.supernet.compare(split, decided)
        shares = [self.cost_share(routes) for routes in candidates]
        return [
            (self._value(row, routes, share), share * self.supernet.full)
            for row, routes, share in zip(losses, candidates, shares, strict=True)
        ]

    @cached_property
    def cost_share(self) -> Callable[[Routes], float]:
        """Multiply-adds of a route's pruned grid as a share of the full grid's."""
        return cache(lambda routes: self.supernet.pruned_multiply_adds(routes) / self.supernet.full)

    @cached_property
    def _unpruned_share(self) -> Callable[[Routes], float]:
        """The same share if lanes that coincide count apart."""
        supernet = self.supernet
        return cache(lambda routes: float(supernet.cost_share(routes.decisions(supernet.layout))))

    @cached_property
    def _overrun(self) -> Callable[[Routes], float]:
        """Normalised loss that a route must save for going over the budget."""
        if self.target is None:
            return lambda _: 0.0
        excess = self.target.excess
        return cache(lambda routes: OVERRUN * max(0.0, excess(routes)))

    def _value(self, losses: Tensor, routes: Routes, share: float) -> float:
        value = float(self.supernet.normalised(losses)) + self.multiplier.value * share
        return value + self._overrun(routes)


@torch.no_grad()
def sample_route(policy: Policy) -> Routes:
    """One hard draw of the policy."""
    return Routes.of(policy.layout, policy(COLD))


def sample_rows(split: Rows, count: int, seed: int) -> Rows:
    """At most `count` random rows of a split; where losses compare rows, those of whole groups."""
    if len(split) <= count:
        return split
    random = np.random.default_rng(seed)
    return split.take(drawn_rows(count, len(split), split.units, random))


@torch.no_grad()
def choose_route(
    objective: RouteObjective, policy: Policy, split: Rows, *, settings: Search, seed: int
) -> tuple[Routes, list[tuple[float, float]]]:
    """A frozen route, and (value, multiply-adds) of every route compared on a sample of `split`.

    With `settings.refine` it is the most probable route after as many rounds of refinement, because
    the best of a few draws is more a matter of luck. Without, or where no route is searched, it is
    the best of the most probable route and `settings.candidates - 1` draws. Of these, only routes
    that cost at most `settings.skips.most` compete, or the cheapest alone if none does.
    """
    probable = Routes.of(policy.layout, policy(None))
    sample = sample_rows(split, settings.judged_rows, seed)
    route = next((part for part in policy.modules() if isinstance(part, RoutePolicy)), None)
    if settings.refine and route is not None:
        rows = next(sample.batches(batch_size=len(sample), seed=None))
        refined = refine(
            objective.supernet, route, probable, rows=rows, value=objective, rounds=settings.refine
        )
        return refined, objective.values(sample, [probable, refined])
    drawn = [sample_route(policy) for _ in range(settings.candidates - 1)]
    candidates = _affordable(objective, [probable, *drawn], most=settings.skips.most)
    values = objective.values(sample, candidates)
    return candidates[int(np.argmin([value for value, _ in values]))], values


def _affordable(
    objective: RouteObjective, candidates: Sequence[Routes], *, most: float
) -> list[Routes]:
    """The different routes of at most this cost share, cheapest first; at least the cheapest."""
    shares = {routes: objective.cost_share(routes) for routes in dict.fromkeys(candidates)}
    ascending = sorted(shares, key=shares.__getitem__)
    return [routes for routes in ascending if shares[routes] <= most] or ascending[:1]
