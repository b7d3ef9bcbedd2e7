"""NYUv2 and Cityscapes in MTAN's `.npy` layout, which LibMTL, CAGrad, Nash-MTL and FAMO share.

Files are `{train,val}/{image,label,depth,normal}/<number>.npy`. All of them report results on the
published `val`, so that it is the test split here, and validation images are held out from the
published `train`. Images are fed in 0..1, without normalisation.
"""

from pathlib import Path
from typing import Literal

from recmtl.errors import SourceLocation
from recmtl.vision.data.augment import Augment, Flip, Zoom
from recmtl.vision.data.decode import (
    Decoder,
    array_depth,
    array_image,
    array_normals,
    array_segmentation,
)
from recmtl.vision.data.examples import ImageSet, ImageTask
from recmtl.vision.data.source import FileLayout, MapExampleReader, select_tasks

__all__ = ["cityscapes_mtan", "nyuv2_mtan"]

NYU_TASKS = ("segmentation", "depth", "normals")


def nyuv2_mtan(
    folder: str | Path,
    *,
    tasks: tuple[str, ...] = NYU_TASKS,
    augment: bool = True,
    validation: float = 0.1,
    seed: int = 0,
) -> ImageSet:
    """NYUv2 as MTAN publishes it: 795 + 654 images of 288 x 384, 13 classes, depth, normals.

    Args:
        folder: holds `train` and `val`.
        tasks: some of segmentation, depth, normals.
        augment: whether train images are enlarged by 1, 1.2 or 1.5 and flipped.
        validation: share of the published train images to hold out.
        seed: of that choice.

    Raises:
        DataError: a file is missing or damaged, or holds what the layout forbids.
    """
    available = {
        "segmentation": ImageTask("segmentation", "segmentation", 13),
        "depth": ImageTask("depth", "depth", 1),
        "normals": ImageTask("normals", "normals", 3),
    }
    folders = {"segmentation": "label", "depth": "depth", "normals": "normal"}
    decoders: dict[str, Decoder] = {
        "segmentation": array_segmentation(13),
        "depth": array_depth,
        "normals": array_normals,
    }
    selected = select_tasks(available, tasks)
    targets = tuple(decoders[name] for name in tasks)
    read = MapExampleReader(Path(folder), selected, array_image, targets)
    steps: tuple[Augment, ...] = (Zoom(), Flip()) if augment else ()
    layout = FileLayout("nyuv2_mtan", read, tuple, steps)
    map_folders = [folders[name] for name in tasks]
    return _image_set(layout, map_folders, validation=validation, seed=seed)


def cityscapes_mtan(
    folder: str | Path,
    *,
    classes: Literal[2, 7, 19] = 7,
    label_folder: str | None = None,
    augment: bool = False,
    zoomed_depth: Literal["true", "published"] = "true",
    validation: float = 0.1,
    seed: int = 0,
) -> ImageSet:
    """Cityscapes as MTAN publishes it: 2,975 + 500 images, segmentation and inverse depth.

    Args:
        folder: holds `train` and `val`.
        classes: number of classes of the segmentation.
        label_folder: folder of the class numbers; by default `label_<classes>` if it exists, else
            `label`, as in LibMTL's archive.
        augment: whether train images are enlarged and flipped; the published results do neither.
        zoomed_depth: how a zoom by s changes inverse depth: `true` multiplies it by s, which is
            correct; `published` divides it by s, as the published loaders do.
        validation: share of the published train images to hold out.
        seed: of that choice.

    Raises:
        DataError: a file is missing or damaged, or holds what the layout forbids.
    """
    root = Path(folder)
    if label_folder is None:
        numbered = f"label_{classes}"
        label_folder = numbered if (root / "train" / numbered).is_dir() else "label"
    read = MapExampleReader(
        root,
        (ImageTask("segmentation", "segmentation", classes), ImageTask("depth", "depth", 1)),
        array_image,
        (array_segmentation(classes), array_depth),
    )
    zoom = Zoom(depth_power=1 if zoomed_depth == "true" else -1)
    steps: tuple[Augment, ...] = (zoom, Flip()) if augment else ()
    layout = FileLayout("cityscapes_mtan", read, tuple, steps)
    return _image_set(layout, [label_folder, "depth"], validation=validation, seed=seed)


def _image_set(
    layout: FileLayout, map_folders: list[str], *, validation: float, seed: int
) -> ImageSet:
    folder = layout.read.folder
    train, test = (_entries(folder, part, map_folders) for part in ("train", "val"))
    return layout.held_out(train, test, validation=validation, seed=seed)


def _entries(folder: Path, part: str, map_folders: list[str]) -> list[tuple[str, ...]]:
    """File names of every example: of every number that occurs in any of the folders."""
    kinds = ("image", *map_folders)
    files = [file for kind in kinds for file in (folder / part / kind).glob("*.npy")]
    numbers = sorted({int(file.stem) for file in files if file.stem.isdecimal()})
    if not numbers:
        remedy = "the folder given must hold train/ and val/ of MTAN's archive"
        raise SourceLocation(str(folder / part)).error("holds no image/<number>.npy", remedy)
    return [tuple(f"{part}/{kind}/{number}.npy" for kind in kinds) for number in numbers]
