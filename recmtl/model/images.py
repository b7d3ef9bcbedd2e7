"""The network of images: pixels to classes, labels and maps."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from recmtl.data.images.examples import ImageTask
from recmtl.encoders.images import ImageEncoder, Stem
from recmtl.errors import BundleError, ConfigError
from recmtl.grid import Decision, Layout, Routes, SharingGrid, prune_grid
from recmtl.heads.images import HeadStyle, ImageHead, ImageHeads
from recmtl.model.network import Network
from recmtl.model.tables import UNREADABLE

__all__ = ["ImageChannels", "ImageModel", "ImageSizes", "load_image_model", "prune_image_model"]


@dataclass(frozen=True)
class ImageChannels:
    """What a network must know of the images: mean and deviation of each channel, H and W."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]


@dataclass(frozen=True)
class ImageSizes:
    """What a layout does not say: the stem before the experts and the heads after them."""

    stem: Stem = field(default_factory=Stem)
    heads: HeadStyle = field(default_factory=HeadStyle)


class ImageModel(Network):
    """Images `[B, C, H, W]` to each task's output.

    Args:
        channels: the images.
        heads: the tasks.
        layout: how they share.
        sizes: stem and heads.

    Attributes:
        mixed: whether products are computed in bfloat16.

    Raises:
        ConfigError: the layout wants several input lanes.
    """

    encoder: ImageEncoder
    heads: ImageHeads

    def __init__(
        self,
        channels: ImageChannels,
        heads: Sequence[ImageHead],
        *,
        layout: Layout,
        sizes: ImageSizes,
    ) -> None:
        if layout.input_lanes != 1:
            raise ConfigError(f"{layout.name}: images are one input lane, not several")
        encoder = ImageEncoder(channels.mean, channels.std, stem=sizes.stem, pixels=channels.size)
        grid = SharingGrid(layout, input_width=encoder.width, pixels=encoder.pixels)
        own_heads = ImageHeads(
            heads, width=grid.output_width, pixels=grid.output_pixels, style=sizes.heads
        )
        super().__init__(encoder, grid=grid, heads=own_heads)
        self.channels, self.sizes, self.mixed = channels, sizes, False

    def forward(self, *inputs: Tensor, decisions: Sequence[Decision] | None = None) -> list[Tensor]:
        """A batch's images to each task's output; products in bfloat16 if `mixed`."""
        with torch.autocast(inputs[0].device.type, torch.bfloat16, enabled=self.mixed):
            return super().forward(*inputs, decisions=decisions)

    def described(self) -> dict[str, Any]:
        """Channels, heads, layout and sizes."""
        return {
            "channels": asdict(self.channels),
            "heads": [asdict(spec) for spec in self.heads.specs],
            "layout": self.grid.layout.to_json(),
            "sizes": asdict(self.sizes),
        }


def prune_image_model(model: ImageModel, routes: Routes) -> ImageModel:
    """The smaller model of a frozen route, with the weights of `model`; see `prune_grid`."""
    grid = prune_grid(model.grid, routes)
    small = ImageModel(model.channels, model.heads.specs, layout=grid.layout, sizes=model.sizes).to(
        next(model.parameters())
    )
    small.grid.load_state_dict(grid.state_dict())
    small.encoder.load_state_dict(model.encoder.state_dict())
    small.heads.load_state_dict(model.heads.state_dict())
    return small.train(model.training)


def load_image_model(folder: Path) -> ImageModel:
    """Rebuild a model that `save_model` wrote, in evaluation mode, on the processor.

    Raises:
        BundleError: a file is missing or does not describe a model of images.
    """
    try:
        network = json.loads((folder / "network.json").read_text())
        heads = [_head(spec) for spec in network["heads"]]
        read = {name: tuple(values) for name, values in network["channels"].items()}
        sizes = network["sizes"]
        model = ImageModel(
            ImageChannels(**read),
            heads,
            layout=Layout.from_json(network["layout"]),
            sizes=ImageSizes(Stem(**sizes["stem"]), HeadStyle(**sizes["heads"])),
        )
        model.load_state_dict(load_file(str(folder / "weights.safetensors")))
    except UNREADABLE as error:
        reason = str(error).partition("\n")[0]
        raise BundleError(f"{folder}: not a saved image model: {reason}; save it again") from error
    return model.eval()


def _head(spec: dict[str, Any]) -> ImageHead:
    weights = tuple(spec["task"].pop("class_weights"))
    return ImageHead(**{**spec, "task": ImageTask(**spec["task"], class_weights=weights)})
