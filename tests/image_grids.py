"""Samplers for tests of the grid on images: random layouts of convolutions, and their networks."""

import random

import torch
from torch import Tensor

from recmtl.grid import INPUT, Layer, Layout, SharingGrid
from recmtl.grid.layout import Convolution, Norm

CHANNELS, PIXELS = 4, (7, 6)


def scrambled_images(layout: Layout, *, seed: int = 0) -> SharingGrid:
    """A float64 network of a layout with drawn weights, in evaluation."""
    torch.manual_seed(seed)
    grid = SharingGrid(layout, input_width=CHANNELS, pixels=PIXELS).double().eval()
    with torch.no_grad():
        for parameter in grid.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.5)
    return grid


def some_images(layout: Layout, *, rows: int = 5, seed: int = 1) -> Tensor:
    """Input lanes `[rows, S, CHANNELS, *PIXELS]`."""
    torch.manual_seed(seed)
    return torch.randn(rows, layout.input_lanes, CHANNELS, *PIXELS, dtype=torch.float64)


def random_image_layout(seed: int) -> Layout:
    """Up to four layers: convolutions, residual blocks, projections, mixtures, instance gates."""
    dice = random.Random(seed)
    layers: list[Layer] = []
    lanes = input_lanes = dice.randint(1, 2)
    for _ in range(dice.randint(1, 4)):
        layers.append(_layer(dice, lanes))
        lanes = layers[-1].num_lanes
    readout = tuple(dice.randrange(lanes) for _ in range(dice.randint(1, 3)))
    return Layout("random images", tuple(layers), readout, input_lanes=input_lanes)


def _layer(dice: random.Random, below: int) -> Layer:
    kind = dice.choice(("conv", "basic", "basic", "basic", "carry"))
    norm: Norm = dice.choice(("batch", "group"))
    projected = kind == "basic" and dice.random() < 0.6
    skips = projected or (kind == "basic" and dice.random() < 0.7) or dice.random() < 0.3
    stride = 2 if projected and dice.random() < 0.3 else 1
    experts = dice.randint(1, 3)
    reads = [(expert, dice.randrange(below)) for expert in range(experts)]
    more = [(dice.randrange(experts), dice.randrange(below)) for _ in range(dice.randint(0, 2))]
    applications = tuple(dict.fromkeys([*reads, *more]))
    lanes = dice.randint(1, 4)
    edges = tuple(
        tuple(sorted(dice.sample(range(len(applications)), dice.randint(1, len(applications)))))
        for _ in range(lanes)
    )
    shape = Convolution(stride=stride, dilation=dice.randint(1, 2), norm=norm, projected=projected)
    return Layer(
        0 if kind == "carry" else CHANNELS,
        applications,
        edges,
        hidden=(3,) if kind == "basic" else (),
        gate=dice.choice(("softmax", "scalar", "one")),
        queries=tuple((dice.choice((INPUT, dice.randrange(below))),) for _ in range(lanes)),
        shortcut=tuple(
            dice.randrange(below) if skips and dice.random() < 0.7 else None for _ in range(lanes)
        ),
        experts=kind,
        rate=0.5 if dice.random() < 0.3 else 1.0,
        convolution=None if kind == "carry" else shape,
    )
