"""Sharing through gates, a second time from the formulas: equal outputs and gradients."""

import itertools
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from recmtl.grid import INPUT, SharingGrid, adatt, cgc, ml_mmoe, mmoe, omoe, ple, stem
from tests.grids import random_lanes, scrambled
from tests.parity.plain import TASKS, assert_equal_with_gradients, expert, gate_logits, mixture

LEVELS = [(6, 4), (3,), (5, 4)]


def check(grid: SharingGrid, lanes: Tensor, want: list[Tensor]) -> None:
    assert_equal_with_gradients(grid, lanes, grid(lanes), torch.stack(want, 1))


def plain_mmoe(grid: SharingGrid, x: Tensor) -> list[Tensor]:
    experts = grid.layer(0).layer.num_experts
    linear = grid.layer(0).gate.linears[0]
    outputs = [expert(grid, 0, e, x) for e in range(experts)]
    weight, bias = linear.weight.view(TASKS, experts, -1), linear.bias.view(TASKS, experts)
    return [mixture(x @ weight[t].T + bias[t], outputs) for t in range(TASKS)]


def test_mmoe_is_its_formula() -> None:
    layout = mmoe(TASKS, experts=4, widths=(6, 4))
    grid, lanes = scrambled(layout), random_lanes(layout)
    check(grid, lanes, plain_mmoe(grid, lanes[:, 0]))


def test_omoe_is_its_formula() -> None:
    layout = omoe(TASKS, experts=4, widths=(6, 4))
    grid, lanes = scrambled(layout), random_lanes(layout)
    x, linear = lanes[:, 0], grid.layer(0).gate.linears[0]
    one = mixture(x @ linear.weight.T + linear.bias, [expert(grid, 0, e, x) for e in range(4)])
    check(grid, lanes, [one] * TASKS)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_ml_mmoe_is_its_formula(levels: int) -> None:
    """A mixture for each expert of the next level; all gates look at the raw input."""
    layout = ml_mmoe(TASKS, experts=4, levels=LEVELS[:levels])
    grid, lanes = scrambled(layout), random_lanes(layout)
    x, experts = lanes[:, 0], range(4)
    h = [x] * len(experts)
    for depth in range(levels):
        outputs = [expert(grid, depth, e, h[e]) for e in experts]
        written = range(TASKS) if depth + 1 == levels else experts
        h = [
            mixture(gate_logits(grid, depth, k, x, source=INPUT, among=experts), outputs)
            for k in written
        ]
    check(grid, lanes, h)


def plain_ple(
    grid: SharingGrid, x: Tensor, *, own: int, shared: int, shared_gate: str
) -> list[Tensor]:
    """PLE in either reading; a gate looks at its own lane of the level below."""
    lanes = [x] * (TASKS + 1)
    for depth in range(len(grid.layers)):
        linears, row, written = grid.layer(depth).gate.linears, 0, []
        of_task = [
            [expert(grid, depth, own * t + i, lanes[t]) for i in range(own)] for t in range(TASKS)
        ]
        common = [expert(grid, depth, own * TASKS + i, lanes[TASKS]) for i in range(shared)]
        listened = [[*of_task[t], *common] for t in range(TASKS)]
        if depth + 1 < len(grid.layers):
            everyone = [*itertools.chain.from_iterable(of_task), *common]
            listened.append(everyone if shared_gate == "all" else common)
        for lane, outputs in enumerate(listened):
            if len(outputs) == 1:  # a softmax over one expert needs no gate
                written.append(outputs[0])
                continue
            # On the first level all gates look at the same input: one product for all of them.
            linear, first = (linears[0], row) if depth == 0 else (linears[lane], 0)
            rows = slice(first, first + len(outputs))
            row += len(outputs)
            gate = lanes[lane] @ linear.weight[rows].T + linear.bias[rows]
            written.append(mixture(gate, outputs))
        lanes = written
    return lanes


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize(("own", "shared"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("shared_gate", ["all", "shared"])
def test_ple_is_its_formula(
    levels: int, own: int, shared: int, shared_gate: Literal["all", "shared"]
) -> None:
    layout = ple(TASKS, own=own, shared=shared, levels=LEVELS[:levels], shared_gate=shared_gate)
    grid, lanes = scrambled(layout), random_lanes(layout)
    want = plain_ple(grid, lanes[:, 0], own=own, shared=shared, shared_gate=shared_gate)
    check(grid, lanes, want)


def test_the_readings_of_ple_differ_from_two_levels_on() -> None:
    one, two = (
        [
            ple(TASKS, own=1, shared=2, levels=LEVELS[:n], shared_gate=gate).layers
            for gate in ("all", "shared")
        ]
        for n in (1, 2)
    )
    assert one[0] == one[1] and two[0] != two[1]


def test_cgc_is_its_formula() -> None:
    layout = cgc(TASKS, own=2, shared=3, widths=(6, 4))
    grid, lanes = scrambled(layout), random_lanes(layout)
    x, written = lanes[:, 0], []
    for t in range(TASKS):
        selected = [2 * t, 2 * t + 1, 6, 7, 8]
        w = gate_logits(grid, 0, t, x, source=INPUT, among=selected)
        written.append(mixture(w, [expert(grid, 0, e, x) for e in selected]))
    check(grid, lanes, written)


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("own", [1, 2])
def test_adatt_is_its_formula(levels: int, own: int) -> None:
    """`f_t = softmax(W f_t) E + v_t E_t`."""
    layout = adatt(TASKS, own=own, levels=LEVELS[:levels])
    grid, lanes = scrambled(layout), random_lanes(layout)
    everyone = range(own * TASKS)
    f = [lanes[:, 0]] * TASKS
    for depth in range(levels):
        outputs = [expert(grid, depth, e, f[e // own]) for e in everyone]
        v, written = grid.layer(depth).gate.scalar, []
        for t in range(TASKS):
            source = t if depth else INPUT
            g = gate_logits(grid, depth, t, f[t], source=source, among=everyone)
            native = sum(v[t, e] * outputs[e] for e in everyone if e // own == t)
            written.append(mixture(g, outputs) + native)
        f = written
    check(grid, lanes, f)


def plain_stem(grid: SharingGrid, lanes: Tensor, *, own: int, shared: int) -> list[Tensor]:
    """Own experts on their task's embedding; those of other tasks are heard, but not trained."""
    *embedded, common = lanes.unbind(1)
    owners = [t for t in range(TASKS) for _ in range(own)]
    outputs = [expert(grid, 1, e, embedded[t]) for e, t in enumerate(owners)]
    outputs += [expert(grid, 1, own * TASKS + i, common) for i in range(shared)]
    written = []
    for t in range(TASKS):
        seen, among = embedded[t] + common, range(len(outputs))
        logits = gate_logits(grid, 1, t, seen, source=TASKS + 1 + t, among=among)
        heard = [
            y.detach() if o not in (t, TASKS) else y
            for y, o in zip(outputs, [*owners, *[TASKS] * shared], strict=True)
        ]
        written.append(mixture(logits, heard))
    return written


@pytest.mark.parametrize(("own", "shared"), [(1, 1), (2, 3)])
def test_stem_is_its_formula(own: int, shared: int) -> None:
    layout = stem(TASKS, own=own, shared=shared, widths=(6, 4))
    grid, lanes = scrambled(layout), random_lanes(layout)
    check(grid, lanes, plain_stem(grid, lanes, own=own, shared=shared))


def test_a_task_of_stem_trains_neither_experts_nor_embeddings_of_others() -> None:
    layout = stem(TASKS, own=2, shared=1, widths=(6, 4))
    open_ = replace(
        layout, layers=tuple(replace(layer, detached_edges=()) for layer in layout.layers)
    )
    grid, flowing, lanes = scrambled(layout), scrambled(open_), random_lanes(layout)
    first = grid(lanes)[:, 0]
    torch.testing.assert_close(first, flowing(lanes)[:, 0], rtol=0, atol=1e-12)
    for network, trained in ((grid, [0, 1, 6]), (flowing, list(range(7)))):
        weight = network.layer(1).experts.weights[0]
        of_lanes, of_experts = torch.autograd.grad(network(lanes)[:, 0].sum(), [lanes, weight])
        assert of_experts.abs().amax((1, 2)).nonzero().flatten().tolist() == trained
        reached = of_lanes.abs().amax((0, 2)).nonzero().flatten().tolist()
        assert reached == ([0, TASKS] if network is grid else list(range(TASKS + 1)))
