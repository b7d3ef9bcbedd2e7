"""Options that several commands share. An empty value is that of an option left out.

MLflow and other schedulers hand every parameter on, the empty ones too.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from recmtl.errors import ConfigError
from recmtl.job.time_limit import seconds
from recmtl.train.presets import PRESETS

__all__ = [
    "ENGINE",
    "FILE",
    "JOB",
    "WISHES",
    "OneOf",
    "config_option",
    "like_option",
    "named_columns",
    "no_ablation_option",
    "options",
    "out_option",
    "preset_option",
    "processes_option",
    "promote_option",
    "time_limit",
    "whole_number",
]

F = TypeVar("F", bound=Callable[..., Any])

FILE = click.Path(readable=False)
"""A file, a folder, a glob or a URL: shells complete it, and who reads it says what is wrong."""


class OneOf(click.Choice[str]):
    """One of some words, or empty."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word."""
        return "" if value == "" else super().convert(value, param, ctx)


def whole_number(value: str | float) -> int:
    """A number of things, which MLflow writes as `5.0`; 0 where it is empty.

    >>> whole_number("5.0"), whole_number("")
    (5, 0)
    """
    try:
        number = float(value or 0)
    except ValueError:
        number = -1.0
    if number < 0 or number != int(number):
        raise click.BadParameter(f"{value!r} is no number of things")
    return int(number)


def time_limit(value: str | float) -> float | None:
    """The seconds of a length of time such as `10m`; None where it is empty."""
    try:
        return None if value == "" else seconds(value)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from None


def named_columns(tasks: Sequence[str]) -> dict[str, str] | list[str]:
    """Tasks and their columns, of `NAME=COLUMN`; of columns alone the list.

    >>> named_columns(["click", "bought=is_order"])
    {'click': 'click', 'bought': 'is_order'}
    """
    if not any("=" in task for task in tasks):
        return list(tasks)
    pairs = [task.split("=", 1) for task in tasks]
    return {pair[0]: pair[-1] for pair in pairs}


def options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Options as one decorator, shown by `--help` in this order."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


config_option = click.option(
    "--config", default="", type=FILE, help="YAML of sizes, search, training, evidence"
)
out_option = click.option(
    "--out", default="", type=FILE, help="output folder; runs/<utc time> if empty"
)
preset_option = click.option(
    "--preset",
    default="",
    type=OneOf(list(PRESETS)),
    help="settings that the configuration does not give, from quick to thorough",
)
no_ablation_option = click.option(
    "--no-ablation",
    "ablation",
    flag_value=False,
    default=True,
    type=bool,
    help="do not train the networks that show what moved the metric",
)
promote_option = click.option(
    "--promote",
    default="",
    type=OneOf(["always", "never"]),
    help="make the new model champion or not, whatever the comparison with it says",
)
processes_option = click.option(
    "--processes",
    default=1,
    type=whole_number,
    metavar="N",
    help="train each network with N processes of this machine; torchrun starts its own",
)
like_option = click.option(
    "--like",
    default="",
    type=FILE,
    help="earlier encoded log of the same schema, whose vocabularies are kept: added days",
)
ENGINE = options(
    click.option(
        "--engine",
        default="local",
        type=click.Choice(["local", "spark"]),
        show_default=True,
        help="where the rows are read and encoded; the log is the same",
    ),
    click.option(
        "--master", default="", help="of Spark: local[4], spark://host:7077; else the environment's"
    ),
    click.option(
        "--pieces",
        default=0,
        type=whole_number,
        metavar="N",
        help="of Spark: tasks of a pass over the rows; 0 for three a core",
    ),
)
"""Who runs the rows; the names are those of `recmtl.engines.spark.row_engine`."""
WISHES = options(
    click.option(
        "--task",
        "tasks",
        multiple=True,
        metavar="[NAME=]COLUMN",
        help="where no schema is given: a column to predict; may be repeated",
    ),
    click.option("--group", default="", help="... the column within which rows compete"),
    click.option("--time", default="", help="... the column by which rows are split"),
)
"""What a person says of a log whose schema is drafted; see `recmtl.data.draft.wishes`."""
JOB = options(
    click.option("--data", default="", type=FILE, help="the log; simulated if empty"),
    click.option("--schema", default="", type=FILE, help="schema YAML of the data"),
    config_option,
    preset_option,
    out_option,
    click.option(
        "--seeds", default=0, type=whole_number, metavar="N", help="of every model, if not 0"
    ),
    click.option(
        "--time-limit",
        default=None,
        type=time_limit,
        metavar="TIME",
        help="what the whole may take: 90s, 10m, 1h30m; what does not fit is left out, and named",
    ),
)
"""What a step of a job is given; the names are those of `recmtl.job.open_job.open_job`."""
