"""What a layer's experts do to images: the shape of their convolutions, as data."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

__all__ = ["Convolution", "Norm", "Pixels"]

Norm = Literal["batch", "group"]
Pixels = tuple[int, int]
"""Height and width of a lane; a table's lane is an image of one pixel."""


@dataclass(frozen=True)
class Convolution:
    """The convolutions of a layer's experts; the layer's widths are their channels.

    Attributes:
        kernel: height and width of the first convolution's kernel; 0 is as large as the lane, which
            leaves one pixel: a linear layer. Later ones have 3, or 1 on one pixel.
        stride: of the first convolution.
        dilation: of all.
        pool: whether 2x2 maximum pooling follows the last.
        norm: `batch`, statistics of every lane that an expert serves apart, or `group`, statistics
            of each example, 16 channels a group.
        projected: whether what a lane would pass on, and what a residual expert adds to, goes
            through a 1x1 convolution with the same stride and normalisation (ResNet's
            down-sampling shortcut); needed where the shape changes.
    """

    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    pool: bool = False
    norm: Norm = "batch"
    projected: bool = False

    def kernels(self, count: int, pixels: Pixels) -> list[Pixels]:
        """Height and width of each of `count` kernels, for lanes of some size."""
        first = pixels if self.kernel == 0 else (self.kernel, self.kernel)
        later = (1, 1) if self.kernel in (0, 1) else (3, 3)
        return [first, *[later] * (count - 1)]

    def inner(self, pixels: Pixels) -> Pixels:
        """Size after the convolutions, before pooling: that of every product."""
        if self.kernel == 0:
            return 1, 1
        return -(-pixels[0] // self.stride), -(-pixels[1] // self.stride)

    def outer(self, pixels: Pixels) -> Pixels:
        """Size of an output lane."""
        height, width = self.inner(pixels)
        return (height // 2, width // 2) if self.pool else (height, width)

    def products(self, widths: Sequence[int], pixels: Pixels) -> int:
        """Multiply-adds of one expert on one lane: `widths` from its input to its output."""
        area = self.inner(pixels)[0] * self.inner(pixels)[1]
        return area * self.weights(widths, pixels)

    def weights(self, widths: Sequence[int], pixels: Pixels) -> int:
        """Numbers in the kernels of one expert."""
        kernels = self.kernels(len(widths) - 1, pixels)
        pairs = zip(pairwise(widths), kernels, strict=True)
        return sum(a * b * height * width for (a, b), (height, width) in pairs)
