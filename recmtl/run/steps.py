"""`fit` and its steps as functions: what a step leaves in the output folder, the next one reads.

They do what the commands of the same names do, with the same settings. `fit` is all of them; a
step that is called again does what is missing, and nothing twice.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console

from recmtl.data.describe import described
from recmtl.data.draft.schema_draft import SchemaDraft, draft_schema
from recmtl.data.draft.wishes import Wishes
from recmtl.engines.folds import RowEngine
from recmtl.errors import ConfigError
from recmtl.job import steps
from recmtl.job.open_job import open_job, output_folder, tracked_run
from recmtl.job.time_limit import seconds
from recmtl.job.whole_job import run_to_verdict, run_whole_job
from recmtl.report.profile_page import profile_page
from recmtl.run.inputs import LogInput, is_place, log_file
from recmtl.run.run import Run, open_run
from recmtl.schema import Schema, TextFiles
from recmtl.tracking import TrackedRun
from recmtl.train.config import Config
from recmtl.train.loop import silent
from recmtl.train.presets import PRESETS

__all__ = [
    "ConfigInput",
    "SchemaInput",
    "Tasks",
    "describe",
    "evaluate",
    "fit",
    "log_input",
    "opened",
    "prepare",
    "search",
    "train",
]

SchemaInput: TypeAlias = str | Path | Schema | SchemaDraft | None
ConfigInput: TypeAlias = str | Path | Config | Mapping[str, Any] | None
Tasks: TypeAlias = Mapping[str, str] | Sequence[str]
"""Task -> the column of its label, or columns whose tasks are called like them."""


def fit(
    data: LogInput = "",
    schema: SchemaInput = None,
    *,
    tasks: Tasks = (),
    group: str = "",
    time: str = "",
    out: str | Path = "",
    preset: str = "",
    config: ConfigInput = None,
    time_limit: str | float | None = None,
    seeds: int = 0,
    ablation: bool = True,
    promote: str = "",
    processes: int = 1,
    quiet: bool = False,
) -> Run:
    """From a log to a verdict: find out what its tasks should share, and train what serves them.

    The whole job: prepare, search, train, judge, bundle, report, score, register. If it was
    interrupted, the same call with the same `out` goes on.

    Args:
        data: the log: a path, folder, glob or URL of Parquet, Arrow or text files; or a frame,
            which is written into the output folder. Empty: what `out` was begun with, else a
            simulated log.
        schema: what its columns mean: a file, a `Schema`, or a draft of `describe`. If there is
            none, it is drafted, shown, and left in the output folder as `schema.yaml`: read it.
        tasks: what to predict, where the schema is drafted: columns, or a dict of task to column.
        group: where it is drafted, the column of the user or request within which rows compete.
        time: where it is drafted, the column of the time by which rows are split.
        out: the output folder; a new one in `runs/`, named by the time in UTC, if empty.
        preset: `fast`, `default` or `best`: the settings that `config` leaves open.
        config: how to search, train and compare: a YAML file, a `Config`, or the settings of one
            that differ from the preset's, such as `{"evidence": {"seeds": 3}}`.
        time_limit: seconds, or text such as `10m`: what does not fit is left out, and said so.
        seeds: of every model, in place of the configuration's.
        ablation: whether to train what shows what moved the metric.
        promote: `always` or `never` to make the model champion, whatever the comparison says.
        processes: that train each network together: for networks that take hours, see the guide to
            several processes.
        quiet: show no progress and no draft; warnings are shown all the same.

    Raises:
        RecmtlError: an input is wrong, in one line with the place and the remedy.
    """
    folder = output_folder(out)
    with (
        log_input(data, schema, Wishes.of(tasks, group=group, time=time), folder, quiet) as source,
        opened(
            "fit",
            quiet,
            out=folder,
            preset=preset,
            config=config,
            time_limit=time_limit,
            seeds=seeds,
            ablation=ablation,
            promote=promote,
            processes=processes,
            **source,
        ) as (job, run),
    ):
        run_whole_job(job, run)
    return Run(folder)


def describe(
    data: LogInput,
    *,
    tasks: Tasks = (),
    group: str = "",
    time: str = "",
    name: str = "",
    files: TextFiles | None = None,
) -> SchemaDraft:
    """Draft the schema of a log, with the reason beside every line.

    A notebook shows it with a profile of the columns, which `save` writes beside it.

    Args:
        data: as for `fit`.
        tasks: as for `fit`, like `group` and `time`; what is empty is read off names and values.
        group: see there.
        time: see there.
        name: of the schema, and of the model that it becomes; that of the file if empty.
        files: how text files are laid out, where they do not show it: names of columns, say.

    Raises:
        DataError: the data cannot be read, or has no such column.
    """
    wishes = Wishes.of(tasks, group=group, time=time)
    if is_place(data):
        log = described(str(data), name=name, wishes=wishes, layout=files)
    else:
        with tempfile.TemporaryDirectory() as folder, log_file(data, Path(folder)) as path:
            log = described(path, name=name or "log", wishes=wishes)
        shown = f"a {type(data).__name__}"
        log = replace(log, data=shown, text=log.text.replace(path, shown))
    return SchemaDraft(log.text, wishes, profile_page(log))


def prepare(
    data: LogInput = "",
    schema: SchemaInput = None,
    *,
    tasks: Tasks = (),
    group: str = "",
    time: str = "",
    out: str | Path = "",
    preset: str = "",
    config: ConfigInput = None,
    like: str | Path | Run = "",
    engine: RowEngine | None = None,
    quiet: bool = False,
) -> Run:
    """Encode a log into columns on disk: `run.log`. Arguments as for `fit`.

    Args:
        data: see there.
        schema: see there.
        tasks: see there.
        group: see there.
        time: see there.
        out: see there.
        preset: see there.
        config: see there.
        like: an earlier run of the same schema, or its encoded log, whose vocabularies are kept:
            for days that are added.
        engine: runs the passes over the rows, such as `recmtl.engines.spark.SparkEngine()`; None
            for this process. The log is the same.
        quiet: see there.

    Raises:
        RecmtlError: an input is wrong.
    """
    folder = output_folder(out)
    earlier = like.log.folder if isinstance(like, Run) else like
    with (
        log_input(data, schema, Wishes.of(tasks, group=group, time=time), folder, quiet) as source,
        opened(
            "prepare",
            quiet,
            out=folder,
            preset=preset,
            config=config,
            like=earlier,
            **source,
        ) as (job, run),
    ):
        steps.prepare(replace(job, engine=engine), run)
    return Run(folder)


def search(
    run: Run | str | Path,
    *,
    preset: str = "",
    config: ConfigInput = None,
    processes: int = 1,
    quiet: bool = False,
) -> Run:
    """Search the routes of every seed, in the folder of a prepared run.

    Args:
        run: what `prepare` returned, or its folder.
        preset: as for `fit`; what the folder was begun with if neither this nor `config` is given.
        config: as for `fit`.
        processes: as for `fit`.
        quiet: show no progress.

    Raises:
        RecmtlError: the folder was begun with other settings, or a setting is wrong.
    """
    with _continued("search", run, preset, config, quiet, processes) as (job, tracked):
        steps.search(job, steps.prepare(job, tracked))
    return Run(job.out)


def train(
    run: Run | str | Path,
    *,
    preset: str = "",
    config: ConfigInput = None,
    processes: int = 1,
    quiet: bool = False,
) -> Run:
    """Search, where it was not, and train the searched networks; `run.routes` shows the best.

    Arguments and errors are those of `search`.
    """
    with _continued("train", run, preset, config, quiet, processes) as (job, tracked):
        steps.train(job, steps.prepare(job, tracked), tracked)
    return Run(job.out)


def evaluate(
    run: Run | str | Path,
    *,
    preset: str = "",
    config: ConfigInput = None,
    processes: int = 1,
    quiet: bool = False,
) -> Run:
    """Train every model that is compared, and judge them on test rows: verdict, report, bundle.

    Arguments and errors are those of `search`.
    """
    with _continued("evaluate", run, preset, config, quiet, processes) as (job, tracked):
        run_to_verdict(job, tracked)
    return Run(job.out)


@contextmanager
def log_input(
    data: LogInput, schema: SchemaInput, wishes: Wishes, folder: Path, quiet: bool
) -> Iterator[dict[str, Any]]:
    """Data and schema as `open_job` takes them, the schema drafted if there is none."""
    has_data = not is_place(data) or bool(str(data))
    if wishes != Wishes() and (schema is not None or not has_data):
        raise ConfigError(
            "tasks, group and time are for data without a schema; state them in the schema"
        )
    if not has_data:
        yield {"schema": schema or ""}
        return
    with log_file(data, folder) as path:
        if schema is None:
            name = "" if is_place(data) else folder.name
            draft = draft_schema(path, name=name, wishes=wishes)
            _ = draft.schema  # a draft without a task is refused before anything is begun
            schema = draft
            if not quiet:
                _show(draft, folder)
        yield {"data": path, "schema": schema}


def _show(draft: SchemaDraft, folder: Path) -> None:
    console = Console(stderr=True)
    line = f"No schema was given. This one was drafted, and is left in {folder / 'schema.yaml'}:"
    for text in (line, draft.text):
        console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def opened(
    name: str,
    quiet: bool,
    *,
    config: ConfigInput,
    preset: str,
    time_limit: str | float | None = None,
    **settings: Any,
) -> Iterator[tuple[steps.JobContext, TrackedRun]]:
    """A job and its run in the tracker."""
    limit = None if time_limit is None else seconds(time_limit)
    if isinstance(config, Mapping):
        Config.load(preset=preset)  # an unknown preset is refused
        config, preset = Config(**_merged(PRESETS.get(preset, {}), config)), ""
    with (
        open_job(
            config=config or "",
            preset=preset,
            time_limit=limit,
            console=Console(stderr=True),
            on_progress=silent if quiet else None,
            **settings,
        ) as job,
        tracked_run(job, name) as run,
    ):
        yield job, run


def _merged(defaults: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, nested, over those of a preset."""
    merged = {**defaults, **settings}
    for name in defaults.keys() & settings.keys():
        if isinstance(defaults[name], Mapping) and isinstance(settings[name], Mapping):
            merged[name] = _merged(defaults[name], settings[name])
    return merged


@contextmanager
def _continued(
    name: str,
    run: Run | str | Path,
    preset: str,
    config: ConfigInput,
    quiet: bool,
    processes: int,
) -> Iterator[tuple[steps.JobContext, TrackedRun]]:
    """A job that goes on in the folder of a run.

    Raises:
        DataError: no job has begun there.
    """
    folder = run.folder if isinstance(run, Run) else open_run(run).folder
    with opened(
        name, quiet, out=folder, preset=preset, config=config, processes=processes
    ) as continued:
        yield continued
