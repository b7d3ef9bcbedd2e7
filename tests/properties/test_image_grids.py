"""The grid on images: pruned equals masked, costs are what is computed, statistics are a lane's."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from recmtl.grid import (
    Layer,
    Layout,
    Routes,
    SharingGrid,
    expected_multiply_adds,
    full_multiply_adds,
    layout_cost,
    prune,
    prune_grid,
)
from recmtl.grid.catalog import branched
from recmtl.grid.convolution_experts import ConvolutionExperts, Normalisation
from recmtl.grid.layout import Convolution
from recmtl.grid.routes import LayerRoutes
from recmtl.search.tree_search import block_sizes
from recmtl.vision.trunks import IMAGE_CATALOG, Trunk, plain_cnn, resnet
from tests.grids import assert_pruned_is_masked, decided, random_routes
from tests.image_grids import CHANNELS, PIXELS, random_image_layout, scrambled_images, some_images

SEEDS = st.integers(0, 10**6)
few = settings(max_examples=40, deadline=None)
TRUNK = Trunk(
    resnet((1, 2), widths=(4, 6), strides=(1, 2), dilations=(1, 1), stem=CHANNELS), cells=3
)
AREA = {"input_width": CHANNELS, "pixels": PIXELS}


@few
@given(SEEDS, SEEDS)
def test_the_pruned_network_computes_what_the_masked_network_computes(a: int, b: int) -> None:
    layout = random_image_layout(a)
    grid, routes = scrambled_images(layout, seed=a), random_routes(layout, b)
    assert_pruned_is_masked(grid, some_images(layout), routes, atol=1e-9)


@few
@given(SEEDS, SEEDS)
def test_pruning_never_adds_cost_and_parameters_are_counted(a: int, b: int) -> None:
    layout = random_image_layout(a)
    small = prune(layout, random_routes(layout, b)).layout
    costs = [layout_cost(found, **AREA) for found in (layout, small)]
    assert costs[1].multiply_adds <= costs[0].multiply_adds
    assert costs[1].parameters <= costs[0].parameters
    for found, cost in zip((layout, small), costs, strict=True):
        grid = SharingGrid(found, **AREA)
        assert sum(p.numel() for p in grid.parameters()) == cost.parameters


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows and multiply-adds of every convolution that is run."""
    calls: list[tuple[int, int]] = []
    plain = functional.conv2d

    def convolve(rows: torch.Tensor, weight: torch.Tensor, *rest: object, **more: object):
        found = plain(rows, weight, *rest, **more)
        calls.append((len(rows), found[:, :1].numel() * weight.numel()))
        return found

    monkeypatch.setattr(functional, "conv2d", convolve)
    return calls


@pytest.mark.parametrize("name", ["separate", "shared_bottom", "adashare", "branched"])
def test_multiply_adds_are_those_of_the_convolutions(
    name: str, counted: list[tuple[int, int]]
) -> None:
    layout = IMAGE_CATALOG[name](3, TRUNK)
    grid = SharingGrid(layout, **AREA).eval()
    grid(torch.randn(2, 1, CHANNELS, *PIXELS))
    assert sum(products for _, products in counted) == 2 * layout_cost(layout, **AREA).multiply_adds
    assert full_multiply_adds(layout, **AREA) == layout_cost(layout, **AREA).multiply_adds


@few
@given(SEEDS)
def test_expected_cost_of_a_hard_route_is_that_of_the_pruned_network(seed: int) -> None:
    """Only lanes that pruning merges make a difference: here no two tasks take the same path."""
    layout = IMAGE_CATALOG["separate"](3, TRUNK)
    layers = tuple(replace(layer, shortcut=layer.reads) for layer in layout.layers)
    layout = replace(layout, layers=layers)
    routes = random_routes(layout, seed)
    small = layout_cost(prune(layout, routes).layout, **AREA).multiply_adds
    expected = expected_multiply_adds(layout, routes.decisions(layout), **AREA).item()
    # A first block that several tasks skip is one projection or lane less.
    assert small <= expected * (1 + 1e-6)
    if all(routes.layers[0].run):
        assert expected == pytest.approx(small, rel=1e-6)


@pytest.mark.parametrize("unit", ["multiply_adds", "parameters"])
def test_stages_add_up_to_the_cost_of_a_tree(unit: str) -> None:
    sizes = block_sizes(TRUNK.stages, **AREA, unit=unit)
    tree = branched([[0, 0, 0], [0, 1, 1]], levels=TRUNK.stages)
    assert sizes[0] + 2 * sizes[1] == getattr(layout_cost(tree, **AREA), unit)


def test_images_that_an_instance_gate_skips_are_not_computed(
    counted: list[tuple[int, int]],
) -> None:
    layout = IMAGE_CATALOG["dynashare"](2, replace(TRUNK, rates=(1.0, 0.5, 0.5)))
    grid, lanes = scrambled_images(layout), some_images(layout, rows=40)
    whole = grid(lanes)
    runs = [grid.layer(2).running(grid.layer(1)(grid.layer(0)(lanes, None, None), None, None))]
    assert 0 < runs[0].sum() < runs[0].numel()
    counted.clear()
    with torch.no_grad():
        torch.testing.assert_close(grid(lanes), whole)
    assert counted[-1][0] == counted[-2][0] == int(runs[0].sum())


def test_equal_lanes_are_computed_once(counted: list[tuple[int, int]]) -> None:
    layout = IMAGE_CATALOG["adashare"](3, TRUNK)
    grid, lanes = scrambled_images(layout), some_images(layout)
    full = Routes.full(layout)
    last = replace(full.layers[-1], run=(True, False, True))
    small = prune_grid(grid, Routes((*full.layers[:-1], last)))
    assert [layer.num_lanes for layer in small.layout.layers] == [1, 1, 2]
    counted.clear()
    small(lanes)
    assert {rows for rows, _ in counted} == {len(lanes)}


def test_a_layer_that_every_lane_skips_leaves_only_its_projection() -> None:
    layout = IMAGE_CATALOG["adashare"](2, TRUNK)
    full = Routes.full(layout)
    skipped = LayerRoutes(full.layers[1].edges, full.layers[1].queries, (False, False))
    small = prune(layout, Routes((full.layers[0], skipped, full.layers[2]))).layout
    assert small.layers[1].num_experts == 0 and len(small.layers[1].projection_applications) == 1
    assert Layout.from_json(small.to_json()) == small


def lanes_apart(norm: str, *, rows: int = 64) -> tuple[ConvolutionExperts, torch.Tensor]:
    """One expert on two lanes whose features differ in mean and spread."""
    shape = Convolution(norm=norm)
    layer = Layer(8, ((0, 0), (0, 1)), ((0,), (1,)), gate="one", experts="conv", convolution=shape)
    grid = SharingGrid(Layout("two lanes", (layer,), (0, 1), input_lanes=2), **AREA)
    torch.manual_seed(3)
    lanes = torch.randn(rows, 2, CHANNELS, *PIXELS)
    lanes[:, 1] = lanes[:, 1] * 5.0 + 2.0
    return grid.layer(0).experts, lanes


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_training_and_evaluation_agree_for_every_lane_of_an_expert(norm: str) -> None:
    experts, lanes = lanes_apart(norm)
    for _ in range(120):
        trained = experts(lanes)
    torch.testing.assert_close(experts.eval()(lanes), trained, rtol=1e-3, atol=1e-3)


def test_averages_shared_by_lanes_would_not_agree() -> None:
    """The trap that statistics of each lane avoid: one average for what differs."""
    experts, lanes = lanes_apart("batch")
    for _ in range(120):
        trained = experts(lanes)
    norm = experts.eval().norms[0]
    assert isinstance(norm, Normalisation)
    for name in ("mean", "variance"):
        buffer = norm.get_buffer(name)
        buffer.copy_(buffer.mean(0, keepdim=True).expand_as(buffer))
    assert (experts(lanes) - trained).detach().abs().mean() > 0.2


def test_statistics_of_one_lane_do_not_depend_on_the_others() -> None:
    experts, lanes = lanes_apart("batch")
    outputs = experts(lanes)
    other = torch.stack([lanes[:, 0], lanes[:, 1] * -3.0], 1)
    torch.testing.assert_close(experts(other)[:, 0], outputs[:, 0])


def test_a_skipped_block_is_the_identity_and_a_skipped_stage_its_projection() -> None:
    layout = IMAGE_CATALOG["adashare"](2, TRUNK)
    grid, lanes = scrambled_images(layout), some_images(layout)
    decisions = [replace(d, run=d.run * 0) for d in decided(layout, Routes.full(layout))]
    projection = grid.layer(1).projection
    assert projection is not None
    torch.testing.assert_close(grid(lanes, decisions), projection(lanes.expand(-1, 2, -1, -1, -1)))


def test_the_plain_network_halves_its_lanes_and_ends_in_one_pixel_where_asked() -> None:
    stages = plain_cnn((4, 6))
    whole = Convolution(kernel=0)
    last = Layer(5, ((0, 0),), ((0,),), gate="one", experts="conv", convolution=whole)
    layout = IMAGE_CATALOG["shared_bottom"](2, Trunk((*stages, (last,)), cells=1))
    grid = SharingGrid(layout, input_width=CHANNELS, pixels=(12, 8))
    assert grid(torch.randn(2, 1, CHANNELS, 12, 8)).shape == (2, 2, 5, 1, 1)
    assert grid.output_pixels == (1, 1)
