"""Gates against hand-worked softmaxes; instance gates keep their rate, in evaluation too."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from recmtl.grid import CATALOG, INPUT, Decision, InstancePolicy, Layer, SharingGrid
from recmtl.grid.gates import ConstantGate, ResidualGate, ScalarGate, SoftmaxGate, make_gate
from recmtl.grid.routes import full_decision

PAIR = Layer(4, ((0, 0), (1, 0)), ((0, 1), (1,)))
LANES, SOURCE = torch.randn(3, 1, 4), torch.randn(3, 4)


def weights_of(layer: Layer, gate: torch.nn.Module, **changes: Tensor) -> Tensor:
    decision = replace(full_decision(layer), **changes)
    weights: Tensor = gate(LANES, SOURCE, decision)
    return weights


def test_the_kind_of_gate_follows_the_layer() -> None:
    sizes = {"lane_width": 4, "input_width": 4}
    assert isinstance(make_gate(PAIR, **sizes), SoftmaxGate)
    assert isinstance(make_gate(replace(PAIR, gate="scalar"), **sizes), ScalarGate)
    assert isinstance(make_gate(replace(PAIR, gate="one"), **sizes), ConstantGate)
    residual = make_gate(replace(PAIR, gate="one", residual_edges=((0,), ())), **sizes)
    assert isinstance(residual, ResidualGate) and isinstance(residual.gate, ConstantGate)


def test_a_softmax_gate_starts_with_equal_weights_and_needs_none_for_a_single_edge() -> None:
    gate = SoftmaxGate(PAIR, lane_width=4, input_width=4)
    assert gate.linears[0].weight.shape == (2, 4), "only lane 0 decides"
    expected = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    torch.testing.assert_close(weights_of(PAIR, gate), expected.expand(3, 2, 2))


def test_a_softmax_gate_by_hand() -> None:
    """Logits log 3 and 0: 3/4 and 1/4. Keep of 1/3 on the first edge: 1/2 and 1/2."""
    gate = SoftmaxGate(PAIR, lane_width=4, input_width=4)
    with torch.no_grad():
        gate.logit(INPUT, 0, 0)[1].fill_(float(torch.tensor(3.0).log()))
    torch.testing.assert_close(weights_of(PAIR, gate)[0, 0], torch.tensor([0.75, 0.25]))
    keep = torch.tensor([[1 / 3, 1.0], [0.0, 1.0]])
    torch.testing.assert_close(weights_of(PAIR, gate, keep=keep)[0, 0], torch.tensor([0.5, 0.5]))


def test_a_relaxed_edge_has_a_finite_gradient_where_it_is_closed() -> None:
    gate = SoftmaxGate(PAIR, lane_width=4, input_width=4)
    keep = torch.tensor([[0.0, 1.0], [0.0, 1.0]], requires_grad=True)
    weights = weights_of(PAIR, gate, keep=keep)
    weights[:, 0, 0].sum().backward()
    assert keep.grad is not None
    # d/dk of k e^z / (k e^z + e^z) at k = 0 is 1, for each of three rows.
    torch.testing.assert_close(keep.grad[0], torch.tensor([3.0, 0.0]))


def test_a_gate_looks_at_the_query_that_is_chosen() -> None:
    layer = Layer(4, ((0, 0), (1, 0)), ((0, 1),), queries=((INPUT, 0),))
    gate = SoftmaxGate(layer, lane_width=4, input_width=4)
    with torch.no_grad():
        for source, slope in ((INPUT, 1.0), (0, -2.0)):
            gate.logit(source, 0, 0)[0].copy_(torch.tensor([slope, 0.0, 0.0, 0.0]))
    for chosen, logit in ((0, SOURCE[:, 0]), (1, -2.0 * LANES[:, 0, 0])):
        query = torch.eye(2)[chosen].unsqueeze(0)
        weight = weights_of(layer, gate, query=query)[:, 0, 0]
        torch.testing.assert_close(weight, torch.sigmoid(logit))


def test_free_scalars_start_as_the_mean_of_a_lanes_edges() -> None:
    gate = ScalarGate(PAIR)
    torch.testing.assert_close(weights_of(PAIR, gate)[0], torch.tensor([[0.5, 0.5], [0.0, 1.0]]))
    halves = weights_of(PAIR, gate, keep=full_decision(PAIR).keep / 2)
    torch.testing.assert_close(halves, weights_of(PAIR, gate) / 2)


def test_residual_edges_add_their_scalar_to_the_gate() -> None:
    layer = replace(PAIR, residual_edges=((0, 1), ()))
    gate = make_gate(layer, lane_width=4, input_width=4)
    expected = torch.tensor([[0.5 + 0.5, 0.5 + 0.5], [0.0, 1.0]])
    torch.testing.assert_close(weights_of(layer, gate)[0], expected)
    keep = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    expected = torch.tensor([[1.0 + 0.5, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(weights_of(layer, gate, keep=keep)[0], expected)


@pytest.mark.parametrize("gate", ["softmax", "scalar", "one"])
def test_a_dropped_edge_has_no_weight(gate: str) -> None:
    layer = replace(PAIR, gate=gate)
    module = make_gate(layer, lane_width=4, input_width=4)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    keep = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    weights = weights_of(layer, module, keep=keep)
    assert (weights[:, :, 0] == 0.0).all()
    if gate == "softmax":
        assert (weights.sum(-1) == 1.0).all()


def test_a_decision_moves_to_the_device_it_is_on_without_a_copy() -> None:
    decision = full_decision(PAIR)
    assert decision.to(torch.device("cpu")) is decision
    moved = decision.to(torch.device("meta"))
    assert isinstance(moved, Decision)
    assert {moved.keep.device.type, moved.query.device.type, moved.run.device.type} == {"meta"}


@pytest.mark.parametrize("name", CATALOG)
def test_dense_weights_are_those_of_the_full_decision(name: str) -> None:
    layout = CATALOG[name].layout(3, cells=5, widths=(8, 4), depth=2)
    grid = SharingGrid(layout, input_width=6).double().eval()
    lanes = torch.randn(7, layout.input_lanes, 6, dtype=torch.float64)
    source, settled = lanes.flatten(1), 0
    for depth in range(len(grid.layers)):
        layer = grid.layer(depth)
        gate = layer.gate
        if isinstance(gate, SoftmaxGate):
            for parameter in gate.parameters():
                torch.nn.init.normal_(parameter, std=3.0)
            if gate.is_plain:
                settled += 1
                full = full_decision(layer.layer)
                general = gate(lanes, source, replace(full, keep=full.keep.double()))
                found = layer.weights(lanes, source)
                torch.testing.assert_close(found, general, rtol=1e-13, atol=1e-15)
                towards, parameters = torch.randn_like(general), [*gate.parameters()]
                wanted, got = (
                    torch.autograd.grad((weights * towards).sum(), parameters)
                    for weights in (general, found)
                )
                torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-14)
        lanes = layer(lanes, source, None)
    assert settled or name not in ("mmoe", "omoe", "ml_mmoe", "cgc", "ple", "ple_shared")


def instance_gate(rate: float) -> tuple[InstancePolicy, torch.Tensor]:
    torch.manual_seed(0)
    return InstancePolicy(6, [0, 1], rate=rate), torch.randn(400, 2, 6)


@pytest.mark.parametrize("rate", [0.3, 0.6, 0.9])
def test_a_gate_learns_to_run_its_share_of_examples_in_evaluation(rate: float) -> None:
    gate, lanes = instance_gate(rate)
    optimizer = torch.optim.Adam(gate.parameters(), lr=3e-3)
    for _ in range(300):
        gate(lanes)
        optimizer.zero_grad()
        gate.penalty().backward()
        optimizer.step()
    assert gate.eval()(lanes).mean(0).tolist() == pytest.approx([rate, rate], abs=0.05)


def test_the_penalty_is_of_what_runs_in_evaluation() -> None:
    gate, lanes = instance_gate(0.6)
    assert gate.penalty() == 0
    draws = [gate(lanes).detach() for _ in range(2)]
    assert not torch.equal(*draws)
    penalty = gate.penalty()
    share = gate.eval()(lanes).mean(0)
    assert penalty.item() == pytest.approx((0.6 - share).square().sum().item())


def test_a_gate_that_is_held_open_runs_every_example_and_has_no_penalty() -> None:
    gate, lanes = instance_gate(0.3)
    gate(lanes)
    assert gate.penalty() > 0
    gate.held = True
    assert (gate(lanes) == 1.0).all() and gate.penalty() == 0


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_a_gate_starts_with_the_odds_of_its_rate(rate: float) -> None:
    gate, lanes = instance_gate(rate)
    with torch.no_grad():
        gate.last.weight.zero_()
        torch.manual_seed(1)
        runs = torch.stack([gate(lanes) for _ in range(20)])
    assert runs.mean().item() == pytest.approx(rate, abs=0.02)
