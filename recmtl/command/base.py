"""What all commands have in common: `--quiet`, `--json`, `--debug`, an error line and a status."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from recmtl.script import ErrorLine

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Command", "JobCommand", "Output", "names_of"]


EVERYWHERE = (
    click.Option(["--quiet"], is_flag=True, help="show no progress"),
    click.Option(["--json", "as_json"], is_flag=True, help="print the result as JSON"),
    click.Option(["--debug"], is_flag=True, help="show where an error comes from"),
)


@dataclass(frozen=True)
class Output:
    """Where a command writes.

    Attributes:
        console: of the standard error, for progress, warnings and errors.
        quiet: whether progress stays out.
        as_json: whether the standard output gets JSON in place of text.
    """

    console: "Console"
    quiet: bool = False
    as_json: bool = False

    def result(self, text: str, content: Mapping[str, Any]) -> None:
        """Write what the command gives: the text, or its content as one JSON object."""
        shown = json.dumps(content, indent=2, default=str) if self.as_json else text
        sys.stdout.write(shown if shown.endswith("\n") else f"{shown}\n")
        sys.stdout.flush()

    def summary(self, line: str, content: Mapping[str, Any]) -> None:
        """Say what was written; as JSON it is the command's result."""
        if self.as_json:
            self.result("", content)
        else:
            self.note(line)

    def note(self, text: str, style: str | None = None) -> None:
        """Write a line that is not the command's result."""
        text = text.encode(errors="backslashreplace").decode()  # names of files may be no Unicode
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Write a line that someone should read."""
        self.note(f"warning: {text}", "yellow")


class Command(click.Command):
    """A command whose function takes an `Output` by `click.pass_obj` and may return a status."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own options, those of every command, and `--help`."""
        *own_options, help_option = super().get_params(ctx)
        return [*own_options, *EVERYWHERE, help_option]

    def invoke(self, ctx: click.Context) -> int:
        """Run the function; an error of the user or of the world outside is one line, status 2."""
        from rich.console import Console  # here, so that --help answers at once

        quiet, as_json, debug = (ctx.params.pop(name) for name in ("quiet", "as_json", "debug"))
        ctx.obj = Output(Console(stderr=True), quiet, as_json)
        status = 0
        with ErrorLine(ctx.obj.console, debug=debug) as error:
            status = super().invoke(ctx) or 0
        return error.status or status


class JobCommand(Command):
    """A command that trains; as a rank that a launcher has started, it only takes part."""

    def invoke(self, ctx: click.Context) -> int:
        """Run the function on the first rank; on the others, train with it until it ends."""
        # here, so that --help answers at once
        from recmtl.engines.team import follow_leader, launched_number

        if not launched_number():
            return super().invoke(ctx)
        # here, so that --help answers at once
        from recmtl.job.work.team_work import follow

        return follow_leader(follow)


def names_of(text: str) -> list[str]:
    """The names of a list that is written with commas.

    >>> names_of(" user_id ,,item")
    ['user_id', 'item']
    """
    return [name.strip() for name in text.split(",") if name.strip()]
