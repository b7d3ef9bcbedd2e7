"""Gates on features (PEPNet, POSO), a second time from the formulas, in float64."""

import pytest
import torch
from torch import Tensor

from recmtl.errors import ConfigError
from recmtl.grid import (
    FeatureGates,
    Layer,
    Layout,
    Prior,
    Routes,
    SharingGrid,
    expected_multiply_adds,
    layout_cost,
    mmoe,
    pepnet,
    poso,
    recmtl_grid,
    with_feature_gates,
)
from recmtl.model import ModelSizes, TabularModel
from recmtl.serve.bundle.request_network import RequestNetwork
from recmtl.serve.scoring.attribution import Attribution
from recmtl.train.config import Grid
from tests.grids import WIDTH, assert_pruned_is_masked, random_lanes, random_routes, scrambled
from tests.parity.plain import TASKS, assert_equal_with_gradients, expert
from tests.tabular_problems import make_problem, request_of

HIDDEN, LEVELS = 4, [(6, 3), (5,)]
PRIOR = Prior(fields=(0, 2), sizes=(0, 0, 1))
"""Columns 0, 1 and 4 of a lane of 5 features: two fields of 2 and one of 1."""


def factor(grid: SharingGrid, depth: int, lane: int, query: Tensor) -> Tensor:
    """`2 sigmoid(U relu(V q + a) + b)` of one lane."""
    gate = grid.layer(depth).feature_gate
    assert gate is not None
    hidden = torch.relu(query @ gate.first[lane] + gate.first_bias[lane, 0])
    return 2 / (1 + torch.exp(-(hidden @ gate.last[lane] + gate.last_bias[lane, 0])))


def test_prior_fields_are_their_columns() -> None:
    assert PRIOR.columns(WIDTH) == [0, 1, 4]
    assert Prior((0,), (0, 0)).columns(8) == [0, 1, 2, 3]


@pytest.mark.parametrize("prior", [PRIOR, None])
def test_pepnet_is_its_formula(prior: Prior | None) -> None:
    layout = pepnet(TASKS, levels=LEVELS, hidden=HIDDEN, prior=prior)
    grid, lanes = scrambled(layout), random_lanes(layout)
    x = lanes[:, 0]
    chosen = x if prior is None else x[:, [0, 1, 4]]
    query = torch.cat([chosen, x.detach()], 1)
    embedded, want = factor(grid, 0, 0, query) * x, []
    for task in range(TASKS):
        h, depth = embedded, 1
        for _ in LEVELS:
            h = factor(grid, depth, task, query) * expert(grid, depth, task, h)
            depth += 1
        want.append(h)
    assert_equal_with_gradients(grid, lanes, grid(lanes), torch.stack(want, 1))


@pytest.mark.parametrize("prior", [PRIOR, None])
def test_poso_is_its_formula(prior: Prior | None) -> None:
    layout = poso(TASKS, levels=LEVELS, hidden=HIDDEN, prior=prior)
    grid, lanes = scrambled(layout), random_lanes(layout)
    x = h = lanes[:, 0]
    query = x if prior is None else x[:, [0, 1, 4]]
    for depth in range(len(LEVELS)):
        h = factor(grid, depth, 0, query) * expert(grid, depth, 0, h)
    assert_equal_with_gradients(grid, lanes, grid(lanes), torch.stack([h] * TASKS, 1))


@pytest.mark.parametrize("places", [("input",), ("tasks",), ("input", "tasks")])
def test_gates_start_at_one_and_leave_a_network_as_it_was(places: tuple[str, ...]) -> None:
    plain = recmtl_grid(2, cells=3, widths=(6, 5))
    layout = with_feature_gates(plain, places, hidden=3)  # type: ignore[arg-type] # of the cases
    torch.manual_seed(0)
    grid = SharingGrid(layout, input_width=WIDTH).double()
    without = SharingGrid(plain, input_width=WIDTH).double()
    shift = int("input" in places)
    weights = {}
    for name, tensor in grid.state_dict().items():
        _, depth, rest = name.split(".", 2)
        weights[f"layers.{int(depth) - shift}.{rest}"] = tensor
    without.load_state_dict({n: weights[n] for n in without.state_dict()})
    lanes = random_lanes(layout)
    torch.testing.assert_close(grid(lanes), without(lanes), rtol=0, atol=1e-12)


LAYOUTS = {
    "pepnet": pepnet(TASKS, levels=LEVELS, hidden=HIDDEN, prior=PRIOR),
    "poso": poso(TASKS, levels=LEVELS, hidden=HIDDEN, prior=PRIOR),
    "grid": with_feature_gates(
        recmtl_grid(TASKS, cells=5, widths=(6, 4), embeddings="apart"), ("input", "tasks"), hidden=2
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_pruned_network_with_gates_computes_what_the_masked_one_does(
    name: str, seed: int
) -> None:
    layout = LAYOUTS[name]
    grid, routes = scrambled(layout), random_routes(layout, seed)
    assert_pruned_is_masked(grid, random_lanes(layout), routes, atol=1e-10)


@pytest.mark.parametrize("name", LAYOUTS)
def test_gates_are_counted_in_the_cost(name: str) -> None:
    layout = LAYOUTS[name]
    cost, grid = layout_cost(layout, input_width=WIDTH), scrambled(layout)
    assert cost.parameters == sum(parameter.numel() for parameter in grid.parameters())
    if name != "grid":  # a decision keeps one query of a gate, and its layout offers two
        full = Routes.full(layout).decisions(layout)
        expected = expected_multiply_adds(layout, full, input_width=WIDTH)
        assert float(expected) == pytest.approx(cost.multiply_adds)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_with_gates_survives_json(name: str) -> None:
    assert Layout.from_json(LAYOUTS[name].to_json()) == LAYOUTS[name]
    data = mmoe(2, experts=2, widths=(3,)).to_json()
    assert "prior" not in data and "feature_gates" not in data["layers"][0]


def test_gates_refuse_lanes_that_may_be_skipped() -> None:
    gates = FeatureGates("prior", 2)
    with pytest.raises(ConfigError, match="for lanes that always run"):
        Layer(4, ((0, 0),), ((0,),), shortcut=(0,), feature_gates=gates)


def gated_model(prior: tuple[str, ...] = ("user",)) -> TabularModel:
    problem = make_problem(60)
    grid = Grid(cells=3, widths=(8, 4), feature_gates=("input", "tasks"), prior=prior)
    torch.manual_seed(3)
    model = problem.network(problem.layout("recmtl_grid", grid), ModelSizes(embedding=4))
    with torch.no_grad():
        for parameter in model.grid.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.4)
    return model.double().eval()


def test_the_configuration_names_the_prior_features() -> None:
    layout = gated_model().grid.layout
    assert layout.prior is not None and layout.prior.columns(5 * 4) == [0, 1, 2, 3]
    assert gated_model(()).grid.layout.prior is None
    with pytest.raises(ConfigError, match=r"grid\.prior: there is no feature 'usr' .*'user'"):
        gated_model(("usr",))
    with pytest.raises(ConfigError, match="feature_gates names a place twice"):
        Grid(feature_gates=("input", "input"))


@pytest.mark.parametrize("user", [{"user"}, {"item", "age"}])
def test_a_request_is_gated_as_its_joined_rows(user: set[str]) -> None:
    model, rows = gated_model(), make_problem(60).test
    mine, parts, joined = request_of(model.encoder.encoding, rows, user)
    with torch.no_grad():
        got = RequestNetwork(model, mine.fields).eval()(*parts)
    torch.testing.assert_close(got, model.predict(*joined), rtol=1e-9, atol=1e-12)


def test_contributions_go_through_gates_that_stop_gradients_in_training() -> None:
    model, rows = gated_model(), make_problem(60).test
    ids, numeric = (
        torch.from_numpy(rows.ids[:4].copy()),
        torch.from_numpy(rows.numeric[:4]).double(),
    )
    unknown = torch.tensor([[1, 31, 0, 0, 0]])
    reasons = Attribution(model, [0], unknown=unknown).attribute(ids, numeric, steps=400)
    gap = reasons.predicted - reasons.base - reasons.contributions.sum(2)
    assert gap.abs().max() < 2e-3
    assert model.grid.layer(0).feature_gate.detaches  # type: ignore[union-attr] # it has one
