"""The static wiring of a sharing network: which experts exist, what they read, who mixes them.

A `Layout` is data. It holds no weights, so that it can be written to JSON, drawn, costed and pruned
without building a network; `recmtl.grid.network` builds the network. Layers for images say in a
`Convolution` what their experts do to pixels; everything else is the same for tables and images.

>>> towers = Layer(8, applications=((0, 0), (1, 0)), edges=((0,), (1,)))
>>> layout = Layout("two towers", (towers,), readout=(0, 1))
>>> layout.num_tasks, towers.num_experts
(2, 2)
>>> Layout.from_json(layout.to_json()) == layout
True
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from recmtl.errors import ConfigError
from recmtl.grid.parts import (
    CROSSINGS,
    Convolution,
    FeatureGates,
    Interaction,
    InteractionKind,
    Norm,
    Pixels,
    Prior,
    Selection,
)

__all__ = [
    "CROSSINGS",
    "INPUT",
    "Convolution",
    "ExpertKind",
    "FeatureGates",
    "GateKind",
    "Interaction",
    "InteractionKind",
    "Layer",
    "Layout",
    "Norm",
    "Pixels",
    "Prior",
    "Selection",
    "lane_pixels",
    "lane_widths",
]

INPUT = -1
"""The query source that stands for the input of the whole grid, in every layer."""

GateKind = Literal["softmax", "scalar", "one", "dselect"]
ExpertKind = Literal["mlp", "cross", "residual", "linear", "carry", "conv", "basic"]

FORMER_NAMES = {
    "again": "residual_edges",
    "stopped": "detached_edges",
    "through": "shortcut_projection",
}
"""Fields of a layer as earlier versions wrote them into `network.json` and search records."""


@dataclass(frozen=True)
class Layer:
    """One layer of the grid: lanes `[B, S, *F]` to lanes `[B, K, *F']`.

    Attributes:
        width: features of an output lane; 0 if the layer only mixes lanes, whose width stays.
        applications: A pairs (expert, lane that it reads).
        edges: for each of the K output lanes the applications that it may listen to.
        hidden: hidden widths of an expert, before its last product to `width`; the rank of each
            crossing of a `cross` expert.
        gate: how much an edge weighs: a softmax over the kept edges, a free scalar, 1, or the
            share of selectors that pick its expert (`dselect`).
        queries: for each output lane what its softmax gate may look at: `INPUT` or an input lane.
            If there are several, a policy chooses one (MTNAS).
        shortcut: for each output lane the input lane that replaces it where it does not run, or
            None if it always runs.
        searched: whether a route policy may choose among the edges and queries.
        experts: what an expert computes. For tables: products and ReLU (`mlp`); crossings of low
            rank `h <- x * (h U V + b) + h` and a product (`cross`, DCN-V2);
            `relu(x + products(x))` (`residual`, as in AdaShare's code); one product alone
            (`linear`, the matrix of an edge in SNR-Trans). For images: convolutions, each followed
            by ReLU and normalisation (`conv`), or ResNet's `relu(x + block(x))` (`basic`). For
            both: nothing (`carry`), the layer only mixes lanes.
        residual_edges: for each output lane the edges that it adds a second time, outside the gate
            and each with a free scalar (AdaTT's native experts).
        detached_edges: for each output lane the edges through which no gradient flows (STEM). A
            lane whose kept edges are all detached trains them nevertheless: it would learn no
            features otherwise.
        rate: target share of examples for which a lane with a shortcut runs. Below 1 an instance
            gate decides for each example (DynaShare).
        convolution: shape of the convolutions of `conv` and `basic` experts.
        shortcut_projection: if the convolution is projected, for each output lane the projection
            that its shortcut goes through; by default that of the expert on its first edge.
            Projection n also serves the residual expert n.
        feature_gates: factors of the features of the output lanes, which then always run; None for
            none.
        selection: what `dselect` gates select from.

    Raises:
        ConfigError: the fields contradict one another; the message names the lane.
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
    residual_edges: tuple[tuple[int, ...], ...] = ()
    detached_edges: tuple[tuple[int, ...], ...] = ()
    rate: float = 1.0
    convolution: Convolution | None = None
    shortcut_projection: tuple[int, ...] = ()
    feature_gates: FeatureGates | None = None
    selection: Selection | None = None

    def __post_init__(self) -> None:
        """Fill the defaults (gates look at the input, nothing else is marked) and check."""
        for name, default in (
            ("queries", (INPUT,)),
            ("shortcut", None),
            ("residual_edges", ()),
            ("detached_edges", ()),
        ):
            if not getattr(self, name):
                object.__setattr__(self, name, (default,) * self.num_lanes)
            if len(getattr(self, name)) != self.num_lanes:
                raise ConfigError(f"layer: {name} must have one entry for each lane")
        for lane in range(self.num_lanes):
            self._check_lane(lane)
        self._check_experts()
        if not 0.0 < self.rate <= 1.0:
            raise ConfigError(f"layer: rate must lie above 0 and be at most 1, not {self.rate}")
        if self.has_projection and not self.shortcut_projection:
            of_first = [self.applications[edges[0]][0] if edges else 0 for edges in self.edges]
            object.__setattr__(self, "shortcut_projection", tuple(of_first))

    def _check_lane(self, lane: int) -> None:
        edges, count = self.edges[lane], len(self.applications)
        if any(not 0 <= application < count for application in edges):
            raise ConfigError(
                f"layer: lane {lane} listens to an application that does not exist; the layer has "
                f"{count}, numbered from 0"
            )
        if not edges and self.shortcut[lane] is None:
            raise ConfigError(f"layer: lane {lane} has neither an edge nor a shortcut; give one")
        others = {*self.residual_edges[lane], *self.detached_edges[lane]} - set(edges)
        if others:
            raise ConfigError(
                f"layer: lane {lane}: residual_edges and detached_edges may only list the lane's "
                f"own edges; {min(others)} is not one of them"
            )

    def _check_experts(self) -> None:
        if self.hidden and self.experts in ("linear", "carry"):
            raise ConfigError(f"layer: {self.experts} experts have no hidden widths")
        if self.experts == "cross" and not self.hidden:
            raise ConfigError("layer: cross experts need the rank of a crossing as hidden width")
        if (self.convolution is not None) != (self.experts in ("conv", "basic")):
            raise ConfigError("layer: conv and basic experts need a convolution, others have none")
        is_plain = self.convolution is None and not any(s is not None for s in self.shortcut)
        if self.feature_gates is not None and not is_plain:
            raise ConfigError("layer: feature gates are for tables, and for lanes that always run")
        self._check_selection()

    def _check_selection(self) -> None:
        if (self.selection is not None) != (self.gate == "dselect"):
            raise ConfigError("layer: dselect gates need a selection, and others have none")
        if self.gate == "dselect" and set(self.queries) != {(INPUT,)}:
            raise ConfigError("layer: dselect gates look at the input; drop queries")

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Layer":
        """Rebuild a layer from its fields as JSON of any version, lists or tuples alike."""
        fields = {FORMER_NAMES.get(name, name): _tuples(value) for name, value in data.items()}
        if data.get("convolution") is not None:
            fields["convolution"] = Convolution(**data["convolution"])
        if data.get("feature_gates") is not None:
            fields["feature_gates"] = FeatureGates(**data["feature_gates"])
        if data.get("selection") is not None:
            entries = {name: _tuples(value) for name, value in data["selection"].items()}
            fields["selection"] = Selection(**entries)
        if "carries" in fields:  # version 0.1 knew no other experts than products
            fields["experts"] = "carry" if fields.pop("carries") else "mlp"
        return cls(**fields)

    @property
    def num_lanes(self) -> int:
        """Number K of output lanes."""
        return len(self.edges)

    @property
    def num_experts(self) -> int:
        """Number of experts with weights of their own."""
        return 0 if self.only_mixes else len({expert for expert, _ in self.applications})

    @property
    def only_mixes(self) -> bool:
        """Whether the layer has no experts and only mixes lanes."""
        return self.experts == "carry"

    @property
    def reads(self) -> tuple[int, ...]:
        """The input lane that each application reads."""
        return tuple(lane for _, lane in self.applications)

    @property
    def has_projection(self) -> bool:
        """Whether shortcuts and residual experts go through projections."""
        return self.convolution is not None and self.convolution.projected

    @property
    def projection_applications(self) -> tuple[tuple[int, int], ...]:
        """Pairs (projection, lane that it reads): of the applications, then of the shortcuts."""
        if not self.has_projection:
            return ()
        skips = zip(self.shortcut_projection, self.shortcut, strict=True)
        needed = [*self.applications, *((p, lane) for p, lane in skips if lane is not None)]
        return tuple(dict.fromkeys(needed))

    def expert_widths(self, width: int) -> tuple[int, ...]:
        """Widths around the products of an expert that reads a lane of this width."""
        if self.experts == "cross":
            return (width, *(w for rank in self.hidden for w in (rank, width)), self.width)
        return (width, *self.hidden, self.width)


@dataclass(frozen=True)
class Layout:
    """A stack of layers and, for each task, the lane of the last layer that its head reads.

    Attributes:
        name: what the field calls it.
        layers: from the encoder upward.
        readout: for each task a lane of the last layer.
        source: the paper, and which reading of it.
        input_lanes: number of lanes that the encoder writes.
        interactions: of the last input lanes what they make of the lane before all of them; the
            others hold embeddings.
        prior: the fields of the last lane of embeddings at which feature gates look; None for all.

    Raises:
        ConfigError: a layer or a head reads a lane that does not exist, or no lane has embeddings.
    """

    name: str
    layers: tuple[Layer, ...]
    readout: tuple[int, ...]
    source: str = ""
    input_lanes: int = 1
    interactions: tuple[Interaction, ...] = ()
    prior: Prior | None = None

    def __post_init__(self) -> None:
        """Check that every layer reads only lanes that the layer below it writes."""
        if self.interactions and self.embedding_lanes < 1:
            raise ConfigError(f"{self.name}: interactions need a lane of embeddings before them")
        lanes = self.input_lanes
        for depth, layer in enumerate(self.layers):
            used = {*layer.reads, *(s for s in layer.shortcut if s is not None)}
            used |= {q for sources in layer.queries for q in sources if q != INPUT}
            if any(not 0 <= lane < lanes for lane in used):
                raise ConfigError(
                    f"{self.name}: layer {depth} reads a lane that does not exist; {lanes} lanes "
                    "lie below it, numbered from 0"
                )
            lanes = layer.num_lanes
        if any(not 0 <= lane < lanes for lane in self.readout):
            raise ConfigError(
                f"{self.name}: a head reads a lane that does not exist; the last layer writes "
                f"{lanes}, numbered from 0"
            )

    @property
    def num_tasks(self) -> int:
        """Number T of tasks."""
        return len(self.readout)

    def prior_columns(self, width: int) -> list[int]:
        """The columns, of a lane of `width` features, at which feature gates look."""
        return [*range(width)] if self.prior is None else self.prior.columns(width)

    @property
    def looks_at_prior(self) -> bool:
        """Whether feature gates look at the input."""
        return any(layer.feature_gates is not None for layer in self.layers)

    @property
    def embedding_lanes(self) -> int:
        """Number of input lanes with embeddings, which come first."""
        return self.input_lanes - len(self.interactions)

    def to_json(self) -> dict[str, Any]:
        """The layout as JSON data; `from_json` rebuilds it."""
        data = asdict(self)
        # What releases did not know is left out where there is none of it.
        for name in ("interactions", "prior"):
            if not data[name]:
                del data[name]
        for layer in data["layers"]:
            for name in ("feature_gates", "selection"):
                if layer[name] is None:
                    del layer[name]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Layout":
        """Rebuild a layout from `to_json` data of any version, lists or tuples alike."""
        layers = tuple(Layer.from_json(layer) for layer in data["layers"])
        interactions = tuple(Interaction(**entry) for entry in data.get("interactions", ()))
        lanes = {"readout": tuple(data["readout"]), "interactions": interactions}
        prior = data.get("prior") and Prior(
            **{name: tuple(value) for name, value in data["prior"].items()}
        )
        return cls(**{**data, "layers": layers, "prior": prior, **lanes})


def lane_widths(layout: Layout, input_width: int) -> list[int]:
    """Features of a lane before the first layer and after each."""
    widths = [input_width]
    for layer in layout.layers:
        widths.append(widths[-1] if layer.only_mixes else layer.width)
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
