"""The network for images: built, pruned, loaded, and started from a pretrained ResNet."""

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
from recmtl.model.network import UNREADABLE, Network
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
    """The images that a network reads.

    Attributes:
        mean: of each channel.
        std: standard deviation of each channel.
        size: H, W in training.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]


@dataclass(frozen=True)
class StemAndHeads:
    """The parts of a network that its layout does not describe."""

    stem: Stem = field(default_factory=Stem)
    heads: HeadStyle = field(default_factory=HeadStyle)


class ImageModel(Network):
    """Maps images `[B, C, H, W]` to each task's output.

    Args:
        channels: the images that it reads.
        heads: the tasks.
        layout: how the tasks share experts.
        sizes: stem and heads.

    Attributes:
        mixed: whether products are computed in bfloat16.

    Raises:
        ConfigError: the layout has more than one input lane.
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
            fault = f"{layout.name}: has {layout.input_lanes} input lanes, but images are one"
            raise ConfigError(f"{fault}; take a layout of IMAGE_CATALOG")
        encoder = ImageEncoder(channels.mean, channels.std, stem=sizes.stem, pixels=channels.size)
        grid = SharingGrid(layout, input_width=encoder.width, pixels=encoder.pixels)
        outputs = ImageHeads(
            heads, width=grid.output_width, pixels=grid.output_pixels, style=sizes.heads
        )
        super().__init__(encoder, grid=grid, heads=outputs)
        self.channels, self.sizes, self.mixed = channels, sizes, False
        self.columns = tuple(spec.name for spec in heads)

    def forward(self, *inputs: Tensor, decisions: Sequence[Decision] | None = None) -> list[Tensor]:
        """The output of each task for a batch of images; products are in bfloat16 if `mixed`."""
        with torch.autocast(inputs[0].device.type, torch.bfloat16, enabled=self.mixed):
            return super().forward(*inputs, decisions=decisions)

    @torch.no_grad()
    def predictions(
        self, batch: Batch, decisions: Sequence[Decision] | None = None
    ) -> Sequence[Tensor]:
        """The output of each task, maps in the height and width of their targets."""
        outputs = self(*batch.inputs, decisions=decisions)
        return self.heads.predictions(outputs, tuple(batch.labels))

    def to_json(self) -> dict[str, Any]:
        """The content of `network.json`: channels, heads, layout and sizes."""
        return {
            "channels": asdict(self.channels),
            "heads": [asdict(spec) for spec in self.heads.specs],
            "layout": self.grid.layout.to_json(),
            "sizes": asdict(self.sizes),
        }


def prune_image_model(model: ImageModel, routes: Routes) -> ImageModel:
    """The smaller model of frozen routes, with the weights of `model`; see `prune_grid`."""
    grid = prune_grid(model.grid, routes)
    small = ImageModel(model.channels, model.heads.specs, layout=grid.layout, sizes=model.sizes).to(
        next(model.parameters())
    )
    small.grid.load_state_dict(grid.state_dict())
    small.encoder.load_state_dict(model.encoder.state_dict())
    small.heads.load_state_dict(model.heads.state_dict())
    return small.train(model.training)


def load_image_model(folder: Path) -> ImageModel:
    """Load a model that `save_model` wrote, in evaluation mode, on the CPU.

    Raises:
        BundleError: a file is missing, or does not describe an image model.
    """
    try:
        network = json.loads((folder / "network.json").read_text())
        heads = [_head_spec(entry) for entry in network["heads"]]
        channels = {name: tuple(values) for name, values in network["channels"].items()}
        sizes = network["sizes"]
        model = ImageModel(
            ImageInput(**channels),
            heads,
            layout=Layout.from_json(network["layout"]),
            sizes=StemAndHeads(Stem(**sizes["stem"]), HeadStyle(**sizes["heads"])),
        )
        model.load_state_dict(load_file(str(folder / "weights.safetensors")))
    except UNREADABLE as error:
        reason = str(error).partition("\n")[0]
        raise BundleError(f"{folder}: not a saved image model: {reason}; save it again") from error
    return model.eval()


def _head_spec(entry: dict[str, Any]) -> ImageHeadSpec:
    weights = tuple(entry["task"].pop("class_weights"))
    return ImageHeadSpec(**{**entry, "task": ImageTask(**entry["task"], class_weights=weights)})


NamedTensor = tuple[str, Tensor]


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name, from a safetensors file or a torch file; nothing else is unpickled.

    Raises:
        DataError: the file is missing or damaged, or holds anything but tensors by name.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(str(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises errors of many types for damaged files
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: cannot be read: {reason}; give tensors by name") from error
    tensors = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(tensors, Mapping) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise DataError(f"{path}: holds no tensors by name; save a state_dict")
    return dict(tensors)


@torch.no_grad()
def load_pretrained(model: ImageModel, path: Path, stages: Sequence[int]) -> None:
    """Copy a ResNet with the usual names (`conv1`, `layer1.0.bn2`, `downsample`) into a model.

    Every expert of a block starts from the same weights, and every lane that it serves from the
    same statistics. The file's last linear layer is not read, and the model's heads keep their
    weights. So do projections that the file lacks, which a block has only because of its dilation.

    Args:
        model: its stem must be `resnet`.
        path: see `read_weights`.
        stages: number of blocks in each stage.

    Raises:
        DataError: the file lacks a tensor, or has one of another shape.
    """
    weights = {name.removeprefix("module."): t for name, t in read_weights(path).items()}
    stem = model.encoder.convolution
    parameters = list[NamedTensor]()
    if stem is not None:
        parameters += _convolution(stem, 0, "conv1", "bn1")
    blocks = [(s + 1, number) for s, count in enumerate(stages) for number in range(count)]
    for depth, (stage, number) in enumerate(blocks):
        layer, name = model.grid.layer(depth), f"layer{stage}.{number}"
        if isinstance(layer.experts, ConvolutionExperts):
            for conv in range(len(layer.experts.weights)):
                convolution = f"{name}.conv{conv + 1}", f"{name}.bn{conv + 1}"
                parameters += _convolution(layer.experts, conv, *convolution)
        if layer.projection is not None and f"{name}.downsample.0.weight" in weights:
            down = f"{name}.downsample.0", f"{name}.downsample.1"
            parameters += _convolution(layer.projection, 0, *down)
    for name, parameter in parameters:
        if name not in weights:
            raise DataError(f"{path}: has no {name}; give weights of the same ResNet")
        weight = weights[name]
        if weight.shape != parameter.shape[1:]:
            shapes = f"{tuple(weight.shape)}, not {tuple(parameter.shape[1:])}"
            raise DataError(f"{path}: {name} is {shapes}; give weights of the same ResNet")
        parameter.copy_(weight)


def _convolution(
    experts: ConvolutionExperts, depth: int, convolution: str, norm: str
) -> Iterator[NamedTensor]:
    """One convolution and its normalisation: names in the file, and our stacked tensors."""
    yield f"{convolution}.weight", experts.weights[depth]
    normalisation = experts.get_submodule(f"norms.{depth}")
    yield f"{norm}.weight", normalisation.get_parameter("scale")
    yield f"{norm}.bias", normalisation.get_parameter("shift")
    statistics = dict(normalisation.named_buffers())
    if statistics:
        yield f"{norm}.running_mean", statistics["mean"]
        yield f"{norm}.running_var", statistics["variance"]
