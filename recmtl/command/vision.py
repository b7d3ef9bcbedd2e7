"""`recmtl vision`: a study on images."""

from pathlib import Path

import click

from recmtl.command.base import Command, Output
from recmtl.command.options import FILE, out_option, whole_number
from recmtl.script import advise_to_go_on

__all__ = ["vision"]


@click.command(cls=Command)
@click.option("--config", required=True, type=FILE, help="YAML of data, network, search, training")
@click.option("--data", default="", type=FILE, help="folder of the images, if not as configured")
@out_option
@click.option("--seeds", default=0, type=whole_number, metavar="N", help="of every model, if not 0")
@click.pass_obj
def vision(output: Output, config: str, data: str, out: str, seeds: int) -> None:
    """A study on images: search, train and compare."""
    # Here, so that --help answers at once.
    from recmtl.job.open_job import output_folder
    from recmtl.vision.job import load_vision_config, run_vision
    from recmtl.vision.report import vision_table

    folder = output_folder(out)
    advise_to_go_on(out, folder)
    settings = load_vision_config(Path(config), data=data, seeds=seeds)
    results = run_vision(settings, folder, output.console, quiet=output.quiet)
    page = folder / "report.html"
    verdict = {"out": folder, "results": folder / "results.json", "report": page}
    output.result(f"{vision_table(results)}\nreport    {page}", verdict)
