"""`recmtl config`: every setting of a job, as a file and a preset leave it."""

from dataclasses import asdict

import click

from recmtl.command.base import Command, Output
from recmtl.command.options import FILE, preset_option

__all__ = ["config"]


@click.command(cls=Command)
@click.argument("file", default="", type=FILE)
@preset_option
@click.pass_obj
def config(output: Output, file: str, preset: str) -> None:
    """Check a configuration, and print every setting of it.

    FILE is a YAML file; without one the defaults are printed, or those of the preset.
    """
    # Here, so that --help answers at once.
    from recmtl.train.config import Config

    settings = Config.load(file or None, preset=preset)
    output.result(settings.dump(), asdict(settings))
