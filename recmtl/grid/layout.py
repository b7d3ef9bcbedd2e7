"""What a layer's experts do to images: the shape of their convolutions, as data.

The static wiring of a sharing network: which experts exist, what they read, who may listen.

A `Layout` is data. It holds no weights and knows neither tables nor images, so that it can be
written to JSON, drawn, costed and pruned without building a network.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

from recmtl.errors import ConfigError

__all__ = [
    "INPUT",
    "Convolution",
    "ExpertKind",
    "GateKind",
    "Layer",
    "Layout",
    "Norm",
    "Pixels",
    "lane_pixels",
    "lane_widths",
]

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


INPUT = -1
"""The query source that stands for the grid's own input, whatever the layer."""

GateKind = Literal["softmax", "scalar", "one"]
ExpertKind = Literal["mlp", "cross", "residual", "linear", "carry", "conv", "basic"]


@dataclass(frozen=True)
class Layer:
    """One layer of the grid: lanes `[B, S, *F]` to lanes `[B, K, *F']`.

    Attributes:
        width: features of an output lane; 0 where the layer carries, its lanes are as wide as those
            that it reads.
        applications: one (expert, lane that it reads) a pair; A of them.
        edges: for each of the K output lanes the applications that it may listen to.
        hidden: hidden widths of an expert, before its last product to `width`; of a `cross` expert
            the rank of each crossing.
        gate: how much an edge weighs: a softmax over the kept edges, a free scalar, or 1.
        queries: for each output lane what its softmax gate may look at, `INPUT` or a lane; more
            than one source means that a policy chooses (MTNAS).
        shortcut: for each output lane the input lane that replaces it where it does not run, or
            None where it always runs.
        searched: whether a route policy may choose among the edges and queries.
        experts: what an expert does: products and ReLU (`mlp`), crossings of low rank
            `h <- x * (h U V + b) + h` and a product (`cross`, DCN-V2), `relu(x + products(x))`
            (`residual`, as in AdaShare's code), one product alone (`linear`, the matrix of an edge
            in SNR-Trans), nothing (`carry`: the layer only mixes lanes), or on images convolutions:
            ReLU and normalisation after each (`conv`), or ResNet's `relu(x + block(x))` (`basic`).
        again: for each output lane the applications that it hears a second time, outside the gate
            and each with a free scalar (AdaTT's native experts).
        stopped: for each output lane the edges through which no gradient flows (STEM); a lane that
            keeps none but such edges trains them, since it would learn no features otherwise.
        rate: target share of examples for which a lane that may skip runs; below 1 an instance
            policy decides for each example (DynaShare).
        convolution: shape of the experts' convolutions, for `conv` and `basic`.
        through: where that is projected, for each output lane the projection through which its
            shortcut goes; by default that of the expert that the lane hears first. Projection n is
            also the one of expert n.
    """

    width: int
    applications: tuple[tuple[int, int], ...]
    edges: tuple[tuple[int, ...], ...]
    hidden: tuple[int, ...] = ()
    gate: GateKind = "softmax"
    queries: tuple[tuple[int, ...], ...] = ()
    shortcut: tuple[int | None, ...] = ()
    searched: bool = False
    experts: ExpertKind = "mlp"
    again: tuple[tuple[int, ...], ...] = ()
    stopped: tuple[tuple[int, ...], ...] = ()
    rate: float = 1.0
    convolution: Convolution | None = None
    through: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Fill the defaults (query: the input; nothing else a lane) and check the lengths."""
        defaults = {"queries": (INPUT,), "shortcut": None, "again": (), "stopped": ()}
        for name, nothing in defaults.items():
            if not getattr(self, name):
                object.__setattr__(self, name, (nothing,) * self.num_lanes)
            if len(getattr(self, name)) != self.num_lanes:
                raise ConfigError(f"layer: {name} must have one entry for each lane")
        for lane, edges in enumerate(self.edges):
            if any(not 0 <= a < len(self.applications) for a in edges):
                raise ConfigError(f"layer: lane {lane} listens to an application that is not there")
            if not edges and self.shortcut[lane] is None:
                raise ConfigError(f"layer: lane {lane} has neither an edge nor a shortcut")
            if not {*self.again[lane], *self.stopped[lane]} <= set(edges):
                raise ConfigError(f"layer: lane {lane} hears again, or stops, what is no edge")
        if self.hidden and self.experts in ("linear", "carry"):
            raise ConfigError(f"layer: {self.experts} experts have no hidden widths")
        if self.experts == "cross" and not self.hidden:
            raise ConfigError("layer: cross experts need the rank of a crossing as hidden width")
        if not 0.0 < self.rate <= 1.0:
            raise ConfigError("layer: rate must lie above 0 and be at most 1")
        if (self.convolution is not None) != (self.experts in ("conv", "basic")):
            raise ConfigError("layer: conv and basic experts need a convolution, others have none")
        if self.projects and not self.through:
            heard = tuple(self.applications[edges[0]][0] if edges else 0 for edges in self.edges)
            object.__setattr__(self, "through", heard)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Layer":
        """Rebuild a layer from its fields as JSON, lists or tuples alike."""
        fields = {name: _tuples(value) for name, value in data.items()}
        if data.get("convolution") is not None:
            fields["convolution"] = Convolution(**data["convolution"])
        if "carries" in fields:  # as version 0.1 wrote it
            fields["experts"] = "carry" if fields.pop("carries") else "mlp"
        return cls(**fields)

    @property
    def num_lanes(self) -> int:
        """Number K of output lanes."""
        return len(self.edges)

    @property
    def num_experts(self) -> int:
        """Number of experts with weights of their own."""
        if self.carries:
            return 0
        return len({expert for expert, _ in self.applications})

    @property
    def carries(self) -> bool:
        """Whether the layer has no experts and only mixes lanes."""
        return self.experts == "carry"

    def chain(self, width: int) -> tuple[int, ...]:
        """Widths between the products of an expert that reads a lane of this width."""
        if self.experts == "cross":
            return (width, *(w for rank in self.hidden for w in (rank, width)), self.width)
        return (width, *self.hidden, self.width)

    @property
    def reads(self) -> tuple[int, ...]:
        """For each application the lane that it reads."""
        return tuple(lane for _, lane in self.applications)

    @property
    def projects(self) -> bool:
        """Whether shortcuts go through projections."""
        return self.convolution is not None and self.convolution.projected

    @property
    def passes(self) -> tuple[tuple[int, int], ...]:
        """Each (projection, lane that it reads): of applications, and of lanes that may skip."""
        if not self.projects:
            return ()
        skips = zip(self.through, self.shortcut, strict=True)
        needed = [*self.applications, *((p, lane) for p, lane in skips if lane is not None)]
        return tuple(dict.fromkeys(needed))


@dataclass(frozen=True)
class Layout:
    """A stack of layers and, for each task, the lane of the last layer that its head reads.

    Attributes:
        name: what the field calls it.
        layers: from the encoder upward.
        readout: for each task the lane of the last layer.
        source: the paper, and which reading of it.
        input_lanes: lanes that the encoder writes.
    """

    name: str
    layers: tuple[Layer, ...]
    readout: tuple[int, ...]
    source: str = ""
    input_lanes: int = 1

    def __post_init__(self) -> None:
        """Check that every layer reads only lanes that the layer below it writes."""
        lanes = self.input_lanes
        for depth, layer in enumerate(self.layers):
            used = {*layer.reads, *(s for s in layer.shortcut if s is not None)}
            used |= {q for sources in layer.queries for q in sources if q != INPUT}
            if any(not 0 <= lane < lanes for lane in used):
                raise ConfigError(f"{self.name}: layer {depth} reads a lane that is not there")
            lanes = layer.num_lanes
        if any(not 0 <= lane < lanes for lane in self.readout):
            raise ConfigError(f"{self.name}: a head reads a lane that is not there")

    @property
    def num_tasks(self) -> int:
        """Number T of tasks."""
        return len(self.readout)

    def to_json(self) -> dict[str, Any]:
        """The layout as JSON data; `from_json` is its inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Layout":
        """Rebuild a layout from `to_json` data, lists or tuples alike."""
        layers = tuple(Layer.from_json(layer) for layer in data["layers"])
        return cls(**{**data, "layers": layers, "readout": tuple(data["readout"])})


def lane_widths(layout: Layout, input_width: int) -> list[int]:
    """Features of a lane before the first layer and after each."""
    widths = [input_width]
    for layer in layout.layers:
        widths.append(widths[-1] if layer.carries else layer.width)
    return widths


def lane_pixels(layout: Layout, pixels: Pixels) -> list[Pixels]:
    """Height and width of a lane before the first layer and after each."""
    sizes = [pixels]
    for layer in layout.layers:
        sizes.append(layer.convolution.outer(sizes[-1]) if layer.convolution else sizes[-1])
    return sizes


def _tuples(value: Any) -> Any:
    if isinstance(value, Iterable) and not isinstance(value, str):
        return tuple(_tuples(item) for item in value)
    return value
