"""The control that every search must beat: a route of the same cost that nothing chose."""

from typing import Any

import numpy as np

from recmtl.grid.cost import expected_multiply_adds
from recmtl.grid.layout import Layer, Layout, Pixels
from recmtl.grid.routes import LayerRoutes, Routes

__all__ = ["random_routes"]

DRAWS = 512


def random_routes(
    layout: Layout,
    *,
    max_edges: int,
    multiply_adds: float,
    input_width: int,
    seed: int,
    pixels: Pixels = (1, 1),
) -> Routes:
    """A random route of about the given cost: of 512 draws the one that comes nearest.

    A draw takes a random number of columns, for each searched lane a random subset of them of at
    most `max_edges`, any query source, and lets lanes that may skip run with a random probability.
    """
    random = np.random.default_rng(seed)
    drawn = [_draw(layout, max_edges, random) for _ in range(DRAWS)]
    area: dict[str, Any] = {"input_width": input_width, "pixels": pixels}
    costs = [float(expected_multiply_adds(layout, r.decisions(layout), **area)) for r in drawn]
    gaps = [abs(cost - multiply_adds) for cost in costs]
    return drawn[int(np.argmin(gaps))]


def _draw(layout: Layout, max_edges: int, random: np.random.Generator) -> Routes:
    columns = max(len(layer.applications) for layer in layout.layers)
    allowed = set(random.permutation(columns)[: random.integers(1, columns + 1)].tolist())
    share = random.random()
    return Routes(
        tuple(_draw_layer(layer, max_edges, allowed, share, random) for layer in layout.layers)
    )


def _draw_layer(
    layer: Layer, max_edges: int, allowed: set[int], share: float, random: np.random.Generator
) -> LayerRoutes:
    edges, queries, run = [], [], []
    for lane, own in enumerate(layer.edges):
        choice = [a for a in own if a in allowed] or list(own)
        if layer.searched:
            size = random.integers(1, min(max_edges, len(choice)) + 1)
            edges.append(tuple(sorted(random.permutation(choice)[:size].tolist())))
        else:
            edges.append(own)
        queries.append(int(random.choice(layer.queries[lane])))
        run.append(layer.shortcut[lane] is None or bool(random.random() < share))
    return LayerRoutes(tuple(edges), tuple(queries), tuple(run))
