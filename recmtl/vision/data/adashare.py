"""NYUv2, Cityscapes and Tiny-Taskonomy in AdaShare's layout: a JSON file lists every split's files.

Differences from the published code:

- It selects on its test split. Here validation images are held out from `train`, and the published
  lists `train1` and `train2` are not used: a search divides the train split itself.
- It feeds blue, green, red; here the channels are red, green, blue. As there, an image is fed as
  0..255 minus a mean, which is a standard deviation of 1/255 for images in 0..1.
- On Tiny-Taskonomy a pixel without depth has no normal (the published code computes that mask and
  never uses it), and whole buildings are held out, so that no room is in two splits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recmtl.errors import SourceLocation
from recmtl.vision.data.augment import Augment, Crop, Flip, Scale, nearest
from recmtl.vision.data.decode import (
    Decoder,
    array_depth,
    array_image,
    array_segmentation,
    decode_image,
    decode_normal_codes,
    decode_segmentation,
    picture_image,
    picture_normals,
    picture_segmentation,
    read_array,
    read_json,
    read_picture,
    with_checked_maps,
)
from recmtl.vision.data.examples import IGNORED, Example, ImageSet, ImageTask, Target
from recmtl.vision.data.source import FileLayout, MapExampleReader, select_tasks

__all__ = [
    "MEAN",
    "STD",
    "AdaShareListing",
    "cityscapes_adashare",
    "nyuv2_adashare",
    "taskonomy_adashare",
]

MEAN = (122.67891434 / 255, 116.66876762 / 255, 104.00698793 / 255)
STD = (1 / 255, 1 / 255, 1 / 255)
# The losses of the published code treat a depth of up to 3e-5 as unknown.
adashare_depth = partial(array_depth, unknown_up_to=3e-5)

NYU_COLUMNS = {"segmentation": 1, "normals": 2, "depth": 3}
CITYSCAPES_COLUMNS = {2: 2, 7: 3, 19: 4}
TASKONOMY_COLUMNS = {"segmentation": 1, "normals": 2, "depth": 3, "keypoints": 4, "edges": 5}
TASKONOMY_SIDE, TASKONOMY_CLASSES = 256, 17
FULL_SCALE = 2.0**16
FARTHEST = 64500
"""The stored depth from which on depth is unknown."""
KEYPOINT_RANGE, EDGE_RANGE = 0.005, 0.08


def nyuv2_adashare(
    folder: str | Path,
    *,
    tasks: tuple[str, ...] = ("segmentation", "normals", "depth"),
    crop: tuple[int, ...] = (321, 321),
    augment: bool = True,
    validation: float = 0.1,
    seed: int = 0,
) -> ImageSet:
    """NYUv2 as AdaShare publishes it: 480 x 640, 40 classes, normals (PNG codes), depth (`.npy`).

    Args:
        folder: holds `nyu_v2_3task.json` and the files that it names.
        tasks: some of segmentation, normals, depth; the 2-task setting omits depth.
        crop: H, W in training.
        augment: whether train images are scaled by 0.5..1.5, flipped and cropped; otherwise they
            stay whole.
        validation: share of the published train images to hold out.
        seed: of that choice.

    Raises:
        DataError: a file is missing or damaged, or holds what the layout forbids.
    """
    available = {
        "segmentation": ImageTask("segmentation", "segmentation", 40),
        "normals": ImageTask("normals", "normals", 3),
        "depth": ImageTask("depth", "depth", 1),
    }
    decoders: dict[str, Decoder] = {
        "segmentation": picture_segmentation(40),
        "normals": picture_normals,
        "depth": adashare_depth,
    }
    selected = select_tasks(available, tasks)
    targets = tuple(decoders[name] for name in tasks)
    read = MapExampleReader(Path(folder), selected, picture_image, targets)
    columns = [0, *(NYU_COLUMNS[name] for name in tasks)]
    listing = AdaShareListing(Path(folder) / "nyu_v2_3task.json", columns, 4)
    layout = FileLayout("nyuv2_adashare", read, tuple, _steps(crop, augment), MEAN, STD)
    return layout.held_out(
        listing.entries("train"), listing.entries("test"), validation=validation, seed=seed
    )


def cityscapes_adashare(
    folder: str | Path,
    *,
    classes: Literal[2, 7, 19] = 19,
    crop: tuple[int, ...] = (224, 224),
    augment: bool = True,
    validation: float = 0.1,
    seed: int = 0,
) -> ImageSet:
    """Cityscapes as AdaShare publishes it: 256 x 512 `.npy`, segmentation and inverse depth.

    Args:
        folder: holds `cityscape.json` and the files that it names.
        classes: number of classes of the segmentation.
        crop: H, W in training.
        augment: whether train images are scaled by 0.5..1.5, flipped and cropped; otherwise they
            stay whole.
        validation: share of the published train images to hold out.
        seed: of that choice.

    Raises:
        DataError: a file is missing or damaged, or holds what the layout forbids.
    """
    read = MapExampleReader(
        Path(folder),
        (ImageTask("segmentation", "segmentation", classes), ImageTask("depth", "depth", 1)),
        array_image,
        (array_segmentation(classes), adashare_depth),
    )
    columns = [0, CITYSCAPES_COLUMNS[classes], 1]
    listing = AdaShareListing(Path(folder) / "cityscape.json", columns, 5)
    layout = FileLayout("cityscapes_adashare", read, tuple, _steps(crop, augment), MEAN, STD)
    return layout.held_out(
        listing.entries("train"), listing.entries("test"), validation=validation, seed=seed
    )


def taskonomy_adashare(
    folder: str | Path,
    *,
    tasks: tuple[str, ...] = tuple(TASKONOMY_COLUMNS),
    crop: tuple[int, ...] = (224, 224),
    augment: bool = True,
    test: Literal["test", "test_small"] = "test",
    validation: float = 0.1,
    seed: int = 0,
) -> ImageSet:
    """Tiny-Taskonomy at 256 x 256: 17 classes with published weights, and four kinds of maps.

    Args:
        folder: holds `taskonomy.json`, the 512 x 512 PNG files that it names, and
            `semseg_prior_factor.npy`.
        tasks: some of segmentation, normals, depth, keypoints, edges.
        crop: H, W in training.
        augment: whether train images are scaled by 0.5..1.5, flipped and cropped; otherwise they
            stay whole.
        test: which of the two published lists is the test split.
        validation: share of the published train images to hold out, by whole folders of images.
        seed: of that choice.

    Raises:
        DataError: a file is missing or damaged, or holds what the layout forbids.
    """
    root = Path(folder)
    weights = _class_weights(root) if "segmentation" in tasks else ()
    available = {
        "segmentation": ImageTask("segmentation", "segmentation", TASKONOMY_CLASSES, weights),
        "normals": ImageTask("normals", "normals", 3),
        "depth": ImageTask("depth", "depth", 1),
        "keypoints": ImageTask("keypoints", "regression_map", 1),
        "edges": ImageTask("edges", "regression_map", 1),
    }
    read = TaskonomyExampleReader(root, select_tasks(available, tasks))
    listing = AdaShareListing(root / "taskonomy.json", range(6), 6)
    steps = _steps(crop, augment)
    layout = FileLayout("taskonomy_adashare", read, read.files, steps, MEAN, STD)
    return layout.held_out(
        listing.entries("train"),
        listing.entries(test),
        validation=validation,
        seed=seed,
        group=lambda entry: str(Path(entry[0]).parent),
    )


@dataclass(frozen=True)
class AdaShareListing:
    """AdaShare's JSON file: split -> list of lists of file names.

    Attributes:
        path: of the JSON file.
        columns: which names of a list to take, in this order.
        width: number of names in every list.
    """

    path: Path
    columns: Sequence[int]
    width: int

    def entries(self, part: str) -> list[tuple[str, ...]]:
        """The names of every example of `part`.

        Raises:
            DataError: the list does not exist, is empty, or does not follow the layout.
        """
        place, content = SourceLocation(str(self.path)), read_json(self.path)
        rows = content.get(part) if isinstance(content, Mapping) else None
        if not isinstance(rows, list) or not rows:
            lists = ", ".join(map(str, content)) if isinstance(content, Mapping) else "none"
            message = f"has no list {part!r} (there are: {lists})"
            raise place.error(message, "take the whole archive")
        for row in rows:
            if not self._fits(row):
                raise place.error(f"lists {row!r} in {part!r}", f"{self.width} file names are due")
        return [tuple(row[column] for column in self.columns) for row in rows]

    def _fits(self, row: Any) -> bool:
        has_width = isinstance(row, list) and len(row) == self.width
        return has_width and all(isinstance(name, str) for name in row)


def _steps(crop: Sequence[int], augment: bool) -> tuple[Augment, ...]:
    height, width = crop
    return (Scale(), Flip(), Crop(height, width)) if augment else ()


@dataclass(frozen=True)
class TaskonomyExampleReader:
    """Reads an example of Tiny-Taskonomy.

    An entry is six file names: image, segmentation, normals, depth, keypoints, edges.
    """

    folder: Path
    tasks: tuple[ImageTask, ...]

    def files(self, entry: tuple[str, ...]) -> list[str]:
        """The files that the tasks need; normals need depth, which says where they are known."""
        columns = {TASKONOMY_COLUMNS[task.name] for task in self.tasks}
        if TASKONOMY_COLUMNS["normals"] in columns:
            columns.add(TASKONOMY_COLUMNS["depth"])
        return [entry[0], *(entry[column] for column in sorted(columns))]

    def __call__(self, entry: tuple[str, ...]) -> Example:
        """The example of one entry.

        Raises:
            DataError: a file is missing or damaged, or holds what the layout forbids.
        """
        paths = [self.folder / name for name in entry]
        image = decode_image(_reduced(read_picture(paths[0], "RGB")), paths[0])
        targets = tuple(_DECODE[task.name](paths) for task in self.tasks)
        return with_checked_maps(Example(image, targets), self.tasks, paths[0])


def _segmentation(paths: list[Path]) -> Target:
    path = paths[TASKONOMY_COLUMNS["segmentation"]]
    # The file stores the class plus one, and 0 where no object is labelled.
    stored = _reduced(read_picture(path))
    return decode_segmentation(stored, path, classes=TASKONOMY_CLASSES + 1, ignored=IGNORED) - 1


def _normals(paths: list[Path]) -> Target:
    path = paths[TASKONOMY_COLUMNS["normals"]]
    normals = decode_normal_codes(_reduced(read_picture(path)), path)
    normals[:, np.isnan(_depth(paths)[0])] = np.nan
    return normals


def _depth(paths: list[Path]) -> Target:
    """`log(1 + d) / log(2^16)` of the stored depth d in 1/512 m; unknown from `FARTHEST` on."""
    stored = _plane(paths[TASKONOMY_COLUMNS["depth"]])
    depth = np.where(stored < FARTHEST, np.log1p(stored) / np.log(FULL_SCALE), np.nan)
    return depth.astype(np.float32)[None]


def _stretched(column: str, top: float) -> Callable[[list[Path]], Target]:
    """A decoder of stored 16-bit shares: cut off at `top`, then stretched to -1..1."""

    def decode(paths: list[Path]) -> Target:
        share = np.clip(_plane(paths[TASKONOMY_COLUMNS[column]]) / FULL_SCALE, 0, top) / top
        return (2 * share - 1).astype(np.float32)[None]

    return decode


_DECODE: dict[str, Callable[[list[Path]], Target]] = {
    "segmentation": _segmentation,
    "normals": _normals,
    "depth": _depth,
    "keypoints": _stretched("keypoints", KEYPOINT_RANGE),
    "edges": _stretched("edges", EDGE_RANGE),
}


def _plane(path: Path) -> NDArray[Any]:
    stored = read_picture(path)
    if stored.ndim != 2:
        remedy = "the layout stores one 16-bit channel"
        raise SourceLocation(str(path)).error(f"has shape {stored.shape}, not [H, W]", remedy)
    return _reduced(stored).astype(np.float64)


def _reduced(stored: NDArray[Any]) -> NDArray[Any]:
    """`[H, W]` or `[H, W, C]` at 256 x 256 by nearest pixels; the image, too, as published."""
    size = (TASKONOMY_SIDE, TASKONOMY_SIDE)
    if stored.ndim == 2:
        return nearest(stored, size)
    return np.moveaxis(nearest(np.moveaxis(stored, 2, 0), size), 0, 2)


def _class_weights(folder: Path) -> tuple[float, ...]:
    path = folder / "semseg_prior_factor.npy"
    weights = read_array(path)
    fits = weights.ndim == 1 and len(weights) >= TASKONOMY_CLASSES
    if not fits or not np.isfinite(weights).all() or (weights < 0).any():
        remedy = "take the file that comes with Taskonomy's code"
        raise SourceLocation(str(path)).error(f"holds no {TASKONOMY_CLASSES} weights", remedy)
    return tuple(float(weight) for weight in weights[:TASKONOMY_CLASSES])
