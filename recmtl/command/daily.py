"""`recmtl update`: a bundle that is kept fresh by added days."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from recmtl.command.base import Command, Output
from recmtl.command.options import (
    FILE,
    OneOf,
    config_option,
    options,
    out_option,
    preset_option,
    promote_option,
)
from recmtl.script import advise_to_go_on

if TYPE_CHECKING:
    from recmtl.daily.parent import Parent
    from recmtl.job.handed_on import JobContext
    from recmtl.tracking import TrackedRun

__all__ = ["update"]

SEARCHES = ("never", "auto", "always")


@click.command(cls=Command)
@options(
    click.option(
        "--run",
        "parent",
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
        help="for another route: if a test on the days says so (auto), never, or always",
    ),
    click.option(
        "--retire-after",
        default="",
        metavar="TIME",
        help="retire ids that no train row has had for so long: 90d, 4w, or a number in the unit "
        "of the time column",
    ),
    config_option,
    preset_option,
    promote_option,
)
@click.pass_obj
def update(
    output: Output,
    /,
    *,
    parent: str,
    search_when: str,
    retire_after: str,
    **settings: Any,
) -> None:
    """Train a bundle on with added days, and judge it against what it was.

    Statistics of the past go on, new ids get rows, weights start from those of the bundle. The
    configuration is that of the run, unless --config says otherwise. What is updated stays as it
    is; the new bundle is written into --out, and becomes champion if it beats the present one.

    An update that was interrupted goes on with the same command.
    """
    # here, so that --help answers at once
    from recmtl.daily.parent import open_parent
    from recmtl.daily.update import update as update_bundle
    from recmtl.report.update_text import update_lines

    opened = open_parent(parent)
    with _started(output, opened, settings) as (job, tracked):
        updated = update_bundle(
            job,
            tracked,
            opened,
            retire_after=retire_after,
            search_when=search_when or "auto",  # type: ignore[arg-type]
        )
        files = f"report    {updated.report}\nbundle    {updated.bundle}"
        lines = "\n".join(update_lines(updated.results))
        content = {
            "out": job.out,
            "update": updated.results["update"],
            "verdicts": {t: e["verdict"] for t, e in updated.results["tasks"].items()},
            "report": updated.report,
            "bundle": updated.bundle,
        }
        output.result(f"{lines}\n\n{files}", content)


@contextmanager
def _started(
    output: Output, parent: "Parent", settings: dict[str, Any]
) -> Iterator[tuple["JobContext", "TrackedRun"]]:
    """The job of an update, with the settings of its parent where none are given."""
    # here, so that --help answers at once
    from recmtl.daily.parent import settings_of
    from recmtl.job.open_job import open_job, output_folder, tracked_run
    from recmtl.train.loop import silent

    folder = output_folder(settings["out"])
    advise_to_go_on(settings["out"], folder)
    chosen = settings_of(parent, config=settings["config"], preset=settings["preset"])
    with (
        open_job(
            data=settings["data"],
            out=folder,
            promote=settings["promote"],
            console=output.console,
            on_progress=silent if output.quiet else None,
            **chosen,
        ) as job,
        tracked_run(job, "update") as tracked,
    ):
        yield job, tracked
