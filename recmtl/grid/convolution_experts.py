"""Experts for images: stacked convolutions whose normalisation knows which lane it serves.

`ConvolutionExperts` takes the place of `StackedExperts` in layers that have a `Convolution`, and
also holds the projections of their shortcuts.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmtl.errors import ConfigError
from recmtl.grid.experts import select_lanes
from recmtl.grid.layout import Convolution, Layer, Pixels

__all__ = ["ConvolutionExperts", "Normalisation", "convolution_experts", "projections"]

MOMENTUM, EPSILON = 0.1, 1e-5
GROUP = 16
"""Channels that `group` normalises together."""
Kind = Literal["conv", "basic", "project"]


class ConvolutionExperts(nn.Module):
    """Equal stacks of convolutions on lanes: `[B, S, C, H, W]` to `[B, A, C', H', W']`.

    An expert that several lanes share is one product over their rows.

    Args:
        widths: channels: of the input, hidden ones, of the output.
        applications: (expert, lane) pairs.
        kind: `conv`, convolution, ReLU, normalisation (thin VGG); `basic`, convolutions and
            normalisations with ReLU between, and `relu(passed + them)` (ResNet's BasicBlock);
            `project`, a convolution and its normalisation alone.
        convolution: their shape.
        pixels: height and width of an input lane; they matter only to a kernel as large.
    """

    def __init__(
        self,
        widths: Sequence[int],
        applications: Sequence[tuple[int, int]],
        *,
        kind: Kind,
        convolution: Convolution,
        pixels: Pixels,
    ) -> None:
        super().__init__()
        self.kind, self.convolution = kind, convolution
        self.reads = [lane for _, lane in applications]
        numbers = [expert for expert, _ in applications]
        experts = max(numbers, default=-1) + 1
        self.served = [[a for a, e in enumerate(numbers) if e == n] for n in range(experts)]
        order = [a for served in self.served for a in served]
        self.back = [order.index(a) for a in range(len(order))]
        self.in_order = self.back == sorted(self.back)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        self.norms = nn.ModuleList()
        kernels = convolution.kernels(len(widths) - 1, pixels)
        for (c_in, c_out), kernel in zip(pairwise(widths), kernels, strict=True):
            # He et al. 2015, fan out, as ResNets start.
            spread = math.sqrt(2.0 / (c_out * math.prod(kernel)))
            self.weights.append(nn.Parameter(torch.randn(experts, c_out, c_in, *kernel) * spread))
            if kind == "conv":
                self.biases.append(nn.Parameter(torch.zeros(experts, c_out)))
            batch = convolution.norm == "batch"
            norm = Normalisation(c_out, experts, applications=len(self.reads), batch=batch)
            self.norms.append(norm)

    def forward(self, lanes: Tensor, passed: Tensor | None = None) -> Tensor:
        """The applications' outputs; `basic` experts add to `passed` `[B, A, C', H', W']`."""
        if passed is not None and not self.reads:
            return passed[:, :0]
        outputs, kernels = [], [weight.unbind() for weight in self.weights]
        for expert, served in enumerate(self.served):
            rows = select_lanes(lanes, [self.reads[a] for a in served])
            for depth in range(len(self.weights)):
                maps = self._convolve(rows.flatten(0, 1), kernels[depth][expert], expert, depth)
                maps = maps.view(*rows.shape[:2], *maps.shape[1:])
                norm = cast(Normalisation, self.norms[depth])
                rows = self._activated(norm(maps, expert, served), depth)
            maps = self._pooled(rows.flatten(0, 1))
            outputs.append(maps.view(*rows.shape[:2], *maps.shape[1:]))
        together = torch.cat(outputs, 1) if len(outputs) > 1 else outputs[0]
        together = together if self.in_order else together[:, self.back]
        return together if passed is None else functional.relu(passed + together)

    def needed_outputs(self, lanes: Tensor, needed: Tensor, passed: Tensor | None = None) -> Tensor:
        """As `forward` in evaluation, where `needed` `[B, A]` is true; elsewhere nothing, and 0."""
        size = self.convolution.outer((lanes.shape[-2], lanes.shape[-1]))
        outputs = lanes.new_zeros(*needed.shape, self.weights[-1].shape[1], *size)
        reads = torch.tensor(self.reads, device=lanes.device)
        for expert, served in enumerate(self.served):
            rows, which = needed[:, served].nonzero(as_tuple=True)
            if not len(rows):
                continue
            applications = torch.tensor(served, device=lanes.device)[which]
            maps = lanes[rows, reads[applications]]
            for depth in range(len(self.weights)):
                norm = cast(Normalisation, self.norms[depth])
                maps = self._convolve(maps, self.weights[depth][expert], expert, depth)
                maps = self._activated(norm.rows(maps, expert, applications), depth)
            maps = self._pooled(maps)
            if passed is not None:
                maps = functional.relu(passed[rows, applications] + maps)
            outputs[rows, applications] = maps.to(outputs.dtype)
        return outputs

    def _convolve(self, rows: Tensor, weight: Tensor, expert: int, depth: int) -> Tensor:
        shape, whole = self.convolution, self.convolution.kernel == 0
        maps = functional.conv2d(
            rows,
            weight,
            self.biases[depth][expert] if len(self.biases) else None,
            stride=shape.stride if depth == 0 and not whole else 1,
            padding=0 if whole else weight.shape[-1] // 2 * shape.dilation,
            dilation=1 if whole else shape.dilation,
        )
        return functional.relu(maps) if self.kind == "conv" else maps

    def _activated(self, rows: Tensor, depth: int) -> Tensor:
        """ReLU between the convolutions of a residual expert."""
        between = self.kind == "basic" and depth + 1 < len(self.weights)
        return functional.relu(rows) if between else rows

    def _pooled(self, rows: Tensor) -> Tensor:
        return functional.max_pool2d(rows, 2) if self.convolution.pool else rows


class Normalisation(nn.Module):
    """Normalise experts' features, scale and shift them: each expert has weights of its own.

    `batch` keeps statistics for each application, an expert on one lane: in training those of the
    batch and its pixels, in evaluation their moving averages. An expert that serves several lanes
    thus sees in evaluation what it saw in training, although the lanes differ; averages over all
    of them would describe a mixture that no lane is. `group` normalises each example by itself.
    """

    def __init__(self, channels: int, experts: int, *, applications: int, batch: bool) -> None:
        super().__init__()
        self.batch = batch
        self.groups = channels // GROUP if channels % GROUP == 0 else 1
        self.scale = nn.Parameter(torch.ones(experts, channels))
        self.shift = nn.Parameter(torch.zeros(experts, channels))
        if batch:
            self.register_buffer("mean", torch.zeros(applications, channels))
            self.register_buffer("variance", torch.ones(applications, channels))

    def forward(self, features: Tensor, expert: int, served: list[int]) -> Tensor:
        """Normalise features `[B, n, C, H, W]` of one expert on the n applications `served`."""
        scale, shift = self.scale[expert], self.shift[expert]
        if not self.batch:
            rows = features.flatten(0, 1)
            return functional.group_norm(rows, self.groups, scale, shift, EPSILON).view_as(features)
        mean, variance = self.get_buffer("mean"), self.get_buffer("variance")
        served_mean, served_variance = mean[served].flatten(), variance[served].flatten()
        normalised = functional.batch_norm(
            features.flatten(1, 2),
            served_mean,
            served_variance,
            scale.repeat(len(served)),
            shift.repeat(len(served)),
            self.training,
            MOMENTUM,
            EPSILON,
        )
        if self.training:
            mean[served] = served_mean.view(len(served), -1)
            variance[served] = served_variance.view(len(served), -1)
        return normalised.view_as(features)

    def rows(self, features: Tensor, expert: int, which: Tensor) -> Tensor:
        """Normalise rows `[N, C, H, W]` of one expert in evaluation, row n of application which[n].

        The same as `forward`, for rows that are chosen one by one.
        """
        if not self.batch:
            return self.forward(features.unsqueeze(1), expert, []).squeeze(1)
        mean, variance = self.get_buffer("mean")[which], self.get_buffer("variance")[which]
        scale = self.scale[expert] / torch.sqrt(variance + EPSILON)
        shift = self.shift[expert] - mean * scale
        return features * scale[:, :, None, None] + shift[:, :, None, None]


def convolution_experts(layer: Layer, width: int, pixels: Pixels) -> ConvolutionExperts:
    """The experts of a layer for images whose input lanes have `width` channels and this size.

    Raises:
        ConfigError: the experts need what the layer's convolution does not give.
    """
    shape = _shape(layer)
    kind: Kind = "basic" if layer.experts == "basic" else "conv"
    changes = width != layer.width or shape.outer(pixels) != pixels
    if kind == "basic" and changes and not shape.projected:
        raise ConfigError("layer: a basic expert that changes a lane's shape needs a projection")
    return ConvolutionExperts(
        layer.expert_widths(width), layer.applications, kind=kind, convolution=shape, pixels=pixels
    )


def projections(layer: Layer, width: int, pixels: Pixels) -> ConvolutionExperts:
    """What a layer's shortcuts go through: one output for each of `projection_applications`."""
    shape = replace(_shape(layer), kernel=1, dilation=1, pool=False)
    return ConvolutionExperts(
        (width, layer.width),
        layer.projection_applications,
        kind="project",
        convolution=shape,
        pixels=pixels,
    )


def _shape(layer: Layer) -> Convolution:
    if layer.convolution is None:
        raise ConfigError(f"layer: {layer.experts} experts are for tables; give conv or basic")
    return layer.convolution
