"""From images to the grid's input lane: normalised channels, then a stem that all tasks share."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmtl.errors import ConfigError
from recmtl.grid import Cost
from recmtl.grid.convolution_experts import ConvolutionExperts
from recmtl.grid.layout import Convolution, Norm, Pixels
from recmtl.schema.settings import SIZE, settings

__all__ = ["ImageEncoder", "Stem"]


@settings(ConfigError)
class Stem:
    """The layers before the experts, shared by all tasks.

    Attributes:
        kind: `none`; `small`, a 3x3 convolution, normalisation and ReLU; `resnet`, a 7x7
            convolution with stride 2, normalisation, ReLU and 3x3 maximum pooling with stride 2,
            which together leave a quarter of the height and width.
        width: channels of the convolution, if there is one.
        norm: normalisation, as in the experts.
    """

    kind: Literal["none", "small", "resnet"] = "small"
    width: Annotated[int, SIZE] = 16
    norm: Norm = "batch"


class ImageEncoder(nn.Module):
    """Maps images `[B, C, H, W]` in 0..1 to one lane `[B, 1, C', H', W']`.

    The mean and the standard deviation of the channels are buffers of the network, so that nobody
    who uses it has to know its training data.

    Args:
        mean: of each channel.
        std: standard deviation of each channel.
        stem: the layers after the normalisation.
        pixels: height and width of an image in training.

    Attributes:
        width: channels of the lane.
        pixels: height and width of the lane.

    Raises:
        ConfigError: `mean` and `std` have different lengths, or a deviation is not positive.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], *, stem: Stem, pixels: Pixels
    ) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std) <= 0.0:
            raise ConfigError("images: mean and std need one number per channel, std above 0")
        self.stem, self.image_pixels = stem, pixels
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))
        self.width, self.pixels = len(mean), pixels
        self.convolution: ConvolutionExperts | None = None
        if stem.kind != "none":
            large = stem.kind == "resnet"
            shape = Convolution(7 if large else 3, stride=2 if large else 1, norm=stem.norm)
            self.convolution = ConvolutionExperts(
                (len(mean), stem.width), ((0, 0),), kind="project", convolution=shape, pixels=pixels
            )
            height, width = self.inner = shape.inner(pixels)
            self.width = stem.width
            self.pixels = (height // 2 + 1, width // 2 + 1) if large else (height, width)

    def forward(self, images: Tensor) -> Tensor:
        """The lane `[B, 1, C', H', W']` of images `[B, C, H, W]`."""
        lanes = ((images - self.get_buffer("mean")) / self.get_buffer("std")).unsqueeze(1)
        if self.convolution is None:
            return lanes
        features = functional.relu(self.convolution(lanes))
        if self.stem.kind == "small":
            return features
        pooled = functional.max_pool2d(features.squeeze(1), 3, 2, padding=1, ceil_mode=True)
        return pooled.unsqueeze(1)

    def only(self, lanes: Sequence[int]) -> "ImageEncoder":
        """The encoder itself, since it has one lane."""
        return self

    def cost(self) -> Cost:
        """Parameters, and multiply-adds of an image in the size of training."""
        if self.convolution is None:
            return Cost(0, 0)
        weights = self.convolution.weights[0].numel()
        parameters = sum(p.numel() for p in self.parameters())
        return Cost(parameters, weights * self.inner[0] * self.inner[1])
