"""From a file to an array of an example: open it, check it, convert it.

The `read_...` functions open a file or name the missing or damaged one and the remedy. The
`decode_...` functions turn what a layout stores into what `ImageTask` describes: channels first,
units, unknown values marked. Each checks the shape and the range that the layout guarantees, so
that a wrong file is one clear error and not a strange loss. The functions named after a kind of
file (`array_depth`, `picture_normals`, ...) do both.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recmtl.errors import DataError, SourceLocation
from recmtl.vision.data.examples import IGNORED, MAPS, Example, ImageTask, Target

__all__ = [
    "COPY_AGAIN",
    "Decoder",
    "array_depth",
    "array_image",
    "array_normals",
    "array_segmentation",
    "decode_depth",
    "decode_image",
    "decode_map",
    "decode_normal_codes",
    "decode_normals",
    "decode_segmentation",
    "missing_file",
    "open_picture",
    "picture_image",
    "picture_normals",
    "picture_segmentation",
    "read_array",
    "read_json",
    "read_lines",
    "read_picture",
    "unit_vectors",
    "with_checked_maps",
    "with_checked_size",
]

Raw = NDArray[Any]
Floats = NDArray[np.float32]
Decoder = Callable[[Path], Target]
"""Reads a file and decodes it."""

COPY_AGAIN = "copy or unpack it again"
LONGEST_NORMAL = 1.5
# 8-bit codes without a direction decode to a length of about 0.007, all others to about 1.
SHORTEST_NORMAL, SHORTEST_CODED = 1e-6, 0.1
ROUNDING = 1e-3
"""How far an image that is stored as floats may leave 0..1."""


def read_array(path: Path) -> Raw:
    """The array of an `.npy` file; a file that holds Python objects is refused, never unpickled.

    Raises:
        DataError: the file is missing or truncated, or holds no array.
    """
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except FileNotFoundError as fault:
        raise missing_file(path) from fault
    except (OSError, EOFError, ValueError) as fault:
        message = f"is damaged or no .npy array ({_first_line(fault)})"
        raise SourceLocation(str(path)).error(message, COPY_AGAIN) from fault


def open_picture(path: Path, mode: str | None = None) -> Image.Image:
    """The decoded picture of a `.png` or `.jpg` file.

    Args:
        path: the file.
        mode: Pillow's name of the channels to convert to, such as `RGB`; None keeps them as stored.

    Raises:
        DataError: the file is missing or truncated, or holds no picture.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture if mode is None else picture.convert(mode)
    except FileNotFoundError as fault:
        raise missing_file(path) from fault
    # Pillow raises SyntaxError for a PNG with a broken chunk.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        message = f"is damaged or no picture ({_first_line(fault)})"
        raise SourceLocation(str(path)).error(message, COPY_AGAIN) from fault


def read_picture(path: Path, mode: str | None = None) -> Raw:
    """The pixels of a picture, `[H, W]` or `[H, W, C]`, in the type in which they are stored.

    Raises:
        DataError: see `open_picture`.
    """
    return np.asarray(open_picture(path, mode))


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank.

    Raises:
        DataError: the file is missing or no UTF-8 text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as fault:
        raise missing_file(path) from fault
    except (OSError, UnicodeDecodeError) as fault:
        message = f"cannot be read as text ({_first_line(fault)})"
        raise SourceLocation(str(path)).error(message, COPY_AGAIN) from fault
    return [line for line in lines if line.strip()]


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: the file is missing or no JSON.
    """
    lines = read_lines(path)
    try:
        return json.loads("\n".join(lines))
    except ValueError as fault:
        message = f"is no JSON ({_first_line(fault)})"
        raise SourceLocation(str(path)).error(message, COPY_AGAIN) from fault


def missing_file(path: Path) -> DataError:
    """The error for a file that does not exist."""
    remedy = "check the folder, and that the archive was unpacked whole"
    return SourceLocation(str(path)).error("is missing", remedy)


def _first_line(fault: BaseException) -> str:
    lines = str(fault).splitlines() or [type(fault).__name__]
    return lines[0][:120]


def array_image(path: Path) -> Floats:
    """An image from an `.npy` file `[H, W, 3]`; see `decode_image`."""
    return decode_image(read_array(path), path)


def array_depth(path: Path, *, unknown_up_to: float = 0.0) -> Target:
    """Depth from an `.npy` file; see `decode_depth`."""
    return decode_depth(read_array(path), path, unknown_up_to=unknown_up_to)


def array_normals(path: Path) -> Target:
    """Normals from an `.npy` file `[H, W, 3]`; see `decode_normals`."""
    return decode_normals(read_array(path), path)


def array_segmentation(classes: int, ignored: int = IGNORED) -> Decoder:
    """A decoder of class numbers in an `.npy` file; see `decode_segmentation`."""
    return partial(_array_segmentation, classes=classes, ignored=ignored)


def picture_image(path: Path) -> Floats:
    """An image from a `.png` or `.jpg` file, channels red, green, blue; see `decode_image`."""
    return decode_image(read_picture(path, "RGB"), path)


def picture_normals(path: Path) -> Target:
    """Normals from the 8-bit codes of a picture; see `decode_normal_codes`."""
    return decode_normal_codes(read_picture(path), path)


def picture_segmentation(classes: int, ignored: int = 255) -> Decoder:
    """A decoder of class numbers in an 8-bit picture; see `decode_segmentation`."""
    return partial(_picture_segmentation, classes=classes, ignored=ignored)


# Decoders go to worker processes, so that they must be functions of a module and not closures.
def _array_segmentation(path: Path, *, classes: int, ignored: int) -> Target:
    return decode_segmentation(read_array(path), path, classes=classes, ignored=ignored)


def _picture_segmentation(path: Path, *, classes: int, ignored: int) -> Target:
    return decode_segmentation(read_picture(path), path, classes=classes, ignored=ignored)


def decode_image(raw: Raw, path: Path) -> Floats:
    """An image stored as `[H, W, 3]`, 8-bit or floats in 0..1, as float32 `[3, H, W]` in 0..1.

    Raises:
        DataError: the array has another shape, or values outside 0..1.

    >>> red = np.array([[[255, 0, 0]]], np.uint8)
    >>> decode_image(red, Path("red.png"))[:, 0, 0].tolist()
    [1.0, 0.0, 0.0]
    """
    place = SourceLocation(str(path))
    if raw.ndim != 3 or raw.shape[2] != 3:
        raise place.error(f"has shape {raw.shape}, not [H, W, 3]", "store a colour image")
    if raw.dtype == np.uint8:
        return np.moveaxis(np.divide(raw, 255, dtype=np.float32), 2, 0)
    image = np.asarray(raw, np.float32)
    low, high = float(image.min(initial=0)), float(image.max(initial=0))
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        message = f"holds values from {low:g} to {high:g}, not 0 to 1"
        raise place.error(message, "store floats in 0..1 or 8-bit integers")
    return np.moveaxis(np.clip(image, 0, 1), 2, 0)


def decode_segmentation(raw: Raw, path: Path, *, classes: int, ignored: int = IGNORED) -> Target:
    """Class numbers `[H, W]`, whole numbers of any type, as int64 with -1 in place of `ignored`.

    Raises:
        DataError: the array has another shape, or holds a number that is no class.

    >>> stored = np.array([[0, 2, 255]], np.uint8)
    >>> decode_segmentation(stored, Path("labels.png"), classes=3, ignored=255).tolist()
    [[0, 2, -1]]
    """
    place, labels = SourceLocation(str(path)), _single_channel(raw, path)
    whole = labels.astype(np.int64)
    if not np.array_equal(whole, labels):
        raise place.error("holds numbers that are not whole", "store class numbers")
    is_known = (whole != ignored) & (whole != IGNORED)
    wrong = is_known & ((whole < 0) | (whole >= classes))
    if wrong.any():
        remedy = f"the classes are 0 to {classes - 1}, {ignored} is ignored: check the option"
        raise place.error(f"holds class {whole[wrong][0]}", remedy)
    return np.where(is_known, whole, IGNORED)


def decode_depth(raw: Raw, path: Path, *, unknown_up_to: float = 0.0) -> Floats:
    """Depth `[H, W]` as float32 `[1, H, W]`, NaN where it is NaN or at most `unknown_up_to`.

    Every published layout marks unknown depth by 0; AdaShare's code requires more than 3e-5.

    Raises:
        DataError: the array has another shape, or a depth is negative or infinite.

    >>> decode_depth(np.array([[0.0, 2.5]]), Path("depth.npy")).tolist()
    [[[nan, 2.5]]]
    """
    place, depth = SourceLocation(str(path)), _single_channel(raw, path).astype(np.float32)
    if np.isinf(depth).any() or (depth < 0).any():
        wrong = depth[np.isinf(depth) | (depth < 0)][0]
        raise place.error(f"holds the depth {wrong:g}", "depth is finite, and 0 where unknown")
    return np.where(depth > unknown_up_to, depth, np.nan).astype(np.float32)[None]


def decode_normals(raw: Raw, path: Path) -> Floats:
    """Normals stored as vectors `[H, W, 3]`, zero where unknown, as unit vectors `[3, H, W]`.

    Raises:
        DataError: the array has another shape, or vectors that are far from unit length.
    """
    _check_three_channels(raw, path)
    longest = float(np.sqrt(np.max(np.sum(np.square(raw, dtype=np.float64), -1), initial=0)))
    if not longest <= LONGEST_NORMAL and not np.isnan(longest):
        remedy = "store unit vectors, or 8-bit codes as a picture"
        raise SourceLocation(str(path)).error(f"holds a normal of length {longest:g}", remedy)
    return unit_vectors(np.moveaxis(raw.astype(np.float32), 2, 0))


def decode_normal_codes(raw: Raw, path: Path) -> Floats:
    """Normals stored as 8-bit `(n + 1) * 127.5` in `[H, W, 3]`, as unit vectors `[3, H, W]`.

    The channels are x (to the right), y and z; 255 in all three means unknown. AdaShare's published
    losses and metrics do not decode the codes, which distorts every angle.

    Raises:
        DataError: the array has another shape or is not 8-bit.
    """
    _check_three_channels(raw, path)
    if raw.dtype != np.uint8:
        message = f"holds {raw.dtype}, not 8-bit codes"
        raise SourceLocation(str(path)).error(message, "store an 8-bit PNG")
    codes = np.moveaxis(raw, 2, 0)
    vectors = unit_vectors(codes.astype(np.float32) / 127.5 - 1, shortest=SHORTEST_CODED)
    vectors[:, (codes == 255).all(axis=0)] = np.nan
    return vectors


def decode_map(raw: Raw, path: Path, *, channels: int = 1) -> Floats:
    """A map `[H, W]` or `[H, W, channels]` as float32 `[channels, H, W]`, NaN where unknown.

    Raises:
        DataError: the array has another shape, or an infinite value.
    """
    map_ = raw[..., None] if raw.ndim == 2 else raw
    if map_.ndim != 3 or map_.shape[2] != channels:
        remedy = f"store [H, W, {channels}], or set the task's classes"
        raise SourceLocation(str(path)).error(f"has shape {raw.shape}", remedy)
    if np.isinf(map_).any():
        remedy = "store NaN where the value is unknown"
        raise SourceLocation(str(path)).error("holds an infinite value", remedy)
    return np.moveaxis(map_.astype(np.float32), 2, 0)


def unit_vectors(vectors: Floats, *, shortest: float = SHORTEST_NORMAL) -> Floats:
    """The directions of vectors `[3, H, W]`; NaN in all channels where a vector has none."""
    length = np.sqrt(np.einsum("chw,chw->hw", vectors, vectors))
    has_direction = length > shortest
    scale = np.divide(1, length, out=np.full_like(length, np.nan), where=has_direction)
    return np.asarray(vectors * scale, np.float32)


def with_checked_maps(example: Example, tasks: tuple[ImageTask, ...], path: Path) -> Example:
    """The example itself, if every map has the image's height and width.

    Raises:
        DataError: a map has another size; the message names the task and the image's file.
    """
    for task, target in zip(tasks, example.targets, strict=True):
        if task.kind in MAPS:
            with_checked_size(target, example.image.shape[1:], path, f"the map of {task.name}")
    return example


def with_checked_size(
    map_: Target, size: tuple[int, ...], path: Path, what: str = "the map"
) -> Target:
    """The map itself, if its height and width are `size`.

    Raises:
        DataError: it has another height or width.
    """
    if map_.shape[-2:] != tuple(size):
        message = f"{what} is {map_.shape[-2]} x {map_.shape[-1]}, the image {size[0]} x {size[1]}"
        raise SourceLocation(str(path)).error(message, "store both in one size")
    return map_


def _single_channel(raw: Raw, path: Path) -> Raw:
    plane = raw[..., 0] if raw.ndim == 3 and raw.shape[2] == 1 else raw
    if plane.ndim != 2:
        message = f"has shape {raw.shape}, not [H, W]"
        raise SourceLocation(str(path)).error(message, "store one channel")
    return plane


def _check_three_channels(raw: Raw, path: Path) -> None:
    if raw.ndim != 3 or raw.shape[2] != 3:
        message = f"has shape {raw.shape}, not [H, W, 3]"
        raise SourceLocation(str(path)).error(message, "store x, y and z of the normals")
