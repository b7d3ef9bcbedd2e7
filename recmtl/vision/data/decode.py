"""Opens one array or picture, or says which file is missing or damaged and what to do about it.

From what a file stores to what an example holds: channels first, units, and "not known" marked.

Each function checks the shape and the range that the layout promises, so that a wrong file is one
clear error instead of a strange loss.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recmtl.errors import SourceLocation
from recmtl.vision.data.examples import IGNORED, MAPS, Example, ImageTask, Target

__all__ = [
    "decode_depth",
    "decode_image",
    "decode_map",
    "decode_normal_codes",
    "decode_normals",
    "decode_segmentation",
    "fingerprint",
    "open_picture",
    "read_array",
    "read_json",
    "read_lines",
    "read_picture",
    "unit_vectors",
    "with_checked_maps",
    "with_checked_size",
]

COPY_AGAIN = "copy or unpack it again"


def read_array(path: Path) -> NDArray[Any]:
    """The array of an `.npy` file; one that holds Python objects is refused, never unpickled.

    Raises:
        DataError: the file is missing, truncated or no array.
    """
    place = SourceLocation(str(path))
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except FileNotFoundError as fault:
        raise _missing(place) from fault
    except (OSError, EOFError, ValueError) as fault:
        raise place.error(f"is damaged or no .npy array ({_first(fault)})", COPY_AGAIN) from fault


def open_picture(path: Path, mode: str | None = None) -> Image.Image:
    """The decoded picture of a `.png` or `.jpg` file.

    Args:
        path: the file.
        mode: pillow's name of the channels to convert to, such as `RGB`; None as it is stored.

    Raises:
        DataError: the file is missing, truncated or no picture.
    """
    place = SourceLocation(str(path))
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture if mode is None else picture.convert(mode)
    except FileNotFoundError as fault:
        raise _missing(place) from fault
    # SyntaxError is what pillow raises for a PNG with a broken chunk.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        raise place.error(f"is damaged or no picture ({_first(fault)})", COPY_AGAIN) from fault


def read_picture(path: Path, mode: str | None = None) -> NDArray[Any]:
    """The pixels of a picture, `[H, W]` or `[H, W, C]`, in the type in which they are stored.

    Raises:
        DataError: as `open_picture`.
    """
    return np.asarray(open_picture(path, mode))


def read_lines(path: Path) -> list[str]:
    """The lines of a text file without those that are blank.

    Raises:
        DataError: the file is missing or no text.
    """
    place = SourceLocation(str(path))
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as fault:
        raise _missing(place) from fault
    except (OSError, UnicodeDecodeError) as fault:
        raise place.error(f"cannot be read as text ({_first(fault)})", COPY_AGAIN) from fault
    return [line for line in lines if line.strip()]


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: the file is missing or no JSON.
    """
    lines = read_lines(path)
    try:
        return json.loads("\n".join(lines))
    except ValueError as fault:
        raise SourceLocation(str(path)).error(
            f"is no JSON ({_first(fault)})", COPY_AGAIN
        ) from fault


def fingerprint(
    folder: Path, parts: Iterable[Iterable[str]], *, facts: Mapping[str, object]
) -> str:
    """A hash of which files make up which part, and of the options; finds missing files at once.

    Of every file the name and the size count, not the bytes: archives have many gigabytes. What
    decides labels or splits by its content (an index, a table) goes into `facts` as a hash.

    Args:
        folder: what the names are relative to, itself no part of the fingerprint.
        parts: the files of each part, in order.
        facts: whatever else tells this set from another; must be JSON.

    Raises:
        DataError: a file is missing.
    """
    digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16)
    for part in parts:
        digest.update(b"\0part")
        for name in part:
            digest.update(f"\0{name}\0{_size(folder / name)}".encode())
    return digest.hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as fault:
        raise _missing(SourceLocation(str(path))) from fault


def _missing(place: SourceLocation) -> Exception:
    return place.error("is missing", "check the folder, and that the archive was unpacked whole")


def _first(fault: BaseException) -> str:
    lines = str(fault).splitlines() or [type(fault).__name__]
    return lines[0][:120]


Raw = NDArray[Any]
Floats = NDArray[np.float32]

LONGEST_NORMAL = 1.5
# Codes of no direction decode to about 0.007, those of a direction to about 1.
SHORTEST_NORMAL, SHORTEST_CODED = 1e-6, 0.1
ROUNDING = 1e-3


def decode_image(raw: Raw, path: Path) -> Floats:
    """An image stored `[H, W, 3]`, 8-bit or floats in 0..1, as float32 `[3, H, W]` in 0..1."""
    place = SourceLocation(str(path))
    if raw.ndim != 3 or raw.shape[2] != 3:
        raise place.error(f"has shape {raw.shape}, not [H, W, 3]", "store a colour image")
    if raw.dtype == np.uint8:
        return np.moveaxis(np.divide(raw, 255, dtype=np.float32), 2, 0)
    image = np.asarray(raw, np.float32)
    low, high = float(image.min(initial=0)), float(image.max(initial=0))
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        found = f"holds values from {low:g} to {high:g}, not 0 to 1"
        raise place.error(found, "store floats in 0..1 or 8-bit integers")
    return np.moveaxis(np.clip(image, 0, 1), 2, 0)


def decode_segmentation(raw: Raw, path: Path, *, classes: int, ignored: int = IGNORED) -> Target:
    """Class numbers `[H, W]`, whole numbers in any type, as int64 with -1 for `ignored`."""
    place, labels = SourceLocation(str(path)), _plane(raw, path)
    whole = labels.astype(np.int64)
    if not np.array_equal(whole, labels):
        raise place.error("holds numbers that are not whole", "store class numbers")
    known = (whole != ignored) & (whole != IGNORED)
    wrong = known & ((whole < 0) | (whole >= classes))
    if wrong.any():
        remedy = f"the classes are 0 to {classes - 1}, {ignored} is ignored: check the option"
        raise place.error(f"holds class {whole[wrong][0]}", remedy)
    return np.where(known, whole, IGNORED)


def decode_depth(raw: Raw, path: Path, *, unknown_up_to: float = 0.0) -> Floats:
    """Depth `[H, W]` as float32 `[1, H, W]`; what is not above `unknown_up_to`, or NaN, is unknown.

    0 marks unknown depth in every published layout; AdaShare's code asks for more than 3e-5.
    """
    place, depth = SourceLocation(str(path)), _plane(raw, path).astype(np.float32)
    if np.isinf(depth).any() or (depth < 0).any():
        wrong = depth[np.isinf(depth) | (depth < 0)][0]
        raise place.error(f"holds the depth {wrong:g}", "depth is finite, and 0 where unknown")
    return np.where(depth > unknown_up_to, depth, np.nan).astype(np.float32)[None]


def decode_normals(raw: Raw, path: Path) -> Floats:
    """Normals stored as vectors `[H, W, 3]`, zero where unknown, as unit vectors `[3, H, W]`."""
    _vectors(raw, path)
    longest = float(np.sqrt(np.max(np.sum(np.square(raw, dtype=np.float64), -1), initial=0)))
    if not longest <= LONGEST_NORMAL and not np.isnan(longest):
        remedy = "store unit vectors, or 8-bit codes as a picture"
        raise SourceLocation(str(path)).error(f"holds a normal of length {longest:g}", remedy)
    return unit_vectors(np.moveaxis(raw.astype(np.float32), 2, 0))


def decode_normal_codes(raw: Raw, path: Path) -> Floats:
    """Normals stored as 8-bit `(n + 1) * 127.5` in `[H, W, 3]`, as unit vectors `[3, H, W]`.

    Channels are x (to the right), y, z; 255 in all three is unknown. The published losses and
    metrics of AdaShare leave the decoding out, which bends every angle.
    """
    _vectors(raw, path)
    if raw.dtype != np.uint8:
        raise SourceLocation(str(path)).error(
            f"holds {raw.dtype}, not 8-bit codes", "store an 8-bit PNG"
        )
    codes = np.moveaxis(raw, 2, 0)
    vectors = unit_vectors(codes.astype(np.float32) / 127.5 - 1, shortest=SHORTEST_CODED)
    vectors[:, (codes == 255).all(axis=0)] = np.nan
    return vectors


def decode_map(raw: Raw, path: Path, *, channels: int = 1) -> Floats:
    """A map `[H, W]` or `[H, W, channels]` as float32 `[channels, H, W]`, NaN where unknown."""
    map_ = raw[..., None] if raw.ndim == 2 else raw
    if map_.ndim != 3 or map_.shape[2] != channels:
        remedy = f"store [H, W, {channels}], or set the task's classes"
        raise SourceLocation(str(path)).error(f"has shape {raw.shape}", remedy)
    if np.isinf(map_).any():
        raise SourceLocation(str(path)).error(
            "holds an infinite value", "store NaN where it is not known"
        )
    return np.moveaxis(map_.astype(np.float32), 2, 0)


def unit_vectors(vectors: Floats, *, shortest: float = SHORTEST_NORMAL) -> Floats:
    """The directions of vectors `[3, H, W]`; NaN in all three channels where there is none."""
    length = np.sqrt(np.einsum("chw,chw->hw", vectors, vectors))
    known = length > shortest
    scale = np.divide(1, length, out=np.full_like(length, np.nan), where=known)
    return np.asarray(vectors * scale, np.float32)


def with_checked_maps(example: Example, tasks: tuple[ImageTask, ...], path: Path) -> Example:
    """The example, if every map has the image's height and width.

    Raises:
        DataError: a map has another size; it names the task and the image's file.
    """
    for task, target in zip(tasks, example.targets, strict=True):
        if task.kind in MAPS:
            with_checked_size(target, example.image.shape[1:], path, f"the map of {task.name}")
    return example


def with_checked_size(
    map_: Target, size: tuple[int, ...], path: Path, what: str = "the map"
) -> Target:
    """The map, if it is H, W = `size`.

    Raises:
        DataError: it is not.
    """
    if map_.shape[-2:] != tuple(size):
        found = f"{what} is {map_.shape[-2]} x {map_.shape[-1]}, the image {size[0]} x {size[1]}"
        raise SourceLocation(str(path)).error(found, "store both in one size")
    return map_


def _plane(raw: Raw, path: Path) -> Raw:
    plane = raw[..., 0] if raw.ndim == 3 and raw.shape[2] == 1 else raw
    if plane.ndim != 2:
        raise SourceLocation(str(path)).error(
            f"has shape {raw.shape}, not [H, W]", "store one channel"
        )
    return plane


def _vectors(raw: Raw, path: Path) -> None:
    if raw.ndim != 3 or raw.shape[2] != 3:
        found = f"has shape {raw.shape}, not [H, W, 3]"
        raise SourceLocation(str(path)).error(found, "store x, y and z of the normals")
