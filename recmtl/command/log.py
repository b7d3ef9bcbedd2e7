"""`recmtl log`: hand the tracker what a job has left in its output folder."""

import click

from recmtl.command.base import Command, Output
from recmtl.command.options import FILE

__all__ = ["log"]


@click.command(cls=Command)
@click.option("--out", required=True, type=FILE, help="output folder of a job")
@click.option("--data", default="", type=FILE, help="the job's log, if it has moved since")
@click.pass_obj
def log(output: Output, out: str, data: str) -> None:
    """Hand a folder's runs and models to the tracker.

    For a tracker that was down while the job ran, or another one.

    The tracker is the one that MLFLOW_TRACKING_URI names, or the store of the working folder. What
    it has already is left as it is, so that the command may be repeated.
    """
    from recmtl.job.log_later import log_folder  # here, so that --help answers at once

    feed = log_folder(out, data=data)
    output.result(feed.text(), feed.content())
    feed.require_arrival()
