"""The choice among frozen routes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from recmtl.grid import Decision, Routes, recmtl_grid
from recmtl.search.budget import CostMultiplier
from recmtl.search.policy_factory import make_policy
from recmtl.search.selection import (
    RouteObjective,
    choose_route,
    sample_route,
    sample_rows,
)
from recmtl.search.supernet import Supernet
from recmtl.train.config import Config, Search, Training
from tests.grids import random_routes
from tests.tabular_problems import make_problem

SPACE = recmtl_grid(4, cells=6, widths=(6, 4), depth=2)
PROBLEM = make_problem(rows=200)
CONFIG = Config(
    training=Training(batch_size=64, epochs=3, health_rows=0),
    search=Search(epochs=1, refine=0, candidates=2),
)


def test_a_sample_of_rows_is_sorted_repeatable_and_never_more_than_there_are() -> None:
    split = PROBLEM.validation
    assert sample_rows(split, len(split), 0) is split and sample_rows(split, 10**6, 0) is split
    sample, again, other = (sample_rows(split, 50, seed) for seed in (0, 0, 1))
    assert len(sample) == 50 and (np.diff(sample.row) > 0).all()
    assert np.array_equal(sample.row, again.row) and not np.array_equal(sample.row, other.row)
    assert set(sample.row) <= set(split.row)


def objective(weight: float = 0.0) -> RouteObjective:
    torch.manual_seed(0)
    supernet = Supernet(SPACE, problem=PROBLEM, config=CONFIG)
    return RouteObjective(supernet, multiplier=CostMultiplier(weight, steps=1), target=None)


def test_the_objective_is_the_loss_plus_the_weighted_cost() -> None:
    losses, routes = torch.tensor([0.2, 0.4, 0.1, 0.3]), random_routes(SPACE, 4)
    decisions = routes.decisions(SPACE)
    free, priced = objective(0.0), objective(0.5)
    loss = float(free.supernet.normalised(losses))
    assert free(losses, decisions) == pytest.approx(loss)
    share = float(priced.supernet.cost_share(decisions))
    assert priced(losses, decisions) == pytest.approx(loss + 0.5 * share)
    assert priced(2 * losses, decisions) - priced(losses, decisions) == pytest.approx(loss)


def distance(routes: Routes, planted: Routes) -> float:
    """Edges in which two routes differ."""
    pairs = zip(routes.layers, planted.layers, strict=True)
    return sum(
        len({*first} ^ {*second})
        for layer, other in pairs
        for first, second in zip(layer.edges, other.edges, strict=True)
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_candidate_nearest_to_a_planted_route_is_chosen(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The losses are planted: the further from a drawn route, the higher."""
    judged, policy = objective(), make_policy(SPACE, CONFIG)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
    torch.manual_seed(seed)
    planted, compared = sample_route(policy), list[Routes]()

    def planted_losses(_: object, candidates: list[list[Decision]]) -> Tensor:
        compared.extend(Routes.of(SPACE, decisions) for decisions in candidates)
        return torch.tensor([[0.1 + distance(routes, planted)] * 4 for routes in compared])

    monkeypatch.setattr(judged.supernet, "compare", planted_losses)
    settings = replace(CONFIG.search, candidates=40)
    torch.manual_seed(seed)  # the planted route is the first of the draws
    routes, figures = choose_route(judged, policy, PROBLEM.validation, settings=settings, seed=0)
    assert routes == planted and distance(routes, planted) == 0
    assert len(figures) == len(compared) == len(set(compared)) > 20
    costs = [cost for _, cost in figures]
    assert costs == sorted(costs)


def test_cost_decides_between_routes_of_equal_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    judged, policy = objective(0.3), make_policy(SPACE, CONFIG)
    equal = lambda _, candidates: torch.ones(len(candidates), 4)  # noqa: E731
    monkeypatch.setattr(judged.supernet, "compare", equal)
    settings = replace(CONFIG.search, candidates=30)
    routes, figures = choose_route(judged, policy, PROBLEM.validation, settings=settings, seed=0)
    cost = judged.supernet.pruned_multiply_adds(routes)
    assert cost == pytest.approx(min(cost for _, cost in figures))
