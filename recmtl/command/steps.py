"""`recmtl run`, the whole job, and each of its steps alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from recmtl.command.base import Command, JobCommand, Output
from recmtl.command.options import (
    ENGINE,
    JOB,
    WISHES,
    like_option,
    named_columns,
    no_ablation_option,
    options,
    processes_option,
    promote_option,
)
from recmtl.script import advise_to_go_on

if TYPE_CHECKING:
    from recmtl.job.handed_on import JobContext
    from recmtl.job.whole_job import JudgedJob, WholeJob
    from recmtl.tracking import TrackedRun

__all__ = ["benchmark", "evaluate", "prepare", "report", "run", "search", "train"]


@contextmanager
def started(
    name: str, output: Output, settings: dict[str, Any]
) -> Iterator[tuple["JobContext", "TrackedRun"]]:
    """The job that options describe, and a run of its tracker under this name."""
    # here, so that --help answers at once
    from recmtl.job.open_job import open_job, output_folder, tracked_run
    from recmtl.train.loop import silent

    settings = _drafted(output, settings)
    folder = output_folder(settings["out"])
    advise_to_go_on(settings["out"], folder)
    settings = {**settings, "out": folder, "on_progress": silent if output.quiet else None}
    with open_job(**settings, console=output.console) as job, tracked_run(job, name) as tracked:
        yield job, tracked


@click.command(cls=JobCommand)
@JOB
@WISHES
@options(processes_option, no_ablation_option, promote_option)
@click.pass_obj
def run(output: Output, /, **settings: Any) -> None:
    """The whole job, from a log to verdict, report and bundle.

    Prepares the log, searches, trains and judges every model, bundles the chosen network, scores
    and ranks the log, writes the report, and registers the model. Without --data it goes on with
    the folder's own log, or makes up a shop's; without --schema it drafts one.

    A job that was interrupted goes on with the same command.
    """
    # here, so that --help answers at once
    from recmtl.job.log_later import tracking_lines
    from recmtl.job.whole_job import run_whole_job

    with started("main", output, settings) as (job, tracked):
        if output.as_json:
            whole = run_whole_job(job, tracked)
            job.tracker.feed()
            models = [model.uri for model in job.tracker.models]
            output.result("", {**_whole_content(job, whole), "models": models})
            return
        run_whole_job(job, tracked, on_verdict=lambda whole: _print_verdict(output, whole))
        if job.tracker.feed():
            output.result(tracking_lines(job.tracker), {})


@click.command(cls=Command)
@JOB
@WISHES
@like_option
@ENGINE
@click.pass_obj
def prepare(output: Output, /, **settings: Any) -> None:
    """Encode a log: vocabularies, numbers, statistics, split."""
    # here, so that --help answers at once
    from recmtl.engines.spark import row_engine
    from recmtl.job import steps

    of_engine = {name: settings.pop(name) for name in ("engine", "master", "pieces")}
    engine = row_engine(**of_engine)
    with started("prepare", output, settings) as (job, tracked):
        prepared = steps.prepare(replace(job, engine=engine), tracked)
        log = prepared.log
        content = {"log": log.folder, "fingerprint": log.fingerprint}
        output.result(f"log       {log.folder}", content)


@click.command(cls=JobCommand)
@JOB
@processes_option
@click.pass_obj
def search(output: Output, /, **settings: Any) -> None:
    """Search what the tasks share, once for every seed."""
    # here, so that --help answers at once
    from recmtl.job import steps

    with started("search", output, settings) as (job, tracked):
        steps.search(job, steps.prepare(job, tracked))
        output.result(f"searches  {job.out / 'search'}", {"searches": job.out / "search"})


@click.command(cls=JobCommand)
@JOB
@processes_option
@click.pass_obj
def train(output: Output, /, **settings: Any) -> None:
    """Train the searched networks; draw the best route."""
    # here, so that --help answers at once
    from recmtl.job import steps

    with started("train", output, settings) as (job, tracked):
        steps.train(job, steps.prepare(job, tracked), tracked)
        files = {"models": job.out / "models", "routes": job.out / "routes.json"}
        output.result(f"models    {files['models']}\nroutes    {files['routes']}", files)


@click.command(cls=JobCommand)
@JOB
@options(processes_option, no_ablation_option)
@click.pass_obj
def evaluate(output: Output, /, **settings: Any) -> None:
    """Judge every model on test rows; write results and bundle."""
    # here, so that --help answers at once
    from recmtl.job.whole_job import run_to_verdict
    from recmtl.report import verdict_table

    with started("evaluate", output, settings) as (job, tracked):
        judged = run_to_verdict(job, tracked)
        files = f"report    {judged.report}\nbundle    {judged.bundled.folder}"
        table = verdict_table(judged.evaluation.results)
        output.result(f"{table}\n\n{files}", _judged_content(job, judged))


@click.command(cls=Command)
@JOB
@click.pass_obj
def report(output: Output, /, **settings: Any) -> None:
    """Write the report of a folder's models again.

    Nothing is trained. They are judged again only where results.json was written with other
    settings or models.
    """
    # here, so that --help answers at once
    from recmtl.job.whole_job import write_report_again

    with started("report", output, settings) as (job, tracked):
        page = write_report_again(job, tracked)
        output.result(f"report    {page}", {"report": page})


@click.command(cls=JobCommand)
@JOB
@options(
    processes_option,
    no_ablation_option,
    click.option(
        "--validation-only",
        is_flag=True,
        help="make figures on validation rows only, so that settings are chosen without test",
    ),
)
@click.pass_obj
def benchmark(output: Output, /, validation_only: bool, **settings: Any) -> None:
    """Compare every model with the same number of seeds."""
    with started("benchmark", output, settings) as (job, tracked):
        (_validated if validation_only else _benchmarked)(output, job, tracked)


def _drafted(output: Output, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with a drafted schema, for a command that drafts, where none is given.

    Raises:
        ConfigError: tasks, group or time are named, and the log has a schema or there is none.
    """
    # here, so that --help answers at once
    from recmtl.data.draft.schema_draft import draft_schema
    from recmtl.data.draft.wishes import Wishes
    from recmtl.errors import ConfigError

    if "tasks" not in settings:
        return settings
    *names, data, schema = "tasks", "group", "time", settings["data"], settings["schema"]
    tasks, group, time = (settings[name] for name in names)
    settings = {name: value for name, value in settings.items() if name not in names}
    wishes = Wishes.of(named_columns(tasks), group=group, time=time)
    if wishes != Wishes() and (schema or not data):
        raise ConfigError("--task, --group and --time are for --data without --schema")
    if schema or not data:
        return settings
    draft = draft_schema(data, wishes=wishes)
    _ = draft.schema  # a draft without a task is refused before anything is begun
    if not output.quiet:
        output.note("No --schema was given. This one is drafted and taken:\n" + draft.text)
    return {**settings, "schema": draft}


def _benchmarked(output: Output, job: "JobContext", tracked: "TrackedRun") -> None:
    # here, so that --help answers at once
    from recmtl.job.whole_job import run_to_verdict
    from recmtl.report import verdict_table
    from recmtl.report.benchmark_page import benchmark_page

    judged = run_to_verdict(job, tracked)
    results, log = judged.evaluation.results, judged.evaluation.trained.prepared.log
    page = benchmark_page(log.schema.name, results, log.manifest)
    content = _judged_content(job, judged)
    _write_table(output, job, tracked, "benchmark.md", page, verdict_table(results), content)


def _validated(output: Output, job: "JobContext", tracked: "TrackedRun") -> None:
    # here, so that --help answers at once
    from recmtl.job import steps
    from recmtl.report.benchmark_page import validation_page

    prepared = steps.prepare(job, tracked)
    results, log = steps.validate(job, prepared, tracked), prepared.log
    page = validation_page(log.schema.name, results, log.manifest)
    content = {"out": job.out, "results": job.out / "validation.json"}
    _write_table(output, job, tracked, "validation.md", page, page, content)


def _write_table(
    output: Output,
    job: "JobContext",
    tracked: "TrackedRun",
    name: str,
    page: str,
    shown: str,
    content: dict[str, Any],
) -> None:
    # here, so that --help answers at once
    from recmtl.atomic import write_text

    write_text(job.out / name, page)
    tracked.log_file(job.out / name)
    table = job.out / name
    output.result(f"{shown}\n\ntable    {table}", {**content, "table": table})


def _print_verdict(output: Output, whole: "WholeJob") -> None:
    # here, so that --help answers at once
    from recmtl.report import model_table, verdict_table

    results = whole.evaluation.results
    lines = [
        model_table(results),
        "",
        verdict_table(results),
        "",
        f"report    {whole.report}",
        f"bundle    {whole.bundled.folder}",
        f"scores    {whole.scores}, ranking {whole.ranking}",
    ]
    output.result("\n".join(lines), {})


def _whole_content(job: "JobContext", whole: "WholeJob") -> dict[str, Any]:
    return {**_judged_content(job, whole), "scores": whole.scores, "ranking": whole.ranking}


def _judged_content(job: "JobContext", judged: "JudgedJob") -> dict[str, Any]:
    tasks = judged.evaluation.results["tasks"]
    verdicts = {task: entry["verdict"] for task, entry in tasks.items() if "verdict" in entry}
    return {
        "out": job.out,
        "verdicts": verdicts,
        "results": job.out / "results.json",
        "report": judged.report,
        "bundle": judged.bundled.folder,
    }
