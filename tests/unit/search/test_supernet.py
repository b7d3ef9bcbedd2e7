"""The supernet: losses scaled by constants, cost as a share, and parts that make the whole."""

import pytest
import torch

from recmtl.data.batches import Batch
from recmtl.grid import CATALOG, Routes, layout_cost, prune, recmtl_grid
from recmtl.search.supernet import Supernet, _common_layers
from recmtl.train.config import Config, Search
from tests.grids import random_routes
from tests.tabular_problems import make_problem

PROBLEM = make_problem(rows=200)
SPACES = {
    "recmtl grid": recmtl_grid(4, cells=4, widths=(8, 4), depth=3),
    "mtnas": CATALOG["mtnas"].layout(4, cells=3, widths=(6, 4), depth=2),
    "adashare": CATALOG["adashare"].layout(4, cells=3, widths=(6, 6), depth=3),
}
every_space = pytest.mark.parametrize("name", SPACES)


def make_supernet(name: str, **search: float) -> Supernet:
    torch.manual_seed(3)
    return Supernet(SPACES[name], problem=PROBLEM, config=Config(search=Search(**search)))


def rows() -> Batch:
    return next(PROBLEM.validation.batches(batch_size=50, seed=None))


@every_space
def test_the_full_route_costs_everything_and_a_route_never_more(name: str) -> None:
    supernet = make_supernet(name)
    space = supernet.layout
    full = float(supernet.cost_share(Routes.full(space).decisions(space)))
    assert full == pytest.approx(1.0)
    for seed in range(8):
        routes = random_routes(space, seed)
        share = float(supernet.cost_share(routes.decisions(space)))
        assert 0.0 <= share <= 1.0
        multiply_adds = float(supernet.multiply_adds(routes.decisions(space)))
        assert multiply_adds == pytest.approx(share * supernet.full, rel=1e-6)
        assert supernet.pruned_multiply_adds(routes) <= multiply_adds * (1 + 1e-6)


@every_space
def test_the_pruned_cost_is_that_of_the_pruned_layout(name: str) -> None:
    supernet = make_supernet(name)
    width = supernet.model.grid.input_width
    for seed in range(4):
        routes = random_routes(supernet.layout, seed)
        layout = prune(supernet.layout, routes).layout
        cost = layout_cost(layout, input_width=width).multiply_adds
        assert supernet.pruned_multiply_adds(routes) == cost


def test_the_losses_of_constants_are_normalised_to_one() -> None:
    """Times the mean weight of the tasks, at balance 1; at balance 0 losses are only weighted."""
    supernet = make_supernet("recmtl grid", balance=1.0)
    weights = torch.tensor([head.weight for head in PROBLEM.heads])
    constants = torch.tensor([head.constant_loss for head in PROBLEM.heads])
    normalised = float(supernet.normalised(constants))
    assert normalised == pytest.approx(float(weights.mean()))
    plain = make_supernet("recmtl grid", balance=0.0)
    assert float(plain.normalised(constants)) == pytest.approx(float((constants * weights).mean()))


@every_space
def test_layers_applied_in_two_parts_are_the_whole_network(name: str) -> None:
    supernet, batch = make_supernet(name), rows()
    supernet.model.eval()
    decisions = random_routes(supernet.layout, 5).decisions(supernet.layout)
    with torch.no_grad():
        whole = supernet.model(*batch.inputs, decisions=decisions)
        encoded = supernet.model.encoder(*batch.inputs)
        for cut in range(len(decisions) + 1):
            lanes = supernet.apply_layers(encoded, encoded, decisions[:cut])
            logits = supernet.logits_above(lanes, encoded, decisions[cut:], batch)
            for part, task in zip(logits, whole, strict=True):
                torch.testing.assert_close(part, task, rtol=1e-5, atol=1e-6)


@every_space
def test_the_common_layers_are_those_below_the_first_difference(name: str) -> None:
    space = SPACES[name]
    routes = random_routes(space, 2)
    decisions = routes.decisions(space)
    assert _common_layers([decisions, routes.decisions(space)]) == len(space.layers)
    for depth, decision in enumerate(decisions):
        for field in ("keep", "query", "run"):
            changed = random_routes(space, 2).decisions(space)
            getattr(changed[depth], field)[0] += 1.0
            assert _common_layers([decisions, decisions, changed]) == depth
        assert decision.keep.shape[0] == space.layers[depth].num_lanes


def test_the_cost_of_a_route_has_a_gradient_for_the_policy() -> None:
    supernet = make_supernet("adashare")
    decisions = Routes.full(supernet.layout).decisions(supernet.layout)
    runs = [decision.run.requires_grad_() for decision in decisions]
    gradients = torch.autograd.grad(supernet.cost_share(decisions), runs, allow_unused=True)
    pulls = [gradient for gradient in gradients if gradient is not None]
    assert pulls and all((gradient >= 0).all() for gradient in pulls)
    assert any((gradient > 0).any() for gradient in pulls)
