"""`recmtl describe`: a draft of a schema from a log."""

import click

from recmtl.command.base import Command, Output
from recmtl.command.options import FILE

__all__ = ["describe"]


@click.command(cls=Command)
@click.option("--data", required=True, type=FILE, help="the log: a file, a folder, a glob, a URL")
@click.option("--out", default="", type=FILE, help="YAML file to write; printed if empty")
@click.pass_obj
def describe(output: Output, data: str, out: str) -> None:
    """Draft a schema from a log."""
    # Here, so that --help answers at once.
    from pathlib import Path

    from recmtl.atomic import write_text
    from recmtl.data.describe import describe as draft_of

    draft = draft_of(data)
    if out:
        write_text(Path(out), draft)
        output.summary(
            f"{out}: a draft; read it, and correct what no program can know", {"schema": out}
        )
    else:
        output.result(draft, {"draft": draft})
