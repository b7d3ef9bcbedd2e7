"""An image with its targets: what is not known is marked inside the target, never by another mask.

That one convention lets every augmentation move image and targets together, and lets losses and
metrics find their valid pixels without asking the reader. Channels stand before rows everywhere.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["IGNORED", "MAPS", "Example", "ImageSet", "ImageSplit", "ImageTask", "Kind", "Target"]

Kind = Literal["classification", "multilabel", "segmentation", "depth", "normals", "regression_map"]
Target = NDArray[Any]

IGNORED = -1
MAPS: frozenset[Kind] = frozenset({"segmentation", "depth", "normals", "regression_map"})


@dataclass(frozen=True)
class ImageTask:
    """One task on an image.

    The kind settles the target of one example and how it says "not known":

    | kind | target | not known |
    |---|---|---|
    | classification | int64 `[]` | -1 |
    | multilabel | float32 `[classes]`, 0 or 1 | NaN |
    | segmentation | int64 `[H, W]` | -1 |
    | depth | float32 `[1, H, W]`, metres (inverse depth on Cityscapes, as published) | NaN |
    | normals | float32 `[3, H, W]`, unit vectors | NaN in all three channels |
    | regression_map | float32 `[classes, H, W]` | NaN |

    Attributes:
        name: unique in its set.
        kind: see the table.
        classes: classes (classification, segmentation), labels (multilabel) or channels (maps: 3
            for normals, 1 for depth).
        class_weights: weight of each class in the cross entropy where the set publishes one
            (Tiny-Taskonomy); empty for equal weights.
    """

    name: str
    kind: Kind
    classes: int = 1
    class_weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class Example:
    """One image and its targets.

    Attributes:
        image: float32 `[C, H, W]` in 0..1, not yet normalised by mean and deviation.
        targets: in the order of the set's tasks, as `ImageTask` describes them.
    """

    image: NDArray[np.float32]
    targets: tuple[Target, ...]


class ImageSplit(Protocol):
    """The examples of one split, read when asked for; picklable, so that workers can read them."""

    def __len__(self) -> int:
        """Number of examples."""

    def example(self, index: int, random: np.random.Generator | None) -> Example:
        """The example of that index, augmented with `random` where the split augments.

        Args:
            index: from 0 to the length.
            random: draws the augmentation; None reads the example as it is stored.

        Raises:
            DataError: a file is missing, damaged, or holds what the layout does not allow.
        """


@dataclass(frozen=True)
class ImageSet:
    """A data set: its tasks and three splits that share no image.

    Attributes:
        name: what results and checkpoints call it.
        tasks: in the order of every example's targets.
        train: augmented where the published protocol augments.
        validation: selects; carved from the published train files where the owner has none.
        test: measured once, at the end.
        mean: of each channel, for the normalisation of images in 0..1.
        std: standard deviation of each channel.
        size: H, W of an example in training.
        fingerprint: of files, options and split; goes into results and checkpoints.
    """

    name: str
    tasks: tuple[ImageTask, ...]
    train: ImageSplit
    validation: ImageSplit
    test: ImageSplit
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]
    fingerprint: str
