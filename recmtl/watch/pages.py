"""The report of a day as text and as a page."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from recmtl.report.page import Content, Html, Section, join, listed, paragraph, section, table
from recmtl.report.page import write_page as write_html
from recmtl.watch.monitor import Check, DayReport

__all__ = ["KINDS", "bars", "monitor_text", "write_monitor_page"]

KINDS = {
    "unknown": "values without a known id",
    "feature": "distribution of a feature",
    "score": "distribution of a score",
    "calibration": "mean prediction over mean label",
    "auc": "AUC",
    "gauc": "AUC within groups",
    "loss": "loss",
}
"""What each kind of check looks at."""
HEIGHTS = "▁▂▃▄▅▆▇█"
MOST_SHOWN = 10
"""Checks that are listed where nothing is wrong."""


def monitor_text(report: DayReport) -> str:
    """A line for each check that is beyond its limit, or that there is none, and what was left."""
    head = f"{report.source}: {report.rows:,} rows, {_count(report)}"
    return "\n".join([head, *map(_line, report.beyond), *(f"note: {n}" for n in report.notes)])


def _count(report: DayReport) -> str:
    return f"{len(report.beyond)} of {len(report.checks)} checks beyond their limits"


def _line(check: Check) -> str:
    value, reference = _shown(check, check.value), _shown(check, check.reference)
    before = "" if check.reference is None else f", {reference} in training"
    over = f"{_number(check.excess - check.chance)} after chance"
    return f"{check.name}: {KINDS[check.kind]}: {value}{before} ({over}, limit {check.limit:g})"


def write_monitor_page(path: Path, report: DayReport) -> None:
    """Write the page; `path` holds either the whole new file or what it held before."""
    kind = "hurt" if report.beyond else "helped"
    labels = [f"{task}: {rows:,} rows with a label" for task, rows in report.labelled.items()]
    folder, fingerprint = report.bundle
    body: list[Section | Html] = [
        Html(f"<h1>{Html.escape(report.source)}</h1>"),
        paragraph(f"{report.rows:,} rows; {_count(report)}.", kind),
    ]
    if report.beyond:
        body.append(section("Beyond their limits", _table(report.beyond)))
    within = [check for check in report.checks if not check.is_beyond]
    body.append(section("Within their limits", _table(within)))
    body.append(section("Labels", listed([*labels, *report.notes])))
    facts = [f"bundle {folder}", f"fingerprint {fingerprint}"]
    body.append(section("Scored by", listed(facts), _explanation()))
    write_html(path, f"Watch of {report.source}", body)


def _explanation() -> Html:
    return join(
        [
            paragraph(
                "An index compares the shares of bins p and q by the sum of (p - q) log(p / q): "
                "below 0.1 little has changed, above 0.25 much. The first bin holds missing and "
                "unknown values."
            ),
            paragraph(
                "Chance is three standard deviations of what is compared: a check is beyond its "
                "limit if more than the limit is left without it."
            ),
        ]
    )


def _table(checks: Sequence[Check]) -> Html:
    head = ["what", "of", "training", "day", "excess", "chance", "limit", "shape before, now"]
    rows: list[list[Content]] = [list(_cells(check)) for check in checks]
    kinds = [["", "text", "", "", "", "", "", "text"]] * len(rows)
    return table(head, rows, kinds=kinds)


def _cells(check: Check) -> Iterator[Content]:
    yield check.name
    yield KINDS[check.kind]
    yield _shown(check, check.reference)
    yield _shown(check, check.value)
    yield _number(check.excess)
    yield _number(check.chance)
    yield f"{check.limit:g}"
    yield Html("<br>").join(bars(shares) for shares in check.shapes)


def _shown(check: Check, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1%}" if check.kind == "unknown" else _number(value)


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"


def bars(shares: Sequence[float]) -> str:
    """A histogram in one line of text.

    >>> bars([0.0, 0.25, 0.75])
    '▁▃█'
    """
    most = max(shares, default=0.0)
    if most <= 0:
        return ""
    return "".join(HEIGHTS[round((len(HEIGHTS) - 1) * share / most)] for share in shares)
