"""Tiny-Taskonomy in the layout of AdaShare: `taskonomy.json` and 512 x 512 PNG files, five tasks.

Two things differ from the published code: pixels without depth have no normal either (there the
mask is made and never used), and validation holds out whole buildings, so that no room is in both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recmtl.errors import SourceLocation
from recmtl.vision.data.adashare import MEAN, STD, AdaShareListing, training_steps
from recmtl.vision.data.augment import nearest
from recmtl.vision.data.decode import (
    decode_image,
    decode_normal_codes,
    decode_segmentation,
    read_array,
    read_picture,
    with_checked_maps,
)
from recmtl.vision.data.examples import IGNORED, Example, ImageSet, ImageTask, Target
from recmtl.vision.data.maps import select_tasks
from recmtl.vision.data.source import FileLayout

__all__ = ["taskonomy_adashare"]

SIDE = 256
CLASSES = 17
FULL_SCALE = 2.0**16
FARTHEST = 64500
COLUMNS = {"segmentation": 1, "normals": 2, "depth": 3, "keypoints": 4, "edges": 5}
KEYPOINT_RANGE, EDGE_RANGE = 0.005, 0.08


def taskonomy_adashare(
    folder: str | Path,
    *,
    tasks: tuple[str, ...] = tuple(COLUMNS),
    crop: tuple[int, ...] = (224, 224),
    augment: bool = True,
    test: Literal["test", "test_small"] = "test",
    validation: float = 0.1,
    seed: int = 0,
) -> ImageSet:
    """Tiny-Taskonomy: 17 classes with published weights, normals, depth, keypoints, edges at 256.

    Args:
        folder: holds `taskonomy.json`, `semseg_prior_factor.npy` and what the first names.
        tasks: some of segmentation, normals, depth, keypoints, edges.
        crop: H, W in training.
        augment: scale by 0.5..1.5, flip and crop the train images; else they come whole.
        test: which of the two published lists is the test split.
        validation: share of the published train images held out, by whole folders of images.
        seed: of that choice.

    Raises:
        DataError: a file is missing, damaged, or holds what the layout does not allow.
    """
    root = Path(folder)
    weights = _class_weights(root) if "segmentation" in tasks else ()
    known = {
        "segmentation": ImageTask("segmentation", "segmentation", CLASSES, weights),
        "normals": ImageTask("normals", "normals", 3),
        "depth": ImageTask("depth", "depth", 1),
        "keypoints": ImageTask("keypoints", "regression_map", 1),
        "edges": ImageTask("edges", "regression_map", 1),
    }
    read = TaskonomyExampleReader(root, select_tasks(known, tasks))
    listing = AdaShareListing(root / "taskonomy.json", range(6), 6)
    steps = training_steps(crop) if augment else ()
    source = FileLayout("taskonomy_adashare", read, read.files, steps, MEAN, STD)
    return source.held_out(
        listing.entries("train"),
        listing.entries(test),
        validation=validation,
        seed=seed,
        group=lambda entry: str(Path(entry[0]).parent),
    )


@dataclass(frozen=True)
class TaskonomyExampleReader:
    """Entry (six file names: image, segmentation, normals, depth, keypoints, edges) -> example."""

    folder: Path
    tasks: tuple[ImageTask, ...]

    def files(self, entry: tuple[str, ...]) -> list[str]:
        """The files that the tasks need."""
        needed = {COLUMNS[task.name] for task in self.tasks}
        if COLUMNS["normals"] in needed:
            needed.add(COLUMNS["depth"])
        return [entry[0], *(entry[column] for column in sorted(needed))]

    def __call__(self, entry: tuple[str, ...]) -> Example:
        """The example of one entry.

        Raises:
            DataError: a file is missing, damaged, or holds what the layout does not allow.
        """
        paths = [self.folder / name for name in entry]
        image = decode_image(_small(read_picture(paths[0], "RGB")), paths[0])
        targets = tuple(_DECODE[task.name](paths) for task in self.tasks)
        return with_checked_maps(Example(image, targets), self.tasks, paths[0])


def _segmentation(paths: list[Path]) -> Target:
    path = paths[COLUMNS["segmentation"]]
    # Stored is the class plus one, and 0 where no object is labelled.
    small = _small(read_picture(path))
    return decode_segmentation(small, path, classes=CLASSES + 1, ignored=IGNORED) - 1


def _normals(paths: list[Path]) -> Target:
    path = paths[COLUMNS["normals"]]
    normals = decode_normal_codes(_small(read_picture(path)), path)
    normals[:, np.isnan(_depth(paths)[0])] = np.nan
    return normals


def _depth(paths: list[Path]) -> Target:
    """`log(1 + d) / log(2^16)` of the stored 1/512 m, not known from 64500 on."""
    stored = _plane(paths[COLUMNS["depth"]])
    depth = np.where(stored < FARTHEST, np.log1p(stored) / np.log(FULL_SCALE), np.nan)
    return depth.astype(np.float32)[None]


def _signed(column: str, top: float) -> Callable[[list[Path]], Target]:
    """Stored 16-bit shares, cut off at `top` and stretched to -1..1."""

    def decode(paths: list[Path]) -> Target:
        share = np.clip(_plane(paths[COLUMNS[column]]) / FULL_SCALE, 0, top) / top
        return (2 * share - 1).astype(np.float32)[None]

    return decode


_DECODE: dict[str, Callable[[list[Path]], Target]] = {
    "segmentation": _segmentation,
    "normals": _normals,
    "depth": _depth,
    "keypoints": _signed("keypoints", KEYPOINT_RANGE),
    "edges": _signed("edges", EDGE_RANGE),
}


def _plane(path: Path) -> NDArray[Any]:
    stored = read_picture(path)
    if stored.ndim != 2:
        remedy = "the layout stores one 16-bit channel"
        raise SourceLocation(str(path)).error(f"has shape {stored.shape}, not [H, W]", remedy)
    return _small(stored).astype(np.float64)


def _small(stored: NDArray[Any]) -> NDArray[Any]:
    """`[H, W]` or `[H, W, C]` at 256 x 256 by nearest pixels, also for the image, as published."""
    if stored.ndim == 2:
        return nearest(stored, (SIDE, SIDE))
    return np.moveaxis(nearest(np.moveaxis(stored, 2, 0), (SIDE, SIDE)), 0, 2)


def _class_weights(folder: Path) -> tuple[float, ...]:
    path = folder / "semseg_prior_factor.npy"
    weights = read_array(path)
    fits = weights.ndim == 1 and len(weights) >= CLASSES
    if not fits or not np.isfinite(weights).all() or (weights < 0).any():
        remedy = "take the file that comes with Taskonomy's code"
        raise SourceLocation(str(path)).error(f"holds no {CLASSES} weights", remedy)
    return tuple(float(weight) for weight in weights[:CLASSES])
