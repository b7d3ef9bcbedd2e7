"""`recmtl monitor` and `challenge`: a day of rows against a bundle's training, and two bundles."""

from collections.abc import Sequence
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
    from recmtl.watch.leave import watch_day
    from recmtl.watch.pages import monitor_text

    report = watch_day(
        bundle,
        data,
        out=out,
        limits=limits,
        known_until=known_until,
        side_tables=stated_paths(side_tables),
        track=track,
        warn=output.warn,
    )
    output.result(monitor_text(report), report.to_json())
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
        help="formula over scored columns that ranks the lists; the first score_ or p_ if empty",
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
    segment: str,
    side_tables: Sequence[str],
    **settings: Any,
) -> int:
    """Compare two bundles on a day, by the rule of promotion.

    Both score it in one pass: gains by task and segment, the change of the top lists, a decision.
    """
    # here, so that --help answers at once
    from recmtl.watch.challenge_page import challenge_text
    from recmtl.watch.leave import challenge_on_day

    outcome = challenge_on_day(
        champion,
        challenger,
        data,
        out=out,
        segments=names_of(segment),
        side_tables=stated_paths(side_tables),
        warn=output.warn,
        **settings,
    )
    output.result(challenge_text(outcome), outcome.to_json())
    return DONE if outcome.decision.promote else LEFT
