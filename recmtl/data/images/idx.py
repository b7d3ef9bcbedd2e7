"""The images and classes of MNIST and Fashion-MNIST, as `idx` files or as one `.npz`."""

import gzip
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recmtl.data.places import Place

__all__ = ["Glyphs", "read_glyphs"]

SIDE, CLASSES = 28, 10
UNSIGNED_BYTE = 8
COPY_AGAIN = "copy or unpack it again"
Codes = NDArray[np.uint8]
NAMES = {"train": "train", "test": "t10k"}


@dataclass(frozen=True)
class Glyphs:
    """Small grey pictures with their classes.

    Attributes:
        images: uint8 `[N, 28, 28]`.
        classes: uint8 `[N]`.
    """

    images: Codes
    classes: Codes

    def take(self, rows: NDArray[np.int64]) -> "Glyphs":
        """The glyphs of these rows, and only those, in memory of their own."""
        return Glyphs(self.images[rows], self.classes[rows])

    def __len__(self) -> int:
        """Number of glyphs."""
        return len(self.classes)


def read_glyphs(folder: Path) -> dict[str, Glyphs]:
    """The published parts in `folder`: `train` and `test`, or `test` alone.

    Either `idx` files, packed or not (`train-images-idx3-ubyte.gz`, ..., `t10k-labels-idx1-ubyte`,
    in the folder or in `raw` below it), or one `.npz` with `x_train`, `y_train`, `x_test`, `y_test`
    (or `x`, `y` for one part that counts as `test`).

    Raises:
        DataError: nothing of that is there, or a file is damaged.
    """
    archives = sorted(folder.glob("*.npz"))
    parts = _from_archive(archives[0]) if archives else _from_idx(folder)
    if "test" not in parts:
        remedy = "it must hold idx files or one .npz of MNIST or Fashion-MNIST"
        raise Place(str(folder)).error("holds no glyphs", remedy)
    return parts


def _from_archive(path: Path) -> dict[str, Glyphs]:
    names = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}
    try:
        with np.load(path, allow_pickle=False) as archive:
            if "x" in archive.files:
                names = {"test": ("x", "y")}
            return {
                part: _glyphs(archive[x], archive[y], path)
                for part, (x, y) in names.items()
                if x in archive.files and y in archive.files
            }
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as fault:
        raise Place(str(path)).error(f"is damaged ({fault})", COPY_AGAIN) from fault


def _from_idx(folder: Path) -> dict[str, Glyphs]:
    parts = {}
    for part, name in NAMES.items():
        names = (f"{name}-images-idx3-ubyte", f"{name}-labels-idx1-ubyte")
        images, classes = (_idx_file(folder, each) for each in names)
        if images is not None and classes is not None:
            parts[part] = _glyphs(_read_idx(images), _read_idx(classes), images)
        elif images is not None or classes is not None:
            missing = names[0] if images is None else names[1]
            raise Place(str(folder / missing)).error("is missing", COPY_AGAIN)
    return parts


def _idx_file(folder: Path, name: str) -> Path | None:
    places = [place / name for place in (folder, folder / "raw")]
    found = [p for place in places for p in (place, place.with_name(f"{name}.gz")) if p.is_file()]
    return found[0] if found else None


def _read_idx(path: Path) -> Codes:
    """The array of an idx file: two zeros, the type, the number of axes, their lengths, bytes."""
    place = Place(str(path))
    try:
        packed = path.read_bytes()
        content = gzip.decompress(packed) if path.suffix == ".gz" else packed
    except (OSError, EOFError, ValueError) as fault:
        raise place.error(f"is damaged ({fault})", COPY_AGAIN) from fault
    zero, kind, axes = struct.unpack(">HBB", content[:4].ljust(4, b"\xff"))
    header = 4 + 4 * axes
    if zero or kind != UNSIGNED_BYTE or len(content) < header:
        raise place.error("is no idx file of bytes", COPY_AGAIN)
    shape = struct.unpack(f">{axes}I", content[4:header])
    if len(content) - header != int(np.prod(shape)):
        raise place.error(f"does not hold the {shape} bytes that it promises", COPY_AGAIN)
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _glyphs(images: NDArray[Any], classes: NDArray[Any], path: Path) -> Glyphs:
    place, shape = Place(str(path)), (len(classes), SIDE, SIDE)
    if images.dtype != np.uint8 or images.shape != shape or classes.ndim != 1:
        found = f"holds {images.dtype} images of shape {images.shape}"
        raise place.error(f"{found} for {len(classes)} classes", f"8-bit {shape} are due")
    if not len(classes) or classes.min() < 0 or classes.max() >= CLASSES:
        raise place.error("holds classes other than 0 to 9", COPY_AGAIN)
    return Glyphs(images, classes.astype(np.uint8))
