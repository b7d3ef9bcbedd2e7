"""A folder of images with a table of labels: one row an image, one or several columns a task.

The general reader, for data sets of one's own. Classes may be numbers or words; maps are files
that a column names, `.npy` or pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from recmtl.data.files import content_hash
from recmtl.data.images.augment import Augment, Crop, Flip, Scale, nearest
from recmtl.data.images.columns import Columns, TableTask
from recmtl.data.images.decode import (
    checked_size,
    decode_depth,
    decode_image,
    decode_map,
    decode_normal_codes,
    decode_normals,
    decode_segmentation,
)
from recmtl.data.images.examples import IGNORED, MAPS, Example, ImageSet, ImageTask, Target
from recmtl.data.images.files import open_picture, read_array, read_picture
from recmtl.data.images.source import Source
from recmtl.data.images.split import hold_out
from recmtl.errors import ConfigError

__all__ = ["image_table"]

PARTS = ("train", "validation", "test")
Row = tuple[str, tuple[Any, ...]]
Steps = Literal["none", "flip", "scale_flip_crop"]


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
    augment: Steps = "none",
    mean: tuple[float, ...] = (0.0, 0.0, 0.0),
    std: tuple[float, ...] = (1.0, 1.0, 1.0),
) -> ImageSet:
    """Images of any size and their labels, as `table` lists them.

    Args:
        folder: holds the table and, below it, the images and maps.
        tasks: what to learn, and from which columns.
        size: H, W to which images (smoothed) and maps (nearest pixel) are resized.
        table: `.parquet` or `.csv`.
        file: column with the image's file name, relative to the folder.
        split: column that says train, validation or test; else shares are drawn at random.
        group: column whose values are kept in one split each, such as a person or a scene.
        validation: share of all images, where no column says it.
        test: share of all images, where no column says it.
        seed: of that draw.
        augment: of the train images: none, a flip, or AdaShare's scale, flip and crop.
        mean: of the red, green and blue of the images, in 0..1.
        std: of the same.

    Raises:
        ConfigError: an option does not fit the others.
        DataError: a file or a column is missing, damaged, or holds what a task does not allow.
    """
    root = Path(folder)
    if len(size) != 2 or min(size) < 1 or len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ConfigError("size takes H and W, mean and std three numbers each, std above 0")
    if len({task.name for task in tasks}) != len(tasks) or not tasks:
        raise ConfigError("tasks: give at least one, and each name once")
    columns = Columns(root / table)
    images, labels = columns.names(file), [columns.targets(task) for task in tasks]
    rows = list(zip(images, zip(*labels, strict=True), strict=True))
    if split is None:
        groups = None if group is None else columns.values(group)
        places = _drawn(len(rows), validation, test, seed, groups)
    else:
        part_of = columns.words(split, PARTS)
        places = [np.flatnonzero(np.equal(part_of, k)).tolist() for k in range(len(PARTS))]
    read = TableFiles(root, tuple(task.task() for task in tasks), tasks, (size[0], size[1]))
    facts = {"table": content_hash(root / table), "columns": repr(tasks), "size": list(size)}
    source = Source("image_table", read, read.files, _steps(augment, size), mean, std, facts)
    parts = [[rows[i] for i in place] for place in places]
    for name, part in zip(PARTS, parts, strict=True):
        if not part:
            raise columns.place.error(f"gives no image to {name}", "each split needs some")
    return source.image_set(*parts)


@dataclass(frozen=True)
class TableFiles:
    """Entry (file of the image, target or file of each task) -> example of size H, W."""

    folder: Path
    tasks: tuple[ImageTask, ...]
    columns: tuple[TableTask, ...]
    size: tuple[int, int]

    def files(self, entry: Row) -> list[str]:
        """The image and the maps that are known."""
        maps = zip(self.tasks, entry[1], strict=True)
        return [entry[0], *(value for task, value in maps if task.kind in MAPS and value)]

    def __call__(self, entry: Row) -> Example:
        """The example of one row.

        Raises:
            DataError: a file is missing, damaged, or holds what its task does not allow.
        """
        path = self.folder / entry[0]
        picture = open_picture(path, "RGB")
        found = zip(self.tasks, self.columns, entry[1], strict=True)
        targets = tuple(self._target(*task, picture.size[::-1]) for task in found)
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
        return nearest(checked_size(_decoded(path, task, column), size, path), self.size)


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


def _drawn(
    count: int, validation: float, test: float, seed: int, groups: list[Any] | None
) -> list[Sequence[int]]:
    kept, tested = hold_out(count, test, seed, groups=groups)
    of_kept = None if groups is None else [groups[i] for i in kept]
    share = validation / (1 - test)
    train, held = hold_out(len(kept), share, seed, groups=of_kept)
    return [kept[train].tolist(), kept[held].tolist(), tested.tolist()]


def _steps(augment: Steps, size: Sequence[int]) -> tuple[Augment, ...]:
    if augment == "none":
        return ()
    if augment == "flip":
        return (Flip(),)
    return Scale(), Flip(), Crop(size[0], size[1])
