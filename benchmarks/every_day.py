"""How fresh must a model be? `python -m benchmarks.every_day`: strategies over the days of a log.

`recmtl backtest` on KuaiRand-Pure with statistics of the past days: a first bundle is trained on
three days, and each of the three days after is scored before any strategy learns from it. Every
repetition searches and trains with seeds of its own, so that intervals hold the luck of training.
What is done is read back, so that a benchmark that was killed goes on. `--page` only rewrites the
page.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.board.logs import data_folder
from benchmarks.pages import paragraph
from benchmarks.processes import ROOT
from recmtl.atomic import read_json, write_json, write_text
from recmtl.daily.rolling.backtest import BacktestSettings, backtest
from recmtl.daily.rolling.strategies import KINDS, read_strategies
from recmtl.job.open_job import open_job, tracked_run
from recmtl.report.tables import format_gain, format_metric, markdown_table, words

OUT, RUNS = ROOT / "docs" / "benchmarks" / "every_day.json", ROOT / "runs" / "every_day"
DATA = "kuairand_pure/log_0425_0430.parquet"
SCHEMA = ROOT / "datasets" / "kuairand_pure" / "schema_statistics.yaml"
CONFIG = ROOT / "pipelines" / "configs" / "kuairand_pure" / "recmtl.yaml"
WINDOW = 3


def measured(
    data: str | Path, schema: Path, config: Path, *, settings: BacktestSettings, out: Path
) -> dict[str, Any]:
    """The content of the JSON file: that of backtest.json."""
    with (
        open_job(
            data=data, schema=schema, config=config, out=out, console=Console(stderr=True)
        ) as job,
        tracked_run(job, "every day") as run,
    ):
        return backtest(job, run, settings)


def page(results: Mapping[str, Any]) -> str:
    """The results as a page of Markdown."""
    days, seeds = results["days"], results["seeds"]
    names = ", ".join(f"`{name}`" for name in results["strategies"])
    lines = [
        "# Every day",
        "",
        *paragraph(
            "`python -m benchmarks.every_day`: `recmtl backtest` on KuaiRand-Pure with statistics",
            f"of the past days, {WINDOW} days for the first bundle and for training from scratch,",
            f"then {len(days)} days from {days[0]['name']} to {days[-1]['name']}, each scored",
            "before anything learned from it.",
            f"Strategies: {names} (see the guide [Every day](../guides/every_day.md)).",
            f"Means over {seeds} seeds of the days after the first, on which all have the same",
            "bundle; CPU seconds are those of all refreshes together.",
        ),
        *markdown_table(
            ["strategy", *_heads(results), "CPU s", f"of {results['reference']}"],
            _strategies(results),
        ),
        *paragraph(*(f"{sentence[0].upper()}{sentence[1:]}." for sentence in results["answers"])),
        f"## Gains over {results['reference']}",
        "",
        *markdown_table(["task", *_others(results)], _gains(results)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _heads(results: Mapping[str, Any]) -> list[str]:
    return [f"{task} ({words(metric)})" for task, metric in results["tasks"].items()]


def _others(results: Mapping[str, Any]) -> list[str]:
    return [name for name in results["strategies"] if name != results["reference"]]


def _strategies(results: Mapping[str, Any]) -> list[list[str]]:
    """A row a strategy: the metric of each task, and what its refreshes cost."""
    whole = results["strategies"][results["reference"]]["cpu_s"]
    return [
        [
            name,
            *(format_metric(entry["quality"][task]) for task in results["tasks"]),
            f"{entry['cpu_s']:,.1f}",
            f"{entry['cpu_s'] / whole:.2f}" if whole else "",
        ]
        for name, entry in results["strategies"].items()
    ]


def _gains(results: Mapping[str, Any]) -> list[list[str]]:
    """A row a task, and one for their mean: the gain of each strategy, with its verdict."""
    entries = [results["strategies"][name]["gains"] for name in _others(results)]
    rows = []
    for task in [*results["tasks"], "mean"]:
        gains = [of_strategy.get(task) for of_strategy in entries]
        cells = [f"{format_gain(g)}, {g['verdict']}" if g else format_gain(g) for g in gains]
        rows.append([task, *cells])
    return rows


def main() -> int:
    """Roll over the days, print the page, and write `docs/benchmarks/every_day.{json,md}`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.every_day", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="repetitions of the whole")
    parser.add_argument("--strategies", default=",".join(KINDS), help="as for recmtl backtest")
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    options = parser.parse_args()
    if not options.page:
        strategies = read_strategies(options.strategies.split(","))
        settings = BacktestSettings(strategies, WINDOW, seeds=options.seeds)
        data = data_folder() / DATA
        write_json(OUT, measured(data, SCHEMA, CONFIG, settings=settings, out=RUNS))
    text = page(read_json(OUT, remedy="run the benchmark without --page"))
    write_text(OUT.with_suffix(".md"), text)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
