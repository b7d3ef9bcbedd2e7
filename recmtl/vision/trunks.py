"""The catalog on images: the same ways to share, with a network's blocks as experts."""

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
    """A convolutional network as experts of the catalog.

    Attributes:
        stages: blocks by stage; tasks may part, or be mixed, between stages.
        cells: columns of MMoE and of the searched grid.
        rates: for each block the share of images that DynaShare runs it for.
    """

    stages: Stages
    cells: int
    rates: tuple[float, ...] = ()

    @property
    def blocks(self) -> tuple[Layer, ...]:
        """All blocks in order."""
        return tuple(block for stage in self.stages for block in stage)

    def dynashare_rates(self) -> tuple[float, ...]:
        """The given rates, or those of `upper_half_rates`.

        Raises:
            ConfigError: another number of rates than of blocks.
        """
        count = len(self.blocks)
        if self.rates and len(self.rates) != count:
            raise ConfigError(f"rates: {len(self.rates)} are given for {count} blocks")
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
    """BasicBlocks after a stem; ResNet-18 has depths (2, 2, 2, 2), ResNet-34 (3, 4, 6, 3).

    The defaults are AdaShare's: an eighth of the image at the end. The first block of a stage has a
    projected shortcut where its shape changes or its dilation is above 1, as in its code.
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
    """A small network: for each width a stage of one 3x3 convolution and 2x2 pooling."""
    shape = Convolution(pool=True, norm=norm)
    return tuple((_conv(width, shape),) for width in widths)


def thin_vgg(width: int = 64, *, hidden: int = 128, norm: Norm = "batch") -> Stages:
    """VGG-16 of one width, each layer a stage: 13 convolutions, pooling after 2, 4, 7, 10 and 13.

    Then two linear layers, the first on the whole map; each with ReLU and normalisation after it
    (FAFS; the published CelebA tree of Branched Multi-Task Networks).
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
"""The catalog's ways to share that are built of blocks, by their names in `CATALOG`."""
