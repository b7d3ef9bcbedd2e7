"""Who enters a race: wirings that differ, at one cost and with one kind of experts."""

from dataclasses import replace

import pytest

from recmtl.grid import Layout, Routes, cross_features, prune, shared_experts
from recmtl.search.budget import BudgetTarget
from recmtl.search.entrants import (
    FIXED_ENTRANTS,
    Entrant,
    field_of,
    with_other_experts,
)
from recmtl.train.config import Budget, Config, Grid
from recmtl.train.problem import network_cost
from tests.grids import random_routes
from tests.image_problems import make_images
from tests.tabular_problems import make_problem

PROBLEM = make_problem(rows=200)
GRID = Grid(cells=6, widths=(24, 16), depth=2)
TREE = [[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 2, 3]]


def entrants_of(
    grid: Grid = GRID, budget: Budget | None = None, routes: Routes | None = None
) -> tuple[list[Entrant], dict[str, str], BudgetTarget | None]:
    config, space = Config(grid=grid), PROBLEM.layout("recmtl_grid", grid)
    target = budget and BudgetTarget(budget, space, problem=PROBLEM, config=config)
    entrants, left_out = field_of(
        routes or random_routes(space, 3),
        space,
        partitions=TREE,
        problem=PROBLEM,
        grid=grid,
        target=target,
    )
    return entrants, left_out, target


def test_the_found_route_is_first_and_no_two_entrants_are_one_network() -> None:
    entrants, left_out, _ = entrants_of()
    assert [e.name for e in entrants] == ["found", *FIXED_ENTRANTS, "full_grid", "branched"]
    assert not left_out
    assert len({e.layout.layers for e in entrants}) == len(entrants)
    assert len({e.key for e in entrants}) == len(entrants)


@pytest.mark.parametrize("kind", ["mlp", "cross"])
def test_at_a_budget_all_cost_the_same_and_have_the_same_experts(kind: str) -> None:
    grid = replace(GRID, experts=kind)
    entrants, _, target = entrants_of(grid, Budget(share=0.8))
    assert len(entrants) > 6 and {e.experts for e in entrants} == {kind}
    for entrant in entrants:
        cost = network_cost(PROBLEM, entrant.layout, Config().sizes).multiply_adds
        assert cost == pytest.approx(target.amount, rel=0.06)
        assert entrant.budget is not None and entrant.budget["met"]


def test_without_a_budget_each_has_its_own_size() -> None:
    entrants, _, _ = entrants_of()
    assert all(entrant.budget is None for entrant in entrants)
    assert entrants[1].layout == PROBLEM.layout("shared_bottom", GRID)


def test_entrants_span_who_trains_which_embeddings_and_experts() -> None:
    layouts = {e.name: e.layout for e in entrants_of()[0]}
    lanes = {name: layout.input_lanes for name, layout in layouts.items()}
    assert lanes["towers_apart"] == lanes["shared_bottom"] == 1, "one for all"
    assert lanes["embeddings_apart"] == lanes["all_apart"] == 4, "one a task"
    assert lanes["stem"] == 5, "both"
    overlap = {name: float(shared_experts(layout)[0, 1]) for name, layout in layouts.items()}
    assert overlap["towers_apart"] == overlap["all_apart"] == 0.0
    assert overlap["shared_bottom"] == 1.0


def test_a_route_that_is_another_entrant_comes_once() -> None:
    space = PROBLEM.layout("recmtl_grid", GRID)
    entrants, left_out, _ = entrants_of(routes=Routes.full(space))
    assert left_out == {"full_grid": "has the wiring of found"}
    assert [entrant.name for entrant in entrants].count("found") == 1


def test_a_network_that_no_width_brings_to_the_budget_is_left_out_with_the_reason() -> None:
    entrants, left_out, _ = entrants_of(replace(GRID, widths=(8, 4)), Budget(share=0.5))
    assert left_out and all("nearest cost" in why for why in left_out.values())
    assert not set(left_out) & {entrant.name for entrant in entrants}


def test_the_other_kind_of_experts_is_the_same_wiring_and_the_way_back() -> None:
    for entrant in entrants_of()[0]:
        crossed = with_other_experts(entrant, GRID, None)
        assert crossed is not None and crossed.experts == "cross"
        assert crossed.key != entrant.key and crossed.routes == entrant.routes
        assert crossed.layout == cross_features(entrant.layout)
        back = with_other_experts(crossed, GRID, None)
        assert back is not None and back.experts == "mlp"
        if entrant.name != "branched":  # its root has one product, the grid's experts have two
            assert back.layout == entrant.layout


def test_the_other_kind_is_brought_to_the_budget() -> None:
    entrants, _, target = entrants_of(budget=Budget(share=0.8))
    rival = with_other_experts(entrants[1], GRID, target)
    assert rival is not None and rival.budget is not None
    assert rival.budget["cost"] == pytest.approx(target.amount, rel=0.05)


def test_images_enter_with_what_their_catalog_has() -> None:
    images = make_images()
    space = images.layout("recmtl_grid")
    entrants, left_out = field_of(
        Routes.full(space), space, partitions=[], problem=images, grid=GRID, target=None
    )
    assert [entrant.name for entrant in entrants] == ["found", "shared_bottom"]
    assert "is not for images" in left_out["towers_apart"]
    assert with_other_experts(entrants[0], GRID, None) is None


def test_the_routes_of_an_entrant_are_those_of_its_layout() -> None:
    space = PROBLEM.layout("recmtl_grid", GRID)
    for entrant in entrants_of()[0]:
        whole: Layout = space if entrant.name in ("found", "full_grid") else entrant.layout
        assert prune(whole, entrant.routes).layout.layers == entrant.layout.layers
