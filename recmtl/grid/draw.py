"""Layouts as text and as a picture: one panel a task, its route in colour, other experts in grey.

`draw_text` goes into `routes.txt` and the catalog's page, `draw_svg` into `routes.svg`, and
`route_pictures` into the report.

>>> from recmtl.grid import shared_bottom
>>> print(draw_text(shared_bottom(2, widths=(4,)), ("click", "buy")))
shared bottom: 1 layer
layer 1: 1 expert, one gate
  click, buy <- expert 0
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from recmtl.grid.layout import INPUT, Layer, Layout
from recmtl.masking import one_line

__all__ = ["draw_svg", "draw_text", "route_pictures", "task_lines"]

Point = tuple[float, float]
Node = tuple[int, int]
"""Depth and number of an application; `INPUT` and an input lane; or the depth below all layers and
a task, for its score."""

COLOURS = ("#0072b2", "#b34700", "#00734f", "#a2397a", "#8a6d00", "#94614a", "#5b4b9a")
INK, MUTED, LINE = "#1f2933", "#52606d", "#9aa5b1"
PANEL_WIDTH, MARGINS, STEP, ROW, TOP = 230, 56, 62, 38, 46
HALF, SCORE, DOT, DOTS_A_ROW, MOST_DOTS = 17, 20, 7, 7, 14
"""Half the width of an expert's box and of the score's, from dot to dot, dots of a row and below
a box."""
LEGEND = (
    "filled: an expert (layer.number) that the task uses; outlined: only other tasks use it",
    "dots below an expert: the tasks that use it, if there are several",
    "line: whose output is read; dashed: a layer is skipped",
)


class Line(NamedTuple):
    """That a reader reads the output of a source, perhaps past layers that are skipped."""

    source: Node
    reader: Node
    skips: bool


def draw_text(layout: Layout, tasks: tuple[str, ...]) -> str:
    """A line for each lane: the edges that it listens to, and the lane that it may pass on."""
    tasks = tuple(map(one_line, tasks))
    lines = [f"{layout.name}: {_count(len(layout.layers), 'layer')}"]
    for depth, layer in enumerate(layout.layers):
        lines.append(f"layer {depth + 1}: {_experts(layer)}, {layer.gate} gate{_features(layer)}")
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
    """One SVG on a white ground with the panel of every task, and how to read it below."""
    panel = _Panel(layout, tasks)
    columns = max(1, min(3 * PANEL_WIDTH // panel.width, len(tasks)))
    panels = []
    for number in range(len(tasks)):
        x, y = (number % columns) * panel.width, (number // columns) * panel.height
        panels.append(f'<g transform="translate({x},{y})">{panel.of_task(number)}</g>')
    bottom = -(-len(tasks) // columns) * panel.height
    legend = (
        f'<text x="10" y="{bottom + 14 * (number + 1)}" font-size="11" fill="{MUTED}">{line}</text>'
        for number, line in enumerate(LEGEND)
    )
    height = bottom + 14 * len(LEGEND) + 10
    title = f"Route of each task through {layout.name}"
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    return _svg(columns * panel.width, height, title, [ground, *panels, *legend])


def route_pictures(layout: Layout, tasks: tuple[str, ...]) -> dict[str, str]:
    """Task -> the SVG of its panel alone."""
    panel = _Panel(layout, tasks)
    return {
        task: _svg(panel.width, panel.height, f"Route of {one_line(task)}", [panel.of_task(number)])
        for number, task in enumerate(tasks)
    }


def _experts(layer: Layer) -> str:
    if layer.only_mixes:
        return "no experts"
    kind = "" if layer.experts == "mlp" else f"{layer.experts} "
    return _count(layer.num_experts, f"{kind}expert")


def _features(layer: Layer) -> str:
    """What multiplies the features of a layer's lanes."""
    if layer.feature_gates is None:
        return ""
    whole = "" if layer.feature_gates.reads == "prior" else " and the input"
    return f", features gated by prior features{whole}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _application(layer: Layer, application: int, depth: int) -> str:
    expert, lane = layer.applications[application]
    if layer.only_mixes:
        return f"lane {lane}"
    return f"expert {expert}(lane {lane})" if depth else f"expert {expert}"


def _svg(width: int, height: int, title: str, content: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(content)}</svg>"
    )


def task_lines(layout: Layout, task: int) -> list[Line]:
    """What reads what on the route of a task, from its score back to the features.

    Lanes are left out: a line leads from an expert to an expert that reads a lane in which the
    first one's output is mixed. Layers without experts only pass on what they mix.
    """
    lines: dict[Line, None] = {}
    last = len(layout.layers)
    pending: list[tuple[int, int, Node]] = [(last - 1, layout.readout[task], (last, task))]
    reached = set()
    while pending:
        depth, lane, reader = pending.pop()
        for source, skips in _sources(layout, depth, lane):
            lines[Line(source, reader, skips)] = None
            if source[0] >= 0 and source not in reached:
                reached.add(source)
                lane_read = layout.layers[source[0]].applications[source[1]][1]
                pending.append((source[0] - 1, lane_read, source))
    return list(lines)


def _sources(layout: Layout, depth: int, lane: int) -> Iterator[tuple[Node, bool]]:
    """The applications or input lanes of which a lane is made, and whether a layer is skipped."""
    if depth < 0:
        yield (INPUT, lane), False
        return
    layer = layout.layers[depth]
    for a in layer.edges[lane]:
        if layer.only_mixes:
            yield from _sources(layout, depth - 1, layer.reads[a])
        else:
            yield (depth, a), False
    passed = layer.shortcut[lane]
    if passed is not None and (not layer.edges[lane] or layer.rate < 1.0):
        yield from ((source, True) for source, _ in _sources(layout, depth - 1, passed))


class _Panel:
    """Draws a task's route: features at the left, a column a layer, the task's score at the right.

    Attributes:
        width: of a panel.
        height: of a panel.
    """

    def __init__(self, layout: Layout, tasks: tuple[str, ...]) -> None:
        self._layout, self._tasks = layout, tasks
        layers = [d for d, layer in enumerate(layout.layers) if not layer.only_mixes]
        self._column = {depth: number + 1 for number, depth in enumerate(layers)}
        self._column |= {INPUT: 0, len(layout.layers): len(layers) + 1}
        self._rows = {depth: _rows(layout.layers[depth]) for depth in layers}
        lowest = [max(rows, default=0) for rows in self._rows.values()]
        count = 1 + max([*lowest, *layout.readout, layout.input_lanes - 1])
        self.width = max(PANEL_WIDTH, MARGINS + STEP * (len(layers) + 1))
        self.height = TOP + ROW * count + 14
        self._routes = [task_lines(layout, task) for task in range(len(tasks))]
        self._users: dict[Node, list[int]] = {}
        for task, lines in enumerate(self._routes):
            for node in dict.fromkeys(line.source for line in lines):
                self._users.setdefault(node, []).append(task)

    def of_task(self, task: int) -> str:
        """The marks of a panel: lines first, so that boxes lie on them."""
        colour = COLOURS[task % len(COLOURS)]
        marks = [_label(10, 18, escape(one_line(self._tasks[task])), INK, 'font-weight="bold"')]
        marks += [self._heading(depth) for depth in self._column]
        marks += [self._line(line, colour) for line in self._routes[task]]
        marks += [self._input(lane, task, colour) for lane in range(self._layout.input_lanes)]
        for depth, rows in self._rows.items():
            marks += [self._expert((depth, a), task, colour) for a in range(len(rows))]
        x, y = self._place((len(self._layout.layers), task))
        marks.append(_box(x, y, SCORE, colour, "score", is_used=True))
        return "".join(marks)

    def _place(self, node: Node) -> Point:
        """Centre of a box."""
        depth, number = node
        if depth == INPUT:
            row = number
        else:
            is_score = depth == len(self._layout.layers)
            row = self._layout.readout[number] if is_score else self._rows[depth][number]
        return self._x(self._column[depth]), TOP + ROW * (row + 0.5)

    def _x(self, column: int) -> float:
        last = max(self._column.values())
        return 24 + column * (self.width - MARGINS) / last

    def _heading(self, depth: int) -> str:
        if depth == len(self._layout.layers):
            return ""
        text = "features" if depth == INPUT else f"layer {self._column[depth]}"
        x = self._x(self._column[depth])
        return _label(max(x, 30), TOP - 6, text, MUTED, 'font-size="10" text-anchor="middle"')

    def _line(self, line: Line, colour: str) -> str:
        """A curve from box to box; one that passes columns by runs between two rows."""
        (x, y), (end, level) = (self._place(node) for node in line[:2])
        passed = range(self._column[line.source[0]] + 1, self._column[line.reader[0]])
        if line.source[0] == INPUT and self._layout.input_lanes == 1:
            y = level - ROW / 2 if passed else level
        points = [(x + HALF, y)]
        if passed:
            between = level - ROW / 2
            points += [(self._x(passed[0]) - HALF, between), (self._x(passed[-1]) + HALF, between)]
        points.append((end - (HALF if line.reader[0] < len(self._layout.layers) else SCORE), level))
        path = f"M{points[0][0]:.0f},{points[0][1]:.0f}"
        for (x, y), (right, below) in pairwise(points):
            middle = (x + right) / 2
            path += f" C{middle:.0f},{y:.0f} {middle:.0f},{below:.0f} {right:.0f},{below:.0f}"
        dashes = ' stroke-dasharray="4 3"' if line.skips else ""
        return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dashes}/>'

    def _input(self, lane: int, task: int, colour: str) -> str:
        """A bar along all rows for the features, or a box for each of several embeddings."""
        x, y = self._place((INPUT, lane))
        is_used = task in self._users.get((INPUT, lane), ())
        if self._layout.input_lanes > 1:
            made = lane - self._layout.embedding_lanes
            text = f"in {lane}" if made < 0 else self._layout.interactions[made].kind[:4]
            return _box(x, y, HALF, colour, text, is_used=is_used)
        height = self.height - TOP - 18
        style = f'fill="{colour}"' if is_used else f'fill="none" stroke="{LINE}"'
        return f'<rect x="{x + 4:.0f}" y="{TOP + 2}" width="8" height="{height}" rx="3" {style}/>'

    def _expert(self, node: Node, task: int, colour: str) -> str:
        users, (x, y) = self._users.get(node, []), self._place(node)
        number = self._layout.layers[node[0]].applications[node[1]][0]
        box = _box(x, y, HALF, colour, f"{node[0] + 1}.{number}", is_used=task in users)
        if len(users) < 2:
            return box
        is_few = len(users) <= MOST_DOTS
        return box + (_dots(users, x, y + 16) if is_few else _number(users, x, y + 20))


def _dots(users: Sequence[int], x: float, y: float) -> str:
    """A dot for each task, in rows below a box."""
    rows = [users[i : i + DOTS_A_ROW] for i in range(0, len(users), DOTS_A_ROW)]
    return "".join(
        f'<circle cx="{x + DOT * (place - (len(row) - 1) / 2):.1f}" cy="{y + 6 * number:.0f}" '
        f'r="2.4" fill="{COLOURS[user % len(COLOURS)]}"/>'
        for number, row in enumerate(rows)
        for place, user in enumerate(row)
    )


def _number(users: Sequence[int], x: float, y: float) -> str:
    """The number of tasks, where dots would not fit."""
    return _label(x, y, f"{len(users)} tasks", MUTED, 'font-size="9" text-anchor="middle"')


def _box(x: float, y: float, half: int, colour: str, text: str, *, is_used: bool) -> str:
    style = f'fill="{colour}"' if is_used else f'fill="none" stroke="{LINE}"'
    ink = "#fff" if is_used else MUTED
    rect = f'<rect x="{x - half:.0f}" y="{y - 11:.0f}" width="{2 * half}" height="22" rx="5"'
    label = _label(x, y + 4, text, ink, 'font-size="10" text-anchor="middle"')
    return f"{rect} {style}/>{label}"


def _label(x: float, y: float, text: str, colour: str, style: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{colour}" {style}>{text}</text>'


def _rows(layer: Layer) -> list[int]:
    """The row of each application: its lane's if no other application reads the lane."""
    alone = len(set(layer.reads)) == len(layer.reads)
    return [lane if alone else expert for expert, lane in layer.applications]
