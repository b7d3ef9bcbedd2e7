"""Augmentation steps that move an image and its targets together; each step is picklable.

Pixels that a step brings in from outside are black in the image and unknown in every map. Normals
are vectors: mirroring a scene negates their x.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from recmtl.vision.data.decode import unit_vectors
from recmtl.vision.data.examples import IGNORED, MAPS, Example, ImageTask, Target

__all__ = ["Augment", "Crop", "Flip", "Scale", "Zoom", "nearest", "resized"]

# The fields and the names of the steps are part of a data set's fingerprint: keep both.
Augment = Callable[[Example, tuple[ImageTask, ...], np.random.Generator], Example]
Floats = NDArray[np.float32]
NEGATE_X = np.array([-1, 1, 1], np.float32).reshape(3, 1, 1)


@dataclass(frozen=True)
class Flip:
    """Mirror left and right with probability `share`; the x of normals changes its sign.

    AdaShare's NYUv2 code leaves the sign unchanged; its Taskonomy code and MTAN's code change it.
    """

    share: float = 0.5

    def __call__(
        self, example: Example, tasks: tuple[ImageTask, ...], random: np.random.Generator
    ) -> Example:
        """The example, or its mirror image."""
        if random.random() >= self.share:
            return example

        def mirrored(task: ImageTask, target: Target) -> Target:
            return target[..., ::-1] * NEGATE_X if task.kind == "normals" else target[..., ::-1]

        return replace(_each_map(example, tasks, mirrored), image=example.image[..., ::-1])


@dataclass(frozen=True)
class Scale:
    """Enlarge or shrink image and maps by one factor, uniform in `low`..`high` (AdaShare).

    The image is interpolated, maps take the nearest pixel. Depth keeps its value, as in AdaShare's
    code.
    """

    low: float = 0.5
    high: float = 1.5

    def __call__(
        self, example: Example, tasks: tuple[ImageTask, ...], random: np.random.Generator
    ) -> Example:
        """The example at another size."""
        factor = random.uniform(self.low, self.high)
        height, width = example.image.shape[1:]
        size = (int(height * factor), int(width * factor))
        maps = _each_map(example, tasks, lambda _, target: nearest(target, size))
        return replace(maps, image=resized(example.image, size))


@dataclass(frozen=True)
class Crop:
    """Cut `height` x `width` out at a random place; a smaller example is padded on both sides."""

    height: int
    width: int

    def __call__(
        self, example: Example, tasks: tuple[ImageTask, ...], random: np.random.Generator
    ) -> Example:
        """The example at that size."""
        height, width = example.image.shape[1:]
        top = random.integers(0, max(height - self.height, 0), endpoint=True)
        left = random.integers(0, max(width - self.width, 0), endpoint=True)

        def cut(map_: Target, outside: float) -> Target:
            window = map_[..., top : top + self.height, left : left + self.width]
            rows, columns = window.shape[-2:]
            above, before = (self.height - rows) // 2, (self.width - columns) // 2
            padded = np.full((*map_.shape[:-2], self.height, self.width), outside, map_.dtype)
            padded[..., above : above + rows, before : before + columns] = window
            return padded

        cropped = _each_map(example, tasks, lambda task, target: cut(target, _unknown(task)))
        return replace(cropped, image=cut(example.image, 0.0))


@dataclass(frozen=True)
class Zoom:
    """Enlarge a random window to the size of the whole example, by one of `scales` (MTAN).

    Source: lorenmt/mtan, `RandomScaleCrop`. The image and the normals are interpolated with aligned
    corners; normals are made unit again, and are unknown where a neighbour is unknown. Other maps
    take the nearest pixel.

    Attributes:
        scales: the factors, equally likely.
        depth_power: depth is multiplied by `scale ** depth_power`. -1 is right for metres, since
            what is enlarged is nearer; +1 is right for inverse depth, although the published
            Cityscapes loaders divide it, too.
    """

    scales: tuple[float, ...] = (1.0, 1.2, 1.5)
    depth_power: int = -1

    def __call__(
        self, example: Example, tasks: tuple[ImageTask, ...], random: np.random.Generator
    ) -> Example:
        """The enlarged window."""
        scale = self.scales[int(random.integers(len(self.scales)))]
        height, width = example.image.shape[1:]
        rows, columns = int(height / scale), int(width / scale)
        top = random.integers(0, height - rows, endpoint=True)
        left = random.integers(0, width - columns, endpoint=True)
        window = (..., slice(top, top + rows), slice(left, left + columns))

        def zoomed(task: ImageTask, target: Target) -> Target:
            if task.kind == "normals":
                return unit_vectors(resized(target[window], (height, width), aligned=True))
            enlarged = nearest(target[window], (height, width))
            factor = np.float32(scale**self.depth_power)
            return enlarged * factor if task.kind == "depth" else enlarged

        image = resized(example.image[window], (height, width), aligned=True)
        return replace(_each_map(example, tasks, zoomed), image=image)


def resized(image: Floats, size: tuple[int, int], *, aligned: bool = False) -> Floats:
    """An image `[C, H, W]` at another H, W, by bilinear interpolation without smoothing.

    Args:
        image: the pixels.
        size: the new H, W.
        aligned: whether the corner pixels stay corner pixels (MTAN). Otherwise pixels are areas, as
            in OpenCV (AdaShare).
    """
    if image.shape[1:] == size:
        return image
    pixels = torch.from_numpy(np.ascontiguousarray(image))[None]
    scaled = torch.nn.functional.interpolate(
        pixels, size=size, mode="bilinear", align_corners=aligned
    )
    return np.asarray(scaled[0].numpy(), np.float32)


def nearest(map_: Target, size: tuple[int, int]) -> Target:
    """A map `[..., H, W]` at another H, W: pixel i is pixel `floor(i * old / new)`, as in OpenCV.

    >>> nearest(np.array([[0, 1, 2, 3]]), (1, 2)).tolist()
    [[0, 2]]
    """
    rows, columns = (
        np.arange(new) * old // new for new, old in zip(size, map_.shape[-2:], strict=True)
    )
    return map_[..., rows[:, None], columns]


def _each_map(
    example: Example,
    tasks: tuple[ImageTask, ...],
    change: Callable[[ImageTask, Target], Target],
) -> Example:
    changed = tuple(
        change(task, target) if task.kind in MAPS else target
        for task, target in zip(tasks, example.targets, strict=True)
    )
    return replace(example, targets=changed)


def _unknown(task: ImageTask) -> float:
    return IGNORED if task.kind == "segmentation" else np.nan
