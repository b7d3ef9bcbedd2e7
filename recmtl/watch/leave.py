"""A day that is watched, or challenged on, and what that leaves: a folder, and a run in MLflow.

The folder holds `monitor.html` and `monitor.json`; or `challenge.html`, `challenge.json` and
`scores.parquet`, the scores of both bundles.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from recmtl.atomic import write_json
from recmtl.job.champion import CANDIDATE, PRESENT
from recmtl.schema import load_schema
from recmtl.serve.bundle import load_bundle
from recmtl.tracking import Tracker
from recmtl.watch.challenge import Challenge, challenge
from recmtl.watch.challenge_page import write_challenge_page
from recmtl.watch.monitor import DayReport, monitor
from recmtl.watch.pages import write_monitor_page
from recmtl.watch.shadow import shadow_writer

__all__ = ["challenge_on_day", "watch_day"]

SideTables = Mapping[str, str | Path]
Warn = Callable[[str], None]


def watch_day(
    bundle: str | Path,
    data: str | Path,
    *,
    out: str | Path = "",
    limits: str | Path = "",
    known_until: str = "",
    side_tables: SideTables | None = None,
    track: bool = True,
    warn: Warn | None = None,
) -> DayReport:
    """Compare a day with the training of a bundle; see `recmtl.watch.monitor.monitor`.

    Args:
        bundle: folder or MLflow URI.
        data: the day.
        out: folder for the page and the JSON; nothing is left, and nothing tracked, if empty.
        limits: a schema whose `watch` has the limits; that of the bundle if empty.
        known_until: up to when the day knows of late events; its latest time if empty.
        side_tables: where side tables lie, see `load_bundle`.
        track: whether page and metrics go to MLflow.
        warn: called with a line if MLflow does not take something.

    Raises:
        RecmtlError: the bundle, the day or the limits cannot be read.
    """
    report = monitor(
        load_bundle(bundle, side_tables=side_tables),
        data,
        limits=load_schema(limits).watch if limits else None,
        known_until=known_until or None,
    )
    if out:
        folder = _folder(out, "monitor", report.to_json())
        write_monitor_page(folder / "monitor.html", report)
        tags = {"recmtl.bundle": report.bundle[1]}
        if track:
            _track(folder, "monitor", report.metrics(), tags=tags, warn=warn)
    return report


def challenge_on_day(
    champion: str | Path,
    challenger: str | Path,
    data: str | Path,
    *,
    out: str | Path = "",
    by: str = "",
    k: int = 10,
    segments: Sequence[str] = (),
    known_until: str = "",
    side_tables: SideTables | None = None,
    track: bool = True,
    warn: Warn | None = None,
) -> Challenge:
    """Compare two bundles on a day; see `recmtl.watch.challenge.challenge`.

    Args:
        champion: the present bundle, folder or MLflow URI.
        challenger: the new one.
        data: the day.
        out: folder for the page, the JSON and the scores of both; nothing is left if empty.
        by: see there.
        k: see there.
        segments: see there.
        known_until: as for `watch_day`, like the rest.
        side_tables: see there.
        track: see there.
        warn: see there.

    Raises:
        RecmtlError: a bundle or the day cannot be read, or the two cannot be compared.
    """
    places = {PRESENT: champion, CANDIDATE: challenger}
    bundles = {n: load_bundle(place, side_tables=side_tables) for n, place in places.items()}
    if out:
        Path(out).mkdir(parents=True, exist_ok=True)
    shadow = shadow_writer(Path(out) / "scores.parquet", bundles) if out else nullcontext()
    with shadow as on_batch:
        outcome = challenge(
            bundles[PRESENT],
            bundles[CANDIDATE],
            data,
            by=by,
            k=max(k, 1),
            segments=segments,
            known_until=known_until or None,
            on_batch=on_batch,
        )
    if out:
        folder = _folder(out, "challenge", outcome.to_json())
        write_challenge_page(folder / "challenge.html", outcome)
        tags = {f"recmtl.{name}": bundle.fingerprint for name, bundle in bundles.items()}
        if track:
            _track(folder, "challenge", outcome.metrics(), tags=tags, warn=warn)
    return outcome


def _folder(out: str | Path, name: str, content: Mapping[str, Any]) -> Path:
    """The output folder, with the content as JSON."""
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
    warn: Warn | None,
) -> None:
    """Log metrics, page and content as a run."""
    with Tracker(folder, warn=warn).run(name, tags=tags) as run:
        run.log_metrics(metrics)
        for kind in ("html", "json"):
            run.log_file(folder / f"{name}.{kind}")
