"""Reads an image and one map a task, each from a file of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recmtl.errors import ConfigError
from recmtl.vision.data.decode import (
    decode_depth,
    decode_image,
    decode_normal_codes,
    decode_normals,
    decode_segmentation,
    read_array,
    read_picture,
    with_checked_maps,
)
from recmtl.vision.data.examples import IGNORED, Example, ImageTask, Target

__all__ = [
    "Decoder",
    "MapExampleReader",
    "array_depth",
    "array_image",
    "array_normals",
    "array_segmentation",
    "picture_image",
    "picture_normals",
    "picture_segmentation",
    "select_tasks",
]

Decoder = Callable[[Path], Target]


@dataclass(frozen=True)
class MapExampleReader:
    """Entry -> example, where an entry names the image's file and then one file a task.

    Attributes:
        folder: what the names are relative to.
        tasks: in the order of the files.
        image: decodes the image.
        targets: decodes the map of each task.
    """

    folder: Path
    tasks: tuple[ImageTask, ...]
    image: Decoder
    targets: tuple[Decoder, ...]

    def __call__(self, entry: tuple[str, ...]) -> Example:
        """The example of one entry.

        Raises:
            DataError: a file is missing, damaged, or holds what the layout does not allow.
        """
        paths = [self.folder / name for name in entry]
        found = (decode(path) for decode, path in zip(self.targets, paths[1:], strict=True))
        return with_checked_maps(Example(self.image(paths[0]), tuple(found)), self.tasks, paths[0])


def select_tasks(known: Mapping[str, ImageTask], names: tuple[str, ...]) -> tuple[ImageTask, ...]:
    """The tasks of these names.

    Raises:
        ConfigError: a name is unknown or given twice, or there is none.
    """
    wrong = [name for name in names if name not in known]
    if wrong or not names or len(set(names)) != len(names):
        raise ConfigError(f"tasks: {list(names)} must be some of {list(known)}, each once")
    return tuple(known[name] for name in names)


def array_image(path: Path) -> NDArray[np.float32]:
    """An image from `.npy` `[H, W, 3]`."""
    return decode_image(read_array(path), path)


def array_depth(path: Path, *, unknown_up_to: float = 0.0) -> Target:
    """Depth from `.npy`, see `decode_depth`."""
    return decode_depth(read_array(path), path, unknown_up_to=unknown_up_to)


def array_normals(path: Path) -> Target:
    """Normals from `.npy` `[H, W, 3]`, see `decode_normals`."""
    return decode_normals(read_array(path), path)


def array_segmentation(classes: int, ignored: int = IGNORED) -> Decoder:
    """Decodes class numbers from `.npy`."""
    return partial(_array_segmentation, classes=classes, ignored=ignored)


def picture_image(path: Path) -> NDArray[np.float32]:
    """An image from `.png` or `.jpg`, in the order red, green, blue."""
    return decode_image(read_picture(path, "RGB"), path)


def picture_normals(path: Path) -> Target:
    """Normals from 8-bit codes in a picture, see `decode_normal_codes`."""
    return decode_normal_codes(read_picture(path), path)


def picture_segmentation(classes: int, ignored: int = 255) -> Decoder:
    """Decodes class numbers from an 8-bit picture."""
    return partial(_picture_segmentation, classes=classes, ignored=ignored)


def _array_segmentation(path: Path, *, classes: int, ignored: int) -> Target:
    return decode_segmentation(read_array(path), path, classes=classes, ignored=ignored)


def _picture_segmentation(path: Path, *, classes: int, ignored: int) -> Target:
    return decode_segmentation(read_picture(path), path, classes=classes, ignored=ignored)
