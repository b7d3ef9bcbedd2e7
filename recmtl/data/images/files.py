"""Opens one array or picture, or says which file is missing or damaged and what to do about it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recmtl.data.places import Place

__all__ = ["fingerprint", "open_picture", "read_array", "read_json", "read_lines", "read_picture"]

COPY_AGAIN = "copy or unpack it again"


def read_array(path: Path) -> NDArray[Any]:
    """The array of an `.npy` file; one that holds Python objects is refused, never unpickled.

    Raises:
        DataError: the file is missing, truncated or no array.
    """
    place = Place(str(path))
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
    place = Place(str(path))
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
    place = Place(str(path))
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
        raise Place(str(path)).error(f"is no JSON ({_first(fault)})", COPY_AGAIN) from fault


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
        raise _missing(Place(str(path))) from fault


def _missing(place: Place) -> Exception:
    return place.error("is missing", "check the folder, and that the archive was unpacked whole")


def _first(fault: BaseException) -> str:
    lines = str(fault).splitlines() or [type(fault).__name__]
    return lines[0][:120]
