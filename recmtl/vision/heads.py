"""Heads for images, from a task's lane to classes, labels or a map, and their masked losses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recmtl.data.batches import Labels
from recmtl.errors import ConfigError
from recmtl.grid.cost import Cost
from recmtl.grid.layout import Pixels
from recmtl.schema.settings import settings
from recmtl.vision.data.examples import IGNORED, MAPS, ImageTask, Target

__all__ = [
    "AsppHead",
    "HeadStyle",
    "ImageHeadSpec",
    "ImageHeads",
    "LinearHead",
    "SmallMapHead",
    "constant_loss",
    "image_loss",
]

DILATIONS = (6, 12, 18, 24)
LEAST_CONSTANT_LOSS = 1e-3
MOST_PIXELS = 2_000_000
"""Pixels from which the best constant is computed."""


class LinearHead(nn.Module):
    """Maps a lane `[B, C, H, W]` to logits `[B, classes]`.

    A head either averages the lane's pixels or reads each in its place. Averages forget where
    something is, so that they fail if the tasks differ in where they look.

    Args:
        width: channels of the lane.
        classes: number of outputs.
        hidden: width of a hidden layer with ReLU; 0 for one linear layer.
        dropout: share of the last layer's inputs that is dropped in training.
        area: pixels to read in their places; 1 averages them.
    """

    def __init__(
        self, width: int, classes: int, *, hidden: int, dropout: float, area: int = 1
    ) -> None:
        super().__init__()
        self.area = area
        width *= area
        self.hidden = nn.Linear(width, hidden) if hidden else None
        self.dropout = dropout
        self.last = nn.Linear(hidden or width, classes)

    def forward(self, lane: Tensor) -> Tensor:
        """Logits `[B, classes]`."""
        features = lane.flatten(1) if self.area > 1 else lane.mean((-2, -1))
        if self.hidden is not None:
            features = functional.relu(self.hidden(features))
        features = functional.dropout(features, self.dropout, self.training)
        logits: Tensor = self.last(features)
        return logits

    def multiply_adds(self, pixels: Pixels) -> int:
        """Multiply-adds of an image whose lane has `pixels`."""
        linears = [part for part in (self.hidden, self.last) if part is not None]
        return sum(part.weight.numel() for part in linears)


class SmallMapHead(nn.Module):
    """Maps a lane to a map `[B, classes, H, W]`: 3x3 convolution, ReLU, 1x1 convolution."""

    def __init__(self, width: int, classes: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, hidden, 3, padding=1)
        self.last = nn.Conv2d(hidden, classes, 1)
        self.dropout = dropout

    def forward(self, lane: Tensor) -> Tensor:
        """The map, in the lane's height and width."""
        features = functional.relu(self.first(lane))
        map_: Tensor = self.last(functional.dropout(features, self.dropout, self.training))
        return map_

    def multiply_adds(self, pixels: Pixels) -> int:
        """Multiply-adds of an image whose lane has `pixels`."""
        return pixels[0] * pixels[1] * (self.first.weight.numel() + self.last.weight.numel())


class AsppHead(nn.Module):
    """Maps a lane to a map `[B, classes, H, W]`: the sum of branches of dilation 6, 12, 18, 24.

    A branch is that of AdaShare's code (Sun et al., NeurIPS 2020): 3x3 convolution, ReLU, dropout,
    1x1 convolution, ReLU, dropout, 1x1 convolution.
    """

    def __init__(self, width: int, classes: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, hidden, 3, padding=dilation, dilation=dilation),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Conv2d(hidden, hidden, 1),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Conv2d(hidden, classes, 1),
            )
            for dilation in DILATIONS
        )

    def forward(self, lane: Tensor) -> Tensor:
        """The map, in the lane's height and width."""
        first, *rest = (cast(Tensor, branch(lane)) for branch in self.branches)
        return sum(rest, start=first)

    def multiply_adds(self, pixels: Pixels) -> int:
        """Multiply-adds of an image whose lane has `pixels`."""
        convolutions = (part for part in self.modules() if isinstance(part, nn.Conv2d))
        return pixels[0] * pixels[1] * sum(part.weight.numel() for part in convolutions)


@dataclass(frozen=True)
class ImageHeadSpec:
    """A task and the scale of its loss.

    Attributes:
        task: name, kind and classes.
        weight: factor of the task's loss.
        constant_loss: loss of the best constant prediction on train examples; see `constant_loss`.
    """

    task: ImageTask
    weight: float = 1.0
    constant_loss: float = 1.0

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name


@settings(ConfigError)
class HeadStyle:
    """The form of a network's heads.

    Attributes:
        maps: heads of tasks with a map: `small`, see `SmallMapHead`, or `aspp`, see `AsppHead`.
        hidden: hidden channels (AdaShare 1024); with 0, classes and labels have one linear layer.
        reads: what heads of classes and labels read: the `mean` of a lane's pixels, or `all` pixels
            in their places, for tasks that differ in where they look.
        dropout: share of the hidden channels that is dropped in training (AdaShare 0.5).
        resize: how maps and targets of different sizes are compared. `nearest` resizes the target
            for the loss and the map for metrics (AdaShare); `bilinear` resizes the map for both.
    """

    maps: Literal["small", "aspp"] = "small"
    hidden: Annotated[int, Field(ge=0, le=65_536)] = 64
    reads: Literal["mean", "all"] = "mean"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    resize: Literal["nearest", "bilinear"] = "bilinear"


class ImageHeads(nn.Module):
    """Maps task lanes `[B, T, C, H, W]` to one output per task, logits `[B, classes]` or a map.

    Args:
        specs: the tasks, in the order of the lanes.
        width: channels of a lane.
        pixels: height and width of a lane.
        style: form of the heads.
    """

    def __init__(
        self, specs: Sequence[ImageHeadSpec], *, width: int, pixels: Pixels, style: HeadStyle
    ) -> None:
        super().__init__()
        self.specs, self.style, self.pixels = tuple(specs), style, pixels
        self.parts = nn.ModuleList(_head(spec.task, width, pixels, style) for spec in self.specs)

    def forward(self, lanes: Tensor) -> list[Tensor]:
        """The output of each task; maps have the lane's height and width."""
        return [part(lane) for part, lane in zip(self.parts, lanes.unbind(1), strict=True)]

    def losses(self, outputs: list[Tensor], labels: Labels, weight: Tensor) -> Tensor:
        """Mean loss `[T]` of each task over its known targets; all images count alike."""
        losses = []
        for spec, output, target in zip(self.specs, outputs, labels, strict=True):
            target = self._compared(spec.task, target, output.shape[-2:])
            output = self._resized(output, target) if spec.task.kind in MAPS else output
            losses.append(image_loss(spec.task, output.float(), target))
        return torch.stack(losses)

    def label_weights(self, labels: Labels, weight: Tensor) -> Tensor:
        """Number `[T]` of each task's known targets, or their class weights if it has any."""
        tasks = [spec.task for spec in self.specs]
        compared = [self._compared(*pair, self.pixels) for pair in zip(tasks, labels, strict=True)]
        return torch.stack([_known_weight(*pair) for pair in zip(tasks, compared, strict=True)])

    def predictions(self, outputs: list[Tensor], labels: Sequence[Tensor]) -> list[Tensor]:
        """The outputs, maps resized to the height and width of the targets."""
        return [
            self._resized(output, target).float() if spec.task.kind in MAPS else output.float()
            for spec, output, target in zip(self.specs, outputs, labels, strict=True)
        ]

    def loss_scale(self, balance: float) -> Tensor:
        """Factor `[T]` of each task's loss: `weight / constant_loss ** balance`."""
        factors = [spec.weight / spec.constant_loss**balance for spec in self.specs]
        return torch.tensor(factors, device=next(self.parameters()).device)

    def cost(self) -> Cost:
        """Parameters, and multiply-adds of an image in the size of training."""
        heads = cast(list[SmallMapHead | AsppHead | LinearHead], list(self.parts))
        multiply_adds = sum(head.multiply_adds(self.pixels) for head in heads)
        return Cost(sum(p.numel() for p in self.parameters()), multiply_adds)

    def _compared(self, task: ImageTask, target: Tensor, size: Sequence[int]) -> Tensor:
        """A target as losses compare it with an output; a map has this height and width."""
        if task.kind in MAPS and self.style.resize == "nearest":
            return _resized_target(target, size)
        return target

    def _resized(self, output: Tensor, target: Tensor) -> Tensor:
        size = target.shape[-2:]
        if output.shape[-2:] == size:
            return output
        if self.style.resize == "nearest":
            return functional.interpolate(output, size, mode="nearest")
        return functional.interpolate(output.float(), size, mode="bilinear", align_corners=False)


def _head(task: ImageTask, width: int, pixels: Pixels, style: HeadStyle) -> nn.Module:
    inside: dict[str, Any] = {"hidden": style.hidden, "dropout": style.dropout}
    if task.kind in MAPS:
        return {"small": SmallMapHead, "aspp": AsppHead}[style.maps](width, task.classes, **inside)
    area = math.prod(pixels) if style.reads == "all" else 1
    return LinearHead(width, task.classes, area=area, **inside)


def image_loss(task: ImageTask, output: Tensor, target: Tensor) -> Tensor:
    """Mean loss of one task over its known targets, a scalar; 0 if no target is known.

    Classes and labels have cross entropy (weighted by `class_weights`, if there are any), depth and
    other maps L1, and normals `1 - cosine` of the output scaled to unit length. These are
    AdaShare's losses, but for two corrections: normals are unit vectors and not image codes, and
    only unknown targets are masked.

    Args:
        task: kind and classes.
        output: `[B, classes]`, or `[B, classes, H, W]`.
        target: as `ImageTask` describes it, in the output's height and width.

    >>> task = ImageTask("edges", "regression_map")
    >>> target = torch.tensor([[[[1.0, float("nan")]]]])
    >>> float(image_loss(task, torch.tensor([[[[3.0, 9.0]]]]), target))
    2.0
    """
    whole = _known_weight(task, target)
    if task.kind in ("classification", "segmentation"):
        weights = output.new_tensor(task.class_weights) if task.class_weights else None
        loss = functional.cross_entropy(
            output, target, weight=weights, ignore_index=IGNORED, reduction="sum"
        )
        return loss / whole.clamp_min(1e-12)
    is_known = _is_known(task, target)
    truth = torch.where(~torch.isnan(target), target, 0.0)
    if task.kind == "multilabel":
        loss = functional.binary_cross_entropy_with_logits(output, truth, reduction="none")
    elif task.kind == "normals":
        loss = 1.0 - (functional.normalize(output, dim=1) * truth).sum(1)
    else:
        loss = (output - truth).abs()
    return torch.where(is_known, loss, 0.0).sum() / whole.clamp_min(1)


def _is_known(task: ImageTask, target: Tensor) -> Tensor:
    """Which targets, or pixels, are known."""
    if task.kind in ("classification", "segmentation"):
        return target != IGNORED
    is_known = ~torch.isnan(target)
    return is_known.all(1) if task.kind == "normals" else is_known


def _known_weight(task: ImageTask, target: Tensor) -> Tensor:
    """By what the summed loss of a task is divided: the known targets, a scalar."""
    is_known = _is_known(task, target)
    if task.kind in ("classification", "segmentation") and task.class_weights:
        each = torch.tensor(task.class_weights, device=target.device)
        return torch.where(is_known, each[target.clamp_min(0)], 0.0).sum()
    return is_known.sum().float()


def _resized_target(target: Tensor, size: Sequence[int]) -> Tensor:
    """A target `[B, H, W]` or `[B, C, H, W]` in another height and width."""
    if tuple(target.shape[-2:]) == tuple(size):
        return target
    if target.dim() == 3:
        nearest = functional.interpolate(target.unsqueeze(1).double(), list(size), mode="nearest")
        return nearest.squeeze(1).to(target.dtype)
    return functional.interpolate(target, list(size), mode="nearest")


def constant_loss(task: ImageTask, targets: Sequence[Target]) -> float:
    """The value of `image_loss` for the best constant output, without class weights.

    This is the entropy of the classes or labels, the mean distance from the median of a map, and
    `1 - |mean|` of normals; at least 0.001, and 1 if no target is known.

    Args:
        task: kind and classes.
        targets: of single examples, as `ImageTask` describes them.

    >>> targets = [np.array(0), np.array(1), np.array(-1)]
    >>> round(constant_loss(ImageTask("kind", "classification", 2), targets), 6)  # log 2
    0.693147
    """
    values = _known_values(task, targets)
    if values.size == 0:
        return 1.0
    if task.kind in ("classification", "segmentation"):
        shares = np.bincount(values.astype(np.int64), minlength=task.classes) / values.size
        shares = shares[shares > 0]
        loss = float(-(shares * np.log(shares)).sum())
    elif task.kind == "multilabel":
        rates = values.mean(0).clip(1e-6, 1 - 1e-6)
        loss = float(-(rates * np.log(rates) + (1 - rates) * np.log(1 - rates)).mean())
    elif task.kind == "normals":
        loss = float(1.0 - np.linalg.norm(values.mean(0)))
    else:
        loss = float(np.abs(values - np.median(values, axis=0)).mean())
    return max(loss, LEAST_CONSTANT_LOSS)


def _known_values(task: ImageTask, targets: Sequence[Target]) -> np.ndarray:
    """The known values of the targets: classes `[N]`, or `[N, channels]`."""
    if task.kind in ("classification", "segmentation"):
        flat = np.concatenate([np.asarray(target).reshape(-1) for target in targets])
        return flat[flat >= 0][:MOST_PIXELS]
    maps = [np.asarray(target, np.float64).reshape(task.classes, -1).T for target in targets]
    rows = np.concatenate(maps)
    return rows[~np.isnan(rows).any(1)][:MOST_PIXELS]
