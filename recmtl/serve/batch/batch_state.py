"""A batch job on disk: which input rows make up which part, and which parts are finished.

Parts are cut by row number, so a resumed job finds the same parts again. A row's scores do not
depend on the rows beside it, so parts of several runs fit together. A part counts as finished once
it has been renamed into place and then listed in `_manifest.json`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from recmtl.atomic import partial_path, write_json
from recmtl.errors import DataError, differences
from recmtl.folder_lock import LOCK
from recmtl.masking import masked

__all__ = ["Part", "QuarantineRecord", "ScoringJob", "require_unused"]

MANIFEST = "_manifest.json"


@dataclass(frozen=True)
class Part:
    """Rows `first` to `last` (excluded) of the input, which become one output file.

    >>> part = Part(number=2, first=1000, last=1300)
    >>> part.name, part.rows
    ('part-00002.parquet', 300)
    """

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


class QuarantineRecord(TypedDict):
    """Rows that were left out, all from `first` to `last` (excluded) or some of them.

    `rows` counts them, `reason` is the error of the first, and `copy` names the file in the
    quarantine that holds them; it is None if they could not be read.
    """

    file: str
    row_group: int | None
    first: int
    last: int
    rows: int
    reason: str
    copy: str | None


class ScoringJob:
    """The parts of one job, and the record of the finished ones in its output folder.

    Args:
        folder: the output folder, locked by the caller.
        identity: what a job must have in common with the one that it resumes; must be JSON.
        rows: rows of the input.
        part_rows: rows of every part but the last.

    Attributes:
        parts: all parts, in row order.
        quarantined: records of the rows left out, by the name of a finished part.
    """

    def __init__(
        self, folder: Path, identity: dict[str, Any], *, rows: int, part_rows: int
    ) -> None:
        self.folder = folder
        self.parts = [
            Part(number, first, min(first + part_rows, rows))
            for number, first in enumerate(range(0, rows, part_rows))
        ]
        # As JSON gives it back and without secrets, so that a restored identity compares equal.
        facts = {**identity, "rows": rows, "part_rows": part_rows}
        self._identity = masked(json.loads(json.dumps(facts)))
        self._finished: dict[str, int] = {}
        self._warnings: list[str] = []
        self.quarantined: dict[str, list[QuarantineRecord]] = {}

    @property
    def quarantined_rows(self) -> int:
        """Rows of the finished parts that were left out."""
        return sum(record["rows"] for records in self.quarantined.values() for record in records)

    def start(self, *, resume: bool) -> list[Part]:
        """Return the parts still to do, in order.

        Raises:
            DataError: the folder is not empty and `resume` is not set, or it holds another job.
        """
        if not resume:
            require_unused(self.folder)
        elif _job_files(self.folder):
            self._restore()
        self._write(state="running")
        return [part for part in self.parts if part.name not in self._finished]

    def finish_part(self, part: Part, quarantined: list[QuarantineRecord]) -> None:
        """List a part that has been moved into place, with the records of the rows it lacks."""
        self._finished[part.name] = (self.folder / part.name).stat().st_size
        if quarantined:
            self.quarantined[part.name] = quarantined
        self._write(state="running")

    def close(self, warnings: Sequence[str]) -> None:
        """Record that every part is finished, and the warnings of this run."""
        self._warnings += [warning for warning in warnings if warning not in self._warnings]
        self._write(state="finished")

    def _restore(self) -> None:
        """Take over the finished parts of an earlier run whose files are still whole."""
        try:
            saved = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            identity, finished = masked(dict(saved["job"])), dict(saved["finished"])
            self._warnings = list(saved.get("warnings", ()))
            quarantined = dict(saved.get("quarantined", {}))
        except (OSError, ValueError, KeyError, TypeError):
            raise DataError(
                f"{self.folder}: has no readable {MANIFEST}, so nothing can be resumed there; "
                "choose an empty output folder"
            ) from None
        # A job that an earlier release began has not noted all that is compared now.
        compared = {key: self._identity.get(key) for key in identity}
        changes = differences(identity, compared)
        if changes:
            raise DataError(
                f"{self.folder}: another job began there: {changes}; resume it with the same data "
                "and options, or choose an empty output folder"
            )
        for part in self.parts:
            path = self.folder / part.name
            if path.is_file() and path.stat().st_size == finished.get(part.name):
                self._finished[part.name] = finished[part.name]
                if part.name in quarantined:
                    self.quarantined[part.name] = quarantined[part.name]

    def _write(self, *, state: str) -> None:
        content = {
            "job": self._identity,
            "state": state,
            "finished": self._finished,
            "quarantined": self.quarantined,
            "warnings": self._warnings,
        }
        write_json(self.folder / MANIFEST, content, durable=True)


def require_unused(folder: Path) -> None:
    """Raise a DataError unless a folder is empty but for what a job killed at its start leaves."""
    if _job_files(folder):
        raise DataError(
            f"{folder}: is not empty; choose another folder, or resume the job that began there "
            "with --resume"
        )


def _job_files(folder: Path) -> list[str]:
    """Names in a folder, without the lock and an unfinished manifest."""
    ignored = (LOCK, partial_path(folder / MANIFEST).name)
    return [path.name for path in folder.iterdir() if path.name not in ignored]
