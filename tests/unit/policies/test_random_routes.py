"""Random routes: routes of the layout, whatever they cost, and repeatable."""

import numpy as np
import pytest

from recmtl.grid import expected_multiply_adds, full_multiply_adds, prune, recmtl_grid
from recmtl.grid.routes import Routes
from recmtl.policies import random_routes

SPACE = recmtl_grid(4, cells=5, widths=(8, 4), depth=2)


def drawn(count: int, *, max_edges: int = 3, seed: int = 0) -> list[Routes]:
    random = np.random.default_rng(seed)
    return [random_routes(SPACE, max_edges=max_edges, random=random) for _ in range(count)]


def test_draws_of_one_seed_repeat_and_others_differ() -> None:
    assert drawn(5) == drawn(5) != drawn(5, seed=1)


@pytest.mark.parametrize("max_edges", [1, 2, 9])
def test_a_random_route_is_one_of_the_layout(max_edges: int) -> None:
    seen = drawn(12, max_edges=max_edges)
    for routes in seen:
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
    assert len(set(seen)) > 6


def test_draws_reach_from_the_cheapest_to_dear_routes() -> None:
    """Routes are drawn freely: none of them is looked for at a cost."""
    full = full_multiply_adds(SPACE, input_width=20)
    costs = [
        float(expected_multiply_adds(SPACE, routes.decisions(SPACE), input_width=20)) / full
        for routes in drawn(60)
    ]
    assert min(costs) < 0.3 and max(costs) > 0.7
