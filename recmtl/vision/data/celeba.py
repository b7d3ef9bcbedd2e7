"""CelebA: aligned faces, 40 attributes, and the official partition into train, validation, test.

Two preparations are published: FAMO's (64 x 64, fed in 0..1), and that of Branched Multi-Task
Networks (224 x 224, normalised).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from recmtl.errors import ConfigError, SourceLocation, did_you_mean
from recmtl.paths import content_hash
from recmtl.vision.data.decode import decode_image, open_picture, read_lines
from recmtl.vision.data.examples import Example, ImageSet, ImageTask
from recmtl.vision.data.source import FileLayout

__all__ = ["celeba"]

# The normalisation is that of ieee8023/latentshift, which contains the authors' own model.
PREPARATIONS = {
    "famo": ((64, 64), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "branched": ((224, 224), (0.5061, 0.4254, 0.3828), (0.2661, 0.2453, 0.2413)),
}
PARTS = ("0", "1", "2")
VALUES = {"1": 1, "-1": 0}
Face = tuple[str, bytes]


def celeba(
    folder: str | Path,
    *,
    preparation: Literal["famo", "branched"] = "famo",
    attributes: tuple[str, ...] = (),
    together: bool = False,
) -> ImageSet:
    """CelebA's aligned faces: 162,770 + 19,867 + 19,962 images, 40 binary attributes.

    Args:
        folder: holds `img_align_celeba`, `list_attr_celeba.txt` and `list_eval_partition.txt`,
            each directly or, as the owners publish them, in `Img`, `Anno` and `Eval`.
        preparation: `famo` resizes to 64 x 64 and feeds 0..1; `branched` resizes to 224 x 224 and
            normalises.
        attributes: names of attributes, in the order of the tasks; empty for all 40 as published.
        together: whether all attributes are the labels of one task; otherwise each is a task.

    Raises:
        ConfigError: an attribute does not exist or is given twice.
        DataError: a file is missing or damaged, or the two lists do not fit each other.
    """
    root = Path(folder)
    (height, width), mean, std = PREPARATIONS[preparation]
    attribute_list = _locate(root, "Anno", "list_attr_celeba.txt")
    partition_list = _locate(root, "Eval", "list_eval_partition.txt")
    names, rows = _read_attributes(attribute_list)
    columns = _columns(names, attributes)
    partition = _read_partition(partition_list, rows)
    labels = tuple(attributes or names)
    tasks = tuple(ImageTask(name, "multilabel", 1) for name in labels)
    if together:
        tasks = (ImageTask("attributes", "multilabel", len(labels)),)
    images = _locate(root, "Img", "img_align_celeba").relative_to(root)
    parts: dict[str, list[Face]] = {part: [] for part in PARTS}
    for name, values in rows.items():
        chosen = bytes(values[column] for column in columns)
        parts[partition[name]].append((str(images / name), chosen))
    read = FaceExampleReader(root, tasks, (height, width))
    facts = {
        "size": height,
        "lists": [content_hash(path) for path in (attribute_list, partition_list)],
    }
    layout = FileLayout("celeba", read, lambda face: (face[0],), (), mean, std, facts)
    return layout.image_set(*(parts[part] for part in PARTS))


@dataclass(frozen=True)
class FaceExampleReader:
    """Reads a face at size H, W; an entry is a file name and 0 or 1 for every label."""

    folder: Path
    tasks: tuple[ImageTask, ...]
    size: tuple[int, int]

    def __call__(self, entry: Face) -> Example:
        """The example of one face.

        Raises:
            DataError: the picture is missing or damaged.
        """
        path = self.folder / entry[0]
        face = open_picture(path, "RGB").resize(self.size[::-1], Image.Resampling.BILINEAR)
        values = np.frombuffer(entry[1], np.uint8).astype(np.float32)
        targets = np.split(values, np.cumsum([task.classes for task in self.tasks])[:-1])
        return Example(decode_image(np.asarray(face), path), tuple(targets))


def _locate(root: Path, published: str, name: str) -> Path:
    for path in (root / name, root / published / name):
        if path.exists():
            return path
    remedy = f"put it there or into {published}/, as its owners publish it"
    raise SourceLocation(str(root / name)).error("is missing", remedy)


def _read_attributes(path: Path) -> tuple[list[str], dict[str, bytes]]:
    """The names of the attributes, and for each image 0 or 1 for each attribute."""
    place, lines = SourceLocation(str(path)), read_lines(path)
    remedy = "take the file as its owners publish it"
    if len(lines) < 3 or not lines[0].strip().isdecimal():
        raise place.error("does not begin with the number of images and the names", remedy)
    names, rows = lines[1].split(), {}
    for image, values in _table(lines[2:]):
        bits = [VALUES.get(value) for value in values]
        if len(bits) != len(names) or None in bits:
            raise place.error(f"has no {len(names)} values 1 or -1 for {image}", remedy)
        rows[image] = bytes(bit or 0 for bit in bits)
    if len(rows) != int(lines[0]):
        raise place.error(f"promises {int(lines[0])} images and lists {len(rows)}", remedy)
    return names, rows


def _read_partition(path: Path, rows: dict[str, bytes]) -> dict[str, str]:
    place = SourceLocation(str(path))
    parts = {image: values[0] for image, values in _table(read_lines(path)) if values}
    remedy = "take both lists from one release"
    missing = [image for image in rows if parts.get(image) not in PARTS]
    if missing:
        raise place.error(f"gives {missing[0]} no part 0, 1 or 2", remedy)
    empty = [part for part in PARTS if part not in parts.values()]
    if empty:
        raise place.error(f"gives no image the part {empty[0]}", remedy)
    return parts


def _table(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The first word of each line, and the other words."""
    for line in lines:
        image, *values = line.split()
        yield image, values


def _columns(names: list[str], attributes: tuple[str, ...]) -> list[int]:
    unknown = [name for name in attributes if name not in names]
    if unknown:
        hint = did_you_mean(unknown[0], names)
        raise ConfigError(f"attributes: there is no {unknown[0]!r}{hint}")
    if len(set(attributes)) != len(attributes):
        raise ConfigError("attributes: one is given twice; name each once")
    return [names.index(name) for name in attributes or names]
