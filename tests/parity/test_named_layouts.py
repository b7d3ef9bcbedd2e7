"""Each named layout a second time, plainly, from its formula: equal outputs and gradients."""

import itertools

import pytest
import torch
from torch import Tensor

from recmtl.grid import (
    INPUT,
    Routes,
    SharingGrid,
    mmoe,
    ple,
    prune_grid,
    recmtl_grid,
    shared_bottom,
    single_task,
)
from tests.grids import decided, random_routes, scrambled, some_lanes

TASKS = 3


def expert(grid: SharingGrid, depth: int, number: int, x: Tensor) -> Tensor:
    """`relu(W_n ... relu(W_1 x + b_1) ... + b_n)` with the weights of one expert."""
    stack = grid.layer(depth).experts
    for weight, bias in zip(stack.weights, stack.biases, strict=True):
        x = torch.relu(x @ weight[number] + bias[number, 0])
    return x


def mixture(gate: Tensor, outputs: list[Tensor]) -> Tensor:
    """Sum of experts' outputs `[B, D]`, weighted by a softmax over `[B, E]`."""
    share = torch.softmax(gate, 1)
    return sum(share[:, [e]] * output for e, output in enumerate(outputs))


def assert_equal_with_gradients(
    grid: SharingGrid, lanes: Tensor, got: Tensor, want: Tensor
) -> None:
    """Equal values, and equal gradients of a random projection for the input and every weight."""
    assert got.shape == want.shape
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)
    probe = torch.randn_like(got)
    inputs = [lanes, *grid.parameters()]
    gradients = [
        torch.autograd.grad((y * probe).sum(), inputs, materialize_grads=True) for y in (got, want)
    ]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-10)
    assert all(gradient.abs().max() > 0 for gradient in gradients[0][:2])


def plain_single_task(grid: SharingGrid, x: Tensor) -> list[Tensor]:
    return [expert(grid, 0, task, x) for task in range(TASKS)]


def plain_shared_bottom(grid: SharingGrid, x: Tensor) -> list[Tensor]:
    return [expert(grid, 0, 0, x)] * TASKS


def plain_mmoe(grid: SharingGrid, x: Tensor) -> list[Tensor]:
    experts = grid.layer(0).layer.num_experts
    linear = grid.layer(0).gate.linears[0]
    outputs = [expert(grid, 0, e, x) for e in range(experts)]
    weight, bias = linear.weight.view(TASKS, experts, -1), linear.bias.view(TASKS, experts)
    return [mixture(x @ weight[t].T + bias[t], outputs) for t in range(TASKS)]


def plain_ple(grid: SharingGrid, x: Tensor, *, own: int, shared: int) -> list[Tensor]:
    """PLE, the shared gate over all experts; a gate looks at its own lane of the level below."""
    lanes = [x] * (TASKS + 1)
    for depth in range(len(grid.layers)):
        linears, row, written = grid.layer(depth).gate.linears, 0, []
        of_task = [
            [expert(grid, depth, own * t + i, lanes[t]) for i in range(own)] for t in range(TASKS)
        ]
        common = [expert(grid, depth, own * TASKS + i, lanes[TASKS]) for i in range(shared)]
        listened = [[*of_task[t], *common] for t in range(TASKS)]
        if depth + 1 < len(grid.layers):
            listened.append([*itertools.chain.from_iterable(of_task), *common])
        for lane, outputs in enumerate(listened):
            # On the first level all gates look at the same input: one product for all of them.
            linear, first = (linears[0], row) if depth == 0 else (linears[lane], 0)
            rows = slice(first, first + len(outputs))
            row += len(outputs)
            gate = lanes[lane] @ linear.weight[rows].T + linear.bias[rows]
            written.append(mixture(gate, outputs))
        lanes = written
    return lanes


def plain_grid(grid: SharingGrid, routes: Routes, x: Tensor) -> list[Tensor]:
    """The rule of the grid under a hard route, lane by lane, edge by edge."""
    lanes = [x]
    for depth, (layer, route) in enumerate(zip(grid.layout.layers, routes.layers, strict=True)):
        written = []
        for lane, shortcut in enumerate(layer.shortcut):
            if shortcut is not None and not route.run[lane]:
                written.append(lanes[shortcut])
                continue
            outputs, logits = [], []
            for application in route.edges[lane]:
                number, read = layer.applications[application]
                carried = lanes[read]
                outputs.append(carried if layer.carries else expert(grid, depth, number, carried))
                if layer.gate == "softmax":
                    source = route.queries[lane]
                    weight, bias = grid.layer(depth).gate.logit(source, lane, application)
                    logits.append((x if source == INPUT else lanes[source]) @ weight + bias)
            gated = layer.gate == "softmax"
            written.append(mixture(torch.stack(logits, 1), outputs) if gated else sum(outputs))
        lanes = written
    return [lanes[lane] for lane in grid.layout.readout]


FIXED = {
    "single task": (single_task(TASKS, widths=(6, 4)), plain_single_task),
    "shared bottom": (shared_bottom(TASKS, widths=(6, 5, 4)), plain_shared_bottom),
    "MMoE": (mmoe(TASKS, experts=4, widths=(6, 4)), plain_mmoe),
}


@pytest.mark.parametrize("name", FIXED)
def test_a_fixed_layout_is_its_formula(name: str) -> None:
    layout, plain = FIXED[name]
    grid, lanes = scrambled(layout), some_lanes(layout)
    want = torch.stack(plain(grid, lanes[:, 0]), 1)
    assert_equal_with_gradients(grid, lanes, grid(lanes), want)


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize(("own", "shared"), [(1, 1), (2, 3)])
def test_ple_is_its_formula(levels: int, own: int, shared: int) -> None:
    widths = [(6, 4), (3,), (5, 4)][:levels]
    layout = ple(TASKS, own=own, shared=shared, levels=widths)
    grid, lanes = scrambled(layout), some_lanes(layout)
    want = torch.stack(plain_ple(grid, lanes[:, 0], own=own, shared=shared), 1)
    assert_equal_with_gradients(grid, lanes, grid(lanes), want)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_a_route_through_the_recmtl_grid_is_the_rule(depth: int, seed: int) -> None:
    layout = recmtl_grid(TASKS, cells=4, widths=(6, 4), depth=depth)
    grid, lanes, routes = scrambled(layout), some_lanes(layout), random_routes(layout, seed)
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
