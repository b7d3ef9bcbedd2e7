"""Trunks of published networks: their shapes for any image, and the layouts built of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.errors import ConfigError
from recmtl.grid import SharingGrid, layout_cost
from recmtl.grid.catalog.searched import upper_half_rates
from recmtl.vision.trunks import IMAGE_CATALOG, Stages, Trunk, plain_cnn, resnet, thin_vgg

STAGES: dict[str, Stages] = {
    "resnet": resnet((2, 1), widths=(4, 6), strides=(1, 2), dilations=(1, 2), stem=3, norm="group"),
    "plain": plain_cnn((4, 6), norm="group"),
}


@given(st.sampled_from(sorted(STAGES)), st.integers(4, 21), st.integers(4, 21))
@settings(max_examples=30, deadline=None)
def test_the_output_has_the_width_and_pixels_that_the_grid_says(
    name: str, height: int, width: int
) -> None:
    layout = IMAGE_CATALOG["shared_bottom"](2, Trunk(STAGES[name], cells=1))
    grid = SharingGrid(layout, input_width=3, pixels=(height, width))
    lanes = grid(torch.randn(1, 1, 3, height, width))
    assert lanes.shape == (1, 2, grid.output_width, *grid.output_pixels)
    halved = {"resnet": (-(-height // 2), -(-width // 2)), "plain": (height // 4, width // 4)}
    assert grid.output_pixels == halved[name]


def test_adashares_resnet_ends_at_an_eighth_of_the_image() -> None:
    stages = resnet((2, 2, 2, 2))
    blocks = [block for stage in stages for block in stage]
    strides = [block.convolution.stride for block in blocks if block.convolution]
    assert [len(stage) for stage in stages] == [2, 2, 2, 2]
    # The stem leaves a quarter.
    assert strides.count(2) == 1 and set(strides) == {1, 2}
    assert [stage[0].width for stage in stages] == [64, 128, 256, 512]


@pytest.mark.parametrize(
    ("stride", "stem", "dilation", "projected"),
    [(1, 8, 1, False), (2, 8, 1, True), (1, 4, 1, True), (1, 8, 2, True)],
)
def test_a_first_block_is_projected_if_its_shape_or_its_dilation_asks_for_it(
    stride: int, stem: int, dilation: int, projected: bool
) -> None:
    ((first, second),) = resnet(
        (2,), widths=(8,), strides=(stride,), dilations=(dilation,), stem=stem
    )
    assert first.convolution is not None and second.convolution is not None
    assert first.convolution.projected == projected
    assert first.convolution.stride == stride and second.convolution.stride == 1
    assert not second.convolution.projected
    assert first.convolution.dilation == second.convolution.dilation == dilation


def test_a_thin_vgg_has_thirteen_convolutions_and_two_linear_layers() -> None:
    stages = thin_vgg(4, hidden=6, norm="group")
    layers = [stage[0] for stage in stages]
    assert [len(stage) for stage in stages] == [1] * 15
    assert [layer.width for layer in layers] == [4] * 13 + [6] * 2
    shapes = [layer.convolution for layer in layers]
    assert [n for n, shape in enumerate(shapes, 1) if shape and shape.pool] == [2, 4, 7, 10, 13]
    layout = IMAGE_CATALOG["shared_bottom"](1, Trunk(stages, cells=1))
    grid = SharingGrid(layout, input_width=3, pixels=(32, 64))
    assert grid(torch.randn(1, 1, 3, 32, 64)).shape == (1, 1, 6, 1, 1)


def test_the_parameters_of_a_thin_vgg_by_hand() -> None:
    layout = IMAGE_CATALOG["shared_bottom"](1, Trunk(thin_vgg(4, hidden=6), cells=1))
    # 13 convolutions of 3 x 3, two linear layers on 1 x 2 pixels; biases, scales and shifts.
    weights = 9 * (3 * 4 + 12 * 4 * 4) + (2 * 4 * 6 + 6 * 6)
    others = 3 * (13 * 4 + 2 * 6)
    cost = layout_cost(layout, input_width=3, pixels=(32, 64))
    assert cost.parameters == weights + others


@pytest.mark.parametrize("name", IMAGE_CATALOG)
@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_every_layout_gives_a_lane_to_each_task(name: str, tasks: int) -> None:
    layout = IMAGE_CATALOG[name](tasks, Trunk(STAGES["resnet"], cells=2))
    assert layout.num_tasks == tasks and layout.input_lanes == 1
    grid = SharingGrid(layout, input_width=3, pixels=(6, 5)).eval()
    assert grid(torch.randn(2, 1, 3, 6, 5)).shape == (2, tasks, 6, 3, 3)


def test_rates_are_those_given_or_the_default_and_one_per_block() -> None:
    stages = STAGES["resnet"]
    assert Trunk(stages, 1).dynashare_rates() == upper_half_rates(3)
    assert Trunk(stages, 1, (1.0, 0.5, 0.2)).dynashare_rates() == (1.0, 0.5, 0.2)
    with pytest.raises(ConfigError, match="2 are given for 3 blocks; give one rate per block"):
        Trunk(stages, 1, (1.0, 0.5)).dynashare_rates()


@given(st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=12, deadline=None)
def test_single_tasks_cost_as_many_times_what_they_share(tasks: int, depth: int) -> None:
    trunk = Trunk(plain_cnn((4,) * depth), cells=1)
    costs = [
        layout_cost(IMAGE_CATALOG[name](tasks, trunk), input_width=3, pixels=(16, 16))
        for name in ("separate", "shared_bottom")
    ]
    assert costs[0].multiply_adds == tasks * costs[1].multiply_adds
    assert costs[0].parameters == tasks * costs[1].parameters
