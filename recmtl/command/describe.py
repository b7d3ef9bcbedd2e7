"""`recmtl describe`: a draft of a schema from a log."""

from collections.abc import Sequence

import click

from recmtl.command.base import Command, Output, names_of
from recmtl.command.options import FILE, WISHES, named_columns

__all__ = ["describe"]


@click.command(cls=Command)
@click.option("--data", required=True, type=FILE, help="the log: a file, a folder, a glob, a URL")
@click.option("--out", default="", type=FILE, help="YAML file to write; printed if empty")
@WISHES
@click.option("--columns", default="", help="names for a text file without a line of names: a,b,c")
@click.pass_obj
def describe(
    output: Output,
    data: str,
    out: str,
    tasks: Sequence[str],
    group: str,
    time: str,
    columns: str,
) -> None:
    """Draft a schema from a log.

    Beside the draft, an HTML page (NAME_profile.html) shows what the columns hold.
    """
    # Here, so that --help answers at once.
    from pathlib import Path

    from recmtl.atomic import write_text
    from recmtl.data.describe import described
    from recmtl.data.draft.wishes import Wishes
    from recmtl.report.profile_page import write_profile_page
    from recmtl.schema import TextFiles

    names = tuple(names_of(columns))
    layout = TextFiles(columns=names) if names else None
    wishes = Wishes.of(named_columns(tasks), group=group, time=time)
    log = described(data, wishes=wishes, layout=layout)
    if not out:
        output.result(log.text, {"draft": log.text})
        return
    path = Path(out)
    profile = path.with_name(f"{path.stem}_profile.html")
    write_text(path, log.text)
    write_profile_page(profile, log)
    output.summary(
        f"{out}: a draft; read it, and correct what no program can know. {profile}: the columns",
        {"schema": out, "profile": str(profile)},
    )
