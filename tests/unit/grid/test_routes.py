"""Decisions multiply, and routes are what hard decisions say."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.grid import (
    CATALOG,
    INPUT,
    Decision,
    Layer,
    LayerRoutes,
    Layout,
    Routes,
    conjunction,
    full_decision,
)
from tests.grids import decided, random_layout, random_routes

SEEDS = st.integers(0, 10**6)
few = settings(max_examples=40)
LAYER = Layer(
    4,
    ((0, 0), (1, 1)),
    ((0, 1), (1,), ()),
    queries=((INPUT, 1), (0,), (INPUT,)),
    shortcut=(None, 0, 1),
)
LAYOUT = Layout("three lanes", (LAYER,), (0, 1, 2), input_lanes=2)


def relaxed(layout: Layout, seed: int) -> list[Decision]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Decision(
            *(torch.rand(part.shape, generator=generator) for part in (d.keep, d.query, d.run))
        )
        for d in map(full_decision, layout.layers)
    ]


def test_the_full_decision_by_hand() -> None:
    full = full_decision(LAYER)
    assert full.keep.tolist() == [[1, 1], [0, 1], [0, 0]]
    assert full.query.tolist() == [[1, 0]] * 3
    assert full.run.tolist() == [[1, 1, 0]], "a lane without edges can only be its shortcut"


def test_the_full_route_by_hand() -> None:
    (route,) = Routes.full(LAYOUT).layers
    assert route == LayerRoutes(((0, 1), (1,), ()), (INPUT, 0, INPUT), (True, True, False))


@pytest.mark.parametrize("name", CATALOG)
def test_the_full_route_makes_the_full_decision(name: str) -> None:
    layout = CATALOG[name].layout(3, cells=5, widths=(6, 4), depth=2)
    for layer, decision in zip(layout.layers, Routes.full(layout).decisions(layout), strict=True):
        full = full_decision(layer)
        assert torch.equal(decision.keep, full.keep)
        assert torch.equal(decision.query, full.query)
        assert torch.equal(decision.run, full.run)


def test_decisions_above_one_half_are_kept() -> None:
    decision = Decision(
        torch.tensor([[0.6, 0.5], [0.0, 0.51], [0.0, 0.0]]),
        torch.tensor([[0.2, 0.3], [1.0, 0.0], [1.0, 0.0]]),
        torch.tensor([[0.1, 0.9, 0.0]]),
    )
    (route,) = Routes.of(LAYOUT, [decision]).layers
    assert route == LayerRoutes(((0,), (1,), ()), (1, 0, INPUT), (False, True, False))


@few
@given(SEEDS, SEEDS, SEEDS)
def test_policies_combine_in_any_order_and_full_changes_nothing(a: int, b: int, c: int) -> None:
    layout = random_layout(a)
    first, second = relaxed(layout, b), relaxed(layout, c)
    ones = [Decision(*(torch.ones_like(part) for part in (d.keep, d.query, d.run))) for d in first]
    for both, swapped, same, alone in zip(
        conjunction([first, second]),
        conjunction([second, first]),
        conjunction([first, ones]),
        first,
        strict=True,
    ):
        for part in ("keep", "query", "run"):
            product = getattr(both, part)
            assert torch.equal(product, getattr(swapped, part))
            assert torch.equal(getattr(same, part), getattr(alone, part))
            assert (product <= getattr(alone, part)).all(), "more policies never keep more"


def test_a_single_policy_is_its_own_conjunction() -> None:
    (decision,) = relaxed(LAYOUT, 0)
    assert conjunction([[decision]]) == [decision]


def test_policies_of_another_number_of_layers_are_refused() -> None:
    (decision,) = relaxed(LAYOUT, 0)
    with pytest.raises(ValueError, match="shorter"):
        conjunction([[decision, decision], [decision]])


@few
@given(SEEDS, SEEDS)
def test_hard_decisions_are_zeros_and_ones_within_the_layout(a: int, b: int) -> None:
    layout = random_layout(a)
    routes = random_routes(layout, b)
    for layer, decision in zip(layout.layers, decided(layout, routes), strict=True):
        assert {*decision.keep.unique().tolist()} <= {0.0, 1.0}
        assert (decision.keep <= full_decision(layer).keep).all()
        assert (decision.query.sum(-1) == 1.0).all()
    assert Routes.from_json(json.loads(json.dumps(routes.to_json()))) == routes


def test_a_route_with_a_query_that_the_layout_does_not_have_is_refused() -> None:
    (route,) = Routes.full(LAYOUT).layers
    strange = Routes((replace(route, queries=(0, 0, INPUT)),))
    with pytest.raises(ValueError, match="not in tuple"):
        strange.decisions(LAYOUT)
