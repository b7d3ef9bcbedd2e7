"""Costs by hand and by counting what torch computes; matched sizes; expected costs."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from recmtl.errors import ConfigError
from recmtl.grid import (
    CATALOG,
    Cost,
    Layer,
    Layout,
    SharingGrid,
    adatt,
    cross_stitch,
    dynashare,
    expected_multiply_adds,
    full_decision,
    lane_widths,
    layout_cost,
    matched,
    mmoe,
    recmtl_grid,
    scaled,
    shared_bottom,
    snr_aver,
)
from tests.grids import WIDTH, random_layout

ROWS = 16


def small(name: str) -> Layout:
    return CATALOG[name].layout(3, cells=5, widths=(6, 4), depth=2)


def multiply_adds(layout: Layout) -> float:
    return layout_cost(layout, input_width=WIDTH).multiply_adds


BY_HAND = {
    # 5 x 6 + 6 x 4 products; 6 + 4 biases
    "shared bottom": (shared_bottom(3, widths=(6, 4)), Cost(54 + 10, 54)),
    # 2 experts of 5 x 4 + 4; a gate of 2 logits on 5 inputs for each of 3 tasks; sums of 2 x 4
    "mmoe": (mmoe(3, experts=2, widths=(4,)), Cost(2 * 24 + 3 * 12, 2 * 20 + 3 * (10 + 8))),
    # 2 experts of 5 x 4 + 4; a scalar for each pair; sums of 2 x 4 for each task
    "cross-stitch": (cross_stitch(2, levels=[(4,)]), Cost(2 * 24 + 4, 2 * 20 + 2 * 8)),
    # a sum of two experts without weights
    "snr": (snr_aver(2, experts=2, levels=[(4,)]), Cost(2 * 24, 2 * 20 + 2 * 8)),
    # as mmoe of 2 tasks, and one own expert added again for each task, with 2 x 2 scalars
    "adatt": (adatt(2, own=1, levels=[(4,)]), Cost(2 * 24 + 2 * 12 + 4, 40 + 2 * (10 + 8) + 8)),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_cost_by_hand(name: str) -> None:
    layout, cost = BY_HAND[name]
    assert layout_cost(layout, input_width=WIDTH) == cost


def test_a_rate_counts_a_block_for_the_examples_that_run_it() -> None:
    """A block of 4 x 4 for 2 tasks; a gate of 4 x 16 + 16 products for each task, always."""
    always, half = (dynashare(2, widths=(4,), rates=(rate,)) for rate in (1.0, 0.5))
    assert multiply_adds(always) == 5 * 4 + 2 * 16
    assert multiply_adds(half) == 5 * 4 + 0.5 * 2 * 16 + 2 * (4 * 16 + 16)


def test_costs_add_up() -> None:
    assert Cost(1, 2) + Cost(30, 40) == Cost(31, 42)


def counted(layout: Layout) -> float:
    """Multiply-adds a row of every matrix product that torch runs in evaluation."""
    grid = SharingGrid(layout, input_width=WIDTH).eval()
    lanes = torch.randn(ROWS, layout.input_lanes, WIDTH)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        grid(lanes)
    return counter.get_total_flops() / 2 / ROWS


def zeros_added(layout: Layout) -> float:
    """Multiply-adds of the sums with weights that are always 0, less what is no product."""
    grid, extra = SharingGrid(layout, input_width=WIDTH), 0
    for depth, (layer, out) in enumerate(
        zip(layout.layers, lane_widths(layout, WIDTH)[1:], strict=True)
    ):
        if grid.layer(depth).copied:
            continue
        whole = layer.num_lanes * len(layer.applications)
        summed = [e for e in layer.edges if len(e) > 1 or layer.gate == "scalar"]
        # A residual edge is a second sum on paper and a larger weight in the network.
        extra += (whole - sum(map(len, (*summed, *layer.residual_edges)))) * out
    return extra


@pytest.mark.parametrize("name", sorted({*CATALOG} - {"dynashare"}))
def test_the_cost_is_what_torch_multiplies(name: str) -> None:
    layout = small(name)
    assert counted(layout) - zeros_added(layout) == multiply_adds(layout)


SEEDS = st.integers(0, 10**6)


@settings(max_examples=40)
@given(SEEDS)
def test_a_wider_layout_never_costs_less(seed: int) -> None:
    layout = random_layout(seed)
    costs = [
        layout_cost(scaled(layout, factor), input_width=WIDTH) for factor in (0.3, 1.0, 1.7, 4.0)
    ]
    assert sorted(cost.parameters for cost in costs) == [cost.parameters for cost in costs]
    assert layout_cost(scaled(layout, 1.0), input_width=WIDTH) == costs[1]


@settings(max_examples=40)
@given(SEEDS, st.floats(0.0, 1.0))
def test_keeping_more_of_an_edge_never_makes_a_route_cheaper(seed: int, share: float) -> None:
    space = recmtl_grid(3, cells=3, widths=(5, 4), depth=2)
    decisions = [full_decision(layer) for layer in space.layers]
    generator = torch.Generator().manual_seed(seed)
    last = decisions[-1]
    low = torch.rand(last.keep.shape, generator=generator)
    costs = []
    for keep in (low, low + share * (1.0 - low)):
        changed = [*decisions[:-1], replace(last, keep=last.keep * keep)]
        costs.append(expected_multiply_adds(space, changed, input_width=WIDTH).item())
    assert costs[0] <= costs[1] * (1 + 1e-6)


def test_an_expected_cost_by_hand() -> None:
    """Two experts of 5 x 4 behind one sum: each is computed as often as it is kept."""
    layer = Layer(4, ((0, 0), (1, 0)), ((0, 1),), gate="one")
    layout, full = Layout("sum", (layer,), (0,)), full_decision(layer)

    def cost(*keep: float) -> float:
        decision = replace(full, keep=torch.tensor([keep]))
        return expected_multiply_adds(layout, [decision], input_width=WIDTH).item()

    assert cost(1.0, 1.0) == 20 + 20 + 2 * 4
    assert cost(1.0, 0.0) == 20
    assert cost(1.0, 0.5) == pytest.approx(20 + 10 + 1.5 * 0.5 * 4)
    assert cost(0.0, 0.0) == 0.0


def test_an_expected_cost_pulls_on_every_edge_that_costs() -> None:
    space = mmoe(2, experts=3, widths=(4,))
    (full,) = (full_decision(layer) for layer in space.layers)
    keep = (full.keep * 0.5).requires_grad_()
    expected_multiply_adds(space, [replace(full, keep=keep)], input_width=WIDTH).backward()
    assert keep.grad is not None and (keep.grad > 0).all()


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("name", ["mmoe", "ple", "recmtl_grid", "shared_bottom"])
def test_a_matched_layout_costs_what_was_asked_for(name: str, factor: float) -> None:
    layout = CATALOG[name].layout(3, cells=4, widths=(40, 24), depth=2)
    target = factor * multiply_adds(layout)
    sized = matched(layout, target, multiply_adds, tolerance=0.1)
    assert multiply_adds(sized) == pytest.approx(target, rel=0.1)
    wiring = [(layer.applications, layer.edges) for layer in layout.layers]
    assert [(layer.applications, layer.edges) for layer in sized.layers] == wiring


def test_a_cost_that_no_size_has_is_refused_with_the_nearest() -> None:
    layout = shared_bottom(2, widths=(4,))
    with pytest.raises(ConfigError, match=r"shared bottom: the nearest cost to 1 is 5"):
        matched(layout, 1.0, multiply_adds)
    with pytest.raises(ConfigError, match="the nearest cost to 1,000,000 is 320"):
        matched(layout, 1e6, multiply_adds)


@pytest.mark.parametrize("factor", [1e-3, 0.4, 0.5, 2.0])
def test_widths_are_scaled_and_never_vanish(factor: float) -> None:
    layout = CATALOG["recmtl_grid"].layout(2, cells=3, widths=(10, 7), depth=2)
    for layer, before in zip(scaled(layout, factor).layers, layout.layers, strict=True):
        assert layer.hidden == tuple(max(1, round(w * factor)) for w in before.hidden)
        assert layer.only_mixes or layer.width == max(1, round(before.width * factor))
