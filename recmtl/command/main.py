"""The command as a whole: `recmtl`, `python -m recmtl`, and the scripts of `pipelines/`."""

import importlib.metadata
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click
from click.shell_completion import get_completion_class, shell_complete

from recmtl.command.base import Command, Output
from recmtl.command.config import config
from recmtl.command.daily import backtest, update
from recmtl.command.describe import describe
from recmtl.command.log import log
from recmtl.command.serve import explain, rank, score
from recmtl.command.steps import benchmark, evaluate, prepare, report, run, search, train
from recmtl.command.tune import tune
from recmtl.command.vision import vision
from recmtl.command.watch import challenge, monitor
from recmtl.interrupts import answer_signals, leave

__all__ = ["main", "recmtl", "start"]

NAME, COMPLETE = "recmtl", "_RECMTL_COMPLETE"
COMMANDS = (
    *(run, describe, config, tune, prepare, search, train, evaluate, report),
    *(score, rank, explain, update, backtest, monitor, challenge, log, benchmark, vision),
)


class _InOrder(click.Group):
    """Lists its commands in the order in which a job needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names."""
        return list(self.commands)


@click.group(cls=_InOrder, epilog="`recmtl COMMAND --help` explains a command and its options.")
@click.version_option(importlib.metadata.version("recmtl"), message="%(prog)s %(version)s")
def recmtl() -> None:
    """Find out what the tasks of a recommender should share, and train the network for it.

    \b
        recmtl describe --data log.parquet --out schema.yaml
        recmtl run --data log.parquet --schema schema.yaml --out runs/mine
        recmtl score --bundle runs/mine/bundle --input log.parquet --output scored
    """  # noqa: D301 (click wants the character itself)


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_obj
def completion(output: Output, shell: str) -> None:
    """Print what lets a shell complete this command.

    For bash: recmtl completion bash > ~/.recmtl.bash, and source that file in ~/.bashrc.
    """
    kind = get_completion_class(shell)
    script = "" if kind is None else kind(recmtl, {}, NAME, COMPLETE).source()
    output.result(script, {"shell": shell, "script": script})


for command in (*COMMANDS, completion):
    recmtl.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, that of the process if None; returns the exit status.

    Statuses are 0, 2 after an error, which is one line, 3 for scores with a quarantine, and 4 for
    a day beyond the limits of its watch, 5 for a challenger that is not promoted.
    """
    completed = os.environ.get(COMPLETE)
    if completed:
        return shell_complete(recmtl, {}, NAME, COMPLETE, completed)
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with recmtl.make_context(NAME, words) as context:
            return int(recmtl.invoke(context) or 0)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as mistake:
        mistake.show()
        return mistake.exit_code


def start(*words: str) -> NoReturn:
    """Run the command line of this process, behind these words, and end the process."""
    answer_signals()
    leave(main([*words, *sys.argv[1:]]))
