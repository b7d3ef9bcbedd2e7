"""Samplers for tests of the grid: random layouts, random routes, networks of random weights."""

import random

import torch
from torch import Tensor

from recmtl.grid import (
    INPUT,
    Decision,
    Layer,
    LayerRoutes,
    Layout,
    Routes,
    SharingGrid,
    prune,
    prune_grid,
)

WIDTH = 5
"""Features of an input lane in these tests."""


def scrambled(layout: Layout, *, seed: int = 0, dropout: float = 0.0) -> SharingGrid:
    """A float64 network of a layout; gates and biases, which start at zero, are drawn as well."""
    torch.manual_seed(seed)
    grid = SharingGrid(layout, input_width=WIDTH, dropout=dropout).double().eval()
    with torch.no_grad():
        for parameter in grid.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.7)
    return grid


def random_lanes(layout: Layout, *, rows: int = 6, seed: int = 1) -> Tensor:
    """Input lanes `[rows, S, WIDTH]` that take gradients."""
    torch.manual_seed(seed)
    shape = (rows, layout.input_lanes, WIDTH)
    return torch.randn(shape, dtype=torch.float64).requires_grad_()


def random_routes(layout: Layout, seed: int) -> Routes:
    """A hard route: for each lane some of its edges, a query source, and run or skip."""
    dice = random.Random(seed)
    return Routes(tuple(_route(layer, dice) for layer in layout.layers))


def decided(layout: Layout, routes: Routes) -> list[Decision]:
    """The hard decisions of a route in float64."""
    return [
        Decision(d.keep.double(), d.query.double(), d.run.double())
        for d in routes.decisions(layout)
    ]


def assert_pruned_is_masked(
    grid: SharingGrid, lanes: Tensor, routes: Routes, *, atol: float
) -> None:
    """The pruned network computes what the masked one does, with gradients and without."""
    decisions, inputs = decided(grid.layout, routes), list(prune(grid.layout, routes).inputs)
    masked, small = grid(lanes, decisions), prune_grid(grid, routes)
    torch.testing.assert_close(small(lanes[:, inputs]), masked, rtol=0, atol=atol)
    with torch.no_grad():  # rows that skip are left out, and nothing changes
        torch.testing.assert_close(grid(lanes, decisions), masked)
        torch.testing.assert_close(small(lanes[:, inputs]), masked)


def random_layout(seed: int) -> Layout:
    """Up to three layers with any mix of gates, shortcuts, queries, shared and carried lanes."""
    dice = random.Random(seed)
    input_lanes = dice.randint(1, 2)
    layers: list[Layer] = []
    lanes, width = input_lanes, WIDTH
    for _ in range(dice.randint(1, 3)):
        layers.append(_layer(dice, lanes, width))
        lanes, width = layers[-1].num_lanes, layers[-1].width
    readout = tuple(dice.randrange(lanes) for _ in range(dice.randint(1, 3)))
    return Layout("random", tuple(layers), readout, input_lanes=input_lanes)


def _layer(dice: random.Random, below: int, width: int) -> Layer:
    kind = dice.choice(("mlp", "mlp", "cross", "residual", "linear", "carry"))
    skips = dice.random() < 0.5
    same_width = skips or kind in ("residual", "carry")
    experts = dice.randint(1, 4)
    reads = [(expert, dice.randrange(below)) for expert in range(experts)]
    more = [(dice.randrange(experts), dice.randrange(below)) for _ in range(dice.randint(0, 2))]
    applications = list(dict.fromkeys([*reads, *more]))
    lanes = dice.randint(1, 4)
    edges = tuple(_some(dice, range(len(applications))) for _ in range(lanes))
    hidden = dice.randint(kind == "cross", 2) if kind in ("mlp", "residual", "cross") else 0
    return Layer(
        width if same_width else dice.randint(2, 4),
        tuple(applications),
        edges,
        hidden=tuple(dice.randint(2, 4) for _ in range(hidden)),
        gate=dice.choice(("softmax", "softmax", "scalar", "one")),
        queries=tuple(_some(dice, (INPUT, *range(below))) for _ in range(lanes)),
        shortcut=tuple(dice.choice((None, dice.randrange(below))) for _ in range(lanes))
        if skips
        else (),
        experts=kind,
        residual_edges=tuple(_some(dice, of_lane) for of_lane in edges)
        if dice.random() < 0.3
        else (),
        detached_edges=tuple(_some(dice, of_lane) for of_lane in edges)
        if dice.random() < 0.3
        else (),
        rate=0.5 if skips and dice.random() < 0.5 else 1.0,
    )


def _route(layer: Layer, dice: random.Random) -> LayerRoutes:
    return LayerRoutes(
        tuple(_some(dice, edges) if edges else () for edges in layer.edges),
        tuple(dice.choice(sources) for sources in layer.queries),
        tuple(dice.random() < 0.5 and bool(edges) for edges in layer.edges),
    )


def _some(dice: random.Random, items: range | tuple[int, ...]) -> tuple[int, ...]:
    """A non-empty subset, in order."""
    chosen = [item for item in items if dice.random() < 0.5]
    return tuple(chosen or [dice.choice(items)])
