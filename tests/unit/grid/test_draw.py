"""Drawings mention every edge, every skip and every task, and colour a task's own route."""

import re
from dataclasses import replace

import pytest

from recmtl.grid import (
    CATALOG,
    INPUT,
    Layer,
    Layout,
    adatt,
    draw_svg,
    draw_text,
    dynashare,
    prune,
    route_pictures,
    shared_bottom,
)
from recmtl.grid.draw import Line, task_lines
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


def boxes(svg: str) -> list[tuple[str, str]]:
    """Colour and text of every box with a name: an expert's, an input's, a score's."""
    shown = re.findall(r'<rect [^>]*rx="5" fill="([^"]+)"[^>]*/><text [^>]*>([^<]+)</text>', svg)
    return [(colour, name) for colour, name in shown]


def ways_by_plain_walk(layout: Layout, task: int) -> set[tuple[int, int]]:
    """The experts (layer, application) on the route of a task, from the definition of a layer."""
    live, reached = live_lanes(layout, task), set()
    for depth, (layer, lanes) in enumerate(zip(layout.layers, live, strict=True)):
        for lane in lanes:
            reached |= {(depth, a) for a in layer.edges[lane] if not layer.only_mixes}
    return reached


@pytest.mark.parametrize("name", DRAWN)
def test_every_panel_has_a_box_for_every_application_and_one_for_the_score(name: str) -> None:
    layout = DRAWN[name]
    svg = draw_svg(layout, names(layout))
    expected = [
        f"{depth + 1}.{expert}"
        for depth, layer in enumerate(layout.layers)
        for expert, _ in (() if layer.only_mixes else layer.applications)
    ]
    inputs = [f"in {lane}" for lane in range(layout.input_lanes) if layout.input_lanes > 1]
    shown = sorted(box for _, box in boxes(svg))
    assert shown == sorted([*expected, *inputs, "score"] * layout.num_tasks)


@pytest.mark.parametrize("name", DRAWN)
def test_a_panel_fills_the_experts_of_its_task_alone(name: str) -> None:
    layout = DRAWN[name]
    colours = set()
    for task, svg in enumerate(route_pictures(layout, names(layout)).values()):
        filled = [(colour, box) for colour, box in boxes(svg) if colour != "none"]
        experts = [box for _, box in filled if box != "score" and not box.startswith("in ")]
        assert len(experts) == len(ways_by_plain_walk(layout, task))
        assert len({colour for colour, _ in filled}) == 1
        colours |= {colour for colour, _ in filled}
    assert len(colours) == layout.num_tasks


@pytest.mark.parametrize("name", DRAWN)
def test_lines_lead_from_features_to_the_score_and_end_nowhere_else(name: str) -> None:
    layout = DRAWN[name]
    for task in range(layout.num_tasks):
        lines = task_lines(layout, task)
        sources = {line.source for line in lines}
        readers = {line.reader for line in lines}
        score = (len(layout.layers), task)
        assert readers - sources == {score}, "every expert that reads is read"
        assert {depth for depth, _ in sources - readers} == {INPUT}
        assert {node for node in sources if node[0] != INPUT} == ways_by_plain_walk(layout, task)
        assert all(line.source[0] < line.reader[0] for line in lines)


def test_a_skipped_layer_is_passed_by_a_dashed_line() -> None:
    first = Layer(4, ((0, 0), (1, 0)), ((0,), (1,)))
    second = Layer(4, ((0, 0), (1, 1)), ((), (1,)), shortcut=(0, None))
    layout = Layout("by hand", (first, second), (0, 1))
    assert task_lines(layout, 0) == [
        Line((0, 0), (2, 0), skips=True),
        Line((INPUT, 0), (0, 0), skips=False),
    ]
    click, buy = route_pictures(layout, ("click", "buy")).values()
    assert click.count("stroke-dasharray") == 1 and "stroke-dasharray" not in buy


def test_shared_experts_have_a_dot_in_the_colour_of_every_task_that_uses_them() -> None:
    shared, apart = LAYOUTS["shared_bottom"], LAYOUTS["towers_apart"]
    for svg in route_pictures(shared, TASKS).values():
        assert len(set(re.findall(r'<circle [^>]*fill="([^"]+)"', svg))) == 3
    assert all("<circle" not in svg for svg in route_pictures(apart, TASKS).values())


@pytest.mark.parametrize("count", [2, 6, 7, 14])
def test_no_task_is_left_out_of_the_dots(count: int) -> None:
    tasks = tuple(f"task {number}" for number in range(count))
    for svg in route_pictures(shared_bottom(count, widths=(4,)), tasks).values():
        places = re.findall(r'<circle cx="([^"]+)" cy="([^"]+)"', svg)
        assert len(set(places)) == count, "none lies upon another"


def test_more_tasks_than_dots_would_show_are_counted() -> None:
    tasks = tuple(f"task {number}" for number in range(20))
    for svg in route_pictures(shared_bottom(20, widths=(4,)), tasks).values():
        assert "<circle" not in svg and ">20 tasks</text>" in svg


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
    assert draw_svg(sometimes, names(sometimes)).count("stroke-dasharray") == 2
