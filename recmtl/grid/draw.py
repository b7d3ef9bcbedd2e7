"""Layouts as text and as a picture: one panel a task, its route in colour, the rest in grey.

`draw_text` goes into `routes.txt` and the catalog's page, `draw_svg` into the report.

>>> from recmtl.grid import shared_bottom
>>> print(draw_text(shared_bottom(2, widths=(4,)), ("click", "buy")))
shared bottom: 1 layer
layer 1: 1 expert, one gate
  click, buy <- expert 0
"""

from collections.abc import Iterator
from html import escape

from recmtl.grid.expert_usage import live_lanes
from recmtl.grid.layout import Layer, Layout
from recmtl.masking import one_line

__all__ = ["draw_svg", "draw_text"]

Point = tuple[float, float]
GREY = "#dcdcdc"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d00")
PANEL_WIDTH, MARGINS, STEP, ROW, TOP, RADIUS, ARCH = 230, 70, 26, 30, 40, 9, 25


def draw_text(layout: Layout, tasks: tuple[str, ...]) -> str:
    """A line for each lane: the edges that it listens to, and the lane that it may pass on."""
    tasks = tuple(map(one_line, tasks))
    lines = [f"{layout.name}: {_count(len(layout.layers), 'layer')}"]
    for depth, layer in enumerate(layout.layers):
        lines.append(f"layer {depth + 1}: {_experts(layer)}, {layer.gate} gate")
        for lane, edges in enumerate(layer.edges):
            readers = [t for t, k in zip(tasks, layout.readout, strict=True) if k == lane]
            is_last = depth + 1 == len(layout.layers)
            name = ", ".join(readers) if is_last and readers else f"lane {lane}"
            passed = layer.shortcut[lane]
            listens = [_application(layer, a, depth) for a in edges]
            listens += [
                f"{_application(layer, a, depth)} (residual)" for a in layer.residual_edges[lane]
            ]
            if passed is not None:
                chance = f" for {1 - layer.rate:.0%} of examples" if layer.rate < 1.0 else ""
                listens.append(f"skip to lane {passed}{chance if edges else ''}")
            lines.append(f"  {name} <- {' + '.join(listens)}")
    return "\n".join(lines)


def draw_svg(layout: Layout, tasks: tuple[str, ...]) -> str:
    """An SVG with a panel for each task; experts are circles, layers are columns."""
    rows = max(max(layer.num_experts, layer.num_lanes) for layer in layout.layers)
    width = _width(layout)
    columns = max(1, min(3 * PANEL_WIDTH // width, len(tasks)))
    height = TOP + ROW * rows + 20
    panels = []
    for number, task in enumerate(tasks):
        x, y = (number % columns) * width, (number // columns) * height
        colour = COLOURS[number % len(COLOURS)]
        panel = _panel(layout, number, task, colour)
        panels.append(f'<g transform="translate({x},{y})">{panel}</g>')
    size = (columns * width, -(-len(tasks) // columns) * height)
    title = escape(f"Route of each task through {layout.name}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" '
        f'font-family="sans-serif" font-size="12" role="img" aria-label="{title}">'
        f"<title>{title}</title>{''.join(panels)}</svg>"
    )


def _experts(layer: Layer) -> str:
    if layer.only_mixes:
        return "no experts"
    kind = "" if layer.experts == "mlp" else f"{layer.experts} "
    return _count(layer.num_experts, f"{kind}expert")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _application(layer: Layer, application: int, depth: int) -> str:
    expert, lane = layer.applications[application]
    if layer.only_mixes:
        return f"lane {lane}"
    return f"expert {expert}(lane {lane})" if depth else f"expert {expert}"


def _panel(layout: Layout, task: int, name: str, colour: str) -> str:
    """Edges and experts of one panel, grey first so that the task's own route lies on top."""
    live = live_lanes(layout, task)
    marks = [
        mark for depth in range(len(layout.layers)) for mark in _layer(layout, depth, live[depth])
    ]
    drawn = [svg.format(colour=colour if on else GREY) for on, svg in sorted(marks)]
    end = _y(layout.readout[task])
    head = f'<rect x="{_width(layout) - 42}" y="{end - 8}" width="16" height="16" fill="{colour}"/>'
    title = f'<text x="10" y="20" font-weight="bold" fill="#222">{escape(one_line(name))}</text>'
    return title + "".join(drawn) + head


def _layer(layout: Layout, depth: int, lanes: set[int]) -> Iterator[tuple[bool, str]]:
    """The marks of a layer, and whether each belongs to the route that ends in these lanes."""
    layer, step = layout.layers[depth], (_width(layout) - MARGINS) / len(layout.layers)
    x, rows = 30 + step * depth, _rows(layer)
    for lane, edges in enumerate(layer.edges):
        end, passed = (x + step, _y(lane)), layer.shortcut[lane]
        for a in edges:
            start = (x + (0 if layer.only_mixes else 14), _y(rows[a]))
            yield lane in lanes, _line(start, end)
        if passed is not None and (not edges or layer.rate < 1.0):
            draw = _arch if passed in rows else _line
            yield lane in lanes, draw((x, _y(passed)), end, dash=True)
    used = {a for lane in lanes for a in layer.edges[lane]}
    for a, (expert, _) in enumerate(() if layer.only_mixes else layer.applications):
        yield a in used, _circle((x + 7, _y(rows[a])), expert, ink=a in used)


def _rows(layer: Layer) -> list[int]:
    """The row of each application: its lane's if no other application reads the lane."""
    alone = len(set(layer.reads)) == len(layer.reads)
    return [lane if alone else expert for expert, lane in layer.applications]


def _width(layout: Layout) -> int:
    """Width of a panel: deep networks take more, so that their experts do not overlap."""
    return max(PANEL_WIDTH, MARGINS + STEP * len(layout.layers))


def _y(position: int) -> float:
    return TOP + ROW * (position + 0.5)


def _line(start: Point, end: Point, *, dash: bool = False) -> str:
    middle = (start[0] + end[0]) / 2
    return _curve(start, (middle, start[1]), (middle, end[1]), end, dash=dash)


def _arch(start: Point, end: Point, *, dash: bool = False) -> str:
    """A line around the circle that starts at the same place."""
    x, y = start[0] - 4, start[1]
    return _curve((x, y), (x + 2, y - ARCH), (x + 24, y - ARCH), end, dash=dash)


def _curve(*points: Point, dash: bool) -> str:
    start, *rest = (f"{x:.0f},{y:.0f}" for x, y in points)
    style = ' stroke-dasharray="4 3"' if dash else ""
    return (
        f'<path d="M{start} C{" ".join(rest)}" fill="none" '
        f'stroke="{{colour}}" stroke-width="1.6"{style}/>'
    )


def _circle(centre: Point, expert: int, *, ink: bool) -> str:
    return (
        f'<circle cx="{centre[0]:.0f}" cy="{centre[1]:.0f}" r="{RADIUS}" fill="{{colour}}"/>'
        f'<text x="{centre[0]:.0f}" y="{centre[1] + 4:.0f}" text-anchor="middle" '
        f'fill="{"#fff" if ink else "#555"}">{expert}</text>'
    )
