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

from recmtl.data.arrays.groups import Bools, edges_between_groups, mixed_groups, rows_by_group
from recmtl.memory import release_pages
from recmtl.ranks import BatchPart, Share

__all__ = ["Batch", "Labels", "Rows", "TableBatch", "table_batches", "total_weight", "whole_rows"]

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

    @property
    def part(self) -> BatchPart | None:
        """Which rows of a larger batch these are; None if they are all."""

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

    @property
    def units(self) -> Order | None:
        """Codes `[R]` of rows that stay together where rows are divided; None for single rows."""

    def take(self, rows: npt.NDArray[np.int64]) -> Self:
        """The rows of these numbers."""

    def batches(
        self,
        *,
        batch_size: int,
        seed: int | None,
        rows: RowNumbers | None = None,
        start: int = 0,
        share: Share | None = None,
    ) -> Iterator[Batch]:
        """One pass in which every row comes once; the last batch may be short.

        Args:
            batch_size: rows in a batch.
            seed: None for the stored order; a number for a random order that it fixes.
            rows: sorted row numbers to which the pass is restricted; all if None.
            start: batches of the pass to skip; rows that only they hold are not read.
            share: the part of every batch to read; None for all of it.
        """


@dataclass(frozen=True)
class TableBatch:
    """Rows of an encoded log as tensors.

    Attributes:
        ids: rows of the embedding table, int64 `[B, I]`.
        numeric: float32 `[B, N]`, NaN where missing.
        labels: float32 `[B, T]`, NaN where a task is not defined, then
            `LogSplit.position` `[B, 1]`, `waits` `[B, 2 L]` and `member` `[B, 1]`, where the log
            has them.
        weight: float32 `[B]`, or `[B, T]` where a task has its own.
        part: which rows of a larger batch these are; None if they are all.
    """

    ids: torch.Tensor
    numeric: torch.Tensor
    labels: torch.Tensor
    weight: torch.Tensor
    part: BatchPart | None = None

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
    share: Share | None,
    block: int,
    buffer_blocks: int,
    member: npt.NDArray[np.float32] | None = None,
) -> Iterator[TableBatch]:
    """`Rows.batches` of a table.

    Args:
        arrays: ids, numbers, labels, weights and perhaps `LogSplit.position`, `waits` and `member`,
            rows first, mapped or in memory.
        batch_size: see `Rows.batches`.
        seed: see `Rows.batches`.
        rows: see `Rows.batches`.
        start: see `Rows.batches`.
        share: see `Rows.batches`; rows of other ranks are not copied out of the maps.
        block: consecutive rows that are read together when shuffling.
        buffer_blocks: blocks that are mixed with one another.
        member: `LogSplit.member` `[R]`: in a random order the rows of a group follow one another,
            so that at most the first and the last group of a batch are cut; None for single rows.

    Raises:
        ValueError: `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    count = len(arrays[0]) if rows is None else len(rows)
    parts = _batch_parts(count, batch_size, start, share)
    if seed is None:
        for first, part in zip(range(start * batch_size, count, batch_size), parts, strict=True):
            chosen = slice(first + part.first, first + part.last)
            yield _batch(_read(arrays, [chosen if rows is None else rows[chosen]]), part)
        return
    is_first = None
    if member is not None:
        rows, is_first = rows_by_group(member, rows)
    buffers = _buffers(count, np.random.default_rng(seed), block, buffer_blocks, is_first)
    buffers = _without_first(buffers, start * batch_size)
    if share is None:
        read = ((_read(arrays, _parts(rows, slices)), order) for slices, order in buffers)
    else:
        picked = _of_share(buffers, share, count=count, batch_size=batch_size, start=start)
        read = ((_read(arrays, [n if rows is None else rows[n]]), order) for n, order in picked)
    yield from _mixed(read, parts)


def _batch_parts(
    count: int, batch_size: int, start: int, share: Share | None
) -> Iterator[BatchPart]:
    """The part of each batch of a pass over so many rows, from batch `start` on."""
    for first in range(start * batch_size, count, batch_size):
        whole = min(batch_size, count - first)
        yield BatchPart(0, whole, whole) if share is None else share.part(whole)


def _buffers(
    count: int,
    random: np.random.Generator,
    block: int,
    buffer_blocks: int,
    is_first: Bools | None,
) -> Iterator[tuple[list[slice], Order]]:
    """For each buffer the blocks to read (slices of positions) and the order of their rows.

    With `is_first`, which says of each position whether a group begins there, blocks hold whole
    groups unless one is larger than a block, and groups stay together in the order.
    """
    edges = np.arange(0, count, block)
    if is_first is not None:
        edges = edges_between_groups(is_first, edges, block)
    starts, ends = random.permutation(edges), np.append(edges[1:], count)
    for i in range(0, len(starts), buffer_blocks):
        chosen = np.searchsorted(edges, np.sort(starts[i : i + buffer_blocks])).tolist()
        slices = [slice(int(edges[n]), int(ends[n])) for n in chosen]
        if is_first is None:
            yield slices, random.permutation(sum(part.stop - part.start for part in slices))
        else:
            yield slices, mixed_groups([is_first[part] for part in slices], random)


def _without_first(
    buffers: Iterator[tuple[list[slice], Order]], rows: int
) -> Iterator[tuple[list[slice], Order]]:
    """What is left of the buffers, in their order, after a number of rows."""
    for slices, order in buffers:
        if rows < len(order):
            yield slices, order[rows:]
        rows = max(0, rows - len(order))


def _of_share(
    buffers: Iterator[tuple[list[slice], Order]],
    share: Share,
    *,
    count: int,
    batch_size: int,
    start: int,
) -> Iterator[tuple[Order, Order]]:
    """For each buffer the positions, ascending, of the rows of a share, and the order of those."""
    first = start * batch_size
    for slices, order in buffers:
        place = np.arange(first, first + len(order)) % batch_size
        whole, is_last = share.part(batch_size), share.part(count % batch_size or batch_size)
        last_batch = np.arange(first, first + len(order)) >= count - (count % batch_size)
        begins = np.where(last_batch, is_last.first, whole.first)
        ends = np.where(last_batch, is_last.last, whole.last)
        mine = order[(begins <= place) & (place < ends)]
        positions = np.concatenate([np.arange(part.start, part.stop) for part in slices])
        ascending = np.sort(mine)
        yield positions[ascending], np.searchsorted(ascending, mine)
        first += len(order)


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


def _mixed(
    buffers: Iterator[tuple[Columns, Order]], parts: Iterator[BatchPart]
) -> Iterator[TableBatch]:
    """Draw batches from buffers in their order; what is left of one opens the next."""
    left: Columns | None = None
    part = next(parts, None)
    for columns, order in buffers:
        first = 0
        while first < len(order) and part is not None:
            wanted = part.last - part.first - (0 if left is None else len(left[0]))
            index = torch.from_numpy(order[first : first + wanted])
            drawn = [column.index_select(0, index) for column in columns]
            if left is not None:
                drawn = [torch.cat(pair) for pair in zip(left, drawn, strict=True)]
            first += wanted
            left = drawn
            if len(drawn[0]) == part.last - part.first:
                yield _batch(drawn, part)
                left, part = None, next(parts, None)


def _batch(columns: Columns, part: BatchPart) -> TableBatch:
    ids, numeric, labels, weight, *beside = columns
    labels = torch.cat([labels, *beside], 1) if beside else labels
    return TableBatch(ids.long(), numeric, labels, weight, part if part.ranks > 1 else None)


def whole_rows(batch: Batch) -> int:
    """Rows of the batch, those of other ranks included."""
    return len(batch) if batch.part is None else batch.part.whole


def total_weight(batch: Batch) -> float:
    """Sum of the weights of a batch's rows."""
    return float(batch.weight.double().sum())
