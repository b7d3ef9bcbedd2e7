"""The report's plots: each function maps numbers to one small SVG text.

Matplotlib is imported when the first plot is drawn, and never its global `pyplot`. Letters become
outlines, so a plot looks the same where its font is missing. A plot shows one task: a page of small
plots can be read on a phone, a wide one cannot.
"""

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recmtl.evaluate.metrics import ReliabilityCurve
from recmtl.report.tables import words

__all__ = [
    "StepBar",
    "expert_use_plot",
    "gain_plot",
    "importance_plot",
    "learning_plot",
    "names_beside",
    "picture",
    "quality_cost_plot",
    "reliability_plot",
    "search_plot",
    "steps_plot",
]

INK, MUTED, GRID, FRAME, THREAD = "#1f2933", "#52606d", "#e4e7eb", "#9aa5b1", "#b8c0c9"
ON_PALE = "#1e2832"
"""Of letters on a pale cell, in light and dark alike."""
VERDICT_COLOURS = {"helped": "#0b7a53", "hurt": "#b3261e"}
MODEL_COLOURS = {"searched": "#1d4ed8", "single_task": "#b45309", "lightgbm": "#0f766e"}
LINE_COLOURS = ("#1d4ed8", "#b45309", "#0f766e", "#9d174d", "#5b21b6", "#4d7c0f", "#0e7490")
WIDTH = 4.2  # inches: about 400 pixels, a phone's width
NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML may hold, which a name may bring in."""
MOST_LETTERS = 26
MARKERS = ("o", "s", "^", "D", "v", "P")

Axes = Any  # matplotlib's own classes are known only once it is imported


@dataclass(frozen=True)
class StepBar:
    """A step of `steps_plot`.

    Attributes:
        name: shown beside it.
        gain: over the step before it.
        low: lower end of the gain's interval; None without one.
        high: upper end.
        verdict: `helped`, `hurt` or another word.
        stays: whether the next step begins where this one ends.
    """

    name: str
    gain: float = 0.0
    low: float | None = None
    high: float | None = None
    verdict: str = ""
    stays: bool = True


def steps_plot(steps: Sequence[StepBar], *, start: float) -> str:
    """A waterfall from top to bottom: each step goes on where the last one that stays has ended.

    Args:
        steps: the first one has no gain: it is where the others begin.
        start: the metric at the first step.
    """

    def draw(axes: Axes) -> None:
        level, ends = start, [start]
        for row, step in enumerate(steps):
            colour, end = VERDICT_COLOURS.get(step.verdict, MUTED), level + step.gain
            if row:
                axes.barh(row, step.gain, left=level, height=0.56, color=colour,
                          alpha=0.85 if step.stays else 0.45)  # fmt: skip
                axes.plot([level, level], [row - 1, row + 0.28], color=MUTED, linewidth=0.8)
            if step.low is not None and step.high is not None:
                interval = [level + step.low, level + step.high]
                axes.plot(interval, [row, row], color=INK, linewidth=1.4)
                ends += interval
            axes.plot([end], [row], marker="o", color=colour if row else INK, markersize=5)
            text = f"{step.gain:+.4f}".replace("-", "\u2212") if row else f"{start:.4f}"
            right = max(level, end, level + (step.high or 0.0))
            axes.annotate(text, (right, row), (6, 0), textcoords="offset points", va="center",
                          fontsize=8.5, color=colour if row else INK)  # fmt: skip
            ends.append(end)
            level = end if step.stays else level
        axes.set_yticks(range(len(steps)), [step.name for step in steps])
        axes.set_ylim(len(steps) - 0.5, -0.6)
        axes.grid(axis="y", visible=False)
        reach = max(ends) - min(ends) or 0.01
        axes.set_xlim(min(ends) - 0.06 * reach, max(ends) + 0.22 * reach)
        axes.locator_params(axis="x", nbins=6)
        axes.set_xlabel("mean over the tasks")

    return picture(draw, height=0.7 + 0.34 * len(steps), width=6.4)


def gain_plot(gains: Mapping[str, Mapping[str, Any]], *, metric: str) -> str:
    """Dot and interval of the gain, one row a task; all tasks have the same metric.

    Args:
        gains: task -> {gain, low, high, verdict}, without missing numbers.
        metric: the unit of the gain.
    """

    def draw(axes: Axes) -> None:
        for row, gain in enumerate(gains.values()):
            colour = VERDICT_COLOURS.get(gain["verdict"], MUTED)
            axes.plot([gain["low"], gain["high"]], [row, row], color=colour, linewidth=2.4)
            axes.plot([gain["gain"]], [row], marker="o", color=colour, markersize=7)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_yticks(range(len(gains)), [_short_name(name) for name in gains])
        axes.set_ylim(len(gains) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        reach = 1.15 * max(max(abs(g["low"]), abs(g["high"])) for g in gains.values()) or 1.0
        axes.set_xlim(-reach, reach)
        axes.locator_params(axis="x", nbins=6)
        axes.set_xlabel(f"worse  ←  gain in {metric}  →  better")

    return picture(draw, height=0.85 + 0.36 * len(gains))


def quality_cost_plot(
    points: Mapping[str, tuple[float, float]],
    levels: Mapping[str, float],
    *,
    metric: str,
    higher_is_better: bool,
) -> str:
    """Quality against multiply-adds an example, one named dot a model.

    Args:
        points: model -> (multiply_adds, quality).
        levels: models without multiply-adds -> quality, drawn as a dashed line.
        metric: the name of the quality.
        higher_is_better: if false, the axis is inverted, so that up is always better.
    """

    def draw(axes: Axes) -> None:
        for model, (cost, quality) in points.items():
            marker = "D" if model == "searched" else "o"
            axes.plot([cost], [quality], marker=marker, color=_colour(model), markersize=7)
        for model, quality in levels.items():
            axes.axhline(quality, color=_colour(model), linewidth=1.2, linestyle=(0, (4, 3)))
        axes.margins(x=0.1, y=0.12)
        if points:
            _axis_of_costs(axes, [cost for cost, _ in points.values()])
        if not higher_is_better:
            axes.invert_yaxis()
        axes.set_xlabel("multiply-adds an example")
        axes.set_ylabel(metric if higher_is_better else f"{metric} (lower is better)")
        right = axes.get_xlim()[1]
        ends = {**points, **{model: (right, quality) for model, quality in levels.items()}}
        names_beside(axes, ends)

    return picture(draw, height=3.0)


def search_plot(
    epochs: Sequence[float],
    curves: Mapping[str, Sequence[float | None]],
    *,
    label: str,
    axis: str = "epoch of the search",
) -> str:
    """Curves over epochs, named beside their ends; None leaves a gap."""

    def draw(axes: Axes) -> None:
        ends = {}
        for index, (name, values) in enumerate(curves.items()):
            heights = [np.nan if value is None else float(value) for value in values]
            colour = _sequence_colour(index, len(curves))
            axes.plot(epochs, heights, color=colour, linewidth=1.8, marker=MARKERS[index % 6],
                      markersize=3.5)  # fmt: skip
            shown = np.flatnonzero(np.isfinite(heights))
            if len(shown):
                ends[name] = (epochs[shown[-1]], heights[shown[-1]])
        axes.margins(x=0.02, y=0.1)
        axes.locator_params(axis="x", nbins=6, integer=True)
        axes.set_xlabel(axis)
        axes.set_ylabel(label)
        if not any(value for values in curves.values() for value in values):
            axes.set_ylim(0, 1)  # nothing but zeros: a share or a count that never was anything
        if axes.get_ylim()[1] >= 10_000:
            axes.yaxis.set_major_formatter(_short)
        if len(curves) > 1:
            names_beside(axes, ends)

    return picture(draw, height=2.6)


def importance_plot(losses: Mapping[str, Mapping[str, float]], *, metric: str) -> str:
    """A bar a feature, the longest first, with the spread of its shuffles.

    Args:
        losses: feature -> {loss, std}.
        metric: the unit of the loss.
    """

    def draw(axes: Axes) -> None:
        names = [_short_name(name) for name in losses]
        values = [entry["loss"] for entry in losses.values()]
        spread = [entry["std"] for entry in losses.values()]
        axes.barh(range(len(names)), values, height=0.62, color=MODEL_COLOURS["searched"])
        axes.errorbar(values, range(len(names)), xerr=spread, fmt="none", ecolor=INK, elinewidth=1)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(f"{metric} lost without it")

    return picture(draw, height=0.85 + 0.26 * len(losses))


def learning_plot(
    lines: Mapping[str, Sequence[Sequence[Mapping[str, float]]]],
    *,
    value: str,
    label: str,
    along: str = "epoch of training",
) -> str:
    """A line a training by epoch, in one colour for all seeds of a name.

    Args:
        lines: name -> for each seed its checks, with `epoch` and the value.
        value: the key of the value.
        label: of the axis.
        along: what `epoch` counts.
    """

    def draw(axes: Axes) -> None:
        ends: dict[str, tuple[float, float]] = {}
        for index, (name, seeds) in enumerate(lines.items()):
            colour = _sequence_colour(index, len(lines))
            for checks in seeds:
                epochs = [check["epoch"] for check in checks]
                heights = [float(check[value]) for check in checks]
                axes.plot(epochs, heights, color=colour, linewidth=1.6, alpha=0.85)
                if heights and np.isfinite(heights[-1]):
                    ends.setdefault(name, (epochs[-1], heights[-1]))
        axes.margins(x=0.02, y=0.08)
        axes.locator_params(axis="x", nbins=6)
        axes.set_xlabel(along)
        axes.set_ylabel(label)
        names_beside(axes, ends)

    return picture(draw, height=2.9)


def reliability_plot(curves: Mapping[str, ReliabilityCurve]) -> str:
    """Observed share against predicted share, one curve a model; bars are 95 % intervals."""

    def draw(axes: Axes) -> None:
        top = max(float(max(c.predicted.max(), c.observed.max())) for c in curves.values())
        bottom = min(float(c.predicted.min()) for c in curves.values())
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for index, (model, curve) in enumerate(curves.items()):
            axes.errorbar(
                curve.predicted,
                curve.observed,
                yerr=[curve.observed - curve.low, curve.high - curve.observed],
                color=_colour(model),
                marker=MARKERS[index % len(MARKERS)],
                markersize=4,
                linewidth=1.4,
                elinewidth=0.8,
                label=words(model),
            )
        axes.set_xlim(min(0.0, bottom), top * 1.06)
        axes.set_ylim(min(0.0, bottom), top * 1.12)
        axes.locator_params(nbins=5)
        axes.set_xlabel("predicted probability")
        axes.set_ylabel("observed rate")
        axes.legend(frameon=False, fontsize=8.5, loc="upper left", labelcolor=INK)

    return picture(draw, height=3.2)


def expert_use_plot(use: np.ndarray, tasks: Sequence[str], experts: Sequence[str]) -> str:
    """Heat map of how much each task (row) uses each expert (column); `use` has shape [T, E]."""

    def draw(axes: Axes) -> None:
        top = float(np.max(use)) or 1.0
        axes.imshow(use, cmap="Blues", vmin=0, vmax=top, aspect="auto")
        axes.set_yticks(range(len(tasks)), list(tasks))
        axes.set_xticks(range(len(experts)), list(experts), rotation=60, ha="right", fontsize=8)
        axes.grid(visible=False)
        if len(experts) <= 10:
            for (row, column), value in np.ndenumerate(use):
                ink = "white" if value > 0.6 * top else ON_PALE
                axes.text(column, row, f"{value:.2f}".replace("0.", "."), ha="center", va="center",
                          fontsize=8, color=ink)  # fmt: skip

    return picture(draw, height=1.3 + 0.34 * len(tasks))


def _axis_of_costs(axes: Axes, costs: Sequence[float]) -> None:
    """Logarithmic; where all costs are nearly the same, they shall look so, and labels be few."""
    low, high = min(costs), max(costs)
    if high > 2 * low:
        axes.set_xscale("log", subs=[2, 5])
    else:
        axes.set_xlim(0.8 * low, 1.2 * high)
        axes.locator_params(axis="x", nbins=4)
    for ticks in ("major", "minor"):
        getattr(axes.xaxis, f"set_{ticks}_formatter")(_short)


def names_beside(axes: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
    """Names to the right of the axes, pushed apart, each with a thin line to its point."""
    low, high = axes.get_ylim()
    order = sorted(ends, key=lambda name: (ends[name][1] - low) / (high - low))
    wanted = [(ends[name][1] - low) / (high - low) for name in order]
    step = min(0.085, 1 / max(len(order) - 1, 1))
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + step) if places else max(place, 0.0))
    for i in range(len(places) - 1, -1, -1):  # what was pushed above the top comes down again
        places[i] = min(places[i], 1.0 - step * (len(places) - 1 - i))
    for name, place in zip(order, places, strict=True):
        axes.annotate(
            words(name),
            xy=ends[name],
            xytext=(1.05, place),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            color=_colour(name) if name in MODEL_COLOURS else INK,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": THREAD, "linewidth": 0.6, "shrinkB": 3},
        )


def picture(draw: Callable[[Axes], None], *, height: float, width: float = WIDTH) -> str:
    """The SVG text of what `draw` draws on axes; height and width are in inches."""
    # Matplotlib takes a second to load, which only a process that draws should pay for.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # Fixed salt and no date: the same numbers give the same bytes.
    # A name may hold dollar signs, which are no formula.
    style: Any = {"svg.hashsalt": "recmtl", "svg.fonttype": "path", "font.size": 9.5}
    style |= {"text.color": INK, "axes.labelcolor": INK}
    with rc_context({**style, "text.parse_math": False}):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
        axes = figure.add_subplot(facecolor="none")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(FRAME)
        axes.tick_params(which="both", colors=MUTED, labelcolor=INK, length=3)
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        draw(axes)
        text = io.StringIO()
        with warnings.catch_warnings():
            # A name in letters that the font lacks; the picture's alternative text has it.
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            figure.savefig(text, format="svg", metadata={"Date": None})
    return NO_XML.sub(" ", text.getvalue())


def _short_name(name: str) -> str:
    """A name that leaves room for the plot beside it."""
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"


def _colour(model: str) -> str:
    return MODEL_COLOURS.get(model, MUTED)


def _sequence_colour(index: int, count: int) -> str:
    if count == 1:
        return MODEL_COLOURS["searched"]
    return LINE_COLOURS[index % len(LINE_COLOURS)]


def _short(value: float, _: int | None = None) -> str:
    """12000 -> 12k, 3400000 -> 3.4M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
