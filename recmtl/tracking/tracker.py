"""The tracker: a job's runs go into the journal, and from there to MLflow while that answers.

The job waits for MLflow, but not for long: once something does not arrive, a warning says so, the
rest of the job writes the journal only, and `recmtl log` feeds it later.
"""

import getpass
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from recmtl.masking import mask
from recmtl.mlflow_store import DEFAULT_ROOT, store_location, without_warnings
from recmtl.tracking.journal import Journal, now_ms
from recmtl.tracking.run import TrackedRun

if TYPE_CHECKING:
    from recmtl.tracking.champion import Judge, RegisteredModel
    from recmtl.tracking.feed import Feed

__all__ = ["THREAD", "Tracker"]

THREAD = "tracking"
"""Name of the thread that sends."""
PATIENCE_S = 60.0
"""How long a job waits for an event to arrive; a model has longer, see `MODEL_S` of the feed."""


class Tracker:
    """Opens runs in the journal of one output folder, and feeds them to one store.

    Args:
        out: the output folder.
        root: folder of the embedded store, which is `mlflow.db` and `mlartifacts/`; ignored if
            MLFLOW_TRACKING_URI names a store.
        experiment: name of the experiment, unless `mlflow run` has chosen one.
        judge: compares a registered bundle with the present champion; see `Judge`.
        warn: called with a line if the store does not take something.

    Attributes:
        uri: of the store, with what is secret in it masked.
        fault: why the store is no longer fed; empty while it is.
    """

    def __init__(
        self,
        out: str | Path,
        *,
        root: str | Path = DEFAULT_ROOT,
        experiment: str = "recmtl",
        judge: "Judge | None" = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.journal = Journal(Path(out))
        self._root, self._experiment, self._judge = Path(root), experiment, judge
        self._warn = warn or _to_stderr
        self._uri, self._artifacts = store_location(self._root)
        self.uri = mask(self._uri)
        self.fault = ""
        self._feed: Feed | None = None
        self._sign_of_life = 0.0
        self._warned = 0
        self._open: list[TrackedRun] = []

    @contextmanager
    def run(self, name: str, *, tags: Mapping[str, str] | None = None) -> Iterator[TrackedRun]:
        """Open a run, nested in the one that is open; an exception marks it as failed.

        The first run of a process that `mlflow run` started joins the run that it has opened.
        """
        if not self._open:
            self.close_unfinished()
        run = self._start(name, tags or {})
        self._open.append(run)
        status = "FINISHED"
        try:
            yield run
        except BaseException as fault:
            status = "FAILED" if isinstance(fault, Exception) else "KILLED"
            raise
        finally:
            self._open.pop()
            self.journal.append(run.key, "end", status=status, time=now_ms())
            if status != "KILLED":  # whoever interrupts a job waits for no tracker
                self.feed()

    def feed(self) -> bool:
        """Send what the journal holds; returns whether all of it has arrived.

        After a failure this does nothing more: a job is not stalled twice.
        """
        if self.fault:
            return False
        result: list[BaseException] = []
        sender = Thread(target=self._send, args=(result,), name=THREAD, daemon=True)
        self._sign_of_life = time.monotonic()
        sender.start()
        while sender.is_alive() and not self.fault:
            sender.join(0.2)
            if sender.is_alive() and time.monotonic() - self._sign_of_life > PATIENCE_S:
                self.fault = f"did not answer within {PATIENCE_S:.0f} s"
        if result:
            self.fault = _in_words(result[0])
        self._report()
        return not self.fault

    @property
    def models(self) -> "list[RegisteredModel]":
        """The models that were registered."""
        return [] if self._feed is None else self._feed.models

    @property
    def notes(self) -> list[str]:
        """What the store refused, or what was no longer there to be logged."""
        return [] if self._feed is None else self._feed.notes

    @property
    def counts(self) -> tuple[int, int]:
        """Runs that the journal has named, and events that have arrived since the start."""
        return (0, 0) if self._feed is None else (self._feed.runs, self._feed.events)

    def close_unfinished(self) -> int:
        """Mark runs whose process was killed; returns how many there were."""
        keys = self.journal.unfinished()
        for key in keys:
            self.journal.append(key, "end", status="KILLED", time=now_ms())
        return len(keys)

    def _start(self, name: str, tags: Mapping[str, str]) -> TrackedRun:
        run = TrackedRun(uuid.uuid4().hex, self.journal)
        parent = self._open[-1].key if self._open else None
        # One run joins; the variable would otherwise hold for every later run of this process.
        joins = None if parent else os.environ.pop("MLFLOW_RUN_ID", None)
        self.journal.append(
            run.key,
            "start",
            name=name,
            parent=parent,
            joins=joins,
            experiment_id=os.environ.get("MLFLOW_EXPERIMENT_ID"),
            experiment=os.environ.get("MLFLOW_EXPERIMENT_NAME") or self._experiment,
            time=now_ms(),
            tags={**_source(), **tags},
        )
        return run

    def _send(self, result: list[BaseException]) -> None:
        """Feed the store, in a thread that can be left behind if it hangs."""
        try:
            with without_warnings():
                if self._feed is None:
                    self._feed = self._connect()
                self._feed.send()
        except BaseException as fault:  # whatever a tracker raises, the job goes on
            result.append(fault)

    def _connect(self) -> "Feed":
        # Here, since MLflow takes seconds to load, and a job should survive without it.
        from recmtl.tracking.feed import Feed

        return Feed(
            self.journal,
            self._uri,
            artifacts=self._artifacts,
            judge=self._judge,
            alive=self._alive,
        )

    def _alive(self, seconds: float) -> None:
        """Note that something has arrived, and that the next may take so many seconds more."""
        if self.fault:
            raise _LeftBehindError("the job no longer waits for the tracker")
        self._sign_of_life = time.monotonic() + seconds

    def _report(self) -> None:
        """Warn once of a failure, and of each thing that could not be logged."""
        for note in self.notes[self._warned :]:
            self._warn(mask(f"tracking: {note}"))
        self._warned = len(self.notes)
        fault = self.fault or self.journal.fault
        if fault:
            self.fault = fault
            self._warn(
                mask(
                    f"tracking: {self.uri}: {fault}; the job goes on, and "
                    f"`recmtl log --out {self.journal.out}` logs the rest later"
                )
            )


class _LeftBehindError(Exception):
    """Ends the sending of a thread that took too long, when it wakes up."""


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"warning: {line}\n")


def _source() -> dict[str, str]:
    """Who logs, and with which script, as MLflow names it."""
    tags = {"mlflow.source.type": "LOCAL", "mlflow.source.name": sys.argv[0] or "python"}
    try:
        return {**tags, "mlflow.user": getpass.getuser()}
    except (KeyError, OSError, ImportError):
        return tags


def _in_words(fault: BaseException) -> str:
    """What went wrong, in one line."""
    line = next(iter(str(fault).splitlines()), "")[:300]
    return f"{type(fault).__name__}: {line}" if line else type(fault).__name__
