"""What is drawn follows the stated distribution, and every architecture parameter is reached."""

import math

import pytest
import torch

from recmtl.grid import (
    Decision,
    Layer,
    Layout,
    Routes,
    SharingGrid,
    conjunction,
    expected_multiply_adds,
    full_decision,
    prune,
    recmtl_grid,
)
from recmtl.policies import RoutePolicy, SkipPolicy
from recmtl.policies.policy import choose
from tests.grids import WIDTH, random_lanes

DRAWS = 20_000
CELLS = 4
everyone = tuple(range(CELLS))
QUERIES = ((-1, 0, 1), (-1, 2), (-1, 3))
"""A searched layer whose lanes differ in edges, queries and shortcuts."""
SPACE = Layout(
    "uneven",
    (
        Layer(WIDTH, tuple((e, 0) for e in everyone), tuple((e,) for e in everyone), gate="one"),
        Layer(
            WIDTH,
            tuple((e, e) for e in everyone),
            (everyone, (0, 2, 3), (1, 3)),
            queries=QUERIES,
            shortcut=(0, None, 2),
            searched=True,
        ),
    ),
    (0, 1, 2),
)


@pytest.fixture(params=["uneven", "recmtl grid"])
def space(request: pytest.FixtureRequest) -> Layout:
    if request.param == "uneven":
        return SPACE
    return recmtl_grid(3, cells=CELLS, widths=(6, WIDTH), depth=2)


def scramble(policy: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.normal_()


def tolerance(draws: int) -> float:
    """Five standard deviations of a frequency at most."""
    return 5.0 * math.sqrt(0.25 / draws)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
def test_choices_come_as_often_as_the_softmax_says(temperature: float) -> None:
    logits = torch.tensor([0.0, 1.5, -1.0, 0.5])
    drawn = choose(logits.expand(DRAWS, -1), temperature)
    assert ((drawn == 0) | (drawn == 1)).all() and (drawn.sum(-1) == 1).all()
    torch.testing.assert_close(drawn.mean(0), logits.softmax(0), rtol=0, atol=tolerance(DRAWS))


def test_without_a_temperature_the_most_probable_is_chosen() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, -torch.inf, 2.9]])
    assert choose(logits, None).tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]


def test_what_is_forbidden_is_never_drawn() -> None:
    logits = torch.tensor([0.0, -torch.inf, 0.0]).expand(DRAWS, -1)
    assert choose(logits, 1.0)[:, 1].sum() == 0


def gradients(temperature: float) -> torch.Tensor:
    """Gradients `[500, 3]` of the drawn choice's value, for equal logits."""
    logits = torch.zeros(500, 3, requires_grad=True)
    (choose(logits, temperature) * torch.tensor([1.0, 2.0, 4.0])).sum().backward()
    return logits.grad


def test_a_hot_gradient_is_that_of_equal_shares() -> None:
    """`p (v - E v) / t` with p = 1/3."""
    value, hot = torch.tensor([1.0, 2.0, 4.0]), 500.0
    flat = (value - value.mean()) / 3
    torch.testing.assert_close(gradients(hot).mean(0) * hot, flat, rtol=0, atol=0.02)


def test_a_cold_gradient_is_that_of_a_step() -> None:
    assert (gradients(1e-4).abs().amax(1) < 1e-6).float().mean() > 0.98
    assert (gradients(1.0).abs().amax(1) > 1e-3).all()


def test_drawn_routes_are_as_frequent_as_the_policy_says(space: Layout) -> None:
    policy, draws = RoutePolicy(space, max_edges=2), 1500
    scramble(policy)
    depth = next(d for d, layer in enumerate(space.layers) if layer.searched)
    with torch.no_grad():
        drawn = [policy(1.0)[depth] for _ in range(draws)]
        wanted = policy.keep_probability(depth)
    keeps, queries = (torch.stack([getattr(d, name) for d in drawn]) for name in ("keep", "query"))
    torch.testing.assert_close(keeps.mean(0), wanted, rtol=0, atol=tolerance(draws))
    assert keeps.sum(-1).min() == 1 and keeps.sum(-1).max() == 2
    assert set(queries.sum(-1).flatten().tolist()) == {1.0}


def test_drawn_skips_are_as_frequent_as_the_policy_says() -> None:
    policy, draws = SkipPolicy(SPACE), 1500
    scramble(policy)
    with torch.no_grad():
        run = torch.stack([policy(1.0)[1].run[0] for _ in range(draws)])
        wanted = policy.run_probability(1)
    assert (run[:, 1] == 1).all(), "a lane without a shortcut always runs"
    frequent = run.mean(0)[[0, 2]]
    torch.testing.assert_close(frequent, wanted[[0, 2]], rtol=0, atol=tolerance(draws))


@pytest.mark.parametrize("temperature", [None, 1.0])
def test_every_draw_is_a_route_of_the_layout(space: Layout, temperature: float | None) -> None:
    """Kept edges exist, every lane has one, and one query that it may see."""
    policies = [RoutePolicy(space, max_edges=3), SkipPolicy(space)]
    for policy in policies:
        scramble(policy)
    seen: set[int] = set()
    for _ in range(50):
        with torch.no_grad():
            decisions = conjunction([policy(temperature) for policy in policies])
        for layer, decision in zip(space.layers, decisions, strict=True):
            assert (decision.keep <= full_decision(layer).keep).all()
            assert (decision.keep.sum(-1) >= 1).all()
            assert (decision.query.sum(-1) == 1).all(), "policies agree on one query"
            for lane, sources in enumerate(layer.queries):
                assert decision.query[lane].argmax() < len(sources)
        routes = Routes.of(space, decisions)
        prune(space, routes)
        seen |= {query for layer in routes.layers for query in layer.queries}
    assert -1 in seen and len(seen) > 1, "not only the first query of each lane is ever taken"


def test_every_architecture_parameter_is_reached_by_the_loss(space: Layout) -> None:
    """Over some draws, each choice that a lane really has gets a gradient, from loss or cost."""
    policies = torch.nn.ModuleList([RoutePolicy(space, max_edges=2), SkipPolicy(space)])
    grid, lanes = SharingGrid(space, input_width=WIDTH), random_lanes(space).float()
    with torch.no_grad():
        for parameter in grid.parameters():
            parameter.normal_()
    total = {name: torch.zeros_like(p) for name, p in policies.named_parameters()}
    for _ in range(60):
        policies.zero_grad()
        decisions = conjunction([policy(1.0) for policy in policies])
        (grid(lanes, decisions).square().mean()).backward()
        for name, parameter in policies.named_parameters():
            assert parameter.grad is not None, name
            total[name] += parameter.grad.abs()
    assert total
    for name, size in total.items():
        # Rows are padded to the lane with most choices; padding is never drawn and gets nothing.
        assert (size > 0).sum(-1).tolist() == choices(space, name), name


def choices(space: Layout, name: str) -> list[int]:
    """How many entries of each lane's row of an architecture parameter stand for a choice."""
    _, kind, depth = name.split(".")[:3]
    layer = space.layers[int(depth)]
    if kind == "keeps":
        return [len(edges) + math.comb(len(edges), 2) for edges in layer.edges]
    if kind == "queries":
        return [len(sources) for sources in layer.queries]
    return [0 if shortcut is None else 2 for shortcut in layer.shortcut]


def test_the_cost_alone_reaches_the_policies(space: Layout) -> None:
    policies = torch.nn.ModuleList([RoutePolicy(space, max_edges=2), SkipPolicy(space)])
    for _ in range(20):
        decisions = conjunction([policy(1.0) for policy in policies])
        expected_multiply_adds(space, decisions, input_width=WIDTH).backward()
    for name, parameter in policies.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_a_conjunction_multiplies_keeps_and_runs() -> None:
    one = Decision(torch.tensor([[1.0, 0.5]]), torch.ones(1, 1), torch.tensor([[0.5]]))
    two = Decision(torch.tensor([[0.0, 0.5]]), torch.ones(1, 1), torch.tensor([[0.2]]))
    (both,) = conjunction([[one], [two]])
    assert both.keep.tolist() == [[0.0, 0.25]]
    assert both.run.item() == pytest.approx(0.1)
