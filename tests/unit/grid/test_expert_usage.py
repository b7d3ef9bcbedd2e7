"""What tasks reach and share, by hand; shares are exactly what each expert adds to each task."""

import pytest
import torch

from recmtl.grid import (
    CATALOG,
    Layer,
    Layout,
    SharingGrid,
    catalog,
    expert_names,
    expert_use,
    prune_grid,
    reachable_experts,
    row_use,
    shared_experts,
)
from recmtl.grid.expert_usage import live_lanes
from recmtl.grid.experts import StackedExperts
from recmtl.grid.gates import ScalarGate
from tests.grids import WIDTH, random_lanes, random_routes, scrambled

ONE = (WIDTH,)
LAYOUTS = {
    "mmoe": catalog.mmoe(3, experts=4, widths=ONE),
    "ple": catalog.ple(2, own=1, shared=2, levels=(ONE, ONE)),
    "cross_stitch": catalog.cross_stitch(2, levels=(ONE, ONE)),
    "dynashare": catalog.dynashare(3, widths=ONE, rates=(0.5, 0.5, 0.5)),
    "searched": catalog.recmtl_grid(3, cells=4, widths=ONE, depth=3),
}


def adding(layout: Layout) -> SharingGrid:
    """A network in which expert e maps x > 0 to x + b_e, b_e > 0, with random gates."""
    grid = scrambled(layout)
    for depth, wiring in enumerate(layout.layers):
        layer = grid.layer(depth)
        if isinstance(layer.gate, ScalarGate):
            layer.gate.scalar.data.abs_()  # no lane may become negative
        if isinstance(layer.experts, StackedExperts):
            (weight,), (bias,) = layer.experts.weights, layer.experts.biases
            residual = wiring.experts == "residual"
            weight.data.copy_(torch.zeros(()) if residual else torch.eye(WIDTH))
            bias.data.abs_()
    return grid


def added_by_experts(grid: SharingGrid) -> torch.Tensor:
    """What the experts add `[E, D]`, in the order of `expert_names`."""
    layers = [grid.layer(depth).experts for depth in range(len(grid.layers))]
    return torch.cat([x.biases[0][:, 0] for x in layers if isinstance(x, StackedExperts)]).detach()


def shares_by_layer(layout: Layout, experts: torch.Tensor, skipped: torch.Tensor) -> torch.Tensor:
    """Sum over the experts of a layer and what skips it `[B, T, layers with experts]`."""
    totals, first = [], 0
    for depth, layer in enumerate(layout.layers):
        last = first + layer.num_experts
        if not layer.only_mixes:
            totals.append(experts[..., first:last].sum(-1) + skipped[..., depth])
        first = last
    return torch.stack(totals, -1)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_task_hears_what_each_expert_adds_times_its_share(name: str) -> None:
    layout = LAYOUTS[name]
    grid, lanes = adding(layout), random_lanes(layout, rows=40).detach().abs()
    use = row_use(grid, lanes)
    with torch.no_grad():
        passed = grid(lanes) - use.experts @ added_by_experts(grid)
    # What is left is the input, passed on whatever the route.
    times = passed / lanes
    torch.testing.assert_close(times, times[..., :1].expand_as(times))
    if name != "cross_stitch":  # whose scalars do not sum to 1
        torch.testing.assert_close(times, torch.ones_like(times))
        totals = shares_by_layer(layout, use.experts, use.skipped)
        torch.testing.assert_close(totals, torch.ones_like(totals))


def test_rows_skip_for_themselves() -> None:
    layout = LAYOUTS["dynashare"]
    skipped = row_use(scrambled(layout), random_lanes(layout, rows=200).detach()).skipped
    assert ((skipped == 0) | (skipped == 1)).all()
    assert (skipped[0] != skipped).any(), "not all rows alike"


@pytest.mark.parametrize("seed", range(5))
def test_shares_of_a_pruned_network_sum_to_one_and_use_is_their_mean(seed: int) -> None:
    layout = LAYOUTS["searched"]
    grid = prune_grid(scrambled(layout), random_routes(layout, seed))
    lanes = random_lanes(grid.layout, rows=30).detach()
    use = row_use(grid, lanes)
    totals = shares_by_layer(grid.layout, use.experts, use.skipped)
    torch.testing.assert_close(totals, torch.ones_like(totals))
    torch.testing.assert_close(expert_use(grid, lanes), use.experts.mean(0))


def test_tasks_of_a_tree_share_what_lies_below_their_branch() -> None:
    """Tasks 0 and 1 share all three depths, task 2 only the first: 1 of 5 experts."""
    layout = catalog.branched([[0, 0, 0], [0, 0, 1], [0, 0, 1]], levels=[ONE] * 3)
    assert reachable_experts(layout)[2] == {(0, 0), (1, 1), (2, 1)}
    expected = torch.tensor([[1.0, 1.0, 0.2], [1.0, 1.0, 0.2], [0.2, 0.2, 1.0]])
    torch.testing.assert_close(shared_experts(layout), expected)
    assert expert_names(layout) == ["1.0", "2.0", "2.1", "3.0", "3.1"]


def test_towers_share_nothing_and_a_bottom_everything() -> None:
    assert torch.equal(shared_experts(catalog.single_task(3, widths=ONE)), torch.eye(3))
    assert torch.equal(shared_experts(catalog.shared_bottom(3, widths=ONE)), torch.ones(3, 3))


@pytest.mark.parametrize("name", CATALOG)
def test_sharing_is_symmetric_and_whole_on_the_diagonal(name: str) -> None:
    layout = CATALOG[name].layout(3, cells=5, widths=(6, 4), depth=2)
    shared = shared_experts(layout)
    assert torch.equal(shared, shared.T) and (shared.diagonal() == 1).all()
    assert ((shared >= 0) & (shared <= 1)).all()


@pytest.mark.parametrize(("rate", "reached"), [(1.0, {(1, 0)}), (0.5, {(0, 0), (1, 0)})])
def test_a_shortcut_counts_only_where_it_can_be_taken(
    rate: float, reached: set[tuple[int, int]]
) -> None:
    """The head's lane runs on input lane 1 and may pass on lane 0, which expert 0 writes."""
    first = Layer(WIDTH, ((0, 0),), ((0,), ()), gate="one", shortcut=(None, 0))
    second = Layer(WIDTH, ((0, 1),), ((0,),), gate="one", shortcut=(0,), rate=rate)
    layout = Layout("skip", (first, second), (0,))
    assert reachable_experts(layout) == [reached]
    assert live_lanes(layout, 0) == [{1} | ({0} if rate < 1.0 else set()), {0}]


def test_use_by_hand() -> None:
    """A free scalar of 2 on each of two experts, and a head that reads half of the first."""
    layout = catalog.cross_stitch(2, levels=(ONE, ONE))
    grid = scrambled(layout)
    with torch.no_grad():
        grid.layer(0).gate.scalar.copy_(torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
        grid.layer(1).gate.scalar.copy_(torch.tensor([[0.25, 0.75], [0.0, 2.0]]))
    use = expert_use(grid, random_lanes(layout).detach())
    expected = [[0.25 + 0.75 * 0.5, 0.75 * 0.5, 0.25, 0.75], [2 * 0.5, 2 * 0.5, 0.0, 2.0]]
    torch.testing.assert_close(use, torch.tensor(expected, dtype=use.dtype))
