"""A budget: what it means, that the found network keeps to it, and what is said if it cannot."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.errors import ConfigError
from recmtl.grid import Layout, Routes, prune, recmtl_grid, scaled
from recmtl.model import ModelSizes, TabularModel
from recmtl.schema.reading import load
from recmtl.search.budget import MAX_MULTIPLIER, BudgetTarget, CostMultiplier
from recmtl.search.search import search
from recmtl.train.config import Budget, Config, Grid, Search, Training
from tests.grids import random_routes
from tests.tabular_problems import make_problem

PROBLEM = make_problem(rows=600)
CELLS, WIDTHS = 4, (32, 16)
SPACE = recmtl_grid(4, cells=CELLS, widths=WIDTHS, depth=2)
SIZES = ModelSizes(embedding=8, tower=(4,))


def config(budget: Budget | None, **settings: Any) -> Config:
    settings = {"epochs": 2, "candidates": 4, **settings}
    return Config(
        sizes=SIZES,
        grid=Grid(cells=CELLS, widths=WIDTHS),
        training=Training(batch_size=32),
        search=Search(budget=budget, race=False, **settings),
    )


def cost(layout: Layout, unit: str) -> int:
    """Of a network that is really built."""
    model = TabularModel(PROBLEM.encoding, PROBLEM.heads, layout=layout, sizes=SIZES)
    if unit == "parameters":
        return sum(parameter.numel() for parameter in model.parameters())
    return model.cost().multiply_adds


UNITS = ("multiply_adds", "parameters")
FULL = prune(SPACE, Routes.full(SPACE)).layout
BUDGETS = {
    "share": Budget(share=0.5),
    "share of parameters": Budget(share=0.6, of="parameters"),
    "multiply-adds": Budget(multiply_adds=cost(FULL, "multiply_adds") * 2 // 5),
    "parameters": Budget(parameters=cost(FULL, "parameters") * 9 // 10),
}


@pytest.mark.parametrize("name", BUDGETS)
def test_the_found_network_meets_the_budget(name: str) -> None:
    budget = BUDGETS[name]
    found = search(SPACE, PROBLEM, config(budget), seed=0)
    unit = "parameters" if "parameters" in name else "multiply_adds"
    wanted = budget.multiply_adds or budget.parameters or budget.share * cost(FULL, unit)
    network = cost(Layout.from_json(found.layout), unit)
    assert abs(network / wanted - 1) <= 0.05
    assert found.budget == {"unit": unit, "amount": wanted, "cost": network, "met": True}


def test_the_network_of_a_budget_is_wired_as_the_route_says() -> None:
    found = search(SPACE, PROBLEM, config(Budget(share=0.9)), seed=0)
    layout, pruned = Layout.from_json(found.layout), prune(SPACE, found.routes).layout
    assert layout != pruned
    wiring = [(layer.applications, layer.edges, layer.queries) for layer in layout.layers]
    assert wiring == [(layer.applications, layer.edges, layer.queries) for layer in pruned.layers]


@pytest.mark.parametrize("unit", ["multiply_adds", "parameters"])
def test_excess_is_that_of_the_pruned_network_at_half_its_widths(unit: str) -> None:
    target = BudgetTarget(Budget(share=0.5, of=unit), SPACE, problem=PROBLEM, config=config(None))
    for seed in range(5):
        routes = random_routes(SPACE, seed)
        network = cost(scaled(prune(SPACE, routes).layout, 0.5), unit)
        assert target.excess(routes) == pytest.approx(network / target.amount - 1)


@pytest.mark.parametrize("budget", [Budget(multiply_adds=50), Budget(share=0.01, of="parameters")])
def test_a_budget_below_the_cheapest_route_is_refused_at_once(budget: Budget) -> None:
    with pytest.raises(ConfigError, match=r"search\.budget: .* cheapest route at half"):
        search(SPACE, PROBLEM, config(budget), seed=0)


def test_a_route_that_cannot_be_sized_says_so() -> None:
    """Widths are multiplied by 16 at most."""
    target = BudgetTarget(Budget(multiply_adds=10**9), SPACE, problem=PROBLEM, config=config(None))
    layout, facts = target.at_budget(prune(SPACE, Routes.full(SPACE)).layout)
    assert not facts["met"]
    assert "the nearest cost to 1,000,000,000" in facts["remedy"]
    assert layout == FULL and facts["cost"] == cost(FULL, "multiply_adds")


@pytest.mark.slow
def test_a_tight_budget_raises_the_price_and_a_wide_one_leaves_it() -> None:
    def ends(share: float) -> list[dict[str, Any]]:
        settings = config(Budget(share=share), epochs=3, learning_rate=0.5)
        return [search(SPACE, PROBLEM, settings, seed=seed).history[-1] for seed in range(3)]

    tight, wide = ends(0.2), ends(1.0)
    assert min(end["price"] for end in tight) > 5 * Search().cost_weight
    assert [end["price"] for end in wide] == pytest.approx([Search().cost_weight] * 3)
    costs = [sum(end["multiply_adds"] for end in found) for found in (tight, wide)]
    assert costs[0] < costs[1]
    free = search(SPACE, PROBLEM, config(None), seed=0)
    assert {record["price"] for record in free.history} == {Search().cost_weight}


def test_a_price_stays_within_bounds() -> None:
    price = CostMultiplier(0.06, steps=10)
    moved = []
    for excess in (0.1, 0.5, 5.0):
        before = price.value
        price.observe(excess)
        moved.append(price.value / before)
    assert 1 < moved[0] < moved[1] == pytest.approx(moved[2])
    for _ in range(200):
        price.observe(1.0)
    assert price.value == MAX_MULTIPLIER
    for _ in range(200):
        price.observe(-1.0)
    assert price.value == 0.06
    price.observe(1.0)
    assert price.value > 0.06, "it comes back"


@pytest.mark.parametrize(
    "text, message",
    [
        ("{}", "one of multiply_adds, parameters or share"),
        ("{share: 0.5, parameters: 10}", "one of multiply_adds, parameters or share"),
        ("{share: 1.5}", "share: must be at most 1"),
        ("{multiply_adds: 0}", "multiply_adds: must be at least 1"),
        ("{share: 0.5, of: seconds}", "of"),
    ],
)
def test_budgets_that_mean_nothing_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(Config, f"search: {{budget: {text}}}", source="c.yaml", error=ConfigError)


def test_a_budget_is_read_from_yaml() -> None:
    text = "search: {budget: {share: 0.5, of: parameters}, skips: {variant: code, curriculum: 0.5}}"
    read = load(Config, text, source="c.yaml", error=ConfigError).search
    assert read.budget == Budget(share=0.5, of="parameters")
    assert (read.skips.variant, read.skips.curriculum) == ("code", 0.5)
    assert Search().budget is None


def target(**budget: Any) -> BudgetTarget:
    return BudgetTarget(Budget(**budget), SPACE, problem=PROBLEM, config=config(None))


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("share", "seed"), [(0.7, 3), (1.5, 4), (40.0, 5)])
def test_a_sized_network_meets_the_budget_or_says_what_to_do(
    share: float, seed: int, unit: str
) -> None:
    amount = int(share * cost(FULL, unit))
    wanted = target(**{unit: amount})
    layout, report = wanted.at_budget(prune(SPACE, random_routes(SPACE, seed)).layout)
    assert (report["unit"], report["amount"]) == (unit, amount)
    assert report["cost"] == cost(layout, unit)
    within = abs(report["cost"] / amount - 1) <= 0.05
    assert report["met"] is within is ("remedy" not in report)
    assert within or report["remedy"]


def test_a_network_within_the_tolerance_keeps_its_widths() -> None:
    wanted = target(multiply_adds=int(1.03 * cost(FULL, "multiply_adds")))
    layout, report = wanted.at_budget(FULL)
    assert layout == FULL and report["met"]


@pytest.mark.parametrize("unit", UNITS)
def test_a_share_is_of_the_full_network_with_its_encoder_and_heads(unit: str) -> None:
    for share in (0.7, 1.0):
        assert target(share=share, of=unit).amount == pytest.approx(share * cost(FULL, unit))


def test_excess_is_relative_to_the_amount() -> None:
    """The same network over half the budget costs twice as much of it."""
    routes = random_routes(SPACE, 1)
    whole, half = (target(share=share).excess(routes) + 1 for share in (1.0, 0.5))
    assert half == pytest.approx(2 * whole)


def test_more_edges_and_running_lanes_never_lower_the_excess() -> None:
    wanted = target(share=0.8)
    full = wanted.excess(Routes.full(SPACE))
    excesses = [wanted.excess(random_routes(SPACE, seed)) for seed in range(10)]
    assert max(excesses) <= full + 1e-9 and len(set(excesses)) > 3


def test_dual_ascent_finds_the_multiplier_at_which_a_toy_meets_its_budget() -> None:
    """Cost `1 / (1 + 20 m)` of the full grid at multiplier m: half of it is left at m = 0.05."""
    multiplier = CostMultiplier(0.01, steps=400)
    for _ in range(400):
        multiplier.observe(1 / (1 + 20 * multiplier.value) / 0.5 - 1)
    assert multiplier.value == pytest.approx(0.05, rel=0.02)


@given(st.floats(1e-3, 1.0), st.lists(st.floats(-3.0, 3.0), max_size=30))
def test_the_multiplier_moves_with_the_excess_within_its_bounds(
    start: float, excesses: list[float]
) -> None:
    multiplier = CostMultiplier(start, steps=10)
    for excess in excesses:
        before = multiplier.value
        multiplier.observe(excess)
        assert start <= multiplier.value <= MAX_MULTIPLIER
        assert (multiplier.value - before) * excess >= -1e-12


def test_a_multiplier_that_starts_at_nothing_can_rise() -> None:
    multiplier = CostMultiplier(0.0, steps=10)
    multiplier.observe(1.0)
    assert multiplier.value > 0.0
