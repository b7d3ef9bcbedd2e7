"""Parts of a layout with numbers of their own: convolutions, interactions, feature gates."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

__all__ = [
    "CROSSINGS",
    "Convolution",
    "FeatureGates",
    "Interaction",
    "InteractionKind",
    "Norm",
    "Pixels",
    "Prior",
    "Selection",
]

InteractionKind = Literal["fm", "fwfm", "dcn", "dcn_low_rank"]
CROSSINGS = 2
"""Crossings of a `dcn` interaction."""
Norm = Literal["batch", "group"]
Pixels = tuple[int, int]
"""Height and width of a lane; a table's lane is an image of one pixel."""


@dataclass(frozen=True)
class Convolution:
    """The convolutions of a layer's experts; the layer's widths are their channels.

    Attributes:
        kernel: height and width of the first convolution's kernel. 0 makes it as large as the lane:
            one pixel is left, as from a linear layer. Later kernels are 3 by 3, or 1 by 1 where
            the first is 1 by 1 or as large as the lane.
        stride: stride of the first convolution.
        dilation: dilation of every convolution.
        pool: whether 2x2 maximum pooling follows the last convolution.
        norm: `batch` keeps statistics for every application (an expert on one lane); `group`
            normalises each example by itself, 16 channels a group.
        projected: whether shortcuts, and the lanes that residual experts add to, go through a 1x1
            convolution with the same stride and normalisation (ResNet's down-sampling shortcut).
            Layers that change a lane's shape need it.
    """

    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    pool: bool = False
    norm: Norm = "batch"
    projected: bool = False

    def kernels(self, count: int, pixels: Pixels) -> list[Pixels]:
        """Height and width of each of `count` kernels on lanes of this size."""
        first = pixels if self.kernel == 0 else (self.kernel, self.kernel)
        later = (1, 1) if self.kernel in (0, 1) else (3, 3)
        return [first, *[later] * (count - 1)]

    def inner(self, pixels: Pixels) -> Pixels:
        """Height and width after the convolutions and before pooling."""
        if self.kernel == 0:
            return 1, 1
        return -(-pixels[0] // self.stride), -(-pixels[1] // self.stride)

    def outer(self, pixels: Pixels) -> Pixels:
        """Height and width of an output lane."""
        height, width = self.inner(pixels)
        return (height // 2, width // 2) if self.pool else (height, width)

    def products(self, widths: Sequence[int], pixels: Pixels) -> int:
        """Multiply-adds of one expert on one lane; `widths` run from its input to its output."""
        area = self.inner(pixels)[0] * self.inner(pixels)[1]
        return area * self.weights(widths, pixels)

    def weights(self, widths: Sequence[int], pixels: Pixels) -> int:
        """Number of weights in the kernels of one expert."""
        kernels = self.kernels(len(widths) - 1, pixels)
        pairs = zip(pairwise(widths), kernels, strict=True)
        return sum(a * b * height * width for (a, b), (height, width) in pairs)


@dataclass(frozen=True)
class Interaction:
    """An input lane that is made of a lane of embeddings: its fields, multiplied with one another.

    Attributes:
        kind: a factorisation machine (`fm`), one with a weight for each pair of fields (`fwfm`), or
            crossings of the whole lane (`dcn`, `dcn_low_rank`).
        fields: number F of fields of a lane.
        rank: of the matrices of `dcn_low_rank`; 0 for the others.
    """

    kind: InteractionKind
    fields: int
    rank: int = 0

    def weights(self, width: int) -> int:
        """Parameters, for lanes of `width` features."""
        if self.kind == "fm":
            return 0
        if self.kind == "fwfm":
            return self.fields**2
        return CROSSINGS * (2 * self.rank or width) * width + CROSSINGS * width

    def multiply_adds(self, width: int) -> int:
        """Multiply-adds of one example, for lanes of `width` features."""
        if self.kind == "fm":
            return width
        if self.kind == "fwfm":
            return (self.fields + 1) * width
        return CROSSINGS * (2 * self.rank or width) * width + CROSSINGS * width


@dataclass(frozen=True)
class FeatureGates:
    """Factors from 0 to 2 by which a layer multiplies the features of its output lanes.

    `2 sigmoid(U relu(V q + a) + b)`, a gate for each lane, of a query q:

    - `prior`: features of the input, such as the embedding of the user (POSO, Dai et al. 2021);
    - `prior_and_input`: these, and the whole input, through which no gradient flows (PEPNet, Chang
      et al., KDD 2023, equations 2 and 3).

    U starts at 0, so that every factor starts at 1.

    Attributes:
        reads: what the gates look at.
        hidden: features between the two products.
    """

    reads: Literal["prior", "prior_and_input"]
    hidden: int

    def query_width(self, *, prior: int, source: int) -> int:
        """Features of the query, of a prior and an input of so many features."""
        return prior if self.reads == "prior" else prior + source


@dataclass(frozen=True)
class Prior:
    """The fields of an input lane at which feature gates look.

    Attributes:
        fields: their numbers, in the order of a lane.
        sizes: of each field of a lane its number of features; 0 for as many as the network gives.
    """

    fields: tuple[int, ...]
    sizes: tuple[int, ...]

    def columns(self, width: int) -> list[int]:
        """The columns of these fields in a lane of `width` features.

        >>> Prior(fields=(1, 2), sizes=(0, 0, 3)).columns(7)
        [2, 3, 4, 5, 6]
        """
        size = (width - sum(self.sizes)) // max(self.sizes.count(0), 1)
        ends = list(accumulate((each or size for each in self.sizes), initial=0))
        return [column for field in self.fields for column in range(*ends[field : field + 2])]


@dataclass(frozen=True)
class Selection:
    """What the `dselect` gates of a layer select from (DSelect-k).

    Attributes:
        count: selectors of a lane: the most experts that an example hears.
        bits: of a code, enough for the edges of every lane.
        counts: for each output lane the number of edges among which it selects.
        places: for each output lane the place of each of its edges among these; pruning leaves
            some.
    """

    count: int
    bits: int
    counts: tuple[int, ...]
    places: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, edges: Sequence[Sequence[int]], count: int) -> "Selection":
        """What selects up to `count` among the edges of each lane."""
        counts = tuple(map(len, edges))
        bits = max(1, (max(counts) - 1).bit_length())
        return cls(count, bits, counts, tuple(tuple(range(each)) for each in counts))

    @property
    def outputs(self) -> int:
        """Numbers by which a lane selects: for each selector its bits and its weight."""
        return self.count * (self.bits + 1)

    @property
    def codes(self) -> int:
        """Codes of so many bits; those beyond the number of edges stand for one of them, too."""
        return int(2**self.bits)
