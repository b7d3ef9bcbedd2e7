"""A small set of images in memory, with a task of every kind, some of it not known."""

from dataclasses import dataclass

import numpy as np

from recmtl.train.config import Evidence, Search, Skips, Training
from recmtl.vision.config import ImageDataConfig, ImageNetworkConfig, TrunkShape, VisionConfig
from recmtl.vision.data.examples import Example, ImageSet, ImageTask
from recmtl.vision.problem import ImageProblem

SIZE = (16, 12)
TASKS = (
    ImageTask("shape", "classification", 3),
    ImageTask("marks", "multilabel", 2),
    ImageTask("parts", "segmentation", 3, (1.0, 2.0, 0.5)),
    ImageTask("depth", "depth", 1),
    ImageTask("normals", "normals", 3),
    ImageTask("edges", "regression_map", 2),
)


@dataclass(frozen=True)
class Blobs:
    """Images whose targets follow from them; augmented by noise."""

    count: int
    seed: int
    tasks: tuple[ImageTask, ...]

    def __len__(self) -> int:
        return self.count

    def example(self, index: int, random: np.random.Generator | None) -> Example:
        own = np.random.default_rng((self.seed, index))
        image = own.random((3, *SIZE), np.float32)
        known = own.random(SIZE) < 0.8
        normals = image - 0.5
        normals = normals / np.linalg.norm(normals, axis=0)
        blank = np.where(known, 1.0, np.nan)
        targets = {
            "shape": np.array(image[0].mean() * 30 % 3 if own.random() < 0.7 else -1, np.int64),
            "marks": np.where(own.random(2) < 0.2, np.nan, own.random(2) < 0.4),
            "parts": np.where(known, (image[0] * 3).astype(np.int64), -1),
            "depth": (image[:1] + 1.0) * blank,
            "normals": normals * blank,
            "edges": image[:2] * blank,
        }
        if random is not None:
            image = image + random.normal(0, 0.01, image.shape)
        kinds = {"shape": np.int64, "parts": np.int64}
        return Example(
            image.astype(np.float32),
            tuple(targets[t.name].astype(kinds.get(t.name, np.float32)) for t in self.tasks),
        )


def make_set(tasks: tuple[ImageTask, ...] = TASKS, *, train: int = 24) -> ImageSet:
    """Train, validation and test images."""
    splits = [Blobs(count, seed, tasks) for seed, count in enumerate((train, 9, 7))]
    channels = (0.5,) * 3
    return ImageSet("blobs", tasks, *splits, channels, (0.3,) * 3, SIZE, "blobs")


def make_config(**changes: object) -> VisionConfig:
    """A study of networks small enough for a test."""
    shape = TrunkShape(depths=(1, 1), widths=(6, 8), strides=(2, 2), norm="group")
    settings: dict[str, object] = {
        "data": ImageDataConfig(),
        "network": ImageNetworkConfig(trunk=shape, device="cpu"),
        "training": Training(batch_size=8, epochs=2, checks=1, health_rows=6),
        "search": Search(epochs=2, candidates=3, refine=1, skips=Skips(curriculum=0.5)),
        "evidence": Evidence(seeds=1),
        "workers": 1,
    }
    return VisionConfig(**{**settings, **changes})


def make_images(
    tasks: tuple[ImageTask, ...] = TASKS, *, train: int = 24, **changes: object
) -> ImageProblem:
    """The set as a problem."""
    return ImageProblem.from_images(make_set(tasks, train=train), make_config(**changes))
