"""The catalog of layouts on images: the same ways to share, with a network's blocks as experts.

A trunk is a sequence of stages, each a sequence of blocks; `resnet`, `plain_cnn` and `thin_vgg`
write the published ones. `IMAGE_CATALOG` turns a number of tasks and a trunk into a layout.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from recmtl.errors import ConfigError
from recmtl.grid.catalog.gated import mmoe
from recmtl.grid.catalog.searched import adashare_of_blocks, recmtl_grid_of_blocks, upper_half_rates
from recmtl.grid.catalog.shared import balanced, branched, cross_stitch, shared_bottom, single_task
from recmtl.grid.layout import Convolution, Layer, Layout, Norm

__all__ = ["IMAGE_CATALOG", "Trunk", "plain_cnn", "resnet", "thin_vgg"]

Stages = tuple[tuple[Layer, ...], ...]
ALONE = ((0, 0),), ((0,),)


@dataclass(frozen=True)
class Trunk:
    """The blocks of a convolutional network, which become the experts of a layout.

    Attributes:
        stages: the blocks of each stage; tasks may branch, or be mixed, between stages.
        cells: columns of experts in MMoE and in the searched grid.
        rates: for DynaShare, the share of the images for which each block runs; empty for the
            default of `upper_half_rates`.
    """

    stages: Stages
    cells: int
    rates: tuple[float, ...] = ()

    @property
    def blocks(self) -> tuple[Layer, ...]:
        """All blocks in order."""
        return tuple(block for stage in self.stages for block in stage)

    def dynashare_rates(self) -> tuple[float, ...]:
        """The rate of each block.

        Raises:
            ConfigError: the number of rates is not the number of blocks.
        """
        count = len(self.blocks)
        if self.rates and len(self.rates) != count:
            fault = f"rates: {len(self.rates)} are given for {count} blocks"
            raise ConfigError(f"{fault}; give one rate per block, or none")
        return self.rates or upper_half_rates(count)


def resnet(
    depths: Sequence[int],
    *,
    widths: Sequence[int] = (64, 128, 256, 512),
    strides: Sequence[int] = (1, 2, 1, 1),
    dilations: Sequence[int] = (1, 1, 2, 4),
    stem: int = 64,
    norm: Norm = "batch",
) -> Stages:
    """ResNet's BasicBlocks; ResNet-18 has depths (2, 2, 2, 2), ResNet-34 (3, 4, 6, 3).

    The defaults are AdaShare's, whose last stage has an eighth of the image's height and width. As
    in its code, the first block of a stage has a projected shortcut if its stride is above 1, its
    width changes, or its dilation is above 1.

    Args:
        depths: blocks of each stage.
        widths: channels of each stage.
        strides: stride of each stage's first block.
        dilations: dilation of each stage's blocks.
        stem: channels of the lane before the first stage.
        norm: normalisation of the blocks.
    """
    stages = []
    sizes = zip(depths, pairwise((stem, *widths)), strides, dilations, strict=True)
    for depth, (before, width), stride, dilation in sizes:
        shape = Convolution(dilation=dilation, norm=norm)
        block = Layer(
            width, *ALONE, hidden=(width,), gate="one", experts="basic", convolution=shape
        )
        projected = stride != 1 or before != width or dilation > 1
        first = replace(block, convolution=replace(shape, stride=stride, projected=projected))
        stages.append((first, *(block,) * (depth - 1)))
    return tuple(stages)


def plain_cnn(widths: Sequence[int], *, norm: Norm = "batch") -> Stages:
    """A small network: for each width a stage of one 3x3 convolution and 2x2 pooling.

    >>> [stage[0].width for stage in plain_cnn((8, 16))]
    [8, 16]
    """
    shape = Convolution(pool=True, norm=norm)
    return tuple((_conv(width, shape),) for width in widths)


def thin_vgg(width: int = 64, *, hidden: int = 128, norm: Norm = "batch") -> Stages:
    """VGG-16 of one width, each of its 15 layers a stage.

    These are 13 convolutions with pooling after 2, 4, 7, 10 and 13, then two linear layers, of
    which the first reads the whole map; ReLU and normalisation follow each layer. Source: FAFS, and
    the published CelebA tree of Branched Multi-Task Networks.
    """
    pooled = (2, 4, 7, 10, 13)
    layers = [_conv(width, Convolution(pool=n in pooled, norm=norm)) for n in range(1, 14)]
    whole = Convolution(kernel=0, norm=norm)
    return tuple((layer,) for layer in [*layers, _conv(hidden, whole), _conv(hidden, whole)])


def _conv(width: int, shape: Convolution) -> Layer:
    return Layer(width, *ALONE, gate="one", experts="conv", convolution=shape)


IMAGE_CATALOG: Mapping[str, Callable[[int, Trunk], Layout]] = {
    "separate": lambda tasks, t: single_task(tasks, widths=t.blocks),
    "shared_bottom": lambda tasks, t: shared_bottom(tasks, widths=t.blocks),
    "cross_stitch": lambda tasks, t: cross_stitch(tasks, levels=t.stages),
    "mmoe": lambda tasks, t: mmoe(tasks, experts=t.cells, widths=t.blocks),
    "adashare": lambda tasks, t: adashare_of_blocks(tasks, blocks=t.blocks),
    "dynashare": lambda tasks, t: adashare_of_blocks(
        tasks, blocks=t.blocks, rates=t.dynashare_rates()
    ),
    "branched": lambda tasks, t: branched(balanced(tasks, len(t.stages)), levels=t.stages),
    "recmtl_grid": lambda tasks, t: recmtl_grid_of_blocks(tasks, cells=t.cells, blocks=t.blocks),
}
"""The layouts of the catalog that are built of blocks, by their names in `CATALOG`."""
