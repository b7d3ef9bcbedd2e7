"""Log what is in an output folder's journal: what `pipelines/log.py` does, and how it is said."""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from recmtl.errors import ConfigError, RecmtlError
from recmtl.folder_lock import hold_folder
from recmtl.job.champion import judge_champion
from recmtl.masking import is_masked, mask
from recmtl.script import ErrorLine, add_debug_option
from recmtl.tracking import Tracker
from recmtl.tracking.journal import JOURNAL

__all__ = ["log_folder", "tracking_lines"]


def log_folder(arguments: Sequence[str] | None = None) -> int:
    """Log a folder from the command line; returns 0, or 2 after a one-line error."""
    parser = argparse.ArgumentParser(description="Log what a job has left in its output folder.")
    parser.add_argument("--out", required=True, help="output folder of a job")
    parser.add_argument("--data", default="", help="the job's log, if it has moved since")
    add_debug_option(parser)
    options = parser.parse_args(arguments)
    with ErrorLine(Console(stderr=True), debug=options.debug) as error:
        out = Path(options.out)
        if not (out / JOURNAL).is_file():
            raise ConfigError(f"{out / JOURNAL}: is not there; give the output folder of a job")
        with hold_folder(out):
            _log(out, options.data or _data_of(out))
    return error.status


def _log(out: Path, data: str) -> None:
    """Feed a folder's journal, and say what has arrived."""
    judge = partial(judge_champion, out=out, data=data)
    tracker = Tracker(out, judge=judge, warn=lambda line: None)  # it is said below
    killed = tracker.close_unfinished()
    arrived = tracker.feed()
    runs, events = tracker.counts
    lines = [f"logged    {events:,} events; {runs:,} runs are there"]
    lines += [f"killed    {killed:,} runs that had not ended"] if killed else []
    lines += [f"left out  {mask(note)}" for note in tracker.notes]
    sys.stdout.write("\n".join(lines) + "\n" + tracking_lines(tracker))
    if not arrived:
        raise RecmtlError(f"{tracker.uri}: {tracker.fault}; run this again to log the rest")


def tracking_lines(tracker: Tracker) -> str:
    """The registered models, what became of them, and where they are; whole lines."""
    lines = []
    for model in tracker.models:
        decision = model.decision
        outcome = f" ({decision.reason})" if decision is not None else ""
        lines.append(f"model     {model.uri}{outcome}")
    lines.append(f"tracking  mlflow ui --backend-store-uri {tracker.uri}")
    return "\n".join(lines) + "\n"


def _data_of(out: Path) -> str:
    """The log that a folder was begun with; empty if it is not known any more."""
    try:
        data = str(json.loads((out / "job.json").read_text(encoding="utf-8"))["data"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return "" if is_masked(data) else data
