"""The page of the watch-time heads, from the figures of their trainings."""

from collections.abc import Mapping
from math import sqrt
from statistics import mean, stdev
from typing import Any

from benchmarks.pages import paragraph
from benchmarks.watch_time.arms import ARMS, MEASURES, REFERENCE

__all__ = ["page"]

Figures = Mapping[str, Any]


def page(figures: Figures) -> str:
    """The figures as a page of Markdown."""
    seeds = max((len(runs) for runs in figures["arms"].values()), default=0)
    lines = ["# Watch time", ""]
    lines += paragraph(
        f"`python -m benchmarks.watch_time`: play time in seconds on {figures['rows']}, by every",
        "head that fits it, beside a regression of `log1p` by squared error. One network a head,",
        "with the layout `shared_bottom` and the settings of",
        f"`{figures['config']}`; {seeds} {'seed' if seeds == 1 else 'seeds'} each. Networks",
        "and checkpoints are chosen on validation rows, figures are those of test rows:",
        "XAUC is how often two rows are in the right order, MAE and RMSE are seconds, and *sum* is",
        "the predicted over the actual time of all rows, 1 where minutes watched come out right.",
    )
    lines += ["| head | XAUC | MAE | RMSE | sum | CPU s |", "|---|---|---|---|---|---|"]
    for name in ARMS:
        runs = _runs(figures, name)
        if runs:
            cells = [_summary([run["metrics"][m] for run in runs]) for m in (*MEASURES, "sum")]
            seconds = mean(run["cpu_s"] for run in runs)
            lines.append(f"| `{name}` | {' | '.join(cells)} | {seconds:.0f} |")
    lines += ["", f"## Against `{REFERENCE}`", ""]
    lines += paragraph(
        "The mean over the seeds of the difference to the regression of `log1p` with the same",
        "seed, and its standard error; more is better for XAUC alone.",
    )
    lines += ["| head | XAUC | MAE | RMSE |", "|---|---|---|---|"]
    for name in ARMS:
        if name != REFERENCE and _runs(figures, name):
            cells = [_difference(figures, name, measure) for measure in MEASURES]
            lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _runs(figures: Figures, name: str) -> list[Mapping[str, Any]]:
    return list(figures["arms"].get(name, {}).values())


def _summary(values: list[float]) -> str:
    """The mean, with the deviation over the seeds where there are several."""
    spread = f" ± {_short(stdev(values))}" if len(values) > 1 else ""
    return f"{_short(mean(values))}{spread}"


def _difference(figures: Figures, name: str, measure: str) -> str:
    """The mean difference to the reference over the seeds that both have."""
    ours, theirs = figures["arms"][name], figures["arms"].get(REFERENCE, {})
    gaps = [
        run["metrics"][measure] - theirs[seed]["metrics"][measure]
        for seed, run in ours.items()
        if seed in theirs
    ]
    if not gaps:
        return "-"
    error = f" ± {_short(stdev(gaps) / sqrt(len(gaps)))}" if len(gaps) > 1 else ""
    return f"{mean(gaps):+.4f}{error}"


def _short(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1 else f"{value:.3f}"
