"""A batch job on disk: which input rows make which part, and which parts are finished.

Parts are cut by row number, so a job that was killed finds the same parts again; that they fit
together is due to a row's score not depending on the rows that it is scored with. A part counts
as finished when it has been renamed into place and then listed.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recmtl.errors import DataError

__all__ = ["Job", "Part", "locked"]

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


class Job:
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

    def start(self, *, resume: bool) -> list[Part]:
        """Return the parts still to do, in order.

        Raises:
            DataError: the folder holds something and `resume` is not set, or another job.
        """
        present = [path.name for path in self.folder.iterdir() if path.name != LOCK]
        if present and not resume:
            raise DataError(
                f"{self.folder}: is not empty; choose another output folder, or go on with the "
                "job that began there with --resume"
            )
        if present:
            self._restore()
        self._write()
        return [part for part in self.parts if part.name not in self._finished]

    def finish(self, part: Part, written: Path) -> None:
        """Move a written part into place, then list it."""
        size = written.stat().st_size
        os.replace(written, self.folder / part.name)
        self._finished[part.name] = size
        self._write()

    def _restore(self) -> None:
        try:
            saved = json.loads((self.folder / FINISHED).read_text(encoding="utf-8"))
            facts, finished = dict(saved["job"]), dict(saved["finished"])
        except (OSError, ValueError, KeyError, TypeError):
            raise DataError(
                f"{self.folder}: has no readable {FINISHED}, so nothing can be resumed there; "
                "choose an empty output folder"
            ) from None
        changed = [key for key in self._facts if facts.get(key) != self._facts[key]]
        if changed:
            raise DataError(
                f"{self.folder}: the job that began there had another {', '.join(changed)}; "
                "resume it with the same options, or choose an empty output folder"
            )
        self._finished = {
            name: size
            for name, size in finished.items()
            if (self.folder / name).is_file() and (self.folder / name).stat().st_size == size
        }

    def _write(self) -> None:
        partial = self.folder / f".{FINISHED}.partial"
        text = json.dumps({"job": self._facts, "finished": self._finished}, indent=2) + "\n"
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, self.folder / FINISHED)


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
