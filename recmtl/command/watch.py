"""`recmtl monitor` and `challenge`: a day of rows against a bundle's training, and two bundles."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from recmtl.command.base import Command, Output, names_of
from recmtl.command.options import FILE, options, whole_number
from recmtl.command.serve import DONE, side_table_option, stated_paths

__all__ = ["BEYOND", "LEFT", "challenge", "monitor"]

BEYOND, LEFT = 4, 5
known_until_option = click.option(
    "--known-until",
    default="",
    metavar="TIME",
    help="up to when the day knows of late events; its latest time if empty",
)
track_option = click.option(
    "--no-track",
    "track",
    flag_value=False,
    default=True,
    type=bool,
    help="do not log metrics and pages to MLflow",
)


@click.command(
    cls=Command,
    epilog="exit status: 0 within all limits, 2 error, 4 beyond a limit, 130 interrupted",
)
@options(
    click.option("--bundle", required=True, type=FILE, help="bundle folder or MLflow URI"),
    click.option("--data", required=True, type=FILE, help="the day, with labels or without"),
    click.option(
        "--out", default="", type=FILE, help="folder for monitor.html and monitor.json, if any"
    ),
    click.option(
        "--limits",
        default="",
        type=FILE,
        help="schema whose `watch` has the limits; that of the bundle if empty",
    ),
    known_until_option,
    side_table_option,
    track_option,
)
@click.pass_obj
def monitor(
    output: Output,
    *,
    bundle: str,
    data: str,
    out: str,
    limits: str,
    known_until: str,
    side_tables: Any,
    track: bool,
) -> int:
    """Say whether a day still looks like the training.

    Unknown ids, distributions of features and scores; calibration, AUC and GAUC where labels are
    there.
    """
    # here, so that --help answers at once
    from recmtl.schema import load_schema
    from recmtl.serve.bundle.bundle import load_bundle
    from recmtl.watch.monitor import monitor as watch
    from recmtl.watch.pages import monitor_text, write_monitor_page

    report = watch(
        load_bundle(bundle, side_tables=stated_paths(side_tables)),
        data,
        limits=load_schema(limits).watch if limits else None,
        known_until=known_until or None,
    )
    content = report.to_json()
    if out:
        folder = _folder(out, "monitor", content)
        write_monitor_page(folder / "monitor.html", report)
        tags = {"recmtl.bundle": report.bundle[1]}
        _track(folder, "monitor", report.metrics(), tags=tags, track=track, output=output)
    output.result(monitor_text(report), content)
    return BEYOND if report.beyond else DONE


@click.command(
    cls=Command,
    epilog="exit status: 0 promote the challenger, 2 error, 5 leave the champion, 130 interrupted",
)
@options(
    click.option("--champion", required=True, type=FILE, help="present bundle, folder or URI"),
    click.option("--challenger", required=True, type=FILE, help="new bundle, folder or URI"),
    click.option("--data", required=True, type=FILE, help="the day, with labels or without"),
    click.option(
        "--out",
        default="",
        type=FILE,
        help="folder for challenge.html, challenge.json and the scores of both, if any",
    ),
    click.option(
        "--by",
        default="",
        help="formula over scored columns that ranks the lists; the first probability if empty",
    ),
    click.option("--k", default=10, type=whole_number, metavar="N", help="rows of a list (10)"),
    click.option("--segment", default="", help="columns whose values are judged apart: col,col"),
    known_until_option,
    side_table_option,
    track_option,
)
@click.pass_obj
def challenge(
    output: Output,
    /,
    *,
    champion: str,
    challenger: str,
    data: str,
    out: str,
    track: bool,
    side_tables: Sequence[str],
    **settings: Any,
) -> int:
    """Compare two bundles on a day, by the rule of promotion.

    Both score it in one pass: gains by task and segment, the change of the top lists, a decision.
    """
    # here, so that --help answers at once
    from recmtl.job.champion import CANDIDATE, PRESENT
    from recmtl.serve.bundle.bundle import load_bundle
    from recmtl.watch.challenge import challenge as compare
    from recmtl.watch.challenge_page import challenge_text, write_challenge_page
    from recmtl.watch.shadow import shadow_writer

    tables = stated_paths(side_tables)
    present = load_bundle(champion, side_tables=tables)
    candidate = load_bundle(challenger, side_tables=tables)
    by_name = {PRESENT: present, CANDIDATE: candidate}
    if out:
        Path(out).mkdir(parents=True, exist_ok=True)
    shadow = shadow_writer(Path(out) / "scores.parquet", by_name) if out else nullcontext()
    with shadow as on_batch:
        outcome = compare(
            present,
            candidate,
            data,
            by=settings["by"],
            k=max(settings["k"], 1),
            segments=names_of(settings["segment"]),
            known_until=settings["known_until"] or None,
            on_batch=on_batch,
        )
    content = outcome.to_json()
    if out:
        folder = _folder(out, "challenge", content)
        write_challenge_page(folder / "challenge.html", outcome)
        tags = {f"recmtl.{name}": bundle.fingerprint for name, bundle in by_name.items()}
        _track(folder, "challenge", outcome.metrics(), tags=tags, track=track, output=output)
    output.result(challenge_text(outcome), content)
    return DONE if outcome.decision.promote else LEFT


def _folder(out: str, name: str, content: Mapping[str, Any]) -> Path:
    """The output folder, with the content as JSON."""
    from recmtl.atomic import write_json  # here, so that --help answers at once

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{name}.json", content)
    return folder


def _track(
    folder: Path,
    name: str,
    metrics: Mapping[str, float],
    *,
    tags: Mapping[str, str],
    track: bool,
    output: Output,
) -> None:
    """Log metrics, page and content as a run."""
    from recmtl.tracking import Tracker  # here, so that --help answers at once

    if track:
        with Tracker(folder, warn=output.warn).run(name, tags=tags) as run:
            run.log_metrics(metrics)
            for kind in ("html", "json"):
                run.log_file(folder / f"{name}.{kind}")
