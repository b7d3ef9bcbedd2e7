"""Batches: what a network receives, the rows that hand them out, and how rows of a table are mixed.

A pass over a table yields every row once. With a seed, contiguous blocks are read in random order
and mixed in a buffer, so that nothing is done row by row and the disk is read in long stretches.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import torch

from recmtl.memory import release_pages

__all__ = ["Batch", "Labels", "Rows", "TableBatch", "table_batches", "total_weight"]

Order = npt.NDArray[np.int64]
RowNumbers = npt.NDArray[np.integer]
Arrays = tuple[npt.NDArray[np.generic], ...]
Columns = list[torch.Tensor]

Labels = torch.Tensor | tuple[torch.Tensor, ...]
"""Of a table float32 `[B, T]`, NaN where a task is not defined; of images a target for each task.
"""


class Batch(Protocol):
    """B rows or images as tensors: `TableBatch`, or `recmtl.vision.data.batches.ImageBatch`."""

    @property
    def inputs(self) -> tuple[torch.Tensor, ...]:
        """The arguments of the network, rows first."""

    @property
    def labels(self) -> Labels:
        """What the network's heads should have predicted."""

    @property
    def weight(self) -> torch.Tensor:
        """Weight of each row, float32 `[B]`."""

    def __len__(self) -> int:
        """Number of rows B."""

    def __getitem__(self, rows: slice) -> Self:
        """A part of the rows."""


class Rows(Protocol):
    """The examples of one part of the data, of tables (`LogSplit`) or of images (`ImageRows`)."""

    def __len__(self) -> int:
        """Number of rows."""

    @property
    def largest_batch(self) -> int:
        """Rows of a batch without gradients that memory is sure to hold."""

    def take(self, rows: npt.NDArray[np.int64]) -> Self:
        """The rows of these numbers."""

    def batches(
        self,
        *,
        batch_size: int,
        seed: int | None,
        rows: RowNumbers | None = None,
        start: int = 0,
    ) -> Iterator[Batch]:
        """One pass in which every row comes once; the last batch may be short.

        Args:
            batch_size: rows in a batch.
            seed: None for the stored order; a number for a random order that it fixes.
            rows: sorted row numbers to which the pass is restricted; all if None.
            start: batches of the pass to skip; rows that only they hold are not read.
        """


@dataclass(frozen=True)
class TableBatch:
    """Rows of an encoded log as tensors.

    Attributes:
        ids: rows of the embedding table, int64 `[B, I]`.
        numeric: float32 `[B, N]`, NaN where missing.
        labels: float32 `[B, T]`, NaN where a task is not defined.
        weight: float32 `[B]`.
    """

    ids: torch.Tensor
    numeric: torch.Tensor
    labels: torch.Tensor
    weight: torch.Tensor

    @property
    def inputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The arguments of the network: `ids` and `numeric`."""
        return self.ids, self.numeric

    def __len__(self) -> int:
        """Number of rows B."""
        return len(self.weight)

    def __getitem__(self, rows: slice) -> "TableBatch":
        """A part of the rows."""
        return self._map(lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> "TableBatch":
        """The same rows on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "TableBatch":
        return TableBatch(
            change(self.ids), change(self.numeric), change(self.labels), change(self.weight)
        )


def table_batches(
    arrays: Arrays,
    *,
    batch_size: int,
    seed: int | None,
    rows: RowNumbers | None,
    start: int,
    block: int,
    buffer_blocks: int,
) -> Iterator[TableBatch]:
    """`Rows.batches` of a table.

    Args:
        arrays: ids, numbers, labels and weights, rows first, mapped or in memory.
        batch_size: see `Rows.batches`.
        seed: see `Rows.batches`.
        rows: see `Rows.batches`.
        start: see `Rows.batches`.
        block: consecutive rows that are read together when shuffling.
        buffer_blocks: blocks that are mixed with one another.

    Raises:
        ValueError: `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    count = len(arrays[0]) if rows is None else len(rows)
    if seed is None:
        for first in range(start * batch_size, count, batch_size):
            chosen = slice(first, min(first + batch_size, count))
            yield _batch(_read(arrays, [chosen if rows is None else rows[chosen]]))
        return
    buffers = _buffers(count, np.random.default_rng(seed), block, buffer_blocks)
    buffers = _without_first(buffers, start * batch_size)
    held = ((_read(arrays, _parts(rows, slices)), order) for slices, order in buffers)
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


def _parts(rows: RowNumbers | None, slices: list[slice]) -> list[slice | RowNumbers]:
    return [part if rows is None else rows[part] for part in slices]


def _read(arrays: Arrays, parts: list[slice | RowNumbers]) -> Columns:
    """Copy rows out of the memory maps; ids keep the four bytes that they have there.

    No thread reads ahead: from a cold disk, reading takes a hundredth of the time of training.
    """
    columns = [torch.from_numpy(np.concatenate([a[part] for part in parts])) for a in arrays]
    for array in arrays:
        release_pages(array)
    return columns


def _mixed(buffers: Iterator[tuple[Columns, Order]], batch_size: int) -> Iterator[TableBatch]:
    """Draw batches from buffers in their order; what is left of one opens the next."""
    left: TableBatch | None = None
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


def _batch(columns: Columns) -> TableBatch:
    ids, numeric, labels, weight = columns
    return TableBatch(ids.long(), numeric, labels, weight)


def _join(a: TableBatch, b: TableBatch) -> TableBatch:
    pairs = ((a.ids, b.ids), (a.numeric, b.numeric), (a.labels, b.labels), (a.weight, b.weight))
    return _batch([torch.cat(pair) for pair in pairs])


def total_weight(batch: Batch) -> float:
    """Sum of the weights of a batch's rows."""
    return float(batch.weight.double().sum())
