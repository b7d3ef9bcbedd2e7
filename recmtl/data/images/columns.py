"""The columns of a table of labels: which task reads which, and every value checked once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from recmtl.data.images.examples import IGNORED, ImageTask, Kind
from recmtl.data.places import Place
from recmtl.errors import ConfigError
from recmtl.strict import did_you_mean

__all__ = ["Columns", "TableTask"]


@dataclass(frozen=True)
class TableTask:
    """A task and the columns that hold its targets.

    Attributes:
        name: unique.
        kind: as of `ImageTask`.
        columns: one; for multilabel one a label, each 0, 1 or empty. Classification takes whole
            numbers from 0, or words; maps take file names relative to the folder. Empty is "not
            known" everywhere.
        classes: classes (classification with numbers, segmentation) or channels (regression_map).
        words: the classes in order, where a classification column holds words.
        ignored: the stored number that is no class, in segmentation.
        scale: what stored depth and regression maps are multiplied by, such as 0.001 for
            millimetres.
    """

    name: str
    kind: Kind
    columns: tuple[str, ...]
    classes: int = 1
    words: tuple[str, ...] = ()
    ignored: int = 255
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what does not fit together.

        Raises:
            ConfigError: the columns or words do not fit the kind.
        """
        if not self.columns or (len(self.columns) > 1 and self.kind != "multilabel"):
            raise ConfigError(f"task {self.name!r}: {self.kind} takes one column")
        if self.words and self.kind != "classification":
            raise ConfigError(f"task {self.name!r}: words are for classification")

    def task(self) -> ImageTask:
        """The task without its columns."""
        fixed = {"multilabel": len(self.columns), "normals": 3, "depth": 1}
        classes = fixed.get(self.kind, len(self.words) or self.classes)
        return ImageTask(self.name, self.kind, classes)


class Columns:
    """The table, read once; it has a row an image, so that it fits into memory."""

    def __init__(self, path: Path) -> None:
        """Read `path`, `.parquet` or `.csv`.

        Raises:
            DataError: it is missing, damaged, or has no rows.
        """
        self.place = Place(str(path))
        try:
            self._table = (pa_csv.read_csv if path.suffix == ".csv" else pq.read_table)(path)
        except FileNotFoundError as fault:
            raise self.place.error("is missing", "name the table with `table`") from fault
        except (pa.ArrowException, OSError) as fault:
            first = (str(fault).splitlines() or ["unreadable"])[0]
            remedy = "write it again as .parquet or .csv"
            raise self.place.error(f"is damaged or no table ({first})", remedy) from fault
        if self._table.num_rows == 0:
            raise self.place.error("holds no rows", "write a row an image")

    def values(self, name: str) -> list[Any]:
        """The values of a column, None where empty.

        Raises:
            DataError: there is no such column.
        """
        have = self._table.column_names
        if name not in have:
            raise self.place.error(
                "is missing", f"there are {have}{did_you_mean(name, have)}", column=name
            )
        return [None if _empty(value) else value for value in self._table[name].to_pylist()]

    def names(self, name: str) -> list[str]:
        """The file names of a column, none of them empty or there twice.

        Raises:
            DataError: a name is empty, no text, or there twice.
        """
        values, seen = self.values(name), set()
        for row, value in enumerate(values):
            if not isinstance(value, str) or value in seen:
                fault = f"has no file name, or one twice, in row {row}: {value!r}"
                raise self.place.error(fault, "name every image once", column=name)
            seen.add(value)
        return values

    def words(self, name: str, words: Sequence[str]) -> list[int]:
        """Each value's place among `words`.

        Raises:
            DataError: a value is none of them, or empty.
        """
        return [self._index(name, row, v, words) for row, v in enumerate(self.values(name))]

    def targets(self, task: TableTask) -> list[Any]:
        """The target of every row: a class, the labels, or the file of a map (None: not known).

        Raises:
            DataError: a value is not what the kind of the task allows.
        """
        name = task.columns[0]
        if task.kind == "multilabel":
            labels = ([self._label(c, *v) for v in enumerate(self.values(c))] for c in task.columns)
            return list(zip(*labels, strict=True))
        values = self.values(name)
        if task.kind == "classification":
            words = task.words or range(task.classes)
            known = ((row, v) for row, v in enumerate(values))
            return [IGNORED if v is None else self._index(name, row, v, words) for row, v in known]
        wrong = [value for value in values if not isinstance(value, str | None)]
        if wrong:
            raise self.place.error(f"holds {wrong[0]!r}", "name the maps' files", column=name)
        return values

    def _index(self, name: str, row: int, value: Any, words: Sequence[Any]) -> int:
        if isinstance(value, bool) or value not in words:
            shown = f"0 to {len(words) - 1}" if isinstance(words, range) else ", ".join(words)
            fault = f"holds {value!r} in row {row}"
            raise self.place.error(fault, f"allowed are {shown}", column=name)
        return words.index(value)

    def _label(self, name: str, row: int, value: Any) -> float:
        if value is None:
            return math.nan
        if value not in (0, 1):
            raise self.place.error(
                f"holds {value!r} in row {row}", "write 0, 1 or nothing", column=name
            )
        return float(value)


def _empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
