"""Batches of images: read ahead by threads, augmented the same way whenever they are read.

The augmentation of an image depends on the seed of the pass and on its number alone, so that a
training that was interrupted sees the same images as one that was not, whatever the threads do.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from recmtl.data.batches import Batch, batches
from recmtl.vision.data.examples import Example, ImageSplit

__all__ = ["ImageRows"]

AHEAD = 3
"""Batches that are read while one is used."""
Numbers = npt.NDArray[np.int64]


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

    def some(self, rows: Numbers) -> "ImageRows":
        """The images of these numbers."""
        return replace(self, numbers=self.numbers[rows])

    def example(self, row: int, seed: int | None) -> Example:
        """One image with the targets that are wanted, augmented if there is a seed."""
        number = int(self.numbers[row])
        random = None if seed is None else np.random.default_rng((seed, number))
        found = self.split.example(number, random)
        return Example(found.image, tuple(found.targets[task] for task in self.tasks))


@batches.register
def _image_batches(
    split: ImageRows,
    *,
    batch_size: int,
    seed: int | None,
    rows: npt.NDArray[np.integer] | None = None,
    start: int = 0,
) -> Iterator[Batch]:
    """One pass over the images; with a seed in random order, batches of nearly equal size."""
    order = np.arange(len(split)) if rows is None else np.asarray(rows)
    if seed is None:
        firsts = range(0, len(order), batch_size)
        parts = [order[first : first + batch_size] for first in firsts]
    else:
        order = np.random.default_rng(seed).permutation(order)
        parts = np.array_split(order, -(-len(order) // batch_size)) if len(order) else []
    for examples in _read(split, parts[start:], seed):
        batch = _stacked(examples)
        if split.device != "cpu":
            batch = batch.pinned().to(split.device)
        yield batch


def _read(split: ImageRows, parts: Sequence[Numbers], seed: int | None) -> Iterator[list[Example]]:
    if not split.threads:
        for part in parts:
            yield [split.example(int(row), seed) for row in part]
        return
    pool = ThreadPoolExecutor(split.threads)
    coming: deque[list[Future[Example]]] = deque()
    try:
        for part in parts:
            coming.append([pool.submit(split.example, int(row), seed) for row in part])
            if len(coming) > AHEAD:
                yield [future.result() for future in coming.popleft()]
        while coming:
            yield [future.result() for future in coming.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def _stacked(examples: list[Example]) -> Batch:
    images = torch.from_numpy(np.stack([example.image for example in examples]))
    columns = zip(*(example.targets for example in examples), strict=True)
    targets = tuple(torch.from_numpy(np.stack(column)) for column in columns)
    return Batch((images,), targets, torch.ones(len(examples)))
