"""What stands between a task's lane and its output: linear layers, or convolutions to a map.

Heads for images: classes, labels, and maps as large as the image, with their masked losses.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmtl.data.batches import Labels
from recmtl.grid.cost import Cost
from recmtl.grid.layout import Pixels
from recmtl.vision.data.examples import IGNORED, MAPS, ImageTask

__all__ = [
    "AsppHead",
    "HeadStyle",
    "ImageHeadSpec",
    "ImageHeads",
    "LinearHead",
    "SmallMapHead",
    "image_loss",
]

DILATIONS = (6, 12, 18, 24)


class LinearHead(nn.Module):
    """A lane `[B, C, H, W]` to `[B, classes]`, with ReLU inside if hidden.

    Its pixels are averaged, or all read in their places (`area` of them): averages forget where
    something is, and where that tells the tasks apart they must not.
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

    def products(self, pixels: Pixels) -> int:
        """Multiply-adds of an image."""
        linears = [part for part in (self.hidden, self.last) if part is not None]
        return sum(part.weight.numel() for part in linears)


class SmallMapHead(nn.Module):
    """A lane to a map `[B, classes, H, W]`: 3x3 convolution, ReLU, 1x1 convolution."""

    def __init__(self, width: int, classes: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, hidden, 3, padding=1)
        self.last = nn.Conv2d(hidden, classes, 1)
        self.dropout = dropout

    def forward(self, lane: Tensor) -> Tensor:
        """The map, as large as the lane."""
        features = functional.relu(self.first(lane))
        found: Tensor = self.last(functional.dropout(features, self.dropout, self.training))
        return found

    def products(self, pixels: Pixels) -> int:
        """Multiply-adds of an image."""
        return pixels[0] * pixels[1] * (self.first.weight.numel() + self.last.weight.numel())


class AsppHead(nn.Module):
    """A lane to a map `[B, classes, H, W]`: the sum of four branches of dilation 6, 12, 18, 24.

    AdaShare's (Sun et al., NeurIPS 2020, its code): 3x3 convolution, ReLU, dropout, 1x1
    convolution, ReLU, dropout, 1x1 convolution.
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
        """The map, as large as the lane."""
        first, *rest = (cast(Tensor, branch(lane)) for branch in self.branches)
        return sum(rest, start=first)

    def products(self, pixels: Pixels) -> int:
        """Multiply-adds of an image."""
        convolutions = (part for part in self.modules() if isinstance(part, nn.Conv2d))
        return pixels[0] * pixels[1] * sum(part.weight.numel() for part in convolutions)


@dataclass(frozen=True)
class ImageHeadSpec:
    """One task as a head sees it.

    Attributes:
        task: name, kind and classes.
        weight: factor of the task's loss.
        constant_loss: loss of the best constant prediction on train examples.
    """

    task: ImageTask
    weight: float = 1.0
    constant_loss: float = 1.0

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name


@dataclass(frozen=True)
class HeadStyle:
    """What all heads of a network look like.

    Attributes:
        maps: of tasks with a map: `small`, 3x3 convolution, ReLU and 1x1 convolution; `aspp`,
            AdaShare's sum of four dilated branches.
        hidden: channels inside (AdaShare 1024); of classes and labels 0 is one linear layer.
        reads: what classes and labels are told from: the `mean` of a lane's pixels, or `all` of
            them in their places, where tasks differ in where they look.
        dropout: share of what is inside that is dropped in training (AdaShare 0.5).
        resize: how maps and targets of other sizes meet. `nearest`: targets are brought to the
            map's size for the loss, maps to the target's for metrics (AdaShare); `bilinear`: the
            map is brought to the target's size for both.
    """

    maps: Literal["small", "aspp"] = "small"
    hidden: int = 64
    reads: Literal["mean", "all"] = "mean"
    dropout: float = 0.0
    resize: Literal["nearest", "bilinear"] = "bilinear"


class ImageHeads(nn.Module):
    """Task lanes `[B, T, C, H, W]` to one output a task: `[B, classes]`, or a map of classes.

    Args:
        specs: the tasks.
        width: channels of a lane.
        pixels: height and width of a lane.
        style: what the heads look like.
    """

    def __init__(
        self, specs: Sequence[ImageHeadSpec], *, width: int, pixels: Pixels, style: HeadStyle
    ) -> None:
        super().__init__()
        self.specs, self.style, self.pixels = tuple(specs), style, pixels
        self.parts = nn.ModuleList(_part(spec.task, width, pixels, style) for spec in self.specs)

    def forward(self, lanes: Tensor) -> list[Tensor]:
        """The output of each task; maps are as large as a lane."""
        return [part(lane) for part, lane in zip(self.parts, lanes.unbind(1), strict=True)]

    def losses(self, outputs: list[Tensor], labels: Labels, weight: Tensor) -> Tensor:
        """Mean loss `[T]` of each task over all that is known; every image counts alike."""
        losses = []
        for spec, output, target in zip(self.specs, outputs, labels, strict=True):
            if spec.task.kind in MAPS and self.style.resize == "nearest":
                target = _nearest(target, output)
            output = self._as_large(output, target) if spec.task.kind in MAPS else output
            losses.append(image_loss(spec.task, output.float(), target))
        return torch.stack(losses)

    def predictions(self, outputs: list[Tensor], labels: Sequence[Tensor]) -> list[Tensor]:
        """The outputs, maps brought to the height and width of the targets."""
        return [
            self._as_large(output, target).float() if spec.task.kind in MAPS else output.float()
            for spec, output, target in zip(self.specs, outputs, labels, strict=True)
        ]

    def loss_scale(self, balance: float) -> Tensor:
        """Factor `[T]` of each task's loss: `weight / constant_loss ** balance`."""
        factors = [spec.weight / spec.constant_loss**balance for spec in self.specs]
        return torch.tensor(factors, device=next(self.parameters()).device)

    def cost(self) -> Cost:
        """Parameters, and multiply-adds of an image of the size of training."""
        products = [
            cast(SmallMapHead | AsppHead | LinearHead, part).products(self.pixels)
            for part in self.parts
        ]
        return Cost(sum(p.numel() for p in self.parameters()), sum(products))

    def _as_large(self, output: Tensor, target: Tensor) -> Tensor:
        size = target.shape[-2:]
        if output.shape[-2:] == size:
            return output
        if self.style.resize == "nearest":
            return functional.interpolate(output, size, mode="nearest")
        return functional.interpolate(output.float(), size, mode="bilinear", align_corners=False)


def _part(task: ImageTask, width: int, pixels: Pixels, style: HeadStyle) -> nn.Module:
    inside: dict[str, Any] = {"hidden": style.hidden, "dropout": style.dropout}
    if task.kind in MAPS:
        return {"small": SmallMapHead, "aspp": AsppHead}[style.maps](width, task.classes, **inside)
    area = math.prod(pixels) if style.reads == "all" else 1
    return LinearHead(width, task.classes, area=area, **inside)


def image_loss(task: ImageTask, output: Tensor, target: Tensor) -> Tensor:
    """Mean loss of one task, a scalar, over what is known; 0 where nothing is.

    Cross entropy of classes (with the classes' weights where there are some) and of labels, L1 of
    depth and other maps, `1 - cosine` of normals, the output taken to length 1. As AdaShare's, but
    normals are unit vectors here and not image codes, and nothing is masked by accident.

    Args:
        task: kind and classes.
        output: `[B, classes]`, or `[B, classes, H, W]`.
        target: as `ImageTask` says; of the output's height and width.
    """
    if task.kind in ("classification", "segmentation"):
        return _cross_entropy(output, target, task.class_weights)
    known = ~torch.isnan(target)
    truth = torch.where(known, target, 0.0)
    if task.kind == "multilabel":
        loss = functional.binary_cross_entropy_with_logits(output, truth, reduction="none")
    elif task.kind == "normals":
        known = known.all(1)
        loss = 1.0 - (functional.normalize(output, dim=1) * truth).sum(1)
    else:
        loss = (output - truth).abs()
    return torch.where(known, loss, 0.0).sum() / known.sum().clamp_min(1)


def _cross_entropy(output: Tensor, target: Tensor, weights: Sequence[float]) -> Tensor:
    each = output.new_tensor(weights) if weights else output.new_ones(output.shape[1])
    loss = functional.cross_entropy(
        output, target, weight=each, ignore_index=IGNORED, reduction="sum"
    )
    share = torch.where(target == IGNORED, 0.0, each[target.clamp_min(0)])
    return loss / share.sum().clamp_min(1e-12)


def _nearest(target: Tensor, output: Tensor) -> Tensor:
    """A target `[B, H, W]` or `[B, C, H, W]` at the height and width of an output."""
    size = output.shape[-2:]
    if target.shape[-2:] == size:
        return target
    if target.dim() == 3:
        found = functional.interpolate(target.unsqueeze(1).double(), size, mode="nearest")
        return found.squeeze(1).to(target.dtype)
    return functional.interpolate(target, size, mode="nearest")
