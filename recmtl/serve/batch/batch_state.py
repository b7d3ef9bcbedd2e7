"""A batch job on disk: which input rows make which part, and which parts are finished.

Parts are cut by row number, so a job that was killed finds the same parts again; that they fit
together is due to a row's score not depending on the rows that it is scored with. A part counts
as finished when it has been renamed into place and then listed.
"""

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recmtl.atomic import partial_path, write_json
from recmtl.errors import DataError

__all__ = ["Part", "ScoringJob", "locked", "refuse_used"]

LOCK = ".lock"
FINISHED = "_manifest.json"


@dataclass(frozen=True)
class Part:
    """Rows `first` up to `last` (excluded) of the input, which become one output file."""

    number: int
    first: int
    last: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.last - self.first

    @property
    def name(self) -> str:
        """File name of the part in the output folder."""
        return f"part-{self.number:05d}.parquet"


class ScoringJob:
    """The parts of one job, the finished ones kept in `_manifest.json` of its output folder.

    Args:
        folder: the output folder, locked by the caller.
        facts: what makes this job this one; a resumed job must have the same.
        rows: rows of the input.
        part_rows: rows of every part but the last.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], *, rows: int, part_rows: int) -> None:
        self.folder = folder
        self.parts = [
            Part(number, first, min(first + part_rows, rows))
            for number, first in enumerate(range(0, rows, part_rows))
        ]
        self._facts = json.loads(json.dumps({**facts, "rows": rows, "part_rows": part_rows}))
        self._finished: dict[str, int] = {}
        self._warnings: list[str] = []
        self.quarantined: dict[str, list[dict[str, Any]]] = {}

    @property
    def quarantined_rows(self) -> int:
        """Rows of the finished parts that were left out."""
        return sum(record["rows"] for part in self.quarantined.values() for record in part)

    def start(self, *, resume: bool) -> list[Part]:
        """Return the parts still to do, in order.

        Raises:
            DataError: the folder holds something and `resume` is not set, or another job.
        """
        if not resume:
            refuse_used(self.folder)
        elif _content(self.folder):
            self._restore()
        self._write(state="running")
        return [part for part in self.parts if part.name not in self._finished]

    def finish(self, part: Part, quarantined: list[dict[str, Any]]) -> None:
        """List a part that is in its place, and the records of what it lacks."""
        self._finished[part.name] = (self.folder / part.name).stat().st_size
        if quarantined:
            self.quarantined[part.name] = quarantined
        self._write(state="running")

    def close(self, warnings: Sequence[str]) -> None:
        """Say that all is done, and what is to be known of it."""
        self._warnings += [warning for warning in warnings if warning not in self._warnings]
        self._write(state="finished")

    def _restore(self) -> None:
        try:
            saved = json.loads((self.folder / FINISHED).read_text(encoding="utf-8"))
            facts, finished = dict(saved["job"]), dict(saved["finished"])
            self._warnings = list(saved.get("warnings", ()))
            quarantined = dict(saved.get("quarantined", {}))
        except (OSError, ValueError, KeyError, TypeError):
            raise DataError(
                f"{self.folder}: has no readable {FINISHED}, so nothing can be resumed there; "
                "choose an empty output folder"
            ) from None
        changed = [
            key for key in {**facts, **self._facts} if facts.get(key) != self._facts.get(key)
        ]
        if changed:
            raise DataError(
                f"{self.folder}: the job that began there had another {', '.join(changed)}; "
                "resume it with the same options, or choose an empty output folder"
            )
        for part in self.parts:
            path = self.folder / part.name
            if path.is_file() and path.stat().st_size == finished.get(part.name):
                self._finished[part.name] = finished[part.name]
                if part.name in quarantined:
                    self.quarantined[part.name] = quarantined[part.name]

    def _write(self, *, state: str) -> None:
        content = {
            "job": self._facts,
            "state": state,
            "finished": self._finished,
            "quarantined": self.quarantined,
            "warnings": self._warnings,
        }
        write_json(self.folder / FINISHED, content, durable=True)


def refuse_used(folder: Path) -> None:
    """Raise a DataError if a folder holds more than a job leaves that was killed as it began."""
    if _content(folder):
        raise DataError(
            f"{folder}: is not empty; choose another folder, or go on with the job that began "
            "there with --resume"
        )


def _content(folder: Path) -> list[str]:
    mine = (LOCK, partial_path(folder / FINISHED).name)
    return [path.name for path in folder.iterdir() if path.name not in mine]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one job; the system frees it when the process ends, however it ends.

    Raises:
        DataError: another job holds it.
    """
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"{folder}: another job writes there now; wait for it or choose another folder"
            ) from None
        yield
