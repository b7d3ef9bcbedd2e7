"""The page on scale: memory and speed by the number of rows."""

from collections.abc import Mapping
from typing import Any

from benchmarks.pages import paragraph
from benchmarks.scale.simulated import HELD_OUT, SIZES
from recmtl.report.tables import markdown_table

STEPS = {"prepare": "Prepare", "train": "Train, one pass", "score": "Score, Parquet to Parquet"}
HEAD = ("million rows", "peak MB", "thousand rows/s of CPU", "of wall", "minutes")
MOST_GROWTH = 1.1
"""The most that the peak may grow, as a factor; fixed before the first measurement."""


def page(figures: Mapping[str, Any]) -> str:
    """The page, in Markdown, of all sizes that were measured."""
    sizes = {int(rows): steps for rows, steps in figures["sizes"].items()}
    intro = paragraph(
        f"`python -m benchmarks.scale`: a simulated log of {len(SIZES)} categorical columns",
        f"({sum(SIZES):,} values) and two tasks is written in parts, prepared, trained on (a small",
        "MMoE, one pass, batches of 4,096) and scored. Each step is a process of its own on one",
        "thread. The peak is the most memory that the system counted for the process, mapped files",
        "and the 220 MB of the libraries included. Validation and test have",
        f"{HELD_OUT:,} rows each, however long the log: their scores are held in memory for exact",
        f"metrics, eight bytes a row and task. {figures['processor']}.",
    )
    lines = ["# Scale: memory that does not grow with the log", "", *intro]
    for step, title in STEPS.items():
        steps = {rows: of_size[step] for rows, of_size in sorted(sizes.items())}
        lines += [f"## {title}", "", *markdown_table(HEAD, map(_row, steps.values()))]
        first, last = next(iter(steps.values())), list(steps.values())[-1]
        growth = last["peak_mb"] / first["peak_mb"]
        verdict = "reached" if growth <= MOST_GROWTH else "missed"
        lines += paragraph(
            f"The peak of the longest log is {growth:.2f} times as high as that of the shortest.",
            f"Target, set beforehand, at most {MOST_GROWTH}: {verdict}.",
        )
    disk = [
        [_millions(rows), *_disk(of_size["disk_mb"])] for rows, of_size in sorted(sizes.items())
    ]
    head = ("million rows", "log, MB", "encoded, MB", "scores, MB")
    return "\n".join([*lines, "## On disk", "", *markdown_table(head, disk)])


def _millions(rows: float) -> str:
    return f"{rows / 1e6:g}"


def _row(step: Mapping[str, float]) -> list[str]:
    rates = [f"{step['rows'] / step[clock] / 1e3:,.0f}" for clock in ("cpu_s", "wall_s")]
    peak, minutes = f"{step['peak_mb']:,.0f}", f"{step['wall_s'] / 60:.1f}"
    return [_millions(step["rows"]), peak, *rates, minutes]


def _disk(megabytes: Mapping[str, float]) -> list[str]:
    return [f"{megabytes[name]:,.0f}" for name in ("log", "encoded", "scores")]
