"""Augmentations that move an image and its targets together, each a small picklable step.

Where a step moves pixels in from outside, they are black in the image and "not known" in every
map. Normals are vectors: a mirrored scene has the opposite x.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from recmtl.vision.data.decode import unit_vectors
from recmtl.vision.data.examples import IGNORED, MAPS, Example, ImageTask, Target

__all__ = ["Augment", "Crop", "Flip", "Scale", "Zoom", "nearest", "resize_example", "resized"]

Augment = Callable[[Example, tuple[ImageTask, ...], np.random.Generator], Example]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Flip:
    """Mirror left and right with probability `share`; the x of normals changes its sign.

    AdaShare's code leaves the sign as it is on NYUv2; MTAN's and its Taskonomy code change it.
    """

    share: float = 0.5

    def __call__(
        self, example: Example, tasks: tuple[ImageTask, ...], random: np.random.Generator
    ) -> Example:
        """The example or its mirror image."""
        if random.random() >= self.share:
            return example
        flipped = _each_map(example, tasks, lambda _, target: target[..., ::-1])
        turned = tuple(
            target * _MIRROR if task.kind == "normals" else target
            for task, target in zip(tasks, flipped.targets, strict=True)
        )
        return Example(flipped.image[..., ::-1], turned)


_MIRROR = np.array([-1, 1, 1], np.float32).reshape(3, 1, 1)


@dataclass(frozen=True)
class Scale:
    """Make image and maps larger or smaller by one factor, uniform in `low`..`high` (AdaShare).

    The image is interpolated, the maps take the nearest pixel; depth keeps its value, as there.
    """

    low: float = 0.5
    high: float = 1.5

    def __call__(
        self, example: Example, tasks: tuple[ImageTask, ...], random: np.random.Generator
    ) -> Example:
        """The example at another size."""
        factor = random.uniform(self.low, self.high)
        height, width = example.image.shape[1:]
        return resize_example(example, tasks, (int(height * factor), int(width * factor)))


@dataclass(frozen=True)
class Crop:
    """Cut `height` x `width` at a random place, after centred padding where it is smaller."""

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
            piece = map_[..., top : top + self.height, left : left + self.width]
            above, before = (
                (want - have) // 2
                for want, have in zip((self.height, self.width), piece.shape[-2:], strict=True)
            )
            whole = np.full((*map_.shape[:-2], self.height, self.width), outside, map_.dtype)
            whole[..., above : above + piece.shape[-2], before : before + piece.shape[-1]] = piece
            return whole

        cropped = _each_map(example, tasks, lambda task, target: cut(target, _unknown(task)))
        return replace(cropped, image=cut(example.image, 0.0))


@dataclass(frozen=True)
class Zoom:
    """Enlarge a random window to the size of the whole, by one of `scales` (MTAN).

    Source: lorenmt/mtan, `RandomScaleCrop`. Image and normals are interpolated with aligned
    corners (normals made unit again, unknown where a neighbour is), other maps take the nearest.

    Attributes:
        scales: the factors, equally likely.
        depth_power: depth is multiplied by `scale ** depth_power`: -1 for metres (a closer look
            makes things nearer); +1 for inverse depth, which the published Cityscapes loaders
            divide all the same.
    """

    scales: tuple[float, ...] = (1.0, 1.2, 1.5)
    depth_power: int = -1

    def __call__(
        self, example: Example, tasks: tuple[ImageTask, ...], random: np.random.Generator
    ) -> Example:
        """The example, zoomed."""
        scale = self.scales[int(random.integers(len(self.scales)))]
        height, width = example.image.shape[1:]
        rows, columns = int(height / scale), int(width / scale)
        top = random.integers(0, height - rows, endpoint=True)
        left = random.integers(0, width - columns, endpoint=True)
        window = (..., slice(top, top + rows), slice(left, left + columns))

        def zoomed(task: ImageTask, target: Target) -> Target:
            if task.kind == "normals":
                return unit_vectors(resized(target[window], (height, width), aligned=True))
            near = nearest(target[window], (height, width))
            factor = np.float32(scale**self.depth_power)
            return near * factor if task.kind == "depth" else near

        image = resized(example.image[window], (height, width), aligned=True)
        return replace(_each_map(example, tasks, zoomed), image=image)


def resize_example(
    example: Example, tasks: tuple[ImageTask, ...], size: tuple[int, int]
) -> Example:
    """The example at another H, W: the image interpolated, every map by its nearest pixel."""
    maps = _each_map(example, tasks, lambda _, target: nearest(target, size))
    return replace(maps, image=resized(example.image, size))


def resized(image: Floats, size: tuple[int, int], *, aligned: bool = False) -> Floats:
    """`[C, H, W]` at another H, W, by bilinear interpolation without smoothing.

    Args:
        image: the pixels.
        size: H, W wanted.
        aligned: corners fall on corners (MTAN), instead of pixels being areas (AdaShare's OpenCV).
    """
    if image.shape[1:] == size:
        return image
    pixels = torch.from_numpy(np.ascontiguousarray(image))[None]
    found = torch.nn.functional.interpolate(
        pixels, size=size, mode="bilinear", align_corners=aligned
    )
    return np.asarray(found[0].numpy(), np.float32)


def nearest(map_: Target, size: tuple[int, int]) -> Target:
    """`[..., H, W]` at another H, W: pixel `i` is pixel `floor(i * old / new)`, as in OpenCV."""
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
