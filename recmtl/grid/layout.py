"""The static wiring of a sharing network: which experts exist, what they read, who may listen.

A `Layout` is data. It holds no weights and knows neither tables nor images, so that it can be
written to JSON, drawn, costed and pruned without building a network.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from recmtl.errors import ConfigError

__all__ = ["INPUT", "GateKind", "Layer", "Layout"]

INPUT = -1
"""The query source that stands for the grid's own input, whatever the layer."""

GateKind = Literal["softmax", "scalar", "one"]


@dataclass(frozen=True)
class Layer:
    """One layer of the grid: lanes `[B, S, *F]` to lanes `[B, K, *F']`.

    Attributes:
        width: features of an output lane.
        applications: one (expert, lane that it reads) a pair; A of them.
        edges: for each of the K output lanes the applications that it may listen to.
        hidden: hidden widths of an expert, before its last product to `width`.
        gate: how much an edge weighs: a softmax over the kept edges, a free scalar, or 1.
        queries: for each output lane what its softmax gate may look at, `INPUT` or a lane; more
            than one source means that a policy chooses (MTNAS).
        shortcut: for each output lane the input lane that replaces it where it does not run, or
            None where it always runs.
        searched: whether a route policy may choose among the edges and queries.
        carries: whether the "experts" are the identity, so that the layer only mixes lanes.
    """

    width: int
    applications: tuple[tuple[int, int], ...]
    edges: tuple[tuple[int, ...], ...]
    hidden: tuple[int, ...] = ()
    gate: GateKind = "softmax"
    queries: tuple[tuple[int, ...], ...] = ()
    shortcut: tuple[int | None, ...] = ()
    searched: bool = False
    carries: bool = False

    def __post_init__(self) -> None:
        """Fill the defaults (query: the input; no shortcut) and check the lengths."""
        lanes = len(self.edges)
        if not self.queries:
            object.__setattr__(self, "queries", ((INPUT,),) * lanes)
        if not self.shortcut:
            object.__setattr__(self, "shortcut", (None,) * lanes)
        if len(self.queries) != lanes or len(self.shortcut) != lanes:
            raise ConfigError(f"layer: {lanes} lanes need as many queries and shortcuts")
        for lane, edges in enumerate(self.edges):
            if any(not 0 <= a < len(self.applications) for a in edges):
                raise ConfigError(f"layer: lane {lane} listens to an application that is not there")
            if not edges and self.shortcut[lane] is None:
                raise ConfigError(f"layer: lane {lane} has neither an edge nor a shortcut")

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
    def reads(self) -> tuple[int, ...]:
        """For each application the lane that it reads."""
        return tuple(lane for _, lane in self.applications)


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
        layers = tuple(
            Layer(**{name: _tuples(value) for name, value in layer.items()})
            for layer in data["layers"]
        )
        return cls(**{**data, "layers": layers, "readout": tuple(data["readout"])})


def _tuples(value: Any) -> Any:
    if isinstance(value, Iterable) and not isinstance(value, str):
        return tuple(_tuples(item) for item in value)
    return value
