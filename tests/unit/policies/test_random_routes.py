"""Random routes: routes of the layout, of about the cost asked for, and repeatable."""

import importlib

import pytest

from recmtl.grid import Layout, expected_multiply_adds, full_multiply_adds, prune, recmtl_grid
from recmtl.policies import random_routes

SPACE = recmtl_grid(4, cells=5, widths=(8, 4), depth=2)


@pytest.mark.parametrize("share", [0.4, 0.8])
def test_a_random_route_has_about_the_cost_asked_for(share: float) -> None:
    space: Layout = recmtl_grid(4, cells=5, widths=(8, 4), depth=2)
    asked = share * full_multiply_adds(space, input_width=20)
    options = {"max_edges": 3, "multiply_adds": asked, "input_width": 20}
    routes = random_routes(space, seed=1, **options)
    cost = expected_multiply_adds(space, routes.decisions(space), input_width=20).item()
    assert abs(cost - asked) < 0.05 * asked
    assert random_routes(space, seed=1, **options) == routes
    assert random_routes(space, seed=2, **options) != routes


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function hides the module of its name."""
    monkeypatch.setattr(importlib.import_module("recmtl.policies.random_routes"), "DRAWS", 6)


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("max_edges", [1, 2, 9])
def test_a_random_route_is_one_of_the_layout(max_edges: int) -> None:
    seen = set()
    for seed in range(12):
        routes = random_routes(
            SPACE, max_edges=max_edges, multiply_adds=150.0, input_width=20, seed=seed
        )
        for layer, chosen in zip(SPACE.layers, routes.layers, strict=True):
            lanes = zip(layer.edges, chosen.edges, strict=True)
            for edges, kept in lanes:
                assert kept and set(kept) <= set(edges) and kept == tuple(sorted(kept))
                assert not layer.searched or len(kept) <= max_edges
            pairs = zip(chosen.queries, layer.queries, strict=True)
            assert all(query in sources for query, sources in pairs)
            always = [run for run, to in zip(chosen.run, layer.shortcut, strict=True) if to is None]
            assert all(always), "a lane without a shortcut runs"
        prune(SPACE, routes)
        seen.add(routes)
    assert len(seen) > 6


@pytest.mark.usefixtures("few_draws")
def test_the_nearest_of_the_draws_is_taken() -> None:
    """With the same seed the draws are the same: asking for more never gets less."""
    full = full_multiply_adds(SPACE, input_width=20)
    costs = []
    for share in (0.0, 0.3, 0.6, 1.0):
        routes = random_routes(
            SPACE, max_edges=3, multiply_adds=share * full, input_width=20, seed=4
        )
        decisions = routes.decisions(SPACE)
        costs.append(float(expected_multiply_adds(SPACE, decisions, input_width=20)))
    assert costs == sorted(costs) and costs[0] < costs[-1]
