"""From a frozen route to a smaller network that computes the same outputs.

Edges that the route drops, lanes that nobody reads, experts that no lane listens to and gates
with one edge left are removed from the layout itself; lanes that provably compute the same thing
(skips and branches that coincide for several tasks) are computed once. An application that no
lane is left to train, since all that listen stop its gradient, is trained by all of them.

Lanes that became equal have equal statistics of normalisation only where these were gathered under
the route; a network that was searched is hence pruned first and then trained anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from recmtl.grid.gates import ResidualGate, ScalarGate, SoftmaxGate
from recmtl.grid.layout import INPUT, Layer, Layout
from recmtl.grid.network import GridLayer, SharingGrid
from recmtl.grid.routes import LayerRoutes, Routes

__all__ = ["Pruned", "prune", "prune_grid"]


@dataclass(frozen=True)
class Pruned:
    """A pruned layout, and where its lanes and applications stood in the one it came from.

    Attributes:
        layout: the smaller layout.
        inputs: the old numbers of the input lanes that stay.
        depths: for each layer the old number of that layer.
        lanes: for each layer the old numbers of the lanes that stay.
        applications: for each layer the old numbers of the applications that stay.
    """

    layout: Layout
    inputs: tuple[int, ...]
    depths: tuple[int, ...]
    lanes: tuple[tuple[int, ...], ...]
    applications: tuple[tuple[int, ...], ...]


def prune(layout: Layout, routes: Routes) -> Pruned:
    """The smallest layout that computes what `layout` computes under `routes`."""
    layers = [_restrict(layer, r) for layer, r in zip(layout.layers, routes.layers, strict=True)]
    layers, readout = _merge(layers, layout.readout)
    live_lanes: list[list[int]] = []
    live_applications: list[list[int]] = []
    needed, whole = set(readout), False
    for layer in reversed(layers):
        live_lanes.insert(0, sorted(needed))
        live = {a for lane in needed for a in layer.edges[lane]}
        live_applications.insert(0, sorted(live))
        whole = whole or INPUT in _looked_at(layer, needed)
        needed = _read_by(layer, needed, live)
    inputs = sorted(range(layout.input_lanes) if whole else needed)
    below = {lane: number for number, lane in enumerate(inputs)}
    small, depths = [], []
    for depth, layer in enumerate(layers):
        lanes, applications = live_lanes[depth], live_applications[depth]
        if applications or layer.has_projection:
            small.append(_renumber(layer, lanes, applications, below))
            depths.append(depth)
            below = {lane: number for number, lane in enumerate(lanes)}
        else:  # every lane skips: the layer is gone
            below = {lane: below[_passed(layer, lane)] for lane in lanes}
    heads = tuple(below[lane] for lane in readout)
    return Pruned(
        replace(layout, layers=tuple(small), readout=heads, input_lanes=len(inputs)),
        tuple(inputs),
        tuple(depths),
        tuple(tuple(live_lanes[depth]) for depth in depths),
        tuple(tuple(live_applications[depth]) for depth in depths),
    )


def _passed(layer: Layer, lane: int) -> int:
    """The lane that a lane without edges passes on; the layout has checked that there is one."""
    return next(source for source in layer.shortcut[lane : lane + 1] if source is not None)


def prune_grid(grid: SharingGrid, routes: Routes) -> SharingGrid:
    """The network of the pruned layout with the weights of `grid`; its outputs are equal."""
    pruned = prune(grid.layout, routes)
    small = SharingGrid(
        pruned.layout, input_width=grid.input_width, dropout=grid.dropout, pixels=grid.pixels
    )
    small = small.to(grid.layer(0).get_buffer("keep"))  # the same number format and device
    with torch.no_grad():
        for depth in range(len(small.layers)):
            _copy_experts(grid, small, depth, pruned, routes)
            _copy_gate(grid, small, depth, pruned, routes)
            _copy_instance(grid.layer(pruned.depths[depth]), small.layer(depth))
    return small.train(grid.training)


def _restrict(layer: Layer, routes: LayerRoutes) -> Layer:
    edges, shortcut = [], []
    for kept, run, source in zip(routes.edges, routes.run, layer.shortcut, strict=True):
        runs = run or source is None
        edges.append(tuple(kept) if runs else ())
        # Where examples decide for themselves a lane that runs may still skip.
        shortcut.append(source if not runs or layer.rate < 1.0 else None)
    return replace(
        layer,
        edges=tuple(edges),
        shortcut=tuple(shortcut),
        queries=tuple((query,) for query in routes.queries),
        residual_edges=_within(layer.residual_edges, edges),
        detached_edges=_within(layer.detached_edges, edges),
        searched=False,
    )


def _within(
    marked: Sequence[tuple[int, ...]], edges: Sequence[tuple[int, ...]]
) -> tuple[tuple[int, ...], ...]:
    """Of each lane's marked applications those that are among its edges."""
    return tuple(
        tuple(a for a in own if a in kept) for own, kept in zip(marked, edges, strict=True)
    )


def _merge(layers: list[Layer], readout: tuple[int, ...]) -> tuple[list[Layer], tuple[int, ...]]:
    """Point every reader of a duplicate lane or application at the first of its kind."""
    same: dict[int, int] = {}
    merged = []
    for layer in layers:
        reads = tuple((e, same.get(lane, lane)) for e, lane in layer.applications)
        first: dict[tuple[int, int], int] = {}
        twin = [first.setdefault(read, a) for a, read in enumerate(reads)]
        fixed = [_is_fixed(layer, lane) for lane in range(layer.num_lanes)]
        edges = tuple(
            _first_twins(own, twin) if alone else own
            for own, alone in zip(layer.edges, fixed, strict=True)
        )
        shortcut = tuple(None if s is None else same.get(s, s) for s in layer.shortcut)
        queries = tuple(tuple(same.get(q, q) for q in sources) for sources in layer.queries)
        merged.append(
            replace(layer, applications=reads, edges=edges, shortcut=shortcut, queries=queries)
        )
        same = _twin_lanes(merged[-1])
    return merged, tuple(same.get(lane, lane) for lane in readout)


def _is_fixed(layer: Layer, lane: int) -> bool:
    """Whether a lane has no weights of its own and no edge that stops gradients."""
    gated = layer.gate == "scalar" or (layer.gate == "softmax" and len(layer.edges[lane]) > 1)
    return not gated and not layer.residual_edges[lane] and not layer.detached_edges[lane]


def _first_twins(edges: tuple[int, ...], twin: list[int]) -> tuple[int, ...]:
    """The first twin of each edge; a lane that hears both twins keeps them."""
    moved = tuple(twin[a] for a in edges)
    return edges if len(set(moved)) < len(moved) else moved


def _twin_lanes(layer: Layer) -> dict[int, int]:
    first: dict[tuple[object, ...], int] = {}
    same = {}
    for lane, edges in enumerate(layer.edges):
        # A lane that always runs may have any number in `through`: it goes through nothing.
        skip = layer.shortcut[lane]
        through = (
            layer.shortcut_projection[lane] if layer.has_projection and skip is not None else 0
        )
        key = (edges, skip, through) if _is_fixed(layer, lane) else ("own", lane)
        same[lane] = first.setdefault(key, lane)
    return same


def _read_by(layer: Layer, lanes: set[int], applications: set[int]) -> set[int]:
    read = {layer.applications[a][1] for a in applications}
    for lane in lanes:
        shortcut = layer.shortcut[lane]
        read |= {shortcut} if shortcut is not None else set()
    return read | (_looked_at(layer, lanes) - {INPUT})


def _looked_at(layer: Layer, lanes: set[int]) -> set[int]:
    """The query sources of the lanes that have something to gate."""
    gated = [k for k in lanes if layer.gate == "softmax" and len(layer.edges[k]) > 1]
    return {query for lane in gated for query in layer.queries[lane]}


def _renumber(
    layer: Layer, lanes: list[int], applications: list[int], below: dict[int, int]
) -> Layer:
    experts = sorted({layer.applications[a][0] for a in applications})
    reads = [layer.applications[a] for a in applications]
    gated = [layer.gate == "softmax" and len(layer.edges[lane]) > 1 for lane in lanes]
    queries = tuple(
        tuple(q if q == INPUT else below[q] for q in layer.queries[lane]) if gate else (INPUT,)
        for lane, gate in zip(lanes, gated, strict=True)
    )
    shortcuts = [layer.shortcut[lane] for lane in lanes]

    # A lane left with nothing that it trains trains what it hears.
    stopped = [
        () if {*e} == {*s} else s for e, s in zip(layer.edges, layer.detached_edges, strict=True)
    ]
    trained = {a for k in lanes for a in layer.edges[k] if a not in stopped[k]}

    def renumbered(marked: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(applications.index(a) for a in marked[lane]) for lane in lanes)

    return replace(
        layer,
        shortcut_projection=_through(layer, lanes, experts),
        applications=tuple((experts.index(e), below[lane]) for e, lane in reads),
        edges=renumbered(layer.edges),
        residual_edges=renumbered(layer.residual_edges),
        detached_edges=renumbered(tuple(tuple(a for a in s if a in trained) for s in stopped)),
        queries=queries,
        shortcut=tuple(None if s is None else below[s] for s in shortcuts),
        gate="one" if layer.gate == "softmax" and not any(gated) else layer.gate,
    )


def _through(layer: Layer, lanes: list[int], experts: list[int]) -> tuple[int, ...]:
    """New numbers of the lanes' projections: experts' own first, then those of skips alone."""
    if not layer.has_projection:
        return ()
    kept = _projections(layer, lanes, experts)
    return tuple(kept.index(layer.shortcut_projection[k]) if _skips(layer, k) else 0 for k in lanes)


def _projections(layer: Layer, lanes: Sequence[int], experts: list[int]) -> list[int]:
    skipped = {layer.shortcut_projection[k] for k in lanes if _skips(layer, k)}
    return [*experts, *sorted(skipped - {*experts})]


def _skips(layer: Layer, lane: int) -> bool:
    return layer.shortcut[lane] is not None


def _copy_experts(
    grid: SharingGrid, small: SharingGrid, depth: int, pruned: Pruned, routes: Routes
) -> None:
    before = pruned.depths[depth]
    old, new = grid.layer(before), small.layer(depth)
    applications, lanes = pruned.applications[depth], pruned.lanes[depth]
    kept = sorted({old.layer.applications[a][0] for a in applications})
    own = old.get_submodule("experts"), new.get_submodule("experts")
    _copy_stacked(*own, kept, list(applications))
    if old.projection is not None and new.projection is not None:
        restricted = _restrict(old.layer, routes.layers[before])
        places = dict[tuple[int, int], int]()
        for a, own_pass in zip(applications, new.layer.applications, strict=True):
            places[own_pass] = old.layer.projection_applications.index(old.layer.applications[a])
        passed = _skipped(old.layer)
        for lane, skipped in zip(lanes, _skipped(new.layer), strict=True):
            former = passed[lane]
            if skipped is not None and former is not None:
                places.setdefault(skipped, old.layer.projection_applications.index(former))
        numbers = _projections(restricted, lanes, kept)
        order = [places[own_pass] for own_pass in new.layer.projection_applications]
        _copy_stacked(old.projection, new.projection, numbers, order)


def _skipped(layer: Layer) -> list[tuple[int, int] | None]:
    """For each lane what it passes on through which projection, None where it always runs."""
    pairs = zip(layer.shortcut_projection, layer.shortcut, strict=True)
    return [None if lane is None else (projection, lane) for projection, lane in pairs]


def _copy_stacked(old: nn.Module, new: nn.Module, numbers: list[int], places: list[int]) -> None:
    """Weights go by the experts' numbers, statistics by their applications."""
    for name, parameter in new.named_parameters():
        parameter.copy_(old.get_parameter(name)[numbers])
    for name, buffer in new.named_buffers():
        buffer.copy_(old.get_buffer(name)[places])


def _copy_gate(
    grid: SharingGrid, small: SharingGrid, depth: int, pruned: Pruned, routes: Routes
) -> None:
    before = pruned.depths[depth]
    old, new = grid.layer(before).gate, small.layer(depth).gate
    lanes, applications = pruned.lanes[depth], pruned.applications[depth]
    if isinstance(old, ResidualGate):
        if isinstance(new, ResidualGate):
            new.scalar.copy_(old.scalar[list(lanes)][:, list(applications)])
        old, new = old.gate, new.gate if isinstance(new, ResidualGate) else new
    if isinstance(old, ScalarGate) and isinstance(new, ScalarGate):
        new.scalar.copy_(old.scalar[list(lanes)][:, list(applications)])
    if not (isinstance(old, SoftmaxGate) and isinstance(new, SoftmaxGate)):
        return
    for source in new.sources:
        for _, lane, a in new.slots[source]:
            # The lane that the old gate looked at may since have been merged into its twin.
            name = routes.layers[before].queries[lanes[lane]]
            found = old.logit(name, lanes[lane], applications[a])
            for own, parent in zip(new.logit(source, lane, a), found, strict=True):
                own.copy_(parent)


def _copy_instance(old: GridLayer, new: GridLayer) -> None:
    if old.instance is not None and new.instance is not None:
        new.instance.load_state_dict(old.instance.state_dict())
