"""The encoder of images: its normalisation, its sizes for any image, and its cost."""

from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from recmtl.errors import ConfigError
from recmtl.grid import Cost
from recmtl.vision.encoder import ImageEncoder, Stem

Kind = Literal["none", "small", "resnet"]
KINDS: tuple[Kind, ...] = ("none", "small", "resnet")
SIDES = st.integers(1, 40)


def encoder_of(kind: Kind, pixels: tuple[int, int], *, norm: Literal["batch", "group"] = "group"):
    torch.manual_seed(0)
    stem = Stem(kind, width=5, norm=norm)
    return ImageEncoder((0.2, 0.4, 0.6), (0.5, 1.0, 2.0), stem=stem, pixels=pixels)


@given(st.sampled_from(KINDS), SIDES, SIDES)
@settings(max_examples=60, deadline=None)
def test_width_and_pixels_are_those_of_the_lane(kind: Kind, height: int, width: int) -> None:
    encoder = encoder_of(kind, (height, width))
    lane = encoder(torch.rand(2, 3, height, width))
    assert lane.shape == (2, 1, encoder.width, *encoder.pixels)


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_other_sizes_than_in_training_are_read(kind: Kind) -> None:
    encoder = encoder_of(kind, (16, 16))
    other = encoder_of(kind, (23, 9))
    assert encoder(torch.rand(1, 3, 23, 9)).shape[-2:] == other.pixels


def test_without_a_stem_the_lane_is_the_normalised_image() -> None:
    images = torch.rand(2, 3, 4, 5)
    lane = encoder_of("none", (4, 5))(images)
    for channel, (mean, std) in enumerate(((0.2, 0.5), (0.4, 1.0), (0.6, 2.0))):
        torch.testing.assert_close(lane[:, 0, channel], (images[:, channel] - mean) / std)


@pytest.mark.parametrize("kind", ["small", "resnet"])
def test_a_stem_is_its_published_layers(kind: Kind) -> None:
    encoder = encoder_of(kind, (12, 10), norm="batch").eval()
    images = torch.rand(3, 3, 12, 10)
    mean, std = torch.tensor((0.2, 0.4, 0.6)), torch.tensor((0.5, 1.0, 2.0))
    normalised = (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    assert encoder.convolution is not None
    kernel = encoder.convolution.weights[0][0]
    side = 7 if kind == "resnet" else 3
    assert kernel.shape == (5, 3, side, side)
    stride = 2 if kind == "resnet" else 1
    features = functional.conv2d(normalised, kernel, stride=stride, padding=kernel.shape[-1] // 2)
    expected = torch.relu(features / (1 + 1e-5) ** 0.5)  # fresh averages: mean 0, variance 1
    if kind == "resnet":
        expected = functional.max_pool2d(expected, 3, 2, 1, ceil_mode=True)
    torch.testing.assert_close(encoder(images)[:, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["small", "resnet"])
@pytest.mark.parametrize("pixels", [(12, 10), (7, 9)])
def test_cost_is_what_the_convolution_computes(
    kind: Kind, pixels: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    multiply_adds, plain = [], functional.conv2d

    def counting(rows: torch.Tensor, weight: torch.Tensor, *rest: object, **more: object):
        features = plain(rows, weight, *rest, **more)
        multiply_adds.append(features[:, :1].numel() * weight.numel())
        return features

    monkeypatch.setattr(functional, "conv2d", counting)
    encoder = encoder_of(kind, pixels)
    encoder(torch.rand(1, 3, *pixels))
    assert encoder.cost().multiply_adds == sum(multiply_adds)
    assert encoder.cost().parameters == sum(p.numel() for p in encoder.parameters())


def test_normalisation_alone_costs_nothing_and_is_part_of_the_state() -> None:
    encoder = encoder_of("none", (4, 4))
    assert encoder.cost() == Cost(0, 0)
    assert set(encoder.state_dict()) == {"mean", "std"}
    assert encoder.only([0]) is encoder


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.5, 0.5)), ((0.5,), (0.0,)), ((0.5,), (-1,))])
def test_channels_that_cannot_be_normalised_are_refused(
    mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    with pytest.raises(ConfigError, match="mean and std need one number per channel, std above 0"):
        ImageEncoder(mean, std, stem=Stem("none"), pixels=(4, 4))
