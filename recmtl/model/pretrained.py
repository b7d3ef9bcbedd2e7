"""Weights of a ResNet that the user has, put into the stem and into every expert of a trunk."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from recmtl.errors import DataError
from recmtl.grid.convolutions import ConvolutionExperts
from recmtl.model.images import ImageModel

__all__ = ["load_pretrained", "read_weights"]

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
