"""What an unfinished log keeps, so that a killed job goes on: the fit, and finished pieces.

    unfinished/fit.json           written when the encoder is saved and the arrays have their files
    unfinished/<row>-<rows>.json  what was counted in a piece, when its rows are written

A piece that is not noted is encoded again, over what it has written.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from recmtl.atomic import read_json, write_json
from recmtl.data.columns.labels import Labels, LabelStatistics
from recmtl.data.counted_log import CountedLog
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.labelled.windows import with_known_times
from recmtl.data.passes.fit import Fitted, past_of
from recmtl.data.reader import RowUnit
from recmtl.data.row_encoder import RowEncoder
from recmtl.data.split import plan_split
from recmtl.errors import SourceLocation
from recmtl.schema import Schema

__all__ = ["Finished", "forget", "is_begun", "read_fit", "write_fit"]

FOLDER, FIT, ENCODER = "unfinished", "fit.json", "encoder"
REMEDY = "delete its folder and run prepare again"
ResultT = TypeVar("ResultT")


def is_begun(folder: Path, fingerprint: str) -> bool:
    """Whether a folder holds the fit of the log with this fingerprint."""
    path = folder / FOLDER / FIT
    return path.is_file() and read_json(path, remedy=REMEDY)["fingerprint"] == fingerprint


def write_fit(folder: Path, fingerprint: str, fitted: Fitted) -> None:
    """Note a fit whose encoder the folder holds."""
    tasks = {name: label.to_json() for name, label in fitted.labels.statistics.items()}
    (folder / FOLDER).mkdir()
    content = {
        "fingerprint": fingerprint,
        "rows": fitted.rows,
        "mean_weight": fitted.mean_weight,
        "tasks": tasks,
        "left_out": list(fitted.left_out),
        "rows_before": [[first, *rows] for first, rows in fitted.rows_before.items()],
    }
    write_json(folder / FOLDER / FIT, content, durable=True)


def read_fit(folder: Path, log: CountedLog, schema: Schema, like: EncodedLog | None) -> Fitted:
    """The fit that was noted. The split is planned again, and so is what no encoder keeps."""
    content = read_json(folder / FOLDER / FIT, remedy=REMEDY)
    assign, encoder = plan_split(schema, log), RowEncoder.load(folder / ENCODER)
    resolved = with_known_times(schema, log.batches, SourceLocation(log.data))
    if schema.roles.time is None:
        # An encoder keeps the sums of all folds, and train rows need those of each.
        earlier = None if like is None else like.encoder()
        encoder = encoder.going_on(past_of(log, resolved, assign, earlier))
    tasks = {name: LabelStatistics.from_json(raw) for name, raw in content["tasks"].items()}
    return Fitted(
        assign,
        encoder,
        Labels(resolved, tasks),
        content["rows"],
        {first: rows for first, *rows in content["rows_before"]},
        content["mean_weight"],
        content["left_out"],
    )


def forget(folder: Path) -> None:
    """Remove the notes of a folder whose log is finished."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


@dataclass(frozen=True)
class Finished(Generic[ResultT]):
    """Notes what was counted of pieces of a log, in the folder of the unfinished log.

    Attributes:
        folder: of the log.
        write: the result of a piece as JSON.
        read: the result from it.
    """

    folder: Path
    write: Callable[[ResultT], dict[str, Any]]
    read: Callable[[dict[str, Any]], ResultT]

    def of(self, units: Sequence[RowUnit]) -> ResultT | None:
        """What was noted of a piece; None if it is not finished."""
        path = self._path(units)
        return self.read(read_json(path, remedy=REMEDY)) if path.is_file() else None

    def note(self, units: Sequence[RowUnit], result: ResultT) -> None:
        """Note that the rows of a piece are written."""
        write_json(self._path(units), self.write(result), durable=True)

    def _path(self, units: Sequence[RowUnit]) -> Path:
        rows = sum(unit.rows for unit in units)
        return self.folder / FOLDER / f"{units[0].first}-{rows}.json"
