"""The chosen draw costs what its pruned network costs, and no more than it may."""

import pytest
import torch

from recmtl.grid import CATALOG, Routes, layout_cost, prune
from recmtl.search.budget import CostMultiplier
from recmtl.search.policy_factory import make_policy
from recmtl.search.selection import RouteObjective, choose_route
from recmtl.search.supernet import Supernet
from recmtl.train.config import Config, Search, Skips
from tests.tabular_problems import make_problem

PROBLEM = make_problem(rows=200)
SPACE = CATALOG["adashare"].layout(4, cells=3, widths=(8, 8), depth=4)


def pruned(routes: Routes) -> float:
    width = PROBLEM.network(SPACE, Config().sizes).grid.input_width
    return layout_cost(prune(SPACE, routes).layout, input_width=width).multiply_adds


def judge() -> RouteObjective:
    torch.manual_seed(0)
    supernet = Supernet(SPACE, problem=PROBLEM, config=Config())
    return RouteObjective(supernet, multiplier=CostMultiplier(0.0, steps=1), target=None)


def test_lanes_that_coincide_cost_once() -> None:
    full = Routes.full(SPACE)
    (_, cost), *_ = (found := judge()).values(PROBLEM.validation, [full])
    assert cost == pruned(full) < found.supernet.full / 2
    assert found.cost_share(full) == pruned(full) / found.supernet.full


@pytest.mark.parametrize("most", [1.0, 0.6, 0.4, 1e-9])
def test_the_chosen_route_costs_at_most_what_it_may(most: float) -> None:
    settings = Search(candidates=40, skips=Skips(most=most))
    judged, policy = judge(), make_policy(SPACE, Config(search=Search(run_odds=0.0)))
    torch.manual_seed(1)
    chosen, figures = choose_route(judged, policy, PROBLEM.validation, settings=settings, seed=0)
    costs = [cost for _, cost in figures]
    limit = most * judged.supernet.full
    assert (len(figures) == 1) == (most < 0.1)  # the cheapest, as none keeps to it
    assert max(costs) <= limit or most < 0.1
    assert pruned(chosen) == costs[min(range(len(figures)), key=lambda n: figures[n][0])]
