"""Random routes: the control that every search must beat."""

import numpy as np

from recmtl.grid.layout import Layer, Layout
from recmtl.grid.routes import LayerRoutes, Routes

__all__ = ["random_routes"]


def random_routes(layout: Layout, *, max_edges: int, random: np.random.Generator) -> Routes:
    """A random route through a search space, whatever it costs.

    It takes a random number of columns, gives every searched lane a random subset of at most
    `max_edges` of them and a random query source, and runs the lanes that may skip with one random
    probability.

    Args:
        layout: the search space.
        max_edges: largest number of edges that a lane keeps.
        random: draws.
    """
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
    for lane, lane_edges in enumerate(layer.edges):
        choice = [a for a in lane_edges if a in allowed] or list(lane_edges)
        if layer.searched:
            size = random.integers(1, min(max_edges, len(choice)) + 1)
            edges.append(tuple(sorted(random.permutation(choice)[:size].tolist())))
        else:
            edges.append(lane_edges)
        queries.append(int(random.choice(layer.queries[lane])))
        run.append(layer.shortcut[lane] is None or bool(random.random() < share))
    return LayerRoutes(tuple(edges), tuple(queries), tuple(run))
