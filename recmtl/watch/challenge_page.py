"""The comparison of two bundles as text and as a page."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recmtl.job.champion import CANDIDATE, CONSTANT, PRESENT
from recmtl.report.page import Content, Html, Section, listed, paragraph, section, table, write_page
from recmtl.report.tables import format_gain
from recmtl.watch.challenge import Challenge

__all__ = ["challenge_text", "write_challenge_page"]


def challenge_text(outcome: Challenge) -> str:
    """The decision, then a line for each task and for the lists."""
    lines = [f"{outcome.source}: {outcome.rows:,} rows; {outcome.decision.reason}"]
    lines += [f"{task}: {_gain(entry)}" for task, entry in outcome.tasks.items()]
    lines += _list_lines(outcome)
    return "\n".join(lines)


def _gain(entry: Mapping[str, Any]) -> str:
    gain = entry[PRESENT]
    return f"{entry['metric']} {format_gain(gain)}, {gain['verdict']}"


def _list_lines(outcome: Challenge) -> Iterator[str]:
    lists = outcome.lists
    if lists is None or not lists.groups:
        return
    yield (
        f"lists of {lists.k} in {lists.groups:,} groups: {lists.overlap:.1%} of a list is in the "
        f"other's, {lists.same:.1%} of the lists are equal"
    )
    for change in lists.changes:
        gap = change.challenger - change.champion
        yield (
            f"NDCG at {lists.k} of {change.task}: {change.champion:.4f} to {change.challenger:.4f} "
            f"({gap:+.4f}, standard error {change.error:.4f}, {change.groups:,} groups)"
        )


def write_challenge_page(path: Path, outcome: Challenge) -> None:
    """Write the page; `path` holds either the whole new file or what it held before."""
    kind = "helped" if outcome.decision.promote else ""
    body: list[Section | Html] = [
        Html(f"<h1>{Html.escape(outcome.source)}</h1>"),
        paragraph(f"{outcome.rows:,} rows; {outcome.decision.reason}.", kind),
    ]
    if outcome.tasks:
        body.append(section("Tasks", _tasks(outcome)))
    if outcome.segments:
        body.append(section("Segments", _segments(outcome)))
    lists = list(_list_lines(outcome))
    if lists:
        body.append(section("Lists", listed(lists)))
    body.append(section("Scores", _scores(outcome)))
    facts = [
        f"{name}: {folder}, fingerprint {fingerprint}, {outcome.cost[name]:,.0f} multiply-adds"
        for name, (folder, fingerprint) in outcome.bundles.items()
    ]
    body.append(section("Bundles", listed(facts)))
    write_page(path, f"Challenge on {outcome.source}", body)


def _tasks(outcome: Challenge) -> Html:
    rows: list[list[Content]] = []
    for task, entry in outcome.tasks.items():
        over = [format_gain(entry[name]) if name in entry else "" for name in (PRESENT, CONSTANT)]
        verdict = entry[PRESENT]["verdict"]
        rows.append([task, entry["metric"], f"{entry['rows']:,}", *over, verdict])
    head = ["task", "metric", "rows", "gain over the champion", "gain over a constant", "verdict"]
    return table(head, rows, kinds=[["", "text", "", "", "", "text"]] * len(rows))


def _segments(outcome: Challenge) -> Html:
    tasks = list(outcome.tasks)
    rows: list[list[Content]] = []
    for name, entry in outcome.segments.items():
        gains = [entry["tasks"].get(task) for task in tasks]
        cells = ["too few rows" if gain is None else format_gain(gain) for gain in gains]
        rows.append([name, f"{entry['rows']:,}", *cells])
    return table(["segment", "rows", *tasks], rows)


def _scores(outcome: Challenge) -> Html:
    rows: list[list[Content]] = [
        [
            column,
            f"{change.champion:.4g}",
            f"{change.challenger:.4g}",
            f"{change.difference:.4g}",
            f"{change.rank_correlation:.3f}",
        ]
        for column, change in outcome.scores.items()
    ]
    head = ["column", PRESENT, CANDIDATE, "mean absolute difference", "rank correlation"]
    return table(head, rows)
