"""Batches of images: read ahead by threads, augmented the same way whenever they are read.

The augmentation of an image depends on the seed of the pass and on its number alone, so that a
training that was interrupted sees the same images as one that was not, whatever the threads do.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from recmtl.vision.data.examples import Example, ImageSplit

__all__ = ["ImageBatch", "ImageRows"]

AHEAD = 3
"""Batches that are read while one is used."""
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ImageBatch:
    """B images as tensors.

    Attributes:
        images: `[B, C, H, W]`.
        labels: a target `[B, ...]` for each task.
        weight: float32 `[B]`.
    """

    images: torch.Tensor
    labels: tuple[torch.Tensor, ...]
    weight: torch.Tensor

    @property
    def inputs(self) -> tuple[torch.Tensor]:
        """The argument of the network: `images`."""
        return (self.images,)

    def __len__(self) -> int:
        """Number of images B."""
        return len(self.weight)

    def __getitem__(self, rows: slice) -> "ImageBatch":
        """A part of the images."""
        return self._map(lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> "ImageBatch":
        """The same images on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "ImageBatch":
        """The same images in memory from which a GPU copies while it computes."""
        return self._map(torch.Tensor.pin_memory)

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "ImageBatch":
        labels = tuple(map(change, self.labels))
        return ImageBatch(change(self.images), labels, change(self.weight))


@dataclass(frozen=True)
class ImageRows:
    """The images of one part, as training takes them.

    Attributes:
        split: where they come from.
        numbers: which of the split's examples.
        tasks: positions of the tasks whose targets are wanted.
        threads: that read; 0 reads when a batch is asked for.
        device: to which a batch is moved, once.
        at_once: images of a batch without gradients that memory is sure to hold.
    """

    split: ImageSplit
    numbers: Numbers
    tasks: tuple[int, ...]
    threads: int = 0
    device: str = "cpu"
    at_once: int = 64

    def __len__(self) -> int:
        """Number of images."""
        return len(self.numbers)

    def take(self, rows: Numbers) -> "ImageRows":
        """The images of these numbers."""
        return replace(self, numbers=self.numbers[rows])

    def example(self, row: int, seed: int | None) -> Example:
        """One image with the targets that are wanted, augmented if there is a seed."""
        number = int(self.numbers[row])
        random = None if seed is None else np.random.default_rng((seed, number))
        found = self.split.example(number, random)
        return Example(found.image, tuple(found.targets[task] for task in self.tasks))

    def batches(
        self,
        *,
        batch_size: int,
        seed: int | None,
        rows: npt.NDArray[np.integer] | None = None,
        start: int = 0,
    ) -> Iterator[ImageBatch]:
        """One pass over the images; with a seed in random order, batches of nearly equal size.

        See `recmtl.data.batches.Rows.batches`.
        """
        order = np.arange(len(self)) if rows is None else np.asarray(rows)
        if seed is None:
            firsts = range(0, len(order), batch_size)
            parts = [order[first : first + batch_size] for first in firsts]
        else:
            order = np.random.default_rng(seed).permutation(order)
            parts = np.array_split(order, -(-len(order) // batch_size)) if len(order) else []
        for examples in self._read(parts[start:], seed):
            batch = _stacked(examples)
            if self.device != "cpu":
                batch = batch.pinned().to(self.device)
            yield batch

    def _read(self, parts: Sequence[Numbers], seed: int | None) -> Iterator[list[Example]]:
        if not self.threads:
            for part in parts:
                yield [self.example(int(row), seed) for row in part]
            return
        pool = ThreadPoolExecutor(self.threads)
        coming: deque[list[Future[Example]]] = deque()
        try:
            for part in parts:
                coming.append([pool.submit(self.example, int(row), seed) for row in part])
                if len(coming) > AHEAD:
                    yield [future.result() for future in coming.popleft()]
            while coming:
                yield [future.result() for future in coming.popleft()]
        finally:
            pool.shutdown(cancel_futures=True)


def _stacked(examples: list[Example]) -> ImageBatch:
    images = torch.from_numpy(np.stack([example.image for example in examples]))
    columns = zip(*(example.targets for example in examples), strict=True)
    targets = tuple(torch.from_numpy(np.stack(column)) for column in columns)
    return ImageBatch(images, targets, torch.ones(len(examples)))
