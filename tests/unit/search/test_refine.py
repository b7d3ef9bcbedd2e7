"""The supernet computed in parts is the supernet; what is refined cannot be improved further."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.batches import Batch
from recmtl.grid import CATALOG, Decision, Layout, Routes, recmtl_grid
from recmtl.policies import RoutePolicy
from recmtl.search import refine as refine_module
from recmtl.search.budget import BudgetTarget, CostMultiplier
from recmtl.search.policy_factory import make_policy
from recmtl.search.refine import FOLDS, refine, surely_positive
from recmtl.search.selection import RouteObjective, sample_route
from recmtl.search.supernet import Supernet
from recmtl.train.config import Budget, Config, Search
from tests.grids import random_routes
from tests.tabular_problems import make_problem, rows_of

PROBLEM = make_problem(rows=200)
CONFIG = Config(search=Search())
SPACES = {
    "recmtl grid": recmtl_grid(4, cells=3, widths=(8, 4), depth=2),
    "mtnas": CATALOG["mtnas"].layout(4, cells=3, widths=(6, 4), depth=2),
    "dynashare": CATALOG["dynashare"].layout(4, cells=3, widths=(6, 4), depth=2),
}


@pytest.fixture(params=SPACES)
def supernet(request: pytest.FixtureRequest) -> Supernet:
    return make_supernet(SPACES[request.param])


def make_supernet(space: Layout) -> Supernet:
    torch.manual_seed(3)
    net = Supernet(space, problem=PROBLEM, config=CONFIG)
    with torch.no_grad():
        for parameter in net.model.grid.parameters():
            parameter.normal_(std=0.5)
    return net


def all_rows() -> Batch:
    split = PROBLEM.validation
    return next(split.batches(batch_size=len(split), seed=None))


def test_candidates_compared_together_are_as_each_alone(supernet: Supernet) -> None:
    space, rows = supernet.layout, all_rows()
    candidates = [random_routes(space, seed).decisions(space) for seed in range(4)]
    found = supernet.compare(PROBLEM.validation, candidates)
    supernet.model.eval()
    with torch.no_grad():
        alone = torch.stack([supernet.losses(rows, decisions) for decisions in candidates])
    torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-6)
    same = supernet.compare(PROBLEM.validation, candidates[:1] * 2)
    assert torch.equal(same[0], same[1])
    torch.testing.assert_close(same[0], alone[0], rtol=1e-4, atol=1e-6)


def test_a_split_of_several_batches_is_a_mean_over_its_rows() -> None:
    """Tasks whose label every row has: the others are means over the rows that have it."""
    supernet = make_supernet(SPACES["recmtl grid"])
    rows = torch.arange(8300) % len(PROBLEM.validation)
    split = rows_of(PROBLEM.validation, rows.numpy())
    split = replace(split, weight=split.weight * 0 + 1)
    decisions = [Routes.full(supernet.layout).decisions(supernet.layout)]
    found = supernet.compare(split, decisions)[0]
    with torch.no_grad():
        whole = supernet.losses(next(split.batches(batch_size=9000, seed=None)), decisions[0])
    torch.testing.assert_close(found[:2], whole[:2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["recmtl grid", "mtnas"])
def test_nothing_can_be_improved_after_refining(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No step of a lane's edges or query gains, computed from the whole model."""
    monkeypatch.setattr(refine_module, "FEWEST_ROWS", 1000)
    monkeypatch.setattr(refine_module, "STANDARD_ERRORS", 0.0)
    supernet, rows = make_supernet(SPACES[name]), all_rows()
    space, policy = supernet.layout, make_policy(SPACES[name], CONFIG)
    route = next(part for part in policy.modules() if isinstance(part, RoutePolicy))
    judge = RouteObjective(supernet, multiplier=CostMultiplier(0.02, steps=1), target=None)
    start = Routes.of(space, policy(None))

    def worth(routes: Routes) -> float:
        decisions = routes.decisions(space)
        with torch.no_grad():
            return judge(supernet.losses(rows, decisions), decisions)

    found = refine(supernet, route, start, rows=rows, value=judge, rounds=20)
    supernet.model.eval()
    assert worth(found) < worth(start) - 1e-4
    least = worth(found)
    for depth, layer in enumerate(space.layers):
        for lane, edges in enumerate(layer.edges if layer.searched else ()):
            sizes = range(1, route.max_edges + 1)
            subsets = [subset for size in sizes for subset in combinations(edges, size)]
            near = [s for s in subsets if len({*s} ^ {*found.layers[depth].edges[lane]}) <= 2]
            for subset in near:
                assert worth(changed(found, depth, lane, edges=subset)) >= least - 1e-6
            for query in layer.queries[lane]:
                assert worth(changed(found, depth, lane, queries=query)) >= least - 1e-6


def changed(routes: Routes, depth: int, lane: int, **new: object) -> Routes:
    """The routes with one lane's edges or query replaced."""
    layers = list(routes.layers)
    for name, value in new.items():
        column = list(getattr(layers[depth], name))
        column[lane] = value
        layers[depth] = replace(layers[depth], **{name: tuple(column)})
    return Routes(tuple(layers))


def test_a_race_on_fewer_rows_never_makes_it_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine_module, "FEWEST_ROWS", 10)
    monkeypatch.setattr(refine_module, "STANDARD_ERRORS", 0.0)
    supernet, rows = make_supernet(SPACES["recmtl grid"]), all_rows()
    space, policy = supernet.layout, make_policy(SPACES["recmtl grid"], CONFIG)
    route = next(part for part in policy.modules() if isinstance(part, RoutePolicy))
    judge = RouteObjective(supernet, multiplier=CostMultiplier(0.02, steps=1), target=None)
    start = Routes.of(space, policy(None))
    values = [start]
    for _ in range(3):
        values.append(refine(supernet, route, values[-1], rows=rows, value=judge, rounds=1))
    with torch.no_grad():
        supernet.model.eval()
        found = [
            judge(supernet.losses(rows, r.decisions(space)), r.decisions(space)) for r in values
        ]
    assert found[0] > found[1] >= found[2] >= found[3]


def test_a_race_finds_what_is_best_on_any_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value is the distance to a route that was drawn: it must be arrived at."""
    monkeypatch.setattr(refine_module, "FEWEST_ROWS", 10)
    supernet = make_supernet(SPACES["mtnas"])
    space, policy = supernet.layout, make_policy(SPACES["mtnas"], CONFIG)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.normal_()
    start, goal = Routes.of(space, policy(None)), sample_route(policy)

    def distance(losses: torch.Tensor, decisions: Sequence[Decision]) -> float:
        pairs = zip(decisions, goal.decisions(space), strict=True)
        gaps = [(a.keep - b.keep).abs().sum() + (a.query - b.query).abs().sum() for a, b in pairs]
        return float(torch.stack(gaps).sum())

    route = next(part for part in policy.modules() if isinstance(part, RoutePolicy))
    found = refine(supernet, route, start, rows=all_rows(), value=distance, rounds=20)
    assert start != goal
    for layer, one, other in zip(space.layers, found.layers, goal.layers, strict=True):
        assert one.edges == other.edges
        for lane, edges in enumerate(one.edges):  # a gate of one edge looks at nothing
            assert len(edges) == 1 or one.queries[lane] == other.queries[lane], layer


def test_a_budget_makes_dear_routes_worse() -> None:
    supernet = make_supernet(SPACES["recmtl grid"])
    space = supernet.layout
    whole = BudgetTarget(Budget(share=1.0), space, problem=PROBLEM, config=CONFIG)
    spread = sorted(whole.excess(random_routes(space, seed)) + 1 for seed in range(50))
    middle = Budget(share=(spread[0] + spread[-1]) / 2)
    target = BudgetTarget(middle, space, problem=PROBLEM, config=CONFIG)
    price = CostMultiplier(0.0, steps=1)
    losses = torch.ones(4)
    full = Routes.full(space).decisions(space)
    free, bound = (RouteObjective(supernet, multiplier=price, target=t) for t in (None, target))
    excess = target.excess(Routes.full(space))
    assert bound(losses, full) - free(losses, full) == pytest.approx(0.1 * excess)
    cheap = next(
        r for seed in range(50) if target.excess(r := random_routes(space, seed)) < 0
    ).decisions(space)
    assert bound(losses, cheap) == free(losses, cheap)


@pytest.mark.parametrize(("sure", "changes"), [(0.0, True), (1e6, False)])
def test_a_change_must_surely_gain(
    sure: float, changes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refine_module, "STANDARD_ERRORS", sure)
    supernet = make_supernet(SPACES["mtnas"])
    space, policy = supernet.layout, make_policy(SPACES["mtnas"], CONFIG)
    route = next(part for part in policy.modules() if isinstance(part, RoutePolicy))
    judge = RouteObjective(supernet, multiplier=CostMultiplier(0.02, steps=1), target=None)
    start = Routes.of(space, policy(None))
    found = refine(supernet, route, start, rows=all_rows(), value=judge, rounds=1)
    assert (found != start) is changes


@given(st.lists(st.floats(-1, 1), min_size=FOLDS, max_size=FOLDS), st.floats(0.01, 100.0))
def test_a_gain_is_sure_from_two_standard_errors_on(gains: list[float], unit: float) -> None:
    """Against a plain t statistic; the unit does not matter, and no gain and its loss are sure."""
    column = torch.tensor(gains, dtype=torch.float64).unsqueeze(1)
    mean = sum(gains) / FOLDS
    variance = sum((gain - mean) ** 2 for gain in gains) / (FOLDS - 1)
    margin = mean - 2.0 * math.sqrt(variance / FOLDS)
    if abs(margin) > 1e-9:
        assert bool(surely_positive(column)) is (margin > 0)
        assert bool(surely_positive(unit * column)) is (margin > 0)
    assert not (bool(surely_positive(column)) and bool(surely_positive(-column)))


def test_equal_gains_are_sure_and_nothing_is_not() -> None:
    table = torch.stack([torch.full((FOLDS,), 0.1), torch.zeros(FOLDS), -torch.ones(FOLDS)], 1)
    assert surely_positive(table).tolist() == [True, False, False]


@pytest.mark.parametrize("name", SPACES)
def test_the_cached_layer_computes_what_the_supernet_does(name: str) -> None:
    """Values on all rows and on each part of them, without and with instance gates."""
    supernet, batch = make_supernet(SPACES[name]), all_rows()
    supernet.model.eval()
    decisions = random_routes(supernet.layout, 6).decisions(supernet.layout)

    def total(losses: torch.Tensor, _: Sequence[Decision]) -> float:
        return float(losses.sum())

    with torch.no_grad():
        encoded = supernet.model.encoder(*batch.inputs)
        for depth in range(len(supernet.layout.layers)):
            lanes = supernet.apply_layers(encoded, encoded, decisions[:depth])
            cached = refine_module._CachedLayer(
                supernet, depth, lanes=lanes, encoded=encoded, rows=batch
            )
            every_third = slice(None, None, 3)
            values = cached.values(decisions, total, rows=every_third, parts=2)
            thirds = batch[every_third]
            parts = [thirds, thirds[slice(0, None, 2)], thirds[slice(1, None, 2)]]
            wanted = [total(supernet.losses(part, decisions), decisions) for part in parts]
            assert values.tolist() == pytest.approx(wanted, rel=1e-4)


def test_refining_repeats_itself_and_stops_where_nothing_gains() -> None:
    supernet = make_supernet(SPACES["mtnas"])
    space, policy = supernet.layout, make_policy(SPACES["mtnas"], CONFIG)
    route = next(part for part in policy.modules() if isinstance(part, RoutePolicy))
    start, calls = Routes.of(space, policy(None)), [0, 0]

    def constant(_: torch.Tensor, __: Sequence[Decision]) -> float:
        calls[0] += 1
        return 1.0

    same = refine(supernet, route, start, rows=all_rows(), value=constant, rounds=1)
    calls[1] = calls[0]
    again = refine(supernet, route, start, rows=all_rows(), value=constant, rounds=50)
    assert same == again == start
    assert calls[0] == 2 * calls[1], "one round that changes nothing is the last"
