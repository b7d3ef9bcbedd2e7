"""A folder of images and a table of labels: one row per image, one or more columns per task.

This is the general reader, for your own data. Classes may be numbers or words; a column of maps
holds file names, of `.npy` files or pictures. Every value of the table is checked when the set is
opened.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from PIL import Image

from recmtl.errors import ConfigError, SourceLocation, did_you_mean
from recmtl.paths import content_hash
from recmtl.vision.data.augment import Augment, Crop, Flip, Scale, nearest
from recmtl.vision.data.decode import (
    decode_depth,
    decode_image,
    decode_map,
    decode_normal_codes,
    decode_normals,
    decode_segmentation,
    open_picture,
    read_array,
    read_picture,
    with_checked_size,
)
from recmtl.vision.data.examples import IGNORED, MAPS, Example, ImageSet, ImageTask, Kind, Target
from recmtl.vision.data.source import FileLayout, hold_out

__all__ = ["LabelTable", "TableTask", "image_table"]

PARTS = ("train", "validation", "test")
Row = tuple[str, tuple[Any, ...]]
Augmentation = Literal["none", "flip", "scale_flip_crop"]


@dataclass(frozen=True)
class TableTask:
    """A task and the columns that hold its targets.

    The text form of a task is part of the data set's fingerprint.

    Attributes:
        name: unique.
        kind: see `ImageTask`.
        columns: one column; for multilabel one column per label, which holds 0, 1 or nothing.
            Classification reads whole numbers from 0, or words; maps are file names relative to the
            folder. An empty cell always means unknown.
        classes: number of classes (classification with numbers, segmentation) or of channels
            (regression_map).
        words: the classes in order, if a classification column holds words.
        ignored: in segmentation, the stored number that is no class.
        scale: factor of stored depth and regression maps, such as 0.001 for millimetres.
    """

    name: str
    kind: Kind
    columns: tuple[str, ...]
    classes: int = 1
    words: tuple[str, ...] = ()
    ignored: int = 255
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check that columns and words fit the kind.

        Raises:
            ConfigError: they do not.
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


def image_table(
    folder: str | Path,
    *,
    tasks: tuple[TableTask, ...],
    size: tuple[int, ...],
    table: str = "labels.parquet",
    file: str = "file",
    split: str | None = None,
    group: str | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    augment: Augmentation = "none",
    mean: tuple[float, ...] = (0.0, 0.0, 0.0),
    std: tuple[float, ...] = (1.0, 1.0, 1.0),
) -> ImageSet:
    """Images of any size with the labels that `table` lists.

    Args:
        folder: holds the table and, at any depth, the images and maps.
        tasks: what to learn, and from which columns.
        size: H, W to which images (smoothed) and maps (nearest pixel) are resized.
        table: name of the table, `.parquet` or `.csv`.
        file: column with the image's file name, relative to the folder.
        split: column that says train, validation or test; without it, splits are drawn at random.
        group: column of groups, such as persons or scenes; all images of a group are in one split.
        validation: share of all images, if splits are drawn.
        test: share of all images, if splits are drawn.
        seed: of that draw.
        augment: of the train images: nothing, a flip, or AdaShare's scale, flip and crop.
        mean: of the images' red, green and blue, in 0..1.
        std: standard deviation of the same.

    Raises:
        ConfigError: an option is out of its range, or no tasks are given.
        DataError: a file or a column is missing or damaged, or holds what a task forbids.
    """
    root = Path(folder)
    if len(size) != 2 or min(size) < 1 or len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ConfigError("size takes H and W, mean and std three numbers each, std above 0")
    if len({task.name for task in tasks}) != len(tasks) or not tasks:
        raise ConfigError("tasks: give at least one, and each name once")
    labels = LabelTable(root / table)
    images, targets = labels.names(file), [labels.targets(task) for task in tasks]
    rows = list(zip(images, zip(*targets, strict=True), strict=True))
    if split is None:
        groups = None if group is None else labels.values(group)
        numbers = _drawn(len(rows), validation, test, seed, groups)
    else:
        part_of = labels.words(split, PARTS)
        numbers = [np.flatnonzero(np.equal(part_of, k)).tolist() for k in range(len(PARTS))]
    parts = [[rows[i] for i in part] for part in numbers]
    for name, part in zip(PARTS, parts, strict=True):
        if not part:
            raise labels.place.error(f"gives no image to {name}", "each split needs some")
    read = TableExampleReader(root, tuple(task.task() for task in tasks), tasks, (size[0], size[1]))
    facts = {"table": content_hash(root / table), "columns": repr(tasks), "size": list(size)}
    layout = FileLayout("image_table", read, read.files, _steps(augment, size), mean, std, facts)
    return layout.image_set(*parts)


def _drawn(
    count: int, validation: float, test: float, seed: int, groups: list[Any] | None
) -> list[Sequence[int]]:
    """Row numbers of train, validation and test."""
    rest, test_rows = hold_out(count, test, seed, groups=groups)
    groups_of_rest = None if groups is None else [groups[i] for i in rest]
    share = validation / (1 - test)
    train, held = hold_out(len(rest), share, seed, groups=groups_of_rest)
    return [rest[train].tolist(), rest[held].tolist(), test_rows.tolist()]


def _steps(augment: Augmentation, size: Sequence[int]) -> tuple[Augment, ...]:
    if augment == "none":
        return ()
    if augment == "flip":
        return (Flip(),)
    return Scale(), Flip(), Crop(size[0], size[1])


@dataclass(frozen=True)
class TableExampleReader:
    """Reads an example at size H, W; an entry is an image file and each task's target or file."""

    folder: Path
    tasks: tuple[ImageTask, ...]
    columns: tuple[TableTask, ...]
    size: tuple[int, int]

    def files(self, entry: Row) -> list[str]:
        """The image's file, and the files of its maps."""
        targets = zip(self.tasks, entry[1], strict=True)
        return [entry[0], *(value for task, value in targets if task.kind in MAPS and value)]

    def __call__(self, entry: Row) -> Example:
        """The example of one row.

        Raises:
            DataError: a file is missing or damaged, or holds what its task forbids.
        """
        path = self.folder / entry[0]
        picture = open_picture(path, "RGB")
        cells = zip(self.tasks, self.columns, entry[1], strict=True)
        targets = tuple(self._target(*cell, picture.size[::-1]) for cell in cells)
        smooth = picture.resize(self.size[::-1], Image.Resampling.BILINEAR)
        return Example(decode_image(np.asarray(smooth), path), targets)

    def _target(
        self, task: ImageTask, column: TableTask, value: Any, size: tuple[int, int]
    ) -> Target:
        if task.kind not in MAPS:
            return np.array(value, np.int64 if task.kind == "classification" else np.float32)
        if value is None:
            return _unknown_map(task, self.size)
        path = self.folder / value
        return nearest(with_checked_size(_decoded(path, task, column), size, path), self.size)


def _decoded(path: Path, task: ImageTask, column: TableTask) -> Target:
    stored = path.suffix.lower() == ".npy"
    raw = read_array(path) if stored else read_picture(path)
    if task.kind == "segmentation":
        return decode_segmentation(raw, path, classes=task.classes, ignored=column.ignored)
    if task.kind == "normals":
        return (decode_normals if stored else decode_normal_codes)(raw, path)
    if task.kind == "depth":
        return decode_depth(raw * column.scale, path)
    return decode_map(raw * column.scale, path, channels=task.classes)


def _unknown_map(task: ImageTask, size: tuple[int, int]) -> Target:
    if task.kind == "segmentation":
        return np.full(size, IGNORED, np.int64)
    return np.full((task.classes, *size), np.nan, np.float32)


class LabelTable:
    """The table of labels in memory: one row per image."""

    def __init__(self, path: Path) -> None:
        """Read `path`, `.parquet` or `.csv`.

        Raises:
            DataError: the table is missing or damaged, or has no rows.
        """
        self.place = SourceLocation(str(path))
        try:
            self._table = (pa_csv.read_csv if path.suffix == ".csv" else pq.read_table)(path)
        except FileNotFoundError as fault:
            raise self.place.error("is missing", "name the table with `table`") from fault
        except (pa.ArrowException, OSError) as fault:
            first = (str(fault).splitlines() or ["unreadable"])[0]
            remedy = "write it again as .parquet or .csv"
            raise self.place.error(f"is damaged or no table ({first})", remedy) from fault
        if self._table.num_rows == 0:
            raise self.place.error("holds no rows", "write one row per image")

    def values(self, name: str) -> list[Any]:
        """The values of a column, None for an empty cell.

        Raises:
            DataError: the column does not exist.
        """
        columns = self._table.column_names
        if name not in columns:
            remedy = f"there are {columns}{did_you_mean(name, columns)}"
            raise self.place.error("is missing", remedy, column=name)
        return [None if _empty(value) else value for value in self._table[name].to_pylist()]

    def names(self, name: str) -> list[str]:
        """The file names of a column.

        Raises:
            DataError: a cell is empty or no text, or a name occurs twice.
        """
        values, seen = self.values(name), set()
        for row, value in enumerate(values):
            if not isinstance(value, str) or value in seen:
                fault = f"has no file name, or one twice, in row {row}: {value!r}"
                raise self.place.error(fault, "name every image once", column=name)
            seen.add(value)
        return values

    def words(self, name: str, words: Sequence[str]) -> list[int]:
        """The index in `words` of every value of a column.

        Raises:
            DataError: a cell is empty, or its value is none of the words.
        """
        return [self._index(name, row, v, words) for row, v in enumerate(self.values(name))]

    def targets(self, task: TableTask) -> list[Any]:
        """The target of every row: a class, the labels, or the file of a map (None if unknown).

        Raises:
            DataError: the kind of the task does not allow a value.
        """
        name = task.columns[0]
        if task.kind == "multilabel":
            labels = ([self._label(c, *v) for v in enumerate(self.values(c))] for c in task.columns)
            return list(zip(*labels, strict=True))
        values = self.values(name)
        if task.kind == "classification":
            words = task.words or range(task.classes)
            return [
                IGNORED if value is None else self._index(name, row, value, words)
                for row, value in enumerate(values)
            ]
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
            fault = f"holds {value!r} in row {row}"
            raise self.place.error(fault, "write 0, 1 or nothing", column=name)
        return float(value)


def _empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
