"""NYUv2 and Cityscapes in the layout of AdaShare: a JSON file lists the files of every split.

The published code selects on its test split; here validation is held out from `train`, and the
lists `train1` and `train2` are not used: a search divides the train split itself. The image is fed
as 0..255 less a mean (that is a deviation of 1/255 for images in 0..1), in the order red, green,
blue where the published code has blue, green, red.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from recmtl.errors import SourceLocation
from recmtl.vision.data.augment import Augment, Crop, Flip, Scale
from recmtl.vision.data.decode import read_json
from recmtl.vision.data.examples import ImageSet, ImageTask
from recmtl.vision.data.maps import (
    Decoder,
    MapExampleReader,
    array_depth,
    array_image,
    array_segmentation,
    picture_image,
    picture_normals,
    picture_segmentation,
    select_tasks,
)
from recmtl.vision.data.source import FileLayout

__all__ = [
    "MEAN",
    "STD",
    "AdaShareListing",
    "cityscapes_adashare",
    "nyuv2_adashare",
    "training_steps",
]

MEAN = (122.67891434 / 255, 116.66876762 / 255, 104.00698793 / 255)
STD = (1 / 255, 1 / 255, 1 / 255)
# The losses of the published code take a depth of up to 3e-5 for unknown.
known_depth = partial(array_depth, unknown_up_to=3e-5)


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
        folder: holds `nyu_v2_3task.json` and what it names.
        tasks: some of segmentation, normals, depth; the 2-task set-up leaves depth out.
        crop: H, W in training.
        augment: scale by 0.5..1.5, flip and crop the train images; else they come whole.
        validation: share of the published train images held out.
        seed: of that choice.

    Raises:
        DataError: a file is missing, damaged, or holds what the layout does not allow.
    """
    known = {
        "segmentation": ImageTask("segmentation", "segmentation", 40),
        "normals": ImageTask("normals", "normals", 3),
        "depth": ImageTask("depth", "depth", 1),
    }
    decoders: dict[str, Decoder] = {
        "segmentation": picture_segmentation(40),
        "normals": picture_normals,
        "depth": known_depth,
    }
    columns = {"segmentation": 1, "normals": 2, "depth": 3}
    wanted = select_tasks(known, tasks)
    targets = tuple(decoders[name] for name in tasks)
    read = MapExampleReader(Path(folder), wanted, picture_image, targets)
    listing = AdaShareListing(
        Path(folder) / "nyu_v2_3task.json", [0, *(columns[n] for n in tasks)], 4
    )
    steps = training_steps(crop) if augment else ()
    return _image_set("nyuv2_adashare", read, listing, steps, (validation, seed))


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
        folder: holds `cityscape.json` and what it names.
        classes: of the segmentation.
        crop: H, W in training.
        augment: scale by 0.5..1.5, flip and crop the train images; else they come whole.
        validation: share of the published train images held out.
        seed: of that choice.

    Raises:
        DataError: a file is missing, damaged, or holds what the layout does not allow.
    """
    read = MapExampleReader(
        Path(folder),
        (ImageTask("segmentation", "segmentation", classes), ImageTask("depth", "depth", 1)),
        array_image,
        (array_segmentation(classes), known_depth),
    )
    labels = {2: 2, 7: 3, 19: 4}[classes]
    listing = AdaShareListing(Path(folder) / "cityscape.json", [0, labels, 1], 5)
    steps = training_steps(crop) if augment else ()
    return _image_set("cityscapes_adashare", read, listing, steps, (validation, seed))


def training_steps(crop: Sequence[int]) -> tuple[Augment, ...]:
    """AdaShare's augmentation: scale 0.5..1.5, flip, random crop with centred padding."""
    height, width = crop
    return Scale(), Flip(), Crop(height, width)


@dataclass(frozen=True)
class AdaShareListing:
    """A JSON file of AdaShare: split -> list of lists of file names.

    Attributes:
        path: of the JSON file.
        columns: which names of a list are wanted, in the order wanted.
        width: number of names in every list.
    """

    path: Path
    columns: Sequence[int]
    width: int

    def entries(self, part: str) -> list[tuple[str, ...]]:
        """The wanted names of every example of `part`.

        Raises:
            DataError: there is no such list, it is empty, or not of the layout.
        """
        place, found = SourceLocation(str(self.path)), read_json(self.path)
        rows = found.get(part) if isinstance(found, Mapping) else None
        if not isinstance(rows, list) or not rows:
            have = ", ".join(map(str, found)) if isinstance(found, Mapping) else "none"
            raise place.error(f"has no list {part!r} (there are: {have})", "take the whole archive")
        for row in rows:
            if not self._fits(row):
                raise place.error(f"lists {row!r} in {part!r}", f"{self.width} file names are due")
        return [tuple(row[column] for column in self.columns) for row in rows]

    def _fits(self, row: Any) -> bool:
        several = isinstance(row, list) and len(row) == self.width
        return several and all(isinstance(name, str) for name in row)


def _image_set(
    name: str,
    read: MapExampleReader,
    listing: AdaShareListing,
    steps: tuple[Augment, ...],
    held: tuple[float, int],
) -> ImageSet:
    source = FileLayout(name, read, tuple, steps, MEAN, STD)
    train, test = listing.entries("train"), listing.entries("test")
    return source.held_out(train, test, validation=held[0], seed=held[1])
