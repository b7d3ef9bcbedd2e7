"""`recmtl tune`: settings found on validation rows, and left as a configuration to keep."""

from typing import Any

import click

from recmtl.command.base import Command, Output
from recmtl.command.options import JOB, WISHES, options, whole_number
from recmtl.command.steps import started

__all__ = ["tune"]


@click.command(cls=Command)
@JOB
@WISHES
@options(
    click.option(
        "--trials",
        default=0,
        type=whole_number,
        metavar="N",
        help="settings that are tried beside those of the configuration, if not 0",
    ),
    click.option(
        "--processes",
        default=0,
        type=whole_number,
        metavar="N",
        help="train N trials at once; 0 for the configuration's workers. The result is the same",
    ),
)
@click.pass_obj
def tune(output: Output, /, *, trials: int, processes: int, **settings: Any) -> None:
    """Find settings by trials on validation rows.

    Trials are drawn from the space of the configuration (its section tune), trained, and halved;
    the best are trained with --seeds seeds beside the configuration itself. What was chosen is left
    as tuned.yaml, for `recmtl run --config`, and tune.html shows every trial. No test row is read.

    A tuning that was interrupted goes on with the same command; with more --trials it goes further.
    """
    # here, so that --help answers at once
    from recmtl.report.tune_page import tune_table
    from recmtl.tuning.tune import tune_job, tuned_files, with_wishes

    seeds = settings.pop("seeds")
    with started("tune", output, {**settings, "seeds": 0}) as (job, tracked):
        job = with_wishes(job, trials=trials, seeds=seeds, processes=processes)
        results = tune_job(job, tracked)
        files = tuned_files(job.out)
        lines = [f"{name:9} {path}" for name, path in files.items()]
        output.result("\n".join([tune_table(results), "", *lines]), {**results, **files})
        if results["hurt"]:
            output.warn(f"the chosen settings are proven behind on {', '.join(results['hurt'])}")
