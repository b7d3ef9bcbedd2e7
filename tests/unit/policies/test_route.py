"""The route policy: which subsets a lane has, how probable they are, and which are near."""

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from recmtl.grid import INPUT, Layer, Layout, recmtl_grid
from recmtl.policies import RoutePolicy

WIDTH = 4
EDGES = ((0, 1, 2, 3), (0, 2, 3), (1,))
"""Three lanes with four, three and one edge; their queries differ, too."""


def layout(
    *, queries: tuple[tuple[int, ...], ...] = ((INPUT, 0, 1), (INPUT,), (INPUT, 2))
) -> Layout:
    below = Layer(WIDTH, tuple((e, 0) for e in range(4)), tuple((e,) for e in range(4)), gate="one")
    mixing = Layer(WIDTH, tuple((e, e) for e in range(4)), EDGES, queries=queries, searched=True)
    return Layout("uneven lanes", (below, mixing), (0, 1, 2))


def subsets(lane: int, max_edges: int) -> list[tuple[int, ...]]:
    return [s for size in range(1, max_edges + 1) for s in combinations(EDGES[lane], size)]


def scrambled(max_edges: int, seed: int, estimator: str = "straight_through") -> RoutePolicy:
    policy = RoutePolicy(layout(), max_edges=max_edges, estimator=estimator)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.normal_()
    return policy


def kept(rows: Tensor) -> set[tuple[int, ...]]:
    return {tuple(row.nonzero().flatten().tolist()) for row in rows}


@pytest.mark.parametrize("max_edges", [1, 2, 3, 4])
def test_a_lane_has_every_nonempty_subset_of_its_edges_once(max_edges: int) -> None:
    policy = RoutePolicy(layout(), max_edges=max_edges)
    table = policy.keeps["1"].get_buffer("candidates")
    allowed = policy.keeps["1"].choice.get_buffer("allowed")
    for lane in range(3):
        rows = table[lane][allowed[lane]]
        assert kept(rows) == set(subsets(lane, max_edges))
        assert len(rows) == len(subsets(lane, max_edges))


@given(st.integers(0, 50), st.integers(1, 4))
def test_an_edge_is_as_probable_as_the_subsets_that_hold_it(seed: int, max_edges: int) -> None:
    policy = scrambled(max_edges, seed)
    probability = policy.keep_probability(1).detach()
    logits = policy.keeps["1"].choice.logits.detach()
    for lane in range(3):
        weights = logits[lane].exp()
        total = sum(float(weights[n]) for n in range(len(subsets(lane, max_edges))))
        for edge in range(4):
            held = [n for n, s in enumerate(subsets(lane, max_edges)) if edge in s]
            wanted = sum(float(weights[n]) for n in held) / total
            assert float(probability[lane, edge]) == pytest.approx(wanted, abs=1e-5)


def test_without_an_anchor_all_subsets_are_equally_probable() -> None:
    """Of one or two of four edges there are 4 + 6 subsets, and an edge is in 1 + 3 of them."""
    probability = RoutePolicy(layout(), max_edges=2).keep_probability(1)
    assert probability[0].tolist() == pytest.approx([0.4] * 4)
    assert probability[1].tolist() == pytest.approx([0.5, 0.0, 0.5, 0.5])
    assert probability[2].tolist() == [0.0, 1.0, 0.0, 0.0]


def test_a_strong_anchor_starts_every_lane_on_its_own_edge() -> None:
    """The own edge of lane k is number k of its edges, modulo their number."""
    policy = RoutePolicy(layout(), max_edges=3, anchor=60.0)
    wanted = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1.0, 0], [0, 1.0, 0, 0]])
    torch.testing.assert_close(policy.keep_probability(1), wanted)
    probabilities = [
        RoutePolicy(layout(), max_edges=3, anchor=a).keep_probability(1)[0, 0].item()
        for a in (0.0, 1.0, 4.0)
    ]
    assert probabilities == sorted(probabilities) and probabilities[0] < 0.6


@given(st.integers(1, 4), st.integers(1, 3), st.data())
def test_near_is_symmetric_and_counts_the_edges_that_differ(
    max_edges: int, step: int, data: st.DataObject
) -> None:
    policy = RoutePolicy(layout(), max_edges=max_edges)
    lane = data.draw(st.integers(0, 2))
    every = subsets(lane, max_edges)
    start = data.draw(st.sampled_from(every))

    def near(subset: tuple[int, ...]) -> set[tuple[int, ...]]:
        keep = torch.zeros(4)
        keep[list(subset)] = 1.0
        return kept(policy.near(1, lane, keep, step=step))

    assert near(start) == {other for other in every if 0 < len({*other} ^ {*start}) <= step}
    assert all(start in near(other) for other in near(start))


@pytest.mark.parametrize("estimator", ["straight_through", "reinforce", "hard_concrete"])
def test_every_draw_and_the_frozen_route_have_one_query_that_the_lane_may_look_at(
    estimator: str,
) -> None:
    policy = scrambled(2, 0, estimator)
    with torch.no_grad():
        draws = [policy(temperature)[1].query for temperature in (None, *[1.0] * 60)]
    stacked = torch.stack(draws)
    assert (stacked.sum(-1) == 1).all()
    assert set(stacked.argmax(-1)[:, 0].tolist()) == {0, 1, 2}
    assert (stacked.argmax(-1)[:, 1] == 0).all() and stacked[:, 2, 2].sum() == 0


def test_a_layer_that_is_not_searched_keeps_everything() -> None:
    policy = scrambled(2, 0)
    for temperature in (None, 1.0):
        keep = policy(temperature)[0].keep
        assert torch.equal(keep, torch.eye(4))
    assert set(policy.keeps) == {"1"}


def test_lanes_that_all_look_at_the_input_have_no_query_to_choose() -> None:
    policy = RoutePolicy(layout(queries=((INPUT,),) * 3), max_edges=2)
    assert not policy.queries and len(list(policy.parameters())) == 1


def test_only_hard_concrete_gates_pay_for_edges() -> None:
    space = recmtl_grid(3, cells=4, widths=(6, 4), depth=2)
    for estimator in ("straight_through", "reinforce"):
        policy = RoutePolicy(space, max_edges=2, estimator=estimator, edge_price=5.0)
        assert policy.penalty() == 0
    gates = [
        RoutePolicy(space, max_edges=2, estimator="hard_concrete", edge_price=price).penalty()
        for price in (0.0, 1.0, 3.0)
    ]
    assert gates[0] == 0 and 0 < gates[1] <= 1
    torch.testing.assert_close(gates[2], 3 * gates[1])
