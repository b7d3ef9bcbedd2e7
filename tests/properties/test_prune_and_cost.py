"""Pruned equals masked, for any layout and route; and what that saves is what was counted."""

import json
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.grid import (
    INPUT,
    Layer,
    LayerRoutes,
    Layout,
    Routes,
    SharingGrid,
    adashare,
    expected_multiply_adds,
    full_decision,
    full_multiply_adds,
    layout_cost,
    mmoe,
    prune,
    prune_grid,
    recmtl_grid,
)
from recmtl.grid.layout import GateKind
from tests.grids import (
    WIDTH,
    assert_pruned_is_masked,
    decided,
    random_lanes,
    random_layout,
    random_routes,
    scrambled,
)

SEEDS = st.integers(0, 10**6)
few = settings(max_examples=60)
SPACES = [recmtl_grid(tasks, cells=3, widths=(5, 4), depth=3) for tasks in (2, 3, 5)]


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@few
@given(SEEDS, SEEDS)
def test_the_pruned_network_computes_what_the_masked_network_computes(a: int, b: int) -> None:
    layout = random_layout(a)
    grid, routes = scrambled(layout, seed=a), random_routes(layout, b)
    assert_pruned_is_masked(grid, random_lanes(layout), routes, atol=1e-10)


@few
@given(SEEDS, st.sampled_from(SPACES))
def test_pruning_what_is_pruned_changes_nothing(seed: int, space: Layout) -> None:
    """The full route through a pruned search space leaves it as it is, weights included."""
    small = prune_grid(scrambled(space, seed=seed), random_routes(space, seed))
    smaller = prune_grid(small, Routes.full(small.layout))
    assert smaller.layout == small.layout
    lanes = random_lanes(small.layout)
    assert torch.equal(smaller(lanes), small(lanes))
    for name, weight in small.state_dict().items():
        assert torch.equal(weight, smaller.state_dict()[name])


@few
@given(SEEDS, SEEDS)
def test_pruning_again_costs_no_more_and_computes_the_same(a: int, b: int) -> None:
    """It may find more twins: lanes whose detached edges were given back have become equal."""
    layout = random_layout(a)
    small = prune_grid(scrambled(layout, seed=a), random_routes(layout, b))
    routes, lanes = Routes.full(small.layout), random_lanes(small.layout)
    again, inputs = prune_grid(small, routes), list(prune(small.layout, routes).inputs)
    torch.testing.assert_close(again(lanes[:, inputs]), small(lanes), rtol=0, atol=1e-10)
    costs = [layout_cost(grid.layout, input_width=WIDTH) for grid in (small, again)]
    assert costs[1].parameters <= costs[0].parameters
    assert costs[1].multiply_adds <= costs[0].multiply_adds


def test_a_network_whose_layers_are_all_skipped_can_be_pruned_again() -> None:
    layer = Layer(WIDTH, ((0, 0),), ((0,),), gate="one", shortcut=(0,))
    layout = Layout("skipped", (layer,), (0, 0))
    skips = Routes((LayerRoutes(layer.edges, (INPUT,), (False,)),))
    small, lanes = prune_grid(scrambled(layout), skips), random_lanes(layout)
    assert small.layout.layers == () and torch.equal(small(lanes), lanes.expand(-1, 2, -1))
    again = prune_grid(small, Routes.full(small.layout))
    assert torch.equal(again(lanes), small(lanes))


@few
@given(SEEDS, SEEDS)
def test_every_weight_of_a_pruned_network_is_one_of_the_original(a: int, b: int) -> None:
    layout = random_layout(a)
    grid = scrambled(layout, seed=a)
    nothing = torch.empty(0)  # a layout whose layers are all skipped has no weights
    originals = torch.cat([nothing, *(p.detach().flatten() for p in grid.parameters())])
    for parameter in prune_grid(grid, random_routes(layout, b)).parameters():
        assert torch.isin(parameter.detach(), originals).all()


@few
@given(SEEDS, SEEDS)
def test_pruning_says_where_everything_stood(a: int, b: int) -> None:
    layout = random_layout(a)
    pruned = prune(layout, random_routes(layout, b))
    assert list(pruned.depths) == sorted({*pruned.depths})
    assert len(pruned.inputs) == pruned.layout.input_lanes
    for layer, depth, lanes, applications in zip(
        pruned.layout.layers, pruned.depths, pruned.lanes, pruned.applications, strict=True
    ):
        old = layout.layers[depth]
        assert (layer.num_lanes, len(layer.applications)) == (len(lanes), len(applications))
        assert layer.width == old.width and layer.experts == old.experts
        for edges, lane in zip(layer.edges, lanes, strict=True):
            assert {applications[a] for a in edges} <= {*range(len(old.applications))}
            assert len(edges) <= len(old.edges[lane])


@few
@given(SEEDS, SEEDS)
def test_pruning_never_adds_cost(a: int, b: int) -> None:
    layout = random_layout(a)
    full = layout_cost(layout, input_width=WIDTH)
    small = layout_cost(prune(layout, random_routes(layout, b)).layout, input_width=WIDTH)
    assert small.multiply_adds <= full.multiply_adds
    assert small.parameters <= full.parameters


@few
@given(SEEDS, SEEDS)
def test_parameters_are_counted_as_they_are(a: int, b: int) -> None:
    layout = random_layout(a)
    grid = SharingGrid(layout, input_width=WIDTH)
    assert layout_cost(layout, input_width=WIDTH).parameters == parameters(grid)
    small = prune_grid(grid, random_routes(layout, b))
    assert layout_cost(small.layout, input_width=WIDTH).parameters == parameters(small)


@few
@given(SEEDS, SEEDS)
def test_nothing_in_a_pruned_layout_is_dead(a: int, b: int) -> None:
    layout = random_layout(a)
    small = prune(layout, random_routes(layout, b)).layout
    needed, whole = set(small.readout), False
    for depth in reversed(range(len(small.layers))):
        layer = small.layers[depth]
        assert needed == set(range(layer.num_lanes))
        assert {a for edges in layer.edges for a in edges} == set(range(len(layer.applications)))
        needed = {*layer.reads, *(s for s in layer.shortcut if s is not None)}
        for edges, sources in zip(layer.edges, layer.queries, strict=True):
            looks = layer.gate == "softmax" and len(edges) > 1
            needed |= {q for q in sources if looks and q != INPUT}
            whole = whole or (looks and INPUT in sources)
    assert whole or needed == set(range(small.input_lanes))


@few
@given(SEEDS, SEEDS)
def test_layouts_and_routes_survive_json(a: int, b: int) -> None:
    layout = random_layout(a)
    routes = random_routes(layout, b)
    assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout
    assert Routes.from_json(json.loads(json.dumps(routes.to_json()))) == routes
    small = prune(layout, routes).layout
    assert Layout.from_json(json.loads(json.dumps(small.to_json()))) == small


@few
@given(SEEDS, SEEDS)
def test_a_route_is_what_its_decisions_say(a: int, b: int) -> None:
    layout = random_layout(a)
    routes = random_routes(layout, b)
    assert Routes.of(layout, routes.decisions(layout)) == routes


def live_lanes(layout: Layout, routes: Routes) -> list[int]:
    """Lanes of each layer that some head needs, before twins are merged: plain reachability."""
    counts, needed = [], set(layout.readout)
    for layer, route in zip(reversed(layout.layers), reversed(routes.layers), strict=True):
        counts.insert(0, len(needed))
        below: set[int] = set()
        for lane in needed:
            shortcut = layer.shortcut[lane]
            if shortcut is not None and not route.run[lane]:
                below.add(shortcut)
                continue
            below |= {layer.reads[a] for a in route.edges[lane]}
            if layer.gate == "softmax" and len(route.edges[lane]) > 1:
                below |= {route.queries[lane]} - {INPUT}
        needed = below
    return counts


def no_twins(layout: Layout, routes: Routes) -> bool:
    """Whether pruning merges nothing: every live lane of a layer that stays is still there."""
    pruned, live = prune(layout, routes), live_lanes(layout, routes)
    return [live[depth] for depth in pruned.depths] == [len(lanes) for lanes in pruned.lanes]


@few
@given(SEEDS, st.sampled_from(SPACES))
def test_the_expected_cost_of_a_hard_route_is_its_cost(seed: int, space: Layout) -> None:
    """Equal, gates included; where pruning computes twin lanes once, the expectation is above."""
    routes = random_routes(space, seed)
    pruned = prune(space, routes)
    cost = layout_cost(pruned.layout, input_width=WIDTH).multiply_adds
    expected = expected_multiply_adds(space, routes.decisions(space), input_width=WIDTH).item()
    if no_twins(space, routes):
        assert expected == pytest.approx(cost)
    else:
        assert expected >= cost  # equal where the twins are lanes that copy one edge


def test_both_cases_of_the_expected_cost_occur() -> None:
    routes = [(space, random_routes(space, seed)) for space in SPACES for seed in range(40)]
    assert {no_twins(*route) for route in routes} == {True, False}


@pytest.mark.parametrize("seed", range(2))
def test_the_expected_cost_of_random_skips_is_the_mean_over_them(seed: int) -> None:
    """However deep: what a lane passes on and what runs on it need the same lane below."""
    space = adashare(2, widths=(5, 4), blocks=3)
    full = [full_decision(layer) for layer in space.layers]
    chances = torch.rand(3, 2, generator=torch.Generator().manual_seed(seed)).double()
    free = [depth for depth, layer in enumerate(space.layers) if layer.shortcut[0] is not None]

    def cost(runs: torch.Tensor) -> float:
        decisions = list(full)
        for depth, run in zip(free, runs, strict=True):
            decisions[depth] = replace(full[depth], run=run.float().unsqueeze(0))
        return expected_multiply_adds(space, decisions, input_width=WIDTH).item()

    mean = 0.0
    for bits in product((0.0, 1.0), repeat=chances.numel()):
        runs = torch.tensor(bits).view_as(chances)
        mean += torch.where(runs == 1, chances, 1 - chances).prod().item() * cost(runs)
    assert cost(chances) == pytest.approx(mean, rel=1e-5)


def test_the_full_grid_costs_most() -> None:
    for space in SPACES:
        full = full_multiply_adds(space, input_width=WIDTH)
        for seed in range(20):
            decisions = random_routes(space, seed).decisions(space)
            assert expected_multiply_adds(space, decisions, input_width=WIDTH).item() <= full


def test_dropping_an_edge_renormalises_the_survivors() -> None:
    layout = mmoe(1, experts=3, widths=(4,))
    grid, lanes = SharingGrid(layout, input_width=WIDTH).double(), random_lanes(layout)
    gate = grid.layer(0).gate
    with torch.no_grad():
        gate.linears[0].bias.copy_(torch.tensor([2.0, 1.0, 0.0]))
    (decision,) = decided(layout, Routes.full(layout))
    decision.keep[0, 2] = 0.0
    weights = gate(lanes, lanes.flatten(1), decision)[0, 0]
    survivors = torch.softmax(torch.tensor([2.0, 1.0], dtype=torch.float64), 0)
    torch.testing.assert_close(weights[:2], survivors)
    assert weights[2] == 0.0


def test_skips_that_coincide_are_computed_once() -> None:
    """Two tasks that skip to the same lane read one lane in the pruned network."""
    first = Layer(WIDTH, ((0, 0), (1, 0)), ((0,), (1,)), gate="one")
    second = Layer(WIDTH, ((0, 0), (1, 1)), ((0,), (1,)), gate="one", shortcut=(0, 0))
    layout = Layout("twins", (first, second), (0, 1))
    one_skips, both_skip = (
        Routes((Routes.full(layout).layers[0], LayerRoutes(second.edges, (INPUT,) * 2, run)))
        for run in ((False, True), (False, False))
    )
    small = prune(layout, both_skip).layout
    assert [(layer.num_experts, layer.num_lanes) for layer in small.layers] == [(1, 1)]
    assert small.readout == (0, 0), "one lane for both, and no layer that only passes it on"
    small = prune(layout, one_skips).layout
    assert [(layer.num_experts, layer.num_lanes) for layer in small.layers] == [(2, 2), (1, 2)]


@pytest.mark.parametrize("gate", ["one", "softmax", "scalar"])
def test_a_lane_that_listens_to_twins_still_hears_both(gate: GateKind) -> None:
    """One expert on two lanes that turn out to be the same lane: twice, each with its weight."""
    first = Layer(WIDTH, ((0, 0), (1, 0)), ((0,), (1,)), gate="one", shortcut=(0, 0))
    second = Layer(4, ((0, 0), (0, 1), (1, 0)), ((0, 1), (1,), (0, 1, 2)), gate=gate)
    layout = Layout("echo", (first, second), (0, 1, 2))
    skips = LayerRoutes(first.edges, (INPUT,) * 2, (False,) * 2)
    kept = LayerRoutes(((0, 1), (1,), (1, 2)), (INPUT,) * 3, (True,) * 3)
    routes = Routes((skips, kept))
    grid, lanes = scrambled(layout), random_lanes(layout)
    masked, small = grid(lanes, decided(layout, routes)), prune_grid(grid, routes)
    own = lanes[:, list(prune(layout, routes).inputs)]
    torch.testing.assert_close(small(own), masked, rtol=0, atol=1e-10)
    with torch.no_grad():  # rows that skip are left out, and nothing changes
        torch.testing.assert_close(grid(lanes, decided(layout, routes)), masked)
        torch.testing.assert_close(small(own), masked)


def test_an_expert_on_two_lanes_that_coincide_is_computed_once() -> None:
    """Both tasks skip the first block, so that the second reads one lane for both."""
    space = adashare(2, widths=(WIDTH,), blocks=2)
    full = Routes.full(space)
    skipped = replace(full.layers[1], run=(False, False))
    small = prune(space, Routes((full.layers[0], skipped, full.layers[2]))).layout
    assert [layer.applications for layer in small.layers] == [((0, 0),), ((0, 0),)]
    assert [layer.edges for layer in small.layers] == [((0,),), ((0,),)]
    assert small.readout == (0, 0)
