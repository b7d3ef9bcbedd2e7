"""The page of a backtest: answers, quality over time, gains with intervals, and CPU."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recmtl.report.page import (
    Html,
    Section,
    figure,
    figures,
    listed,
    paragraph,
    section,
    table,
    write_page,
)
from recmtl.report.plots import learning_plot
from recmtl.report.tables import MISSING, format_gain, format_metric, words

__all__ = ["backtest_table", "write_backtest_page"]

Results = Mapping[str, Any]
KINDS = {"helped": "helped", "hurt": "hurt"}


def write_backtest_page(path: Path, results: Results, *, title: str) -> None:
    """Write the page; `path` holds either the whole new file or what it held before."""
    head = Html("<h1>{}</h1>").format(title) + paragraph(_subtitle(results), "quiet")
    parts: list[Section | Html] = [
        head,
        section("Answers", listed(results["answers"] or ["there is nothing to compare"])),
        _strategies(results),
        _over_time(results),
        _by_day(results),
        _how_to_read(results),
    ]
    write_page(path, title, parts)


def backtest_table(results: Results) -> str:
    """The strategies as plain text, for the end of a backtest."""
    lines = [*results["answers"], ""]
    for name, entry in results["strategies"].items():
        quality = ", ".join(
            f"{task} {format_metric(entry['quality'][task])}" for task in results["tasks"]
        )
        gain = entry["gains"].get("mean")
        gained = f", {format_gain(gain)} over {results['reference']}" if gain else ""
        lines.append(f"{name}: {quality}; {entry['cpu_s']:,.0f} CPU s{gained}")
    return "\n".join(lines)


def _subtitle(results: Results) -> str:
    days, seeds = results["days"], results["seeds"]
    return (
        f"{len(days)} days, {days[0]['name']} to {days[-1]['name']}, "
        f"{seeds} seed{'s' * (seeds > 1)}; each day was scored before anything learned from it."
    )


def _strategies(results: Results) -> Section:
    """One row a strategy: quality, gain over the reference, CPU."""
    tasks, reference = results["tasks"], results["reference"]
    rows, kinds = [], []
    for name, entry in results["strategies"].items():
        gain = entry["gains"].get("mean")
        verdict = KINDS.get(gain["verdict"], "") if gain else ""
        cells = [format_metric(entry["quality"][task]) for task in tasks]
        gained = format_gain(gain) if gain else MISSING
        failed = str(len(entry["failed"])) if entry["failed"] else ""
        costs = [f"{entry['cpu_s']:,.0f}", str(entry["refreshes"]), failed]
        rows.append([name, *cells, gained, *costs])
        kinds.append(["", *([""] * len(cells)), verdict, "", "", ""])
    heads = [f"{task} ({words(metric)})" for task, metric in tasks.items()]
    header = ["strategy", *heads, f"mean gain over {reference}", "CPU s", "refreshes", "failed"]
    caption = "Mean over the days after the first, on which all strategies have the same bundle"
    shown = table(header, rows, caption=caption, kinds=kinds)
    failures = [
        f"{name}: {reason}"
        for name, entry in results["strategies"].items()
        for reason in entry["failed"]
    ]
    lines = [paragraph("A refresh that failed left the bundle as it was:"), listed(failures)]
    return section("Strategies", shown, *(lines if failures else []))


def _over_time(results: Results) -> Section:
    """A picture a task: its metric by day, a line a strategy."""
    pictures = []
    for task, metric in results["tasks"].items():
        lines = {
            name: [
                [
                    {"epoch": float(number), "value": day["quality"][name][task]["mean"]}
                    for number, day in enumerate(results["days"])
                    if day["quality"][name][task]["mean"] is not None
                ]
            ]
            for name in results["strategies"]
        }
        svg = learning_plot(lines, value="value", label=words(metric), along="day")
        alt = f"{words(metric)} of {task} by day, for each strategy"
        pictures.append(figure(svg, alt=alt, title=task))
    return section("Over time", figures(pictures))


def _by_day(results: Results) -> Section:
    """The gain over the reference on every day, on the mean over the tasks."""
    names = [name for name in results["strategies"] if name != results["reference"]]
    rows = [
        [
            day["name"],
            f"{day['rows']:,}",
            *(
                format_gain(day["gains"][name]["mean"])
                if day["gains"].get(name, {}).get("mean")
                else MISSING
                for name in names
            ),
        ]
        for day in results["days"]
    ]
    caption = f"Gain over {results['reference']} on the mean over the tasks, with 95 % intervals"
    return section("By day", table(["day", "rows", *names], rows, caption=caption))


def _how_to_read(results: Results) -> Section:
    points = [
        "Scores are those of the bundles on raw rows, as in service.",
        "CPU seconds are of everything that a strategy did after the first bundle: encoding, "
        "training, search, and writing the bundle.",
        "Intervals draw whole groups (or rows) anew, of all days together; with several seeds "
        "they hold the luck of training too.",
    ]
    if results["seeds"] == 1:
        points.append("One seed: the bundles are compared as they are, without that luck.")
    return section("How to read this", listed(points))
