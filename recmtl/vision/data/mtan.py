"""NYUv2 and Cityscapes in the `.npy` layout of MTAN, which LibMTL, CAGrad, Nash-MTL, FAMO share.

`{train,val}/{image,label,depth,normal}/<number>.npy`. The published `val` is what all of them
report, so it is the test split here, and validation is held out from the published `train`.
Images are fed in 0..1 as they are.
"""

from pathlib import Path
from typing import Literal

from recmtl.errors import SourceLocation
from recmtl.vision.data.augment import Augment, Flip, Zoom
from recmtl.vision.data.examples import ImageSet, ImageTask
from recmtl.vision.data.maps import (
    Decoder,
    MapExampleReader,
    array_depth,
    array_image,
    array_normals,
    array_segmentation,
    select_tasks,
)
from recmtl.vision.data.source import FileLayout

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
        augment: zoom by 1, 1.2 or 1.5 and flip the train images.
        validation: share of the published train images held out.
        seed: of that choice.

    Raises:
        DataError: a file is missing, damaged, or holds what the layout does not allow.
    """
    known = {
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
    wanted = select_tasks(known, tasks)
    targets = tuple(decoders[name] for name in tasks)
    read = MapExampleReader(Path(folder), wanted, array_image, targets)
    steps: tuple[Augment, ...] = (Zoom(), Flip()) if augment else ()
    return _image_set("nyuv2_mtan", read, [folders[n] for n in tasks], steps, (validation, seed))


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
        classes: of the segmentation.
        label_folder: of the class numbers; by default `label_<classes>`, and `label` in LibMTL's
            archive.
        augment: zoom and flip the train images; the published results do not.
        zoomed_depth: how a zoom by s changes inverse depth: times s, which is true, or divided
            by s, as the published loaders do.
        validation: share of the published train images held out.
        seed: of that choice.

    Raises:
        DataError: a file is missing, damaged, or holds what the layout does not allow.
    """
    root = Path(folder)
    if label_folder is None:
        usual = f"label_{classes}"
        label_folder = usual if (root / "train" / usual).is_dir() else "label"
    read = MapExampleReader(
        root,
        (
            ImageTask("segmentation", "segmentation", classes),
            ImageTask("depth", "depth", 1),
        ),
        array_image,
        (array_segmentation(classes), array_depth),
    )
    zoom = Zoom(depth_power=1 if zoomed_depth == "true" else -1)
    steps: tuple[Augment, ...] = (zoom, Flip()) if augment else ()
    return _image_set("cityscapes_mtan", read, [label_folder, "depth"], steps, (validation, seed))


def _image_set(
    name: str,
    read: MapExampleReader,
    map_folders: list[str],
    steps: tuple[Augment, ...],
    held: tuple[float, int],
) -> ImageSet:
    train, test = (_entries(read.folder, part, map_folders) for part in ("train", "val"))
    source = FileLayout(name, read, tuple, steps)
    return source.held_out(train, test, validation=held[0], seed=held[1])


def _entries(folder: Path, part: str, map_folders: list[str]) -> list[tuple[str, ...]]:
    """File names of every example; a number that only some folders have is missing in the rest."""
    kinds = ("image", *map_folders)
    files = [file for kind in kinds for file in (folder / part / kind).glob("*.npy")]
    numbers = sorted({int(file.stem) for file in files if file.stem.isdecimal()})
    if not numbers:
        remedy = "the folder given must hold train/ and val/ of MTAN's archive"
        raise SourceLocation(str(folder / part)).error("holds no image/<number>.npy", remedy)
    return [tuple(f"{part}/{kind}/{number}.npy" for kind in kinds) for number in numbers]
