"""MultiMNIST and its relatives: two glyphs overlaid in one picture, at top left and bottom right.

Glyphs are the images of MNIST and Fashion-MNIST, read from `idx` files or one `.npz`. The first
task is the class of the glyph at the top left, the second that of the glyph at the bottom right;
where they overlap, the brighter pixel wins. The glyphs are divided into train, validation and test
before they are paired, so that no glyph is in two splits.

`sener` is the protocol of Sener & Koltun 2018: the second glyph lies 6 pixels down and right on a
canvas of 36 x 36, which is resized to 28 x 28 by nearest pixels; every glyph is at the top left
once. `pareto` has the sizes of Pareto MTL (Lin et al. 2019): 36 x 36, every glyph twice at the top
left. The generator of that paper is not published; here every glyph moves by up to 4 pixels from
its corner, as the digits of Sabour et al. 2017 do.
"""

import gzip
import hashlib
import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recmtl.errors import SourceLocation
from recmtl.vision.data.decode import COPY_AGAIN
from recmtl.vision.data.examples import Example, ImageSet, ImageTask
from recmtl.vision.data.source import hold_out

__all__ = ["Glyphs", "multi_fashion", "multi_fashion_mnist", "multi_mnist", "read_glyphs"]

SIDE, CLASSES = 28, 10
CANVAS = 36
MEASURED = 2000
"""Pictures from which mean and standard deviation are computed."""
UNSIGNED_BYTE = 8
"""The type code of bytes in an idx file."""
IDX_NAMES = {"train": "train", "test": "t10k"}
Codes = NDArray[np.uint8]
OverlayProtocol = Literal["sener", "pareto"]


@dataclass(frozen=True)
class OverlayRecipe:
    """How two glyphs become a picture.

    Attributes:
        offset: pixels from the first glyph's corner to the second's, down and right, before moves.
        moves: most pixels by which each glyph moves from its corner towards the middle.
        side: height and width of the picture.
        times: how often each glyph of the larger source is used in its place.
    """

    offset: int
    moves: int
    side: int
    times: int

    def fingerprint_text(self, name: str, seed: int) -> str:
        """The recipe in a fingerprint. The text must never change: results store fingerprints."""
        sizes = f"offset={self.offset}, moves={self.moves}, side={self.side}, times={self.times}"
        return f"({name!r}, Recipe({sizes}), {seed})"

    @cached_property
    def nearest(self) -> tuple[NDArray[np.int64], ...]:
        """Rows `[side, 1]` and columns `[1, side]` of the canvas pixels that the picture takes."""
        middles = (np.arange(self.side) + 0.5) * CANVAS / self.side
        return np.ix_(middles.astype(np.int64), middles.astype(np.int64))


RECIPES: dict[OverlayProtocol, OverlayRecipe] = {
    "sener": OverlayRecipe(offset=6, moves=0, side=28, times=1),
    "pareto": OverlayRecipe(offset=8, moves=4, side=36, times=2),
}
TASKS = (
    ImageTask("top_left", "classification", CLASSES),
    ImageTask("bottom_right", "classification", CLASSES),
)


def multi_mnist(
    folder: str | Path,
    *,
    digits: str = "mnist",
    protocol: OverlayProtocol = "sener",
    validation: float = 0.1,
    seed: int = 0,
) -> ImageSet:
    """Pictures of two MNIST digits.

    Args:
        folder: holds the folder `digits`.
        digits: name of the folder with MNIST; see `read_glyphs`.
        protocol: see the module.
        validation: share of the published train glyphs to hold out. If there is only a test file,
            this share of all its glyphs is held out, and as many become the test split.
        seed: of the division into splits, the pairs and the moves.

    Raises:
        DataError: a file is missing or damaged.
    """
    glyph_folder = Path(folder) / digits
    return _image_set("multi_mnist", (glyph_folder, glyph_folder), protocol, validation, seed)


def multi_fashion(
    folder: str | Path,
    *,
    fashion: str = "fashion_mnist",
    protocol: OverlayProtocol = "sener",
    validation: float = 0.1,
    seed: int = 0,
) -> ImageSet:
    """Pictures of two Fashion-MNIST garments; for the arguments see `multi_mnist`."""
    glyph_folder = Path(folder) / fashion
    return _image_set("multi_fashion", (glyph_folder, glyph_folder), protocol, validation, seed)


def multi_fashion_mnist(
    folder: str | Path,
    *,
    fashion: str = "fashion_mnist",
    digits: str = "mnist",
    protocol: OverlayProtocol = "sener",
    validation: float = 0.1,
    seed: int = 0,
) -> ImageSet:
    """A garment at the top left, a digit at the bottom right; see `multi_mnist`."""
    glyph_folders = (Path(folder) / fashion, Path(folder) / digits)
    return _image_set("multi_fashion_mnist", glyph_folders, protocol, validation, seed)


@dataclass(frozen=True)
class Glyphs:
    """Small grey pictures and their classes.

    Attributes:
        images: uint8 `[N, 28, 28]`.
        classes: uint8 `[N]`.
    """

    images: Codes
    classes: Codes

    def take(self, rows: NDArray[np.int64]) -> "Glyphs":
        """A copy of the glyphs in these rows."""
        return Glyphs(self.images[rows], self.classes[rows])

    def __len__(self) -> int:
        """Number of glyphs."""
        return len(self.classes)


@dataclass(frozen=True)
class OverlaidSplit:
    """An `ImageSplit` that composes a picture when it is read.

    The glyphs (784 bytes each) are in memory: these sets are smaller than the index of an archive
    of photographs.

    Attributes:
        first: glyphs for the top left.
        second: glyphs for the bottom right.
        pairs: int64 `[N, 2]`, the rows of `first` and `second` in each picture.
        moves: int64 `[N, 2, 2]`, pixels by which each glyph moves towards the middle: for the first
            glyph down and right, for the second up and left.
        recipe: how two glyphs become a picture.
    """

    first: Glyphs
    second: Glyphs
    pairs: NDArray[np.int64]
    moves: NDArray[np.int64]
    recipe: OverlayRecipe

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.pairs)

    def example(self, index: int, random: np.random.Generator | None) -> Example:
        """The picture at `index`, the same in every reading; see `ImageSplit`."""
        (first, second), (down, up) = self.pairs[index], self.moves[index]
        canvas = np.zeros((CANVAS, CANVAS), np.uint8)
        _lay(canvas, self.first.images[first], down)
        _lay(canvas, self.second.images[second], self.recipe.offset - up)
        picture = canvas[self.recipe.nearest].astype(np.float32) / np.float32(255)
        classes = (self.first.classes[first], self.second.classes[second])
        targets = tuple(np.array(int(value), np.int64) for value in classes)
        return Example(picture[None], targets)


def _lay(canvas: NDArray[np.uint8], glyph: NDArray[np.uint8], corner: NDArray[np.int64]) -> None:
    """Lay `glyph` on `canvas` with its top left pixel at `corner`; the brighter pixel wins."""
    row, column = (int(value) for value in corner)
    window = canvas[row : row + SIDE, column : column + SIDE]
    np.maximum(window, glyph, out=window)


def _image_set(
    name: str, folders: tuple[Path, Path], protocol: OverlayProtocol, validation: float, seed: int
) -> ImageSet:
    sources = [_divided(read_glyphs(folder), validation, seed) for folder in dict.fromkeys(folders)]
    recipe = RECIPES[protocol]
    splits = [
        _overlaid(sources[0][part], sources[-1][part], recipe, seed=(seed, number))
        for number, part in enumerate(("train", "validation", "test"))
    ]
    digest = hashlib.blake2b(recipe.fingerprint_text(name, seed).encode(), digest_size=16)
    for split in splits:
        for glyphs in (split.first, split.second):
            digest.update(glyphs.images.tobytes() + glyphs.classes.tobytes())
    train = splits[0]
    shown = np.stack([train.example(i, None).image for i in range(min(len(train), MEASURED))])
    return ImageSet(
        name=name,
        tasks=TASKS,
        train=train,
        validation=splits[1],
        test=splits[2],
        mean=(float(shown.mean()),),
        std=(float(shown.std()),),
        size=(recipe.side, recipe.side),
        fingerprint=digest.hexdigest(),
    )


def _divided(published: dict[str, Glyphs], validation: float, seed: int) -> dict[str, Glyphs]:
    """The glyphs of each split; the splits share none."""
    if "train" in published:
        train, test = published["train"], published["test"]
    else:
        rest, test_rows = hold_out(len(published["test"]), validation, seed + 1)
        train, test = published["test"].take(rest), published["test"].take(test_rows)
    share = validation if "train" in published else validation / (1 - validation)
    kept, held = hold_out(len(train), share, seed)
    return {"train": train.take(kept), "validation": train.take(held), "test": test}


def _overlaid(
    first: Glyphs, second: Glyphs, recipe: OverlayRecipe, *, seed: tuple[int, int]
) -> OverlaidSplit:
    """Pairs every glyph of the larger source `times` times with random glyphs of the other."""
    random = np.random.default_rng(seed)
    count = max(len(first), len(second)) * recipe.times
    pairs = np.stack([_rounds(len(glyphs), count, random) for glyphs in (first, second)], axis=1)
    moves = random.integers(0, recipe.moves, size=(count, 2, 2), endpoint=True)
    return OverlaidSplit(first, second, pairs, moves, recipe)


def _rounds(glyphs: int, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """`count` numbers below `glyphs`, in random rounds of all of them; the last may be partial."""
    rounds = -(-count // glyphs)
    order = np.concatenate([random.permutation(glyphs) for _ in range(rounds)])
    return order[:count].astype(np.int64)


def read_glyphs(folder: Path) -> dict[str, Glyphs]:
    """The published parts in `folder`: `train` and `test`, or `test` alone.

    The folder holds either `idx` files, packed or not (`train-images-idx3-ubyte.gz`, ...,
    `t10k-labels-idx1-ubyte`, directly or in `raw`), or one `.npz` with `x_train`, `y_train`,
    `x_test` and `y_test`, or with `x` and `y`, which count as `test`.

    Raises:
        DataError: the folder holds neither, or a file is damaged.
    """
    archives = sorted(folder.glob("*.npz"))
    parts = _from_archive(archives[0]) if archives else _from_idx(folder)
    if "test" not in parts:
        remedy = "it must hold idx files or one .npz of MNIST or Fashion-MNIST"
        raise SourceLocation(str(folder)).error("holds no glyphs", remedy)
    return parts


def _from_archive(path: Path) -> dict[str, Glyphs]:
    names = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}
    try:
        with np.load(path, allow_pickle=False) as archive:
            if "x" in archive.files:
                names = {"test": ("x", "y")}
            arrays = {
                part: (archive[x], archive[y])
                for part, (x, y) in names.items()
                if x in archive.files and y in archive.files
            }
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as fault:
        raise SourceLocation(str(path)).error(f"is damaged ({fault})", COPY_AGAIN) from fault
    return {part: _glyphs(images, classes, path) for part, (images, classes) in arrays.items()}


def _from_idx(folder: Path) -> dict[str, Glyphs]:
    parts = {}
    for part, name in IDX_NAMES.items():
        names = (f"{name}-images-idx3-ubyte", f"{name}-labels-idx1-ubyte")
        images, classes = (_idx_file(folder, each) for each in names)
        if images is not None and classes is not None:
            parts[part] = _glyphs(_read_idx(images), _read_idx(classes), images)
        elif images is not None or classes is not None:
            missing = names[0] if images is None else names[1]
            raise SourceLocation(str(folder / missing)).error("is missing", COPY_AGAIN)
    return parts


def _idx_file(folder: Path, name: str) -> Path | None:
    for path in (folder / name, folder / "raw" / name):
        for candidate in (path, path.with_name(f"{name}.gz")):
            if candidate.is_file():
                return candidate
    return None


def _read_idx(path: Path) -> Codes:
    """The array of an idx file: two zeros, the type, the number of axes, their lengths, bytes."""
    place = SourceLocation(str(path))
    try:
        packed = path.read_bytes()
        content = gzip.decompress(packed) if path.suffix == ".gz" else packed
    except (OSError, EOFError, ValueError, zlib.error) as fault:
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
    place, shape = SourceLocation(str(path)), (len(classes), SIDE, SIDE)
    if images.dtype != np.uint8 or images.shape != shape or classes.ndim != 1:
        message = f"holds {images.dtype} images of shape {images.shape} for {len(classes)} classes"
        raise place.error(message, f"8-bit {shape} are due")
    if not len(classes) or classes.min() < 0 or classes.max() >= CLASSES:
        raise place.error("holds classes other than 0 to 9", COPY_AGAIN)
    return Glyphs(images, classes.astype(np.uint8))
