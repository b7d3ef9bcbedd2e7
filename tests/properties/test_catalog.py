"""What holds for every entry of the catalog, at several sizes and numbers of tasks."""

import json

import pytest
import torch

from recmtl.errors import ConfigError
from recmtl.grid import (
    CATALOG,
    Layout,
    Routes,
    SharingGrid,
    draw_svg,
    draw_text,
    lane_widths,
    layout_cost,
    prune_grid,
)
from recmtl.grid.gates.selection import SelectionGate
from tests.grids import WIDTH, random_lanes, scrambled

SIZES = {
    "usual": (3, 5, (6, 4), 2),
    "one level": (4, 4, (6,), 1),
    "one task": (1, 2, (5,), 2),
    "fewer cells than tasks": (5, 2, (6, 5, 4), 3),
}
EVERY = [(name, size) for name in CATALOG for size in SIZES]


def build(name: str, size: str = "usual") -> Layout:
    tasks, cells, widths, depth = SIZES[size]
    return CATALOG[name].layout(tasks, cells=cells, widths=widths, depth=depth)


@pytest.mark.parametrize(("name", "size"), EVERY)
def test_the_network_gives_every_task_a_lane_of_its_width(name: str, size: str) -> None:
    layout, (tasks, _, widths, _) = build(name, size), SIZES[size]
    assert layout.num_tasks == tasks
    assert scrambled(layout)(random_lanes(layout)).shape == (6, tasks, widths[-1])
    first = next(layer for layer in layout.layers if not layer.only_mixes)
    assert (*first.hidden, first.width) == widths


@pytest.mark.parametrize(("name", "size"), EVERY)
def test_a_layout_survives_json(name: str, size: str) -> None:
    layout = build(name, size)
    assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


@pytest.mark.parametrize(("name", "size"), EVERY)
def test_a_layout_can_be_drawn(name: str, size: str) -> None:
    layout = build(name, size)
    tasks = tuple(f"label {task}" for task in range(layout.num_tasks))
    text, picture = draw_text(layout, tasks), draw_svg(layout, tasks)
    assert text.startswith(layout.name) and picture.startswith("<svg")
    assert all(task in text and task in picture for task in tasks)


@pytest.mark.parametrize(("name", "size"), EVERY)
def test_the_full_route_is_the_network(name: str, size: str) -> None:
    layout = build(name, size)
    grid, lanes = scrambled(layout), random_lanes(layout)
    small = prune_grid(grid, Routes.full(layout))
    torch.testing.assert_close(small(lanes), grid(lanes), rtol=0, atol=1e-10)


def multiply_adds(grid: SharingGrid) -> float:
    """Counted on the weights: products of experts and gates, then the weighted sums."""
    total, widths = 0.0, lane_widths(grid.layout, grid.input_width)
    for layer, out in zip(grid.layers, widths[1:], strict=True):
        wiring, gate = layer.layer, getattr(layer.gate, "gate", layer.gate)
        for expert, _ in wiring.applications:
            weights = [] if wiring.only_mixes else layer.experts.weights
            total += wiring.rate * sum(weight[expert].numel() for weight in weights)
        total += sum(linear.weight.numel() for linear in getattr(gate, "linears", ()))
        if isinstance(gate, SelectionGate):
            codes = gate.num_lanes * 2**gate.bits
            total += codes * gate.selectors + gate.stands_for.numel()
        summed = [edges for edges in wiring.edges if len(edges) > 1 or wiring.gate == "scalar"]
        total += out * sum(map(len, (*summed, *wiring.residual_edges)))
        if layer.feature_gate is not None:
            total += layer.feature_gate.first.numel() + layer.feature_gate.last.numel()
        if layer.instance is not None:
            pair = layer.instance.first, layer.instance.last
            total += wiring.num_lanes * sum(linear.weight.numel() for linear in pair)
    return total


@pytest.mark.parametrize(("name", "size"), EVERY)
def test_the_cost_is_that_of_the_network(name: str, size: str) -> None:
    layout = build(name, size)
    cost, grid = layout_cost(layout, input_width=WIDTH), scrambled(layout)
    assert cost.parameters == sum(parameter.numel() for parameter in grid.parameters())
    assert cost.multiply_adds == pytest.approx(multiply_adds(grid), abs=len(layout.layers))


def test_what_policies_decide_is_known() -> None:
    searched = {name: entry.searched for name, entry in CATALOG.items() if entry.searched}
    assert searched == {
        "snr_aver": ("edges",),
        "snr_trans": ("edges",),
        "mtnas": ("edges", "queries"),
        "adashare": ("skips",),
        "dynashare": ("skips", "examples"),
        "recmtl_grid": ("edges", "queries", "skips"),
    }


def test_every_entry_names_its_paper_and_reading_and_no_two_are_alike() -> None:
    layouts = {name: build(name) for name in CATALOG}
    assert all(entry.paper and entry.reading for entry in CATALOG.values())
    assert len({layout.name for layout in layouts.values()}) == len(CATALOG) == 25
    assert len({layout.layers for layout in layouts.values()}) == len(CATALOG)


def test_the_default_tree_halves_the_tasks() -> None:
    layout = CATALOG["branched"].layout(5, cells=1, widths=(4,), depth=4)
    assert [layer.reads for layer in layout.layers] == [
        (0,),
        (0, 0),
        (0, 0, 1, 1),
        (0, 0, 1, 2, 3),
    ]


@pytest.mark.parametrize(
    "sizes", [{"cells": 0}, {"depth": 0}, {"widths": ()}], ids=lambda sizes: next(iter(sizes))
)
def test_sizes_of_nothing_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        CATALOG["mmoe"].layout(2, **{"cells": 2, "widths": (4,), "depth": 1, **sizes})
