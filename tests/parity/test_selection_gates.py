"""DSelect-k, a second time from the formulas, in float64; what a selection is in the limit."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from recmtl.errors import ConfigError
from recmtl.grid import (
    Layer,
    Layout,
    Routes,
    Selection,
    SharingGrid,
    dselect_k,
    expected_multiply_adds,
    layout_cost,
)
from recmtl.grid.gates import SelectionGate
from recmtl.model import ModelSizes, TabularModel
from recmtl.serve.bundle.request_network import RequestNetwork
from recmtl.train.config import Grid, Training
from recmtl.train.loop import train
from tests.grids import WIDTH, assert_pruned_is_masked, random_lanes, random_routes, scrambled
from tests.parity.plain import TASKS, assert_equal_with_gradients, expert
from tests.tabular_problems import make_problem, request_of


def step(t: float) -> float:
    """The smooth step of width 1, from its three cases."""
    if t <= -0.5:
        return 0.0
    return 1.0 if t >= 0.5 else -2 * t**3 + 1.5 * t + 0.5


def gate_of(grid: SharingGrid) -> SelectionGate:
    gate = grid.layer(0).gate
    assert isinstance(gate, SelectionGate)
    return gate


def numbers_of(grid: SharingGrid, x: Tensor) -> Tensor:
    """For each example, task and selector its bits, then its weight."""
    gate = gate_of(grid)
    weight, bias = (gate.linears[0].get_parameter(name) for name in ("weight", "bias"))
    return (x @ weight.T + bias).view(len(x), TASKS, gate.selectors, -1)


def plain_weights(grid: SharingGrid, x: Tensor, experts: int) -> Tensor:
    """Weights `[B, T, E]`, code by code."""
    numbers, rows = numbers_of(grid, x), []
    bits = numbers.shape[-1] - 1
    for example, task in itertools.product(range(len(x)), range(TASKS)):
        selectors = numbers[example, task]
        share, row = torch.softmax(selectors[:, -1], 0), [torch.zeros((), dtype=x.dtype)] * experts
        for s, code in itertools.product(range(len(selectors)), range(2**bits)):
            product = share[s]
            for bit in range(bits):
                z = selectors[s, bit].clamp(-0.5, 0.5)
                one = -2 * z**3 + 1.5 * z + 0.5
                product = product * (one if code >> bit & 1 else 1 - one)
            row[code % experts] = row[code % experts] + product
        rows.append(torch.stack(row))
    return torch.stack(rows).view(len(x), TASKS, experts)


@pytest.mark.parametrize(("experts", "select"), [(4, 2), (5, 3), (3, 1), (2, 2)])
def test_dselect_is_its_formula(experts: int, select: int) -> None:
    layout = dselect_k(TASKS, experts=experts, select=select, widths=(6, 4))
    grid, lanes = scrambled(layout), random_lanes(layout)
    with torch.no_grad():  # some bits within the step, some beyond it
        gate_of(grid).linears[0].get_parameter("weight").mul_(0.2)
        gate_of(grid).linears[0].get_parameter("bias").mul_(0.2)
    x = lanes[:, 0]
    weights = plain_weights(grid, x, experts)
    outputs = torch.stack([expert(grid, 0, e, x) for e in range(experts)], 1)
    want = torch.einsum("bte,bed->btd", weights, outputs)
    assert_equal_with_gradients(grid, lanes, grid(lanes), want)


def test_the_smooth_step_joins_its_ends() -> None:
    layout = dselect_k(1, experts=2, select=1, widths=(3,))
    grid = scrambled(layout)
    with torch.no_grad():
        gate_of(grid).linears[0].get_parameter("weight").zero_()
    for t in (-3.0, -0.5, -0.2, 0.0, 0.3, 0.5, 2.0):
        with torch.no_grad():
            gate_of(grid).linears[0].get_parameter("bias").copy_(torch.tensor([t, 0.0]))
        lanes = random_lanes(layout)
        first, second = grid.layer(0).weights(lanes, lanes[:, 0])[0, 0].tolist()
        assert second == pytest.approx(step(t)) and first + second == pytest.approx(1.0)


def test_beyond_the_step_an_example_hears_at_most_as_many_experts_as_selectors() -> None:
    layout = dselect_k(TASKS, experts=6, select=2, widths=(4,))
    grid, lanes = scrambled(layout), random_lanes(layout, rows=40)
    with torch.no_grad():
        gate_of(grid).linears[0].get_parameter("weight").mul_(1e4)
    weights = grid.layer(0).weights(lanes, lanes[:, 0])
    assert ((weights > 0).sum(-1) <= 2).all() and ((weights > 0).sum(-1) == 2).any()
    torch.testing.assert_close(weights.sum(-1), torch.ones(40, TASKS, dtype=torch.float64))


def test_a_new_gate_gives_all_experts_about_the_same() -> None:
    torch.manual_seed(0)
    grid = SharingGrid(dselect_k(2, experts=4, select=2, widths=(4,)), input_width=WIDTH)
    lanes = torch.randn(8, 1, WIDTH)
    weights = grid.layer(0).weights(lanes, lanes[:, 0])
    assert (weights - 0.25).abs().max() < 0.02


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("experts", [3, 4, 5])
def test_a_pruned_selection_is_the_masked_one(seed: int, experts: int) -> None:
    layout = dselect_k(TASKS, experts=experts, select=2, widths=(6, 4))
    grid = scrambled(layout)
    with torch.no_grad():
        gate_of(grid).linears[0].get_parameter("weight").mul_(0.1)
        gate_of(grid).linears[0].get_parameter("bias").mul_(0.1)
    assert_pruned_is_masked(grid, random_lanes(layout), random_routes(layout, seed), atol=1e-10)


def test_a_selection_is_counted_and_written() -> None:
    layout = dselect_k(TASKS, experts=5, select=2, widths=(6, 4))
    cost, grid = layout_cost(layout, input_width=WIDTH), scrambled(layout)
    assert cost.parameters == sum(parameter.numel() for parameter in grid.parameters())
    full = Routes.full(layout).decisions(layout)
    expected = expected_multiply_adds(layout, full, input_width=WIDTH)
    assert float(expected) == pytest.approx(cost.multiply_adds)
    assert Layout.from_json(layout.to_json()) == layout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gate": "dselect"}, "dselect gates need a selection"),
        ({"selection": Selection(1, 1, (1,), ((0,),))}, "others have none"),
        (
            {"gate": "dselect", "selection": Selection(1, 1, (1,), ((0,),)), "queries": ((0,),)},
            "look at the input",
        ),
    ],
)
def test_a_selection_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Layer(4, ((0, 0),), ((0,),), **changes)  # type: ignore[arg-type] # of the cases


def model_of(select: int = 2) -> TabularModel:
    problem = make_problem(120)
    layout = dselect_k(len(problem.heads), experts=4, select=select, widths=(8,))
    torch.manual_seed(1)
    return problem.network(layout, ModelSizes(embedding=4, tower=()))


def test_the_penalty_is_the_entropy_of_the_selectors_and_falls_in_training() -> None:
    model, problem = model_of(), make_problem(120)
    model.train()(*next(iter(problem.train.batches(batch_size=64, seed=None))).inputs)
    before = model.grid.selection_penalty()
    assert before is not None
    # Each of 4 tasks has 2 selectors, which at first know nothing of 4 experts.
    assert float(before.detach()) == pytest.approx(4 * 2 * math.log(4), rel=0.01)
    settings = Training(batch_size=40, epochs=4, selection_weight=0.5, learning_rate=0.03)
    train(model, problem, settings, seed=0, name="selecting")
    after = model.grid.selection_penalty()
    assert after is not None and float(after.detach()) < 0.6 * float(before.detach())


def test_a_network_without_selection_has_no_penalty() -> None:
    problem = make_problem(60)
    model = problem.network(problem.layout("mmoe", Grid(cells=2, widths=(4,))), ModelSizes())
    assert model.grid.selection_penalty() is None


@pytest.mark.parametrize("user", [{"user"}, {"item", "age"}])
def test_a_request_selects_as_its_joined_rows(user: set[str]) -> None:
    model, rows = model_of().double().eval(), make_problem(60).test
    with torch.no_grad():
        for parameter in model.grid.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.5)
    mine, parts, joined = request_of(model.encoder.encoding, rows, user)
    with torch.no_grad():
        network = RequestNetwork(model, mine.fields).eval()
        got = network(*parts)
    assert len(network.products) == 2  # the experts' and the gate's
    torch.testing.assert_close(got, model.predict(*joined), rtol=1e-9, atol=1e-12)
