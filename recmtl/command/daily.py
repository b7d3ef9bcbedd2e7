"""`recmtl update` and `recmtl backtest`: models that are kept fresh, and how often they must be."""

from typing import Any

import click

from recmtl.command.base import Command, Output, names_of
from recmtl.command.options import (
    FILE,
    OneOf,
    config_option,
    options,
    out_option,
    preset_option,
    promote_option,
    whole_number,
)
from recmtl.errors import ConfigError
from recmtl.script import advise_to_go_on

__all__ = ["backtest", "update"]

SEARCHES = ("never", "auto", "always")
DONE, BEHIND = 0, 3
retire_option = click.option(
    "--retire-after",
    default="",
    metavar="TIME",
    help="retire ids that no train row has had for so long: 90d, 4w, or a number in the unit of "
    "the time column",
)


@click.command(cls=Command)
@options(
    click.option(
        "--run",
        required=True,
        type=FILE,
        help="what is updated: the output folder of a run or an update, a bundle, or an MLflow URI",
    ),
    click.option("--data", required=True, type=FILE, help="the added days"),
    out_option,
    click.option(
        "--search",
        "search_when",
        default="auto",
        type=OneOf(SEARCHES),
        show_default=True,
        help="for another route: auto if a test on the days says so",
    ),
    retire_option,
    config_option,
    preset_option,
    promote_option,
)
@click.pass_obj
def update(
    output: Output,
    /,
    *,
    run: str,
    out: str,
    search_when: Any,
    retire_after: str,
    **settings: Any,
) -> None:
    """Train a bundle on with added days, and judge it.

    Statistics of the past go on, new ids get rows, weights start from those of the bundle. The
    configuration is that of the run, unless --config says otherwise. What is updated stays as it
    is; the new bundle is written into --out, is compared with what it was, and becomes champion if
    it beats the present one.

    An update that was interrupted goes on with the same command.
    """
    # here, so that --help answers at once
    from recmtl.daily.open_update import update_of
    from recmtl.job.open_job import output_folder
    from recmtl.report.update_text import update_lines

    folder = output_folder(out)
    advise_to_go_on(out, folder)
    settings |= {"out": folder, "quiet": output.quiet, "console": output.console}
    with update_of(run, **settings) as opened:
        done = opened.do(search_when=search_when or "auto", retire_after=retire_after)
        lines = "\n".join(update_lines(done.results))
        content = {
            "out": folder,
            "update": done.results["update"],
            "verdicts": {task: e["verdict"] for task, e in done.results["tasks"].items()},
            "report": done.report,
            "bundle": done.bundle,
        }
        output.result(f"{lines}\n\nreport    {done.report}\nbundle    {done.bundle}", content)


@click.command(
    cls=Command,
    epilog="exit status: 0 done, 2 error, 3 done, and the strategy of --require is proven behind",
)
@options(
    click.option("--data", required=True, type=FILE, help="the log, with a column of time"),
    click.option("--schema", required=True, type=FILE, help="schema YAML of the data"),
    out_option,
    click.option(
        "--strategies",
        default="frozen,warm,scratch",
        show_default=True,
        help="frozen, warm, warm+search, scratch, scratch+search; warm:7 refreshes every 7 days",
    ),
    click.option(
        "--window",
        default=7,
        type=whole_number,
        metavar="N",
        show_default=True,
        help="days from which the first bundle, and those from scratch, are trained",
    ),
    click.option(
        "--days", default=0, type=whole_number, metavar="N", help="scored after them; 0 for all"
    ),
    click.option(
        "--period",
        default="1d",
        show_default=True,
        help="how long a day is: 1d, 6h, or a whole number in the unit of the time column",
    ),
    click.option(
        "--seeds",
        default=1,
        type=whole_number,
        metavar="N",
        show_default=True,
        help="repetitions, whose spread the intervals hold",
    ),
    click.option(
        "--require",
        default="",
        metavar="NAME",
        help="a strategy that must not be proven behind the last one from scratch: else status 3",
    ),
    retire_option,
    config_option,
    preset_option,
)
@click.pass_obj
def backtest(
    output: Output,
    /,
    *,
    out: str,
    strategies: str,
    window: int,
    days: int,
    period: str,
    seeds: int,
    require: str,
    retire_after: str,
    **settings: Any,
) -> int:
    """Compare ways to keep a model fresh, day by day.

    Each day is scored before it is trained on, by several strategies. It answers how often a model
    must be refreshed, and whether a warm start is safe: quality by day and task with intervals,
    and CPU.

    A backtest that was interrupted goes on with the same command.
    """
    # here, so that --help answers at once
    from recmtl.daily.rolling.backtest import BacktestSettings
    from recmtl.daily.rolling.backtest import backtest as roll_over
    from recmtl.daily.rolling.strategies import read_strategies
    from recmtl.job.open_job import open_job, output_folder, tracked_run
    from recmtl.report.backtest_page import backtest_table
    from recmtl.train.loop import silent

    compared = read_strategies(names_of(strategies))
    names = [strategy.name for strategy in compared]
    if require and require not in names:
        raise ConfigError(f"--require {require}: is none of the strategies {', '.join(names)}")
    rolled = BacktestSettings(compared, window, days, period, seeds or 1, retire_after)
    folder = output_folder(out)
    advise_to_go_on(out, folder)
    settings |= {"out": folder, "on_progress": silent if output.quiet else None}
    with (
        open_job(**settings, console=output.console) as job,
        tracked_run(job, "backtest") as tracked,
    ):
        results = roll_over(job, tracked, rolled)
        page = folder / "backtest.html"
        output.result(f"{backtest_table(results)}\n\npage      {page}", {**results, "page": page})
    gains = results["strategies"][require]["gains"].values() if require else ()
    return BEHIND if any(gain["verdict"] == "hurt" for gain in gains) else DONE
