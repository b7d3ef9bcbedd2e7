"""What an example is: an image with its targets, and the data set that its splits belong to.

Unknown values are marked inside the target; there is no second mask. Augmentation therefore moves
image and targets together, and losses and metrics find the valid pixels without asking the reader.
Channels come before rows everywhere.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["IGNORED", "MAPS", "Example", "ImageSet", "ImageSplit", "ImageTask", "Kind", "Target"]

Kind = Literal["classification", "multilabel", "segmentation", "depth", "normals", "regression_map"]
Target = NDArray[Any]

IGNORED = -1
"""The class of an image or a pixel whose class is unknown."""
MAPS: frozenset[Kind] = frozenset({"segmentation", "depth", "normals", "regression_map"})
"""The kinds with a value for every pixel."""


@dataclass(frozen=True)
class ImageTask:
    """One task on an image.

    The kind fixes the form of an example's target and the mark for an unknown value:

    | kind | target | unknown |
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
        classes: number of classes (classification, segmentation), of labels (multilabel) or of
            channels (other maps: 3 for normals, 1 for depth).
        class_weights: weight of each class in the cross entropy, if the owner publishes weights
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
        image: float32 `[C, H, W]` in 0..1, not yet normalised by mean and standard deviation.
        targets: in the order of the set's tasks, each as `ImageTask` describes it.
    """

    image: NDArray[np.float32]
    targets: tuple[Target, ...]


class ImageSplit(Protocol):
    """The examples of one split, read on demand; picklable, so that worker processes can read."""

    def __len__(self) -> int:
        """Number of examples."""

    def example(self, index: int, random: np.random.Generator | None) -> Example:
        """The example at `index`; the train split augments it with `random`.

        Args:
            index: from 0 to the length, exclusive.
            random: source of the augmentation; None reads the example as it is stored.

        Raises:
            DataError: a file is missing or damaged, or holds what the layout forbids.
        """


@dataclass(frozen=True)
class ImageSet:
    """A data set: its tasks and three splits that share no image.

    Attributes:
        name: names the set in results and checkpoints.
        tasks: in the order of every example's targets.
        train: augmented if the published protocol augments.
        validation: for every choice; held out from the published train files if the owner
            publishes no validation split.
        test: measured once, at the end.
        mean: of each channel; normalises images in 0..1.
        std: standard deviation of each channel.
        size: H, W of an example in training.
        fingerprint: of files, options and splits; written into results and checkpoints.
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
