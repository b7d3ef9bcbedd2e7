"""Open an update: from what a command or a function is given to the job in which it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from recmtl.daily.parent import Parent, open_parent, settings_of
from recmtl.daily.trained_on import SearchWhen
from recmtl.daily.update import Update, update
from recmtl.job.handed_on import JobContext
from recmtl.job.open_job import open_job, output_folder, tracked_run
from recmtl.tracking import TrackedRun
from recmtl.train.loop import silent

__all__ = ["OpenUpdate", "update_of"]


@dataclass(frozen=True)
class OpenUpdate:
    """An update that can be done.

    Attributes:
        job: its context.
        run: of the job's tracker.
        parent: what is updated.
    """

    job: JobContext
    run: TrackedRun
    parent: Parent

    @property
    def folder(self) -> Path:
        """The output folder."""
        return self.job.out

    def do(self, *, search_when: SearchWhen = "auto", retire_after: str = "") -> Update:
        """Update the bundle; see `recmtl.daily.update.update`."""
        return update(
            self.job, self.run, self.parent, retire_after=retire_after, search_when=search_when
        )


@contextmanager
def update_of(
    run: str | Path,
    *,
    data: str | Path,
    out: str | Path = "",
    config: str | Path = "",
    preset: str = "",
    promote: str = "",
    quiet: bool = False,
    console: Console | None = None,
) -> Iterator[OpenUpdate]:
    """The update of a run, a bundle or an MLflow URI by added days.

    Args:
        run: what is updated.
        data: the added days.
        out: the output folder; a new one in `runs/`, named by the time in UTC, if empty.
        config: a YAML file in place of the run's configuration.
        preset: the settings that `config` leaves open.
        promote: `always` or `never`; see `JobContext`.
        quiet: show no progress.
        console: for warnings and progress; that of the standard error by default.

    Raises:
        RecmtlError: the run has no bundle that could be updated, or a setting is wrong.
    """
    parent = open_parent(run)
    with (
        open_job(
            data=data,
            out=output_folder(out),
            promote=promote,
            console=console or Console(stderr=True),
            on_progress=silent if quiet else None,
            **settings_of(parent, config=config, preset=preset),
        ) as job,
        tracked_run(job, "update") as tracked,
    ):
        yield OpenUpdate(job, tracked, parent)
