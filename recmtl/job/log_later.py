"""Log what is in an output folder's journal: what `recmtl log` does, and how it is said."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from recmtl.errors import ConfigError, RecmtlError
from recmtl.folder_lock import hold_folder
from recmtl.job.champion import judge_champion
from recmtl.masking import is_masked, mask
from recmtl.tracking import Tracker
from recmtl.tracking.journal import JOURNAL

__all__ = ["LoggedFolder", "log_folder", "tracking_lines"]


@dataclass(frozen=True)
class LoggedFolder:
    """What became of a folder's journal.

    Attributes:
        tracker: that was fed.
        killed: runs that had not ended, and are closed as killed.
        has_arrived: whether all of it is at the tracker.
    """

    tracker: Tracker
    killed: int
    has_arrived: bool

    def text(self) -> str:
        """What has arrived, as lines for people."""
        runs, events = self.tracker.counts
        lines = [f"logged    {events:,} events; {runs:,} runs are there"]
        lines += [f"killed    {self.killed:,} runs that had not ended"] if self.killed else []
        lines += [f"left out  {mask(note)}" for note in self.tracker.notes]
        return "\n".join(lines) + "\n" + tracking_lines(self.tracker)

    def content(self) -> dict[str, Any]:
        """What has arrived, as JSON."""
        runs, events = self.tracker.counts
        return {
            "runs": runs,
            "events": events,
            "killed": self.killed,
            "left_out": [mask(note) for note in self.tracker.notes],
            "models": [model.uri for model in self.tracker.models],
            "tracking": self.tracker.uri,
        }

    def require_arrival(self) -> None:
        """Refuse a folder of which the tracker did not take all.

        Raises:
            RecmtlError: it did not; the message says why, and how to go on.
        """
        if not self.has_arrived:
            fault = f"{self.tracker.uri}: {self.tracker.fault}"
            raise RecmtlError(f"{fault}; run this again to log the rest")


def log_folder(out: str | Path, *, data: str = "") -> LoggedFolder:
    """Feed the journal of an output folder to the tracker.

    Args:
        out: output folder of a job.
        data: the job's log, if it has moved since.

    Raises:
        ConfigError: the folder is of no job.
    """
    folder = Path(out)
    if not (folder / JOURNAL).is_file():
        raise ConfigError(f"{folder / JOURNAL}: is not there; give the output folder of a job")
    with hold_folder(folder):
        judge = partial(judge_champion, out=folder, data=data or _data_of(folder))
        tracker = Tracker(folder, judge=judge, warn=lambda line: None)  # `text` says it
        killed = tracker.close_unfinished()
        return LoggedFolder(tracker, killed, tracker.feed())


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
