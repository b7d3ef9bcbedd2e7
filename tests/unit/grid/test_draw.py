"""Drawings mention every edge, every skip and every task, and colour a task's own route."""

import re
from dataclasses import replace

import pytest

from recmtl.grid import CATALOG, Layer, Layout, adatt, draw_svg, draw_text, dynashare, prune
from recmtl.grid.draw import GREY
from recmtl.grid.expert_usage import live_lanes
from tests.grids import random_layout, random_routes

TASKS = ("click", "buy", "watch")
LAYOUTS = {
    name: entry.layout(3, cells=5, widths=(6, 4), depth=2) for name, entry in CATALOG.items()
}
SPACE = LAYOUTS["recmtl_grid"]
ROUTES = {f"route {n}": prune(SPACE, random_routes(SPACE, n)).layout for n in range(4)}
DRAWN = LAYOUTS | ROUTES


def names(layout: Layout) -> tuple[str, ...]:
    return tuple(f"task {task}" for task in range(layout.num_tasks))


def edge_names(layer: Layer, edges: tuple[int, ...], depth: int) -> list[str]:
    pairs = [layer.applications[a] for a in edges]
    if layer.only_mixes:
        return [f"lane {lane}" for _, lane in pairs]
    return [f"expert {e}(lane {lane})" if depth else f"expert {e}" for e, lane in pairs]


@pytest.mark.parametrize("name", DRAWN)
def test_the_text_lists_exactly_the_edges_of_every_lane(name: str) -> None:
    layout = DRAWN[name]
    text = draw_text(layout, names(layout)).splitlines()
    lines = iter(text[1:])
    for depth, layer in enumerate(layout.layers):
        assert next(lines).startswith(f"layer {depth + 1}: ")
        for lane, edges in enumerate(layer.edges):
            listened = next(lines).partition(" <- ")[2].split(" + ")
            expected = edge_names(layer, edges, depth)
            residual = edge_names(layer, layer.residual_edges[lane], depth)
            expected += [f"{edge} (residual)" for edge in residual]
            if layer.shortcut[lane] is not None:
                assert listened.pop().startswith(f"skip to lane {layer.shortcut[lane]}")
            assert listened == expected
    assert next(lines, None) is None


def test_the_text_by_hand() -> None:
    first = Layer(4, ((0, 0), (1, 0)), ((0,), (0, 1)), residual_edges=((), (1,)))
    second = Layer(
        4, ((0, 0), (0, 1)), ((0,), (), (1,)), gate="one", shortcut=(0, 1, 1), rate=0.6,
        experts="residual",
    )  # fmt: skip
    layout = Layout("by hand", (first, second), (0, 2, 0))
    assert draw_text(layout, TASKS).splitlines() == [
        "by hand: 2 layers",
        "layer 1: 2 experts, softmax gate",
        "  lane 0 <- expert 0",
        "  lane 1 <- expert 0 + expert 1 + expert 1 (residual)",
        "layer 2: 1 residual expert, one gate",
        "  click, watch <- expert 0(lane 0) + skip to lane 0 for 40% of examples",
        "  lane 1 <- skip to lane 1",
        "  buy <- expert 0(lane 1) + skip to lane 1 for 40% of examples",
    ]


def marks(svg: str, shape: str) -> list[str]:
    """The colours of the marks of one shape."""
    attribute = {"path": "stroke", "circle": "fill"}[shape]
    return [
        re.findall(rf' {attribute}="([^"]+)"', mark)[0]
        for mark in re.findall(rf"<{shape} [^>]*>", svg)
    ]


def drawn_lines(layer: Layer) -> int:
    """Lines of one layer: its edges, and the shortcuts that some example may take."""
    skips = [
        passed is not None and (not edges or layer.rate < 1.0)
        for edges, passed in zip(layer.edges, layer.shortcut, strict=True)
    ]
    return sum(map(len, layer.edges)) + sum(skips)


@pytest.mark.parametrize("name", DRAWN)
def test_every_panel_of_the_picture_has_every_edge_and_expert(name: str) -> None:
    layout = DRAWN[name]
    svg = draw_svg(layout, names(layout))
    lines = sum(map(drawn_lines, layout.layers))
    experts = sum(len(layer.applications) for layer in layout.layers if not layer.only_mixes)
    assert len(marks(svg, "path")) == layout.num_tasks * lines
    assert len(marks(svg, "circle")) == layout.num_tasks * experts


@pytest.mark.parametrize("name", DRAWN)
def test_a_panel_colours_the_route_of_its_task_alone(name: str) -> None:
    layout = DRAWN[name]
    panels = draw_svg(layout, names(layout)).split("<g ")[1:]
    assert len(panels) == layout.num_tasks
    colours = set()
    for task, panel in enumerate(panels):
        live = live_lanes(layout, task)
        used = [
            len({a for lane in lanes for a in layer.edges[lane]})
            for layer, lanes in zip(layout.layers, live, strict=True)
            if not layer.only_mixes
        ]
        inked = [colour for colour in marks(panel, "circle") if colour != GREY]
        assert len(inked) == sum(used) and len({*inked}) == 1
        colours |= {*inked}
    assert len(colours) == layout.num_tasks


@pytest.mark.parametrize("seed", range(10))
def test_any_layout_can_be_drawn_twice_alike(seed: int) -> None:
    layout = random_layout(seed)
    assert draw_svg(layout, names(layout)) == draw_svg(layout, names(layout))
    assert draw_text(layout, names(layout)) == draw_text(layout, names(layout))


def test_names_cannot_break_the_picture() -> None:
    layout = replace(adatt(1, own=1, levels=[(4,)]), name="<a & b>")
    svg = draw_svg(layout, ("<script>&",))
    assert "<script>" not in svg and "&lt;script&gt;&amp;" in svg and "&lt;a &amp; b&gt;" in svg


def test_what_examples_skip_is_dashed() -> None:
    always, sometimes = (dynashare(2, widths=(4,), rates=(rate,)) for rate in (1.0, 0.5))
    assert "stroke-dasharray" not in draw_svg(always, names(always))
    assert draw_svg(sometimes, names(sometimes)).count("stroke-dasharray") == 2 * 2
