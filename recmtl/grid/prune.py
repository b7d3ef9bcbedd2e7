"""From a frozen route to a smaller network that computes the same outputs.

Edges that the route drops, lanes that nobody reads, experts that no lane listens to and gates with
one edge left disappear from the layout itself. Lanes that provably compute the same thing (skips
and branches that coincide for several tasks) are computed once. If every lane that still listens to
an application detaches it, all of them train it.

Lanes that become equal have equal statistics of normalisation only if these were gathered under
the route. A network that was searched is therefore pruned first and then trained anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from recmtl.grid.gates import ResidualGate, ScalarGate, SelectionGate, SoftmaxGate
from recmtl.grid.layout import INPUT, Layer, Layout, Selection
from recmtl.grid.network import GridLayer, SharingGrid
from recmtl.grid.routes import LayerRoutes, Routes

__all__ = ["Pruned", "prune", "prune_grid"]

Marked = tuple[tuple[int, ...], ...]
"""For each lane some of its edges."""


@dataclass(frozen=True)
class Pruned:
    """A pruned layout, and where its lanes and applications stood in the one it came from.

    Attributes:
        layout: the smaller layout.
        inputs: the old numbers of the input lanes that stay.
        depths: for each layer its old number.
        lanes: for each layer the old numbers of the lanes that stay.
        applications: for each layer the old numbers of the applications that stay.
    """

    layout: Layout
    inputs: tuple[int, ...]
    depths: tuple[int, ...]
    lanes: tuple[tuple[int, ...], ...]
    applications: tuple[tuple[int, ...], ...]


def prune(layout: Layout, routes: Routes) -> Pruned:
    """The smallest layout that computes what `layout` computes under `routes`.

    >>> from recmtl.grid import Routes, mmoe
    >>> from recmtl.grid.routes import LayerRoutes
    >>> layout = mmoe(2, experts=3, widths=(4,))
    >>> first_two = LayerRoutes(edges=((0,), (0, 1)), queries=(-1, -1), run=(True, True))
    >>> small = prune(layout, Routes((first_two,)))
    >>> small.layout.layers[0].num_experts, small.applications
    (2, ((0, 1),))
    """
    layers = [_restrict(layer, r) for layer, r in zip(layout.layers, routes.layers, strict=True)]
    layers, readout = _merge(layers, layout.readout)
    live = _live(layers, readout)
    embeddings = layout.embedding_lanes
    whole = live.whole_input or any(_reads_input(layer) for layer in layers)
    prior = {embeddings - 1} if layout.looks_at_prior else set()
    kept_inputs = sorted(range(layout.input_lanes) if whole else live.inputs | prior)
    made = [layout.interactions[lane - embeddings] for lane in kept_inputs if lane >= embeddings]
    if made and embeddings - 1 not in kept_inputs:  # what they are made of
        kept_inputs = sorted([*kept_inputs, embeddings - 1])
    below = {lane: number for number, lane in enumerate(kept_inputs)}
    small, depths = [], []
    for depth, layer in enumerate(layers):
        lanes, applications = live.lanes[depth], live.applications[depth]
        if applications or layer.has_projection:
            small.append(_renumber(layer, lanes, applications, below))
            depths.append(depth)
            below = {lane: number for number, lane in enumerate(lanes)}
        else:  # every lane skips: the layer is gone
            below = {lane: below[_passed_on(layer, lane)] for lane in lanes}
    heads = tuple(below[lane] for lane in readout)
    return Pruned(
        replace(
            layout,
            layers=tuple(small),
            readout=heads,
            input_lanes=len(kept_inputs),
            interactions=tuple(made),
        ),
        tuple(kept_inputs),
        tuple(depths),
        tuple(tuple(live.lanes[depth]) for depth in depths),
        tuple(tuple(live.applications[depth]) for depth in depths),
    )


def prune_grid(grid: SharingGrid, routes: Routes) -> SharingGrid:
    """The network of the pruned layout with the weights of `grid`; its outputs are equal."""
    pruned = prune(grid.layout, routes)
    small = SharingGrid(
        pruned.layout, input_width=grid.input_width, dropout=grid.dropout, pixels=grid.pixels
    )
    if len(small.layers):  # every layer may be skipped
        small = small.to(grid.layer(0).get_buffer("keep"))  # the same number format and device
    with torch.no_grad():
        for depth in range(len(small.layers)):
            _copy_experts(grid, small, depth, pruned, routes)
            _copy_gate(grid, small, depth, pruned, routes)
            _copy_instance(grid.layer(pruned.depths[depth]), small.layer(depth))
            before, after = grid.layer(pruned.depths[depth]), small.layer(depth)
            if before.feature_gate is not None and after.feature_gate is not None:
                lanes = list(pruned.lanes[depth])
                _copy_stacked(before.feature_gate, after.feature_gate, lanes, [])
    return small.train(grid.training)


def _restrict(layer: Layer, routes: LayerRoutes) -> Layer:
    """The layer with only the route's edges and queries; a lane that skips has no edges."""
    edges, shortcut = [], []
    for kept, run, source in zip(routes.edges, routes.run, layer.shortcut, strict=True):
        runs = run or source is None
        edges.append(tuple(kept) if runs else ())
        # A lane that runs may still skip if examples decide for themselves.
        shortcut.append(source if not runs or layer.rate < 1.0 else None)
    return replace(
        layer,
        edges=tuple(edges),
        shortcut=tuple(shortcut),
        queries=tuple((query,) for query in routes.queries),
        residual_edges=_among(layer.residual_edges, edges),
        detached_edges=_among(layer.detached_edges, edges),
        searched=False,
        selection=_selection_among(layer, edges),
    )


def _selection_among(layer: Layer, edges: Sequence[tuple[int, ...]]) -> Selection | None:
    """The selection with the places of the kept edges."""
    if layer.selection is None:
        return None
    rows = zip(layer.selection.places, layer.edges, edges, strict=True)
    places = (tuple(p for p, a in zip(of, had, strict=True) if a in kept) for of, had, kept in rows)
    return replace(layer.selection, places=tuple(places))


def _among(marked: Marked, edges: Sequence[tuple[int, ...]]) -> Marked:
    """Each lane's marked edges that are among its kept edges."""
    pairs = zip(marked, edges, strict=True)
    return tuple(tuple(a for a in of_lane if a in kept) for of_lane, kept in pairs)


def _merge(layers: list[Layer], readout: tuple[int, ...]) -> tuple[list[Layer], tuple[int, ...]]:
    """Point every reader of a duplicate lane or application at the first of its kind."""
    same: dict[int, int] = {}
    merged = []
    for layer in layers:
        reads = tuple((e, same.get(lane, lane)) for e, lane in layer.applications)
        first: dict[tuple[int, int], int] = {}
        twin = [first.setdefault(read, a) for a, read in enumerate(reads)]
        edges = tuple(
            _first_twins(of_lane, twin) if _is_fixed(layer, lane) else of_lane
            for lane, of_lane in enumerate(layer.edges)
        )
        shortcut = tuple(None if s is None else same.get(s, s) for s in layer.shortcut)
        queries = tuple(tuple(same.get(q, q) for q in sources) for sources in layer.queries)
        merged.append(
            replace(layer, applications=reads, edges=edges, shortcut=shortcut, queries=queries)
        )
        same = _twin_lanes(merged[-1])
    return merged, tuple(same.get(lane, lane) for lane in readout)


def _reads_input(layer: Layer) -> bool:
    """Whether feature gates look at the whole input."""
    return layer.feature_gates is not None and layer.feature_gates.reads == "prior_and_input"


def _is_fixed(layer: Layer, lane: int) -> bool:
    """Whether a lane has neither weights of its own nor detached edges."""
    weighed = layer.gate == "scalar" or _is_gated(layer, lane) or layer.feature_gates is not None
    return not weighed and not layer.residual_edges[lane] and not layer.detached_edges[lane]


def _is_gated(layer: Layer, lane: int) -> bool:
    """Whether a lane has a softmax or a selection that decides something."""
    return layer.gate == "dselect" or (layer.gate == "softmax" and len(layer.edges[lane]) > 1)


def _first_twins(edges: tuple[int, ...], twin: list[int]) -> tuple[int, ...]:
    """The first twin of each edge; a lane that listens to two twins keeps both."""
    moved = tuple(twin[a] for a in edges)
    return edges if len(set(moved)) < len(moved) else moved


def _twin_lanes(layer: Layer) -> dict[int, int]:
    """For each lane the first lane that computes the same."""
    first: dict[tuple[object, ...], int] = {}
    same = {}
    for lane, edges in enumerate(layer.edges):
        skip = layer.shortcut[lane]
        # The projection of a lane that always runs is a number without a meaning.
        passes = layer.has_projection and skip is not None
        projection = layer.shortcut_projection[lane] if passes else 0
        key = (edges, skip, projection) if _is_fixed(layer, lane) else ("unique", lane)
        same[lane] = first.setdefault(key, lane)
    return same


@dataclass(frozen=True)
class _Live:
    """What some head depends on: lanes and applications of each layer, and input lanes."""

    lanes: list[list[int]]
    applications: list[list[int]]
    inputs: set[int]
    whole_input: bool


def _live(layers: Sequence[Layer], readout: Sequence[int]) -> _Live:
    lanes: list[list[int]] = []
    applications: list[list[int]] = []
    needed, whole_input = set(readout), False
    for layer in reversed(layers):
        used = {a for lane in needed for a in layer.edges[lane]}
        lanes.insert(0, sorted(needed))
        applications.insert(0, sorted(used))
        looked_at = _looked_at(layer, needed)
        whole_input = whole_input or INPUT in looked_at
        passed = {layer.shortcut[lane] for lane in needed}
        needed = {layer.applications[a][1] for a in used} | (looked_at - {INPUT})
        needed |= {lane for lane in passed if lane is not None}
    return _Live(lanes, applications, needed, whole_input)


def _looked_at(layer: Layer, lanes: set[int]) -> set[int]:
    """The query sources of the lanes whose gates decide something."""
    return {query for lane in lanes if _is_gated(layer, lane) for query in layer.queries[lane]}


def _passed_on(layer: Layer, lane: int) -> int:
    """The lane that a lane without edges passes on; the layout has checked that there is one."""
    return next(source for source in layer.shortcut[lane : lane + 1] if source is not None)


def _renumber(
    layer: Layer, lanes: list[int], applications: list[int], below: dict[int, int]
) -> Layer:
    """The layer with only these lanes and applications, in new numbers; `below` of input lanes."""
    experts = sorted({layer.applications[a][0] for a in applications})
    reads = [layer.applications[a] for a in applications]
    gated = [_is_gated(layer, lane) for lane in lanes]
    queries = tuple(
        tuple(q if q == INPUT else below[q] for q in layer.queries[lane]) if gate else (INPUT,)
        for lane, gate in zip(lanes, gated, strict=True)
    )
    shortcuts = [layer.shortcut[lane] for lane in lanes]

    def renumbered(marked: Marked) -> Marked:
        return tuple(tuple(applications.index(a) for a in marked[lane]) for lane in lanes)

    return replace(
        layer,
        shortcut_projection=_shortcut_projection(layer, lanes, experts),
        applications=tuple((experts.index(e), below[lane]) for e, lane in reads),
        edges=renumbered(layer.edges),
        residual_edges=renumbered(layer.residual_edges),
        detached_edges=renumbered(_detached(layer, lanes)),
        queries=queries,
        shortcut=tuple(None if s is None else below[s] for s in shortcuts),
        gate="one" if layer.gate == "softmax" and not any(gated) else layer.gate,
        selection=layer.selection and _selection_of(layer.selection, lanes),
    )


def _selection_of(selection: Selection, lanes: Sequence[int]) -> Selection:
    """The selection of these lanes."""
    counts = tuple(selection.counts[lane] for lane in lanes)
    return replace(selection, counts=counts, places=tuple(selection.places[k] for k in lanes))


def _detached(layer: Layer, lanes: Sequence[int]) -> Marked:
    """Detached edges, but for those that no lane is left to train.

    If every edge that a lane would train has been pruned, the lane trains the edges it only
    listened to.
    """
    pairs = zip(layer.edges, layer.detached_edges, strict=True)
    detached = [() if {*edges} == {*marked} else marked for edges, marked in pairs]
    trained = {a for k in lanes for a in layer.edges[k] if a not in detached[k]}
    return tuple(tuple(a for a in marked if a in trained) for marked in detached)


def _shortcut_projection(layer: Layer, lanes: list[int], experts: list[int]) -> tuple[int, ...]:
    """New numbers of the lanes' projections: experts' first, then those of shortcuts alone."""
    if not layer.has_projection:
        return ()
    kept = _kept_projections(layer, lanes, experts)
    return tuple(kept.index(layer.shortcut_projection[k]) if _skips(layer, k) else 0 for k in lanes)


def _kept_projections(layer: Layer, lanes: Sequence[int], experts: list[int]) -> list[int]:
    of_shortcuts = {layer.shortcut_projection[k] for k in lanes if _skips(layer, k)}
    return [*experts, *sorted(of_shortcuts - {*experts})]


def _skips(layer: Layer, lane: int) -> bool:
    return layer.shortcut[lane] is not None


def _copy_experts(
    grid: SharingGrid, small: SharingGrid, depth: int, pruned: Pruned, routes: Routes
) -> None:
    before = pruned.depths[depth]
    old, new = grid.layer(before), small.layer(depth)
    applications, lanes = pruned.applications[depth], pruned.lanes[depth]
    kept = sorted({old.layer.applications[a][0] for a in applications})
    experts = old.get_submodule("experts"), new.get_submodule("experts")
    _copy_stacked(*experts, kept, list(applications))
    if old.projection is not None and new.projection is not None:
        restricted = _restrict(old.layer, routes.layers[before])
        numbers = _kept_projections(restricted, lanes, kept)
        origins = _projection_origins(old.layer, new.layer, lanes, applications)
        _copy_stacked(old.projection, new.projection, numbers, origins)


def _projection_origins(
    old: Layer, new: Layer, lanes: Sequence[int], applications: Sequence[int]
) -> list[int]:
    """For each projected lane of the new layer its position among those of the old layer."""
    position = old.projection_applications.index
    origins = {
        pair: position(old.applications[a])
        for a, pair in zip(applications, new.applications, strict=True)
    }
    former = _shortcut_pairs(old)
    for lane, pair in zip(lanes, _shortcut_pairs(new), strict=True):
        former_pair = former[lane]
        if pair is not None and former_pair is not None:
            origins.setdefault(pair, position(former_pair))
    return [origins[pair] for pair in new.projection_applications]


def _shortcut_pairs(layer: Layer) -> list[tuple[int, int] | None]:
    """For each lane (projection, lane that it passes on), or None if it always runs."""
    pairs = zip(layer.shortcut_projection, layer.shortcut, strict=True)
    return [None if lane is None else (projection, lane) for projection, lane in pairs]


def _copy_stacked(
    old: nn.Module, new: nn.Module, numbers: list[int], applications: list[int]
) -> None:
    """Copy weights by the numbers of the experts, statistics by those of the applications."""
    for name, parameter in new.named_parameters():
        parameter.copy_(old.get_parameter(name)[numbers])
    for name, buffer in new.named_buffers():
        buffer.copy_(old.get_buffer(name)[applications])


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
    if isinstance(old, SelectionGate) and isinstance(new, SelectionGate):
        for name, parameter in new.named_parameters():
            whole = old.get_parameter(name)
            by_lane = whole.view(old.num_lanes, -1, *whole.shape[1:])
            parameter.copy_(by_lane[list(lanes)].flatten(0, 1))
    if not (isinstance(old, SoftmaxGate) and isinstance(new, SoftmaxGate)):
        return
    for source in new.sources:
        for _, lane, a in new.slots[source]:
            # The lane that the old gate looked at may since have been merged into its twin.
            old_source = routes.layers[before].queries[lanes[lane]]
            old_logit = old.logit(old_source, lanes[lane], applications[a])
            for target, origin in zip(new.logit(source, lane, a), old_logit, strict=True):
                target.copy_(origin)


def _copy_instance(old: GridLayer, new: GridLayer) -> None:
    if old.instance is not None and new.instance is not None:
        new.instance.load_state_dict(old.instance.state_dict())
