"""Training batches from an encoded split: contiguous blocks in random order, mixed in a buffer.

Every row comes once a pass. Work is done by whole blocks and batches, never by row.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from recmtl.data.encoded_log import LogSplit, release

__all__ = ["Batch", "Rows", "batches"]

Order = npt.NDArray[np.int64]
Columns = list[torch.Tensor]


@dataclass(frozen=True)
class Batch:
    """Rows, or images, as tensors.

    Attributes:
        inputs: what the encoder takes: of tables ids (int64 [B, I]) and numbers (float32 [B, N],
            NaN where missing), else images.
        labels: of tables float32 [B, T], NaN where a task is not defined; of images a target for
            each task.
        weight: float32 [B].
    """

    inputs: tuple[torch.Tensor, ...]
    labels: Any
    weight: torch.Tensor

    def __len__(self) -> int:
        """Number of rows B."""
        return len(self.weight)

    def __getitem__(self, rows: slice) -> "Batch":
        """Some of the rows."""
        return self._each(lambda tensor: tensor[rows])

    @property
    def ids(self) -> torch.Tensor:
        """Ids of a table, int64 [B, I]."""
        return self.inputs[0]

    @property
    def numeric(self) -> torch.Tensor:
        """Numbers of a table, float32 [B, N], NaN where missing."""
        return self.inputs[1]

    def to(self, device: torch.device | str) -> "Batch":
        """The same rows on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "Batch":
        """The same rows in memory from which a GPU copies while it computes."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        several = isinstance(self.labels, tuple)
        labels = tuple(map(change, self.labels)) if several else change(self.labels)
        return Batch(tuple(map(change, self.inputs)), labels, change(self.weight))


class Rows(Protocol):
    """The examples of one part of the data, of tables or of images."""

    def __len__(self) -> int:
        """Number of rows."""

    @property
    def at_once(self) -> int:
        """Rows of a batch without gradients that memory is sure to hold."""

    def some(self, rows: npt.NDArray[np.int64]) -> "Rows":
        """The rows of these numbers."""


@singledispatch
def batches(
    split: Rows,
    *,
    batch_size: int,
    seed: int | None,
    rows: npt.NDArray[np.integer] | None = None,
    start: int = 0,
    block: int = 4096,
    buffer_blocks: int = 16,
) -> Iterator[Batch]:
    """One pass over `split`, every row once; the last batch may be short.

    Every kind of rows registers its own way: tables here, images in `recmtl.vision.data.batches`.

    Args:
        split: the encoded rows.
        batch_size: rows in a batch.
        seed: None for the order of the file; a number for a random order fixed by it.
        rows: sorted row numbers to which the pass is restricted; all if None.
        start: batches of the pass to skip; what holds nothing but their rows is not read.
        block: consecutive rows of a table read together when shuffling.
        buffer_blocks: blocks that are mixed with one another.
    """
    raise TypeError(f"no way to make batches of {type(split).__name__}")


@batches.register
def _table_batches(
    split: LogSplit,
    *,
    batch_size: int,
    seed: int | None,
    rows: npt.NDArray[np.integer] | None = None,
    start: int = 0,
    block: int = 4096,
    buffer_blocks: int = 16,
) -> Iterator[Batch]:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    count = len(split) if rows is None else len(rows)
    if seed is None:
        for first in range(start * batch_size, count, batch_size):
            chosen = slice(first, min(first + batch_size, count))
            yield _batch(_read(split, [chosen if rows is None else rows[chosen]]))
        return
    buffers = _buffers(count, np.random.default_rng(seed), block, buffer_blocks)
    buffers = _without_first(buffers, start * batch_size)
    held = ((_read(split, _parts(rows, slices)), order) for slices, order in buffers)
    yield from _mixed(held, batch_size)


def _buffers(
    count: int, random: np.random.Generator, block: int, buffer_blocks: int
) -> Iterator[tuple[list[slice], Order]]:
    """For each buffer the blocks to read (slices of positions) and the order of their rows."""
    starts = random.permutation(np.arange(0, count, block))
    for i in range(0, len(starts), buffer_blocks):
        chosen = np.sort(starts[i : i + buffer_blocks])
        slices = [slice(int(first), min(int(first) + block, count)) for first in chosen]
        yield slices, random.permutation(sum(part.stop - part.start for part in slices))


def _without_first(
    buffers: Iterator[tuple[list[slice], Order]], rows: int
) -> Iterator[tuple[list[slice], Order]]:
    """What is left of the buffers, in their order, after a number of rows."""
    for slices, order in buffers:
        if rows < len(order):
            yield slices, order[rows:]
        rows = max(0, rows - len(order))


def _parts(
    rows: npt.NDArray[np.integer] | None, slices: list[slice]
) -> list[slice | npt.NDArray[np.integer]]:
    return [part if rows is None else rows[part] for part in slices]


def _mixed(buffers: Iterator[tuple[Columns, Order]], batch_size: int) -> Iterator[Batch]:
    """Draw batches from buffers in their order; what is left of one opens the next."""
    left: Batch | None = None
    for columns, order in buffers:
        first = 0
        while first < len(order):
            wanted = batch_size - (0 if left is None else len(left))
            index = torch.from_numpy(order[first : first + wanted])
            batch = _batch([column.index_select(0, index) for column in columns])
            left = batch if left is None else _join(left, batch)
            first += wanted
            if len(left) == batch_size:
                yield left
                left = None
    if left is not None:
        yield left


def _batch(columns: Columns) -> Batch:
    ids, numeric, labels, weight = columns
    return Batch((ids.long(), numeric), labels, weight)


def _join(a: Batch, b: Batch) -> Batch:
    pairs = ((a.ids, b.ids), (a.numeric, b.numeric), (a.labels, b.labels), (a.weight, b.weight))
    return _batch([torch.cat(pair) for pair in pairs])


def _read(split: LogSplit, parts: list[slice | npt.NDArray[np.integer]]) -> Columns:
    """Copy rows out of the memory maps, ids in the four bytes that they have there.

    No thread reads ahead: from a cold disk this takes a hundredth of the time of training.
    """
    columns = (split.ids, split.numeric, split.labels, split.weight)
    found = [torch.from_numpy(np.concatenate([c[part] for part in parts])) for c in columns]
    for column in columns:
        release(column)
    return found
