"""Spaces of a policy, under relaxed and hard decisions, a second time from the formulas."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from recmtl.grid import (
    INPUT,
    Decision,
    Routes,
    SharingGrid,
    adashare,
    dynashare,
    mtnas,
    prune_grid,
    recmtl_grid,
    snr_aver,
    snr_trans,
)
from tests.grids import decided, random_lanes, random_routes, scrambled
from tests.parity.plain import (
    TASKS,
    assert_equal_with_gradients,
    drawn,
    expert,
    gate_logits,
    mixture,
    products,
)

LEVELS = [(6, 4), (3,), (5, 4)]
CELLS = 4


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_snr_aver_is_its_formula(levels: int, seed: int) -> None:
    """`v_i = sum_j z_ij u_j`."""
    layout = snr_aver(TASKS, experts=CELLS, levels=LEVELS[:levels])
    grid, lanes, (decisions, leaves) = scrambled(layout), random_lanes(layout), drawn(layout, seed)
    v = [lanes[:, 0]] * CELLS
    for depth, decision in enumerate(decisions):
        u = [expert(grid, depth, j, v[j]) for j in range(CELLS)]
        v = [sum(z[j] * u[j] for j in range(CELLS)) for z in decision.keep]
    got, want = grid(lanes, decisions), torch.stack(v, 1)
    assert_equal_with_gradients(grid, lanes, got, want, decided=leaves)


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_snr_trans_is_its_formula(levels: int, seed: int) -> None:
    """`v_i = sum_j z_ij W_ij u_j`."""
    layout = snr_trans(TASKS, experts=CELLS, levels=LEVELS[:levels])
    grid, lanes, (decisions, leaves) = scrambled(layout), random_lanes(layout), drawn(layout, seed)
    v = [lanes[:, 0]] * CELLS
    for depth in range(0, 2 * levels, 2):
        u = [expert(grid, depth, j, v[j]) for j in range(CELLS)]
        (matrices,) = grid.layer(depth + 1).experts.weights
        rows = range(TASKS if depth + 2 == 2 * levels else CELLS)
        w = matrices.view(len(rows), CELLS, *matrices.shape[1:])
        z = decisions[depth + 1].keep.view(len(rows), len(rows), CELLS)  # lane, edge's lane, from
        v = [sum(z[i, i, j] * (u[j] @ w[i, j]) for j in range(CELLS)) for i in rows]
    got, want = grid(lanes, decisions), torch.stack(v, 1)
    assert_equal_with_gradients(grid, lanes, got, want, decided=leaves)


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_a_route_of_mtnas_is_its_formula(levels: int, seed: int) -> None:
    """Each block a softmax over its chosen inputs, looking at its chosen query."""
    layout = mtnas(TASKS, cells=CELLS, levels=LEVELS[:levels])
    grid, lanes, routes = scrambled(layout), random_lanes(layout), random_routes(layout, seed)
    x, h = lanes[:, 0], [lanes[:, 0]] * CELLS
    for depth, route in enumerate(routes.layers):
        outputs, written = [expert(grid, depth, e, h[e]) for e in range(CELLS)], []
        for k, (chosen, source) in enumerate(zip(route.edges, route.queries, strict=True)):
            seen = x if source == INPUT else h[source]
            logits = gate_logits(grid, depth, k, seen, source=source, among=chosen)
            written.append(mixture(logits, [outputs[e] for e in chosen]))
        h = written
    want = torch.stack(h, 1)
    assert_equal_with_gradients(grid, lanes, grid(lanes, decided(layout, routes)), want)
    torch.testing.assert_close(prune_grid(grid, routes)(lanes), want, rtol=0, atol=1e-10)


Gate = Callable[[int, list[Tensor]], Sequence[Tensor | float]]


def plain_adashare(
    grid: SharingGrid, x: Tensor, decisions: Sequence[Decision], gate: Gate
) -> Tensor:
    """`x <- u a F(x) + (1 - u a) x`, `F(x) = relu(x + block(x))`; a is 1 in AdaShare."""
    lanes = [expert(grid, 0, 0, x)] * TASKS
    for depth, decision in enumerate(decisions[1:], start=1):
        a, written = gate(depth, lanes), []
        for t, lane in enumerate(lanes):
            run = (decision.run[:, t] * a[t]).unsqueeze(-1)
            block = torch.relu(lane + products(grid, depth, 0, lane))
            written.append(run * block + (1 - run) * lane)
        lanes = written
    return torch.stack(lanes, 1)


@pytest.mark.parametrize("hidden", [(), (6,)])
@pytest.mark.parametrize("seed", range(3))
def test_adashare_is_its_formula(hidden: tuple[int, ...], seed: int) -> None:
    layout = adashare(TASKS, widths=(6, 4), blocks=3, hidden=hidden)
    grid, lanes, (decisions, leaves) = scrambled(layout), random_lanes(layout), drawn(layout, seed)
    want = plain_adashare(grid, lanes[:, 0], decisions, lambda *_: [1.0] * TASKS)
    got = grid(lanes, decisions)
    assert_equal_with_gradients(grid, lanes, got, want, decided=leaves)


def instance_gate(grid: SharingGrid, depth: int, lanes: list[Tensor]) -> list[Tensor]:
    """DynaShare's gate of a block, one for all tasks: 0 or 1 by example, straight through."""
    policy = grid.layer(depth).instance
    if policy is None:
        return [lane.new_ones(len(lane)) for lane in lanes]
    odds = []
    for lane in lanes:
        hidden = lane @ policy.first.weight.T + policy.first.bias
        hidden = functional.layer_norm(hidden, (16,), policy.norm.weight, policy.norm.bias)
        odds.append((torch.relu(hidden) @ policy.last.weight.T + policy.last.bias)[:, 0])
    if not grid.training:
        return [(value > 0).double() for value in odds]
    noise = torch.rand(len(lanes[0]), TASKS, dtype=torch.float64)
    soft = [torch.sigmoid(value + torch.logit(noise[:, t])) for t, value in enumerate(odds)]
    return [(share > 0.5).double() + share - share.detach() for share in soft]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_dynashare_is_its_formula(training: bool, seed: int) -> None:
    layout = dynashare(TASKS, widths=(6, 4), rates=(1.0, 0.5, 0.3), hidden=(5,))
    grid, lanes = scrambled(layout, seed=seed).train(training), random_lanes(layout, rows=20)
    decisions, leaves = drawn(layout, seed)
    ran: list[Tensor] = []

    def gate(depth: int, below: list[Tensor]) -> list[Tensor]:
        ran.extend(run := instance_gate(grid, depth, below))
        return run

    torch.manual_seed(seed)
    got = grid(lanes, decisions)
    torch.manual_seed(seed)
    want = plain_adashare(grid, lanes[:, 0], decisions, gate)
    assert_equal_with_gradients(grid, lanes, got, want, decided=leaves)
    assert set(torch.cat(ran[TASKS:]).detach().round().tolist()) == {0.0, 1.0}
    with torch.no_grad():  # where rows that skip are not computed
        torch.manual_seed(seed)
        torch.testing.assert_close(grid(lanes, decisions), want, rtol=0, atol=1e-10)


def test_both_of_dynashares_gates_learn() -> None:
    layout = dynashare(TASKS, widths=(6, 4), rates=(0.5, 0.5))
    grid, lanes = scrambled(layout).train(), random_lanes(layout, rows=20)
    grid(lanes).sum().backward()
    gates = [grid.layer(depth).instance for depth in (1, 2)]
    assert all(p.grad.abs().max() > 0 for gate in gates for p in gate.parameters())


def plain_grid(grid: SharingGrid, routes: Routes, x: Tensor) -> list[Tensor]:
    """The rule of the grid under a hard route, lane by lane, edge by edge."""
    lanes = [x]
    for depth, (layer, route) in enumerate(zip(grid.layout.layers, routes.layers, strict=True)):
        written = []
        for lane, shortcut in enumerate(layer.shortcut):
            if shortcut is not None and not route.run[lane]:
                written.append(lanes[shortcut])
                continue
            outputs, source = [], route.queries[lane]
            for application in route.edges[lane]:
                number, read = layer.applications[application]
                carried = lanes[read]
                output = carried if layer.only_mixes else expert(grid, depth, number, carried)
                moved_in = {*route.edges[lane]} <= {*layer.detached_edges[lane]}
                stops = application in layer.detached_edges[lane] and not moved_in
                outputs.append(output.detach() if stops else output)
            if layer.gate == "softmax":
                seen, among = x if source == INPUT else lanes[source], route.edges[lane]
                logits = gate_logits(grid, depth, lane, seen, source=source, among=among)
                written.append(mixture(logits, outputs))
            else:
                written.append(sum(outputs))
        lanes = written
    return [lanes[lane] for lane in grid.layout.readout]


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("experts", ["mlp", "cross"])
def test_a_route_through_the_recmtl_grid_is_the_rule(depth: int, seed: int, experts: str) -> None:
    layout = recmtl_grid(TASKS, cells=4, widths=(6, 4), depth=depth, experts=experts)
    grid, lanes, routes = scrambled(layout), random_lanes(layout), random_routes(layout, seed)
    want = torch.stack(plain_grid(grid, routes, lanes[:, 0]), 1)
    assert_equal_with_gradients(grid, lanes, grid(lanes, decided(layout, routes)), want)
    torch.testing.assert_close(prune_grid(grid, routes)(lanes), want, rtol=0, atol=1e-10)


def test_the_routes_tried_hold_skips_and_both_kinds_of_query() -> None:
    layout = recmtl_grid(TASKS, cells=4, widths=(6, 4), depth=3)
    routes = [layer for seed in range(5) for layer in random_routes(layout, seed).layers]
    queries = {query for layer in routes for query in layer.queries}
    assert INPUT in queries and queries - {INPUT}
    skippable = [
        run
        for seed in range(5)
        for layer, route in zip(layout.layers, random_routes(layout, seed).layers, strict=True)
        for run, shortcut in zip(route.run, layer.shortcut, strict=True)
        if shortcut is not None
    ]
    assert set(skippable) == {True, False}
