"""The rule of the grid by hand, and each path through it against the general one."""

import copy
import gc
import pickle
import weakref
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from recmtl.grid import (
    CATALOG,
    Decision,
    Layer,
    Layout,
    SharingGrid,
    dynashare,
    full_decision,
    mmoe,
    stem,
)
from recmtl.grid.network import GridLayer, mix
from tests.grids import WIDTH, decided, random_lanes, random_layout, random_routes, scrambled
from tests.image_grids import random_image_layout, scrambled_images, some_images

PATHS = {
    "mmoe": GridLayer._mix_every_edge_fused,
    "omoe": GridLayer._mix_every_edge_fused,
    "cross_stitch": GridLayer._mix_every_edge,
    "ple": GridLayer._mix_every_edge_fused,
    "separate": GridLayer._copy_outputs,
    "shared_bottom": GridLayer._copy_outputs,
    "adatt": GridLayer._mix_every_edge,
}


def full(layout: Layout) -> list[Decision]:
    decisions = [full_decision(layer) for layer in layout.layers]
    return [Decision(d.keep.double(), d.query.double(), d.run.double()) for d in decisions]


def by_hand() -> tuple[SharingGrid, Tensor]:
    """Two experts on one lane: x -> 2 x and x -> relu(-x); lane 0 adds both, lane 1 skips."""
    layer = Layer(
        2, ((0, 0), (1, 0)), ((0, 1), (1,)), gate="scalar", shortcut=(None, 0), experts="linear"
    )
    grid = SharingGrid(Layout("by hand", (layer,), (0, 1)), input_width=2).double()
    with torch.no_grad():
        grid.layer(0).experts.weights[0].copy_(torch.stack([2 * torch.eye(2), -torch.eye(2)]))
        grid.layer(0).gate.scalar.copy_(torch.tensor([[0.5, 0.25], [0.0, 3.0]]))
    return grid, torch.tensor([[[1.0, -4.0]]], dtype=torch.float64)


def test_the_rule_by_hand() -> None:
    """Lane 0: 0.5 (2, -8) + 0.25 (-1, 4); lane 1: half of 3 (-1, 4) and half of (1, -4)."""
    grid, lanes = by_hand()
    (decision,) = full(grid.layout)
    half = replace(decision, run=torch.tensor([[1.0, 0.5]], dtype=torch.float64))
    assert grid(lanes)[0].tolist() == [[0.75, -3.0], [-3.0, 12.0]]
    assert grid(lanes, [half])[0].tolist() == [[0.75, -3.0], [-1.0, 4.0]]
    dropped = replace(half, keep=torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64))
    assert grid(lanes, [dropped])[0].tolist() == [[1.0, -4.0], [-1.0, 4.0]]


def test_a_lane_without_a_shortcut_runs_whatever_a_policy_says() -> None:
    grid, lanes = by_hand()
    (decision,) = full(grid.layout)
    nothing = replace(decision, run=torch.zeros(1, 2, dtype=torch.float64))
    assert grid(lanes, [nothing])[0].tolist() == [[0.75, -3.0], [1.0, -4.0]]


def test_outputs_are_linear_in_the_weights_of_a_gate() -> None:
    outputs = torch.randn(4, 3, 5, dtype=torch.float64)
    first, second = torch.randn(2, 4, 2, 3, dtype=torch.float64)
    mixed = mix(2.0 * first - 3.0 * second, outputs)
    expected = 2.0 * mix(first, outputs) - 3.0 * mix(second, outputs)
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(mix(first, 7.0 * outputs), 7.0 * mix(first, outputs))


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("features", [(5,), (2, 3, 4)])
@pytest.mark.parametrize("gradients", [True, False])
def test_mixing_is_a_weighted_sum_whatever_the_features(
    rows: int, features: tuple[int, ...], gradients: bool
) -> None:
    outputs = torch.randn(4, 3, *features, dtype=torch.float64)
    weights = torch.randn(rows, 2, 3, dtype=torch.float64)
    with torch.set_grad_enabled(gradients):
        mixed = mix(weights, outputs)
    expected = torch.einsum("bka,ba...->bk...", weights.expand(4, 2, 3), outputs)
    torch.testing.assert_close(mixed, expected)


@pytest.mark.parametrize("name", PATHS)
def test_a_layer_chooses_its_path_when_it_is_built(name: str) -> None:
    grid = SharingGrid(CATALOG[name].layout(3, cells=5, widths=(4,), depth=1), input_width=WIDTH)
    assert grid.layer(0)._without_decision is PATHS[name]


def test_a_layer_without_experts_passes_its_shortcuts_on() -> None:
    layer = Layer(WIDTH, (), ((), ()), shortcut=(1, 0))
    grid = scrambled(Layout("swap", (layer,), (0, 1), input_lanes=2))
    lanes = random_lanes(grid.layout)
    assert torch.equal(grid(lanes), lanes[:, [1, 0]])
    assert torch.equal(grid(lanes, full(grid.layout)), lanes[:, [1, 0]])


def outcome(grid: SharingGrid, lanes: Tensor, decisions: list[Decision] | None) -> list[Tensor]:
    """Task lanes, and gradients of a projection for the input and all weights."""
    torch.manual_seed(4)
    task_lanes = grid(lanes, decisions)
    towards = torch.linspace(-1, 1, task_lanes.numel(), dtype=torch.float64).view_as(task_lanes)
    inputs = [lanes, *grid.parameters()]
    gradients = torch.autograd.grad((task_lanes * towards).sum(), inputs, materialize_grads=True)
    return [task_lanes, *gradients]


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("training", [True, False])
def test_every_path_computes_what_the_full_decision_computes(seed: int, training: bool) -> None:
    layout = random_layout(seed)
    grid, lanes = scrambled(layout, seed=seed).train(training), random_lanes(layout)
    torch.testing.assert_close(
        outcome(grid, lanes, None), outcome(grid, lanes, full(layout)), rtol=1e-9, atol=1e-10
    )


@pytest.mark.parametrize("seed", range(20))
def test_every_path_for_images_computes_what_the_full_decision_computes(seed: int) -> None:
    layout = random_image_layout(seed)
    grid, lanes = scrambled_images(layout, seed=seed), some_images(layout).requires_grad_()
    torch.testing.assert_close(
        outcome(grid, lanes, None), outcome(grid, lanes, full(layout)), rtol=1e-8, atol=1e-8
    )


@pytest.mark.parametrize("seed", range(20))
def test_known_outputs_are_mixed_as_those_that_are_computed(seed: int) -> None:
    layout = random_layout(seed)
    grid, lanes = scrambled(layout, seed=seed), random_lanes(layout).detach()
    source = lanes.flatten(1)
    for depth, decision in enumerate(decided(layout, random_routes(layout, seed))):
        layer = grid.layer(depth)
        above = layer(lanes, source, decision)
        known = layer.mix_outputs(layer.outputs(lanes), lanes, source, decision)
        assert torch.equal(known, above)
        lanes = above


def test_mixing_known_outputs_reads_no_expert() -> None:
    """Other outputs give other lanes: linear in them where every lane runs."""
    layout = mmoe(2, experts=3, widths=(4,))
    grid, lanes = scrambled(layout), random_lanes(layout).detach()
    (decision,), layer = full(layout), grid.layer(0)
    outputs = torch.randn(len(lanes), 3, 4, dtype=torch.float64)
    mixed = layer.mix_outputs(outputs, lanes, lanes.flatten(1), decision)
    expected = layer.weights(lanes, lanes.flatten(1)) @ outputs
    torch.testing.assert_close(mixed, expected)


@pytest.mark.parametrize("applications", [((0, 0), (1, 0)), ((1, 0), (0, 0))], ids=str)
def test_applications_keep_their_order_beside_a_gate(
    applications: tuple[tuple[int, int], ...],
) -> None:
    layer = Layer(4, applications, ((0, 1), (0, 1)))
    grid = scrambled(Layout("order", (layer,), (0, 1)))
    lanes = random_lanes(grid.layout)
    with torch.no_grad():
        without_gradients = grid(lanes)
    torch.testing.assert_close(grid(lanes), without_gradients)


def test_detached_edges_train_nobody_and_a_lane_that_has_no_others_trains_them() -> None:
    layout = stem(2, own=1, shared=1, widths=(4,))
    grid, lanes = scrambled(layout), random_lanes(layout)
    weights = grid.layer(1).experts.weights[0]

    def trained(decisions: list[Decision] | None) -> list[bool]:
        (gradient,) = torch.autograd.grad(grid(lanes, decisions)[:, 0].sum(), weights)
        return [bool(expert.abs().max() > 0) for expert in gradient]

    assert trained(None) == [True, False, True]
    decisions = full(layout)
    decisions[1].keep[0] = torch.tensor([0.0, 1.0, 0.0])
    assert trained(decisions) == [False, True, False]
    grid.layer(1).detaches = False
    assert trained(None) == [True, True, True]


@pytest.mark.parametrize("name", ["mmoe", "ple", "adashare", "recmtl_grid", "stem"])
@pytest.mark.parametrize("how", [copy.deepcopy, lambda grid: pickle.loads(pickle.dumps(grid))])
def test_a_copy_of_a_network_uses_its_own_weights(name: str, how: object) -> None:
    layout = CATALOG[name].layout(3, cells=4, widths=(6, 4), depth=2)
    grid, lanes = scrambled(layout), random_lanes(layout)
    before = grid(lanes).detach()
    twin = how(grid)  # type: ignore[operator]
    assert torch.equal(twin(lanes), before)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(1.5)
    assert torch.equal(grid(lanes), before)
    assert not torch.equal(twin(lanes), before)


def test_a_network_is_freed_without_the_collector() -> None:
    """A scorer that is dropped gives its memory back at once: no path refers to its layer."""
    grid = SharingGrid(mmoe(2, experts=2, widths=(4,)), input_width=WIDTH)
    layer = weakref.ref(grid.layer(0))
    gc.disable()
    try:
        del grid
        assert layer() is None
    finally:
        gc.enable()


def test_gates_are_held_open_together() -> None:
    layout = dynashare(2, widths=(4,), rates=(1.0, 0.5, 0.5))
    grid, lanes = scrambled(layout).train(), random_lanes(layout, rows=50)
    assert grid.hold_open(True)
    assert all((grid.layer(d).running(lanes.expand(-1, 2, -1)[..., :4]) == 1).all() for d in (2, 3))
    assert not grid.hold_open(False)
    assert not scrambled(mmoe(2, experts=2, widths=(4,))).hold_open(True)


def test_the_rate_penalty_is_a_mean_over_the_layers_that_may_skip() -> None:
    layout = dynashare(2, widths=(4,), rates=(1.0, 0.5, 0.5))
    grid, lanes = scrambled(layout).train(), random_lanes(layout, rows=50)
    grid(lanes)
    gates = [grid.layer(depth).instance for depth in (2, 3)]
    expected = sum(gate.penalty() for gate in gates if gate is not None) / 3
    penalty = grid.rate_penalty()
    assert penalty is not None and penalty == expected and penalty > 0
    assert scrambled(mmoe(2, experts=2, widths=(4,))).rate_penalty() is None


@pytest.mark.parametrize("seed", range(25))
def test_renumbering_lanes_and_experts_changes_no_task(seed: int) -> None:
    """Lanes of every layer in reverse order, and experts of every layer numbered the other way."""
    layout = random_layout(seed)
    grid, lanes = scrambled(layout, seed=seed), random_lanes(layout)
    turned = scrambled(reversed_numbers(layout))
    copy_reversed(grid, turned)
    torch.testing.assert_close(turned(lanes), grid(lanes), rtol=1e-9, atol=1e-10)


def reversed_numbers(layout: Layout) -> Layout:
    """The same wiring with output lanes and experts of every layer counted from the end."""
    layers, below = [], layout.input_lanes
    for depth, layer in enumerate(layout.layers):
        last = below - 1 if depth else None  # the encoder's lanes stay

        def lane(number: int, last: int | None = last) -> int:
            return number if last is None or number < 0 else last - number

        experts = max(expert for expert, _ in layer.applications)
        turn = {
            "applications": tuple((experts - e, lane(read)) for e, read in layer.applications),
            "edges": layer.edges[::-1],
            "residual_edges": layer.residual_edges[::-1],
            "detached_edges": layer.detached_edges[::-1],
            "queries": tuple(tuple(map(lane, q)) for q in layer.queries[::-1]),
            "shortcut": tuple(None if s is None else lane(s) for s in layer.shortcut[::-1]),
        }
        layers.append(replace(layer, **turn))
        below = layer.num_lanes
    readout = tuple(below - 1 - lane for lane in layout.readout)
    return replace(layout, layers=tuple(layers), readout=readout)


@torch.no_grad()
def copy_reversed(grid: SharingGrid, turned: SharingGrid) -> None:
    for depth, layer in enumerate(grid.layout.layers):
        old, new = grid.layer(depth), turned.layer(depth)
        for name, parameter in new.experts.named_parameters():
            parameter.copy_(old.experts.get_parameter(name).flip(0))
        if old.instance is not None:
            new.instance.load_state_dict(old.instance.state_dict())
        gates = [old.gate, new.gate]
        for name, parameter in gates[1].named_parameters():
            if name.endswith("scalar"):
                parameter.copy_(gates[0].get_parameter(name).flip(0))
        plain_old, plain_new = (getattr(gate, "gate", gate) for gate in gates)
        below = grid.layer(depth - 1).layer.num_lanes if depth else 0
        for source in getattr(plain_old, "sources", ()):
            moved = source if source < 0 or not depth else below - 1 - source
            for _, lane, application in plain_old.slots[source]:
                target = plain_new.logit(moved, layer.num_lanes - 1 - lane, application)
                origin = plain_old.logit(source, lane, application)
                for to, what in zip(target, origin, strict=True):
                    to.copy_(what)
