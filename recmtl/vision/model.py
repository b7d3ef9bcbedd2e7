"""The network of images: pixels to classes, labels and maps.

Weights of a ResNet that the user has, put into the stem and into every expert of a trunk.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from recmtl.data.batches import Batch
from recmtl.errors import BundleError, ConfigError, DataError
from recmtl.grid import Decision, Layout, Routes, SharingGrid, prune_grid
from recmtl.grid.convolution_experts import ConvolutionExperts
from recmtl.model.network import Network
from recmtl.model.tabular import UNREADABLE
from recmtl.vision.data.examples import ImageTask
from recmtl.vision.encoder import ImageEncoder, Stem
from recmtl.vision.heads import HeadStyle, ImageHeads, ImageHeadSpec

__all__ = [
    "ImageInput",
    "ImageModel",
    "StemAndHeads",
    "load_image_model",
    "load_pretrained",
    "prune_image_model",
    "read_weights",
]


@dataclass(frozen=True)
class ImageInput:
    """What a network must know of the images: mean and deviation of each channel, H and W."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]


@dataclass(frozen=True)
class StemAndHeads:
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
        channels: ImageInput,
        heads: Sequence[ImageHeadSpec],
        *,
        layout: Layout,
        sizes: StemAndHeads,
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
        self.columns = tuple(spec.name for spec in own_heads.specs)

    def forward(self, *inputs: Tensor, decisions: Sequence[Decision] | None = None) -> list[Tensor]:
        """A batch's images to each task's output; products in bfloat16 if `mixed`."""
        with torch.autocast(inputs[0].device.type, torch.bfloat16, enabled=self.mixed):
            return super().forward(*inputs, decisions=decisions)

    @torch.no_grad()
    def predictions(
        self, batch: Batch, decisions: Sequence[Decision] | None = None
    ) -> Sequence[Tensor]:
        """The outputs of each task, maps in the height and width of their targets."""
        outputs = self(*batch.inputs, decisions=decisions)
        return self.heads.predictions(outputs, tuple(batch.labels))

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
            ImageInput(**read),
            heads,
            layout=Layout.from_json(network["layout"]),
            sizes=StemAndHeads(Stem(**sizes["stem"]), HeadStyle(**sizes["heads"])),
        )
        model.load_state_dict(load_file(str(folder / "weights.safetensors")))
    except UNREADABLE as error:
        reason = str(error).partition("\n")[0]
        raise BundleError(f"{folder}: not a saved image model: {reason}; save it again") from error
    return model.eval()


def _head(spec: dict[str, Any]) -> ImageHeadSpec:
    weights = tuple(spec["task"].pop("class_weights"))
    return ImageHeadSpec(**{**spec, "task": ImageTask(**spec["task"], class_weights=weights)})


Place = tuple[str, Tensor]


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name: a safetensors file, or one of torch, of which only weights are read.

    Raises:
        DataError: the file is missing, damaged, or holds anything but tensors by name.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(str(path))
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the file makes it stumble over
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: cannot be read: {reason}; give tensors by name") from error
    found = found.get("state_dict", found) if isinstance(found, Mapping) else found
    if not isinstance(found, Mapping) or not all(isinstance(t, Tensor) for t in found.values()):
        raise DataError(f"{path}: holds no tensors by name; save a state_dict")
    return dict(found)


@torch.no_grad()
def load_pretrained(model: ImageModel, path: Path, stages: Sequence[int]) -> None:
    """Copy a ResNet of the usual names (`conv1`, `layer1.0.bn2`, `downsample`) into a model.

    Every expert of a block starts from the same weights, and every lane that it serves from the
    same statistics. The last linear layer of the file and the model's heads are left alone; so are
    projections that the file lacks, where ours has one for the sake of a dilation only.

    Args:
        model: its stem must be `resnet`.
        path: see `read_weights`.
        stages: blocks in each stage.

    Raises:
        DataError: the file lacks a tensor or has one of another shape; both are named.
    """
    weights = {name.removeprefix("module."): t for name, t in read_weights(path).items()}
    stem = model.encoder.convolution
    places = list[Place]() if stem is None else list(_stem(stem))
    blocks = [(s + 1, number) for s, count in enumerate(stages) for number in range(count)]
    for depth, (stage, number) in enumerate(blocks):
        layer, name = model.grid.layer(depth), f"layer{stage}.{number}"
        if isinstance(layer.experts, ConvolutionExperts):
            for conv in range(len(layer.experts.weights)):
                convolution = f"{name}.conv{conv + 1}", f"{name}.bn{conv + 1}"
                places += _convolution(layer.experts, conv, *convolution)
        if layer.projection is not None and f"{name}.downsample.0.weight" in weights:
            down = f"{name}.downsample.0", f"{name}.downsample.1"
            places += _convolution(layer.projection, 0, *down)
    for name, own in places:
        if name not in weights:
            raise DataError(f"{path}: has no {name}; give weights of the same ResNet")
        theirs = weights[name]
        if theirs.shape != own.shape[1:]:
            sizes = f"{tuple(theirs.shape)}, not {tuple(own.shape[1:])}"
            raise DataError(f"{path}: {name} is {sizes}; give weights of the same ResNet")
        own.copy_(theirs)


def _stem(experts: ConvolutionExperts) -> Iterator[Place]:
    return _convolution(experts, 0, "conv1", "bn1")


def _convolution(
    experts: ConvolutionExperts, depth: int, convolution: str, norm: str
) -> Iterator[Place]:
    """Names in the file and our stacked tensors of one convolution and its normalisation."""
    yield f"{convolution}.weight", experts.weights[depth]
    own = experts.get_submodule(f"norms.{depth}")
    yield f"{norm}.weight", own.get_parameter("scale")
    yield f"{norm}.bias", own.get_parameter("shift")
    statistics = dict(own.named_buffers())
    if statistics:
        yield f"{norm}.running_mean", statistics["mean"]
        yield f"{norm}.running_var", statistics["variance"]
