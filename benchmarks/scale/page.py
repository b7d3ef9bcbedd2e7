"""Memory and speed by the number of rows, as a page of Markdown."""

import textwrap
from collections.abc import Mapping
from typing import Any

from benchmarks.scale.simulated import HELD_OUT, SIZES
from recmtl.report.tables import markdown_table

STEPS = {"prepare": "Prepare", "train": "Train, one pass", "score": "Score, Parquet to Parquet"}
HEAD = ("million rows", "peak MB", "thousand rows/s of CPU", "of wall", "minutes")
MOST_GROWTH = 1.1
"""Times the peak of the smallest log: fixed before the first measurement."""


def page(found: Mapping[str, Any]) -> str:
    """The page of all sizes that were measured."""
    sizes = {int(rows): told for rows, told in found["sizes"].items()}
    intro = (
        "`python -m benchmarks.scale`: a simulated log of "
        f"{len(SIZES)} categorical columns ({sum(SIZES):,} values) and two tasks, in parts, is "
        "prepared, trained on (a small MMoE, one pass, batches of 4,096) and scored; each step "
        "is a process of its own on one thread. The peak is the most memory that the system "
        "counted for the process, mapped files included, the libraries' 220 MB too. "
        f"Validation and test hold {HELD_OUT:,} rows each whatever the length: their scores are "
        f"held in memory for exact metrics, eight bytes a row and task. {found['processor']}."
    )
    lines = ["# Scale: memory that does not grow with the log", "", *_text(intro)]
    for step, title in STEPS.items():
        told = {rows: one[step] for rows, one in sorted(sizes.items())}
        lines += [f"## {title}", "", *markdown_table(HEAD, map(_row, told.values()))]
        first, last = next(iter(told.values())), list(told.values())[-1]
        growth = last["peak_mb"] / first["peak_mb"]
        verdict = "reached" if growth <= MOST_GROWTH else "missed"
        lines += _text(
            f"From the shortest log to the longest the peak is {growth:.2f} times as high; target, "
            f"set beforehand, at most {MOST_GROWTH}: {verdict}."
        )
    disk = [[_millions(rows), *_disk(one["disk_mb"])] for rows, one in sorted(sizes.items())]
    head = ("million rows", "log, MB", "encoded, MB", "scores, MB")
    return "\n".join([*lines, "## On disk", "", *markdown_table(head, disk)])


def _text(paragraph: str) -> list[str]:
    return [*textwrap.wrap(paragraph, 100, break_on_hyphens=False), ""]


def _millions(rows: float) -> str:
    return f"{rows / 1e6:g}"


def _row(told: Mapping[str, float]) -> list[str]:
    rates = [f"{told['rows'] / told[clock] / 1e3:,.0f}" for clock in ("cpu_s", "wall_s")]
    peak, minutes = f"{told['peak_mb']:,.0f}", f"{told['wall_s'] / 60:.1f}"
    return [_millions(told["rows"]), peak, *rates, minutes]


def _disk(megabytes: Mapping[str, float]) -> list[str]:
    return [f"{megabytes[name]:,.0f}" for name in ("log", "encoded", "scores")]
