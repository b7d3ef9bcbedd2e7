"""Batches of images, read ahead by threads.

The augmentation of an image depends only on its number and on the seed of the pass. A resumed
training therefore sees the same images as one that was never interrupted, for any number of
threads.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from recmtl.ranks import BatchPart, Share
from recmtl.vision.data.examples import Example, ImageSplit

__all__ = ["ImageBatch", "ImageRows"]

AHEAD = 3
"""Number of batches that are read while one is in use."""
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ImageBatch:
    """B images as tensors.

    Attributes:
        images: `[B, C, H, W]`.
        labels: the targets `[B, ...]` of each task.
        weight: float32 `[B]`.
        part: which images of a larger batch these are; None if they are all.
    """

    images: torch.Tensor
    labels: tuple[torch.Tensor, ...]
    weight: torch.Tensor
    part: BatchPart | None = None

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
        """The same images in pinned memory, from which a GPU copies while it computes."""
        return self._map(torch.Tensor.pin_memory)

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "ImageBatch":
        labels = tuple(map(change, self.labels))
        return ImageBatch(change(self.images), labels, change(self.weight))


@dataclass(frozen=True)
class ImageRows:
    """The images of one part of the data, with the targets of some tasks.

    Attributes:
        split: the source of the images.
        numbers: the images' indices in `split`.
        tasks: positions of the tasks whose targets a batch holds.
        threads: number of threads that read ahead; with 0 a batch is read when it is requested.
        device: every batch is moved there.
        largest_batch: size of a batch without gradients that is sure to fit into memory.
    """

    split: ImageSplit
    numbers: Numbers
    tasks: tuple[int, ...]
    threads: int = 0
    device: str = "cpu"
    largest_batch: int = 64

    def __len__(self) -> int:
        """Number of images."""
        return len(self.numbers)

    @property
    def units(self) -> None:
        """No images stay together where they are divided."""

    def take(self, rows: Numbers) -> "ImageRows":
        """The images in these rows."""
        return replace(self, numbers=self.numbers[rows])

    def example(self, row: int, seed: int | None) -> Example:
        """The image in a row with the targets of `tasks`; a seed augments it."""
        number = int(self.numbers[row])
        random = None if seed is None else np.random.default_rng((seed, number))
        example = self.split.example(number, random)
        return Example(example.image, tuple(example.targets[task] for task in self.tasks))

    def batches(
        self,
        *,
        batch_size: int,
        seed: int | None,
        rows: npt.NDArray[np.integer] | None = None,
        start: int = 0,
        share: Share | None = None,
    ) -> Iterator[ImageBatch]:
        """One pass over the images; see `recmtl.data.batches.Rows.batches`.

        With a seed the order is random and the batches have nearly equal sizes, so that no batch is
        too small for its normalisation.
        """
        order = np.arange(len(self)) if rows is None else np.asarray(rows)
        if seed is None:
            firsts = range(0, len(order), batch_size)
            parts = [order[first : first + batch_size] for first in firsts]
        else:
            order = np.random.default_rng(seed).permutation(order)
            parts = np.array_split(order, -(-len(order) // batch_size)) if len(order) else []
        batch_parts = [_part_of(len(part), share) for part in parts[start:]]
        numbers = [part[p.rows] for part, p in zip(parts[start:], batch_parts, strict=True)]
        for examples, part in zip(self._read(numbers, seed), batch_parts, strict=True):
            batch = _stacked(examples, part)
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


def _part_of(images: int, share: Share | None) -> BatchPart:
    return BatchPart(0, images, images) if share is None else share.part(images)


def _stacked(examples: list[Example], part: BatchPart) -> ImageBatch:
    images = torch.from_numpy(np.stack([example.image for example in examples]))
    columns = zip(*(example.targets for example in examples), strict=True)
    targets = tuple(torch.from_numpy(np.stack(column)) for column in columns)
    weight = torch.ones(len(examples))
    return ImageBatch(images, targets, weight, part if part.ranks > 1 else None)
