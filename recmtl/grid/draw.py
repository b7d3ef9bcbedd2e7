"""Layouts as text and as a picture: one panel a task, its route in colour, the rest in grey."""

from html import escape

from recmtl.grid.layout import Layout

__all__ = ["draw_svg", "draw_text"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d00")
PANEL_WIDTH, ROW, TOP, RADIUS = 230, 30, 40, 9


def draw_text(layout: Layout, tasks: tuple[str, ...]) -> str:
    """A line for each lane: what it listens to, and what it passes on unchanged."""
    lines = [f"{layout.name}: {len(layout.layers)} layers"]
    for depth, layer in enumerate(layout.layers):
        lines.append(f"layer {depth + 1}: {layer.num_experts} experts, {layer.gate} gate")
        for lane, edges in enumerate(layer.edges):
            heads = [t for t, k in zip(tasks, layout.readout, strict=True) if k == lane]
            name = ", ".join(heads) if depth + 1 == len(layout.layers) else f"lane {lane}"
            passed = layer.shortcut[lane]
            listens = [_application(layer.applications[a], depth) for a in edges]
            if passed is not None:
                listens.append(f"skip to lane {passed}")
            lines.append(f"  {name} <- {' + '.join(listens)}")
    return "\n".join(lines)


def draw_svg(layout: Layout, tasks: tuple[str, ...]) -> str:
    """An SVG with a panel for each task; experts are circles, layers are columns."""
    rows = max(max(layer.num_experts, layer.num_lanes) for layer in layout.layers)
    columns = min(3, len(tasks))
    height = TOP + ROW * rows + 20
    panels = []
    for number, task in enumerate(tasks):
        x, y = (number % columns) * PANEL_WIDTH, (number // columns) * height
        colour = COLOURS[number % len(COLOURS)]
        panels.append(f'<g transform="translate({x},{y})">{_panel(layout, number, task, colour)}</g>')
    size = (columns * PANEL_WIDTH, -(-len(tasks) // columns) * height)
    title = escape(f"Route of each task through {layout.name}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" '
        f'font-family="sans-serif" font-size="12" role="img" aria-label="{title}">'
        f"<title>{title}</title>{''.join(panels)}</svg>"
    )


def _application(application: tuple[int, int], depth: int) -> str:
    expert, lane = application
    return f"expert {expert}(lane {lane})" if depth else f"expert {expert}"


def _panel(layout: Layout, task: int, name: str, colour: str) -> str:
    """Edges and experts of one panel, grey first so that the task's own route lies on top."""
    grey: list[str] = []
    own: list[str] = []
    step = (PANEL_WIDTH - 70) / len(layout.layers)
    lanes = {layout.readout[task]}
    for depth in reversed(range(len(layout.layers))):
        layer = layout.layers[depth]
        x = 30 + step * depth
        live = {a for k in lanes for a in layer.edges[k]}
        for lane, edges in enumerate(layer.edges):
            end = (x + step, _y(layout, depth + 1, lane))
            for a in edges:
                start = (x + 14, _y(layout, depth, layer.applications[a][0]))
                on = lane in lanes
                (own if on else grey).append(_line(start, end, colour if on else "#d5d5d5"))
            passed = layer.shortcut[lane]
            if passed is not None and not edges:
                on = lane in lanes
                start = (x, _y(layout, depth, passed))
                (own if on else grey).append(_line(start, end, colour if on else "#d5d5d5", True))
        experts = {layer.applications[a][0] for a in live}
        for expert in range(layer.num_experts):
            filled = colour if expert in experts else "#e9e9e9"
            centre = (x + 7, _y(layout, depth, expert))
            own.append(_circle(centre, filled, expert, expert in experts))
        skipped = {layer.shortcut[k] for k in lanes if not layer.edges[k]}
        lanes = {layer.applications[a][1] for a in live} | {s for s in skipped if s is not None}
    end_y = _y(layout, len(layout.layers), layout.readout[task])
    head = f'<rect x="{PANEL_WIDTH - 42}" y="{end_y - 8}" width="16" height="16" fill="{colour}"/>'
    title = f'<text x="10" y="20" font-weight="bold" fill="#222">{escape(name)}</text>'
    return title + "".join(grey) + "".join(own) + head


def _y(layout: Layout, depth: int, position: int) -> float:
    return TOP + ROW * (position + 0.5)


def _line(start: tuple[float, float], end: tuple[float, float], colour: str, dash: bool = False) -> str:
    middle = (start[0] + end[0]) / 2
    style = ' stroke-dasharray="4 3"' if dash else ""
    return (
        f'<path d="M{start[0]:.0f},{start[1]:.0f} C{middle:.0f},{start[1]:.0f} '
        f'{middle:.0f},{end[1]:.0f} {end[0]:.0f},{end[1]:.0f}" fill="none" '
        f'stroke="{colour}" stroke-width="1.6"{style}/>'
    )


def _circle(centre: tuple[float, float], colour: str, expert: int, used: bool) -> str:
    ink = "#fff" if used else "#777"
    return (
        f'<circle cx="{centre[0]:.0f}" cy="{centre[1]:.0f}" r="{RADIUS}" fill="{colour}"/>'
        f'<text x="{centre[0]:.0f}" y="{centre[1] + 4:.0f}" text-anchor="middle" '
        f'fill="{ink}">{expert}</text>'
    )
