"""Training batches from an encoded split: contiguous blocks in random order, mixed in a buffer.

Every row comes once a pass. Work is done by whole blocks and batches, never by row.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from recmtl.data.log import Split

__all__ = ["Batch", "batches"]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Rows as tensors.

    Attributes:
        ids: int64 [B, I].
        numeric: float32 [B, N], NaN where missing.
        labels: float32 [B, T], NaN where a task is not defined.
        weight: float32 [B].
    """

    ids: torch.Tensor
    numeric: torch.Tensor
    labels: torch.Tensor
    weight: torch.Tensor

    def __len__(self) -> int:
        """Number of rows B."""
        return len(self.weight)

    def to(self, device: torch.device | str) -> "Batch":
        """The same rows on another device."""
        tensors = (self.ids, self.numeric, self.labels, self.weight)
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in tensors))


def batches(
    split: Split,
    *,
    batch_size: int,
    seed: int | None,
    rows: npt.NDArray[np.integer] | None = None,
    block: int = 4096,
    buffer_blocks: int = 16,
) -> Iterator[Batch]:
    """One pass over `split`, every row once; the last batch may be short.

    Args:
        split: the encoded rows.
        batch_size: rows in a batch.
        seed: None for the order of the file; a number for a random order fixed by it.
        rows: sorted row numbers to which the pass is restricted; all if None.
        block: consecutive rows read together when shuffling.
        buffer_blocks: blocks that are mixed with one another.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    count = len(split) if rows is None else len(rows)
    if seed is None:
        for first in range(0, count, batch_size):
            chosen = slice(first, min(first + batch_size, count))
            yield _read(split, chosen if rows is None else rows[chosen])
        return
    buffers = _buffers(count, np.random.default_rng(seed), block, buffer_blocks)
    yield from _rebatch((_shuffled(split, rows, *buffer) for buffer in buffers), batch_size)


def _buffers(
    count: int, random: np.random.Generator, block: int, buffer_blocks: int
) -> Iterator[tuple[list[slice], Rows]]:
    """For each buffer the blocks to read (slices of positions) and the order of their rows."""
    starts = random.permutation(np.arange(0, count, block))
    for i in range(0, len(starts), buffer_blocks):
        chosen = np.sort(starts[i : i + buffer_blocks])
        slices = [slice(int(first), min(int(first) + block, count)) for first in chosen]
        yield slices, random.permutation(sum(part.stop - part.start for part in slices))


def _shuffled(
    split: Split, rows: npt.NDArray[np.integer] | None, slices: list[slice], order: Rows
) -> Batch:
    parts = [_read(split, part if rows is None else rows[part]) for part in slices]
    index = torch.from_numpy(order)
    return Batch(*(torch.cat(column)[index] for column in zip(*map(_columns, parts), strict=True)))


def _rebatch(buffers: Iterator[Batch], batch_size: int) -> Iterator[Batch]:
    """Cut buffers into batches; what is left of one opens the next."""
    left: Batch | None = None
    for buffer in buffers:
        whole = buffer if left is None else _join(left, buffer)
        full = len(whole) // batch_size * batch_size
        for first in range(0, full, batch_size):
            yield _cut(whole, first, first + batch_size)
        left = _cut(whole, full, len(whole)) if full < len(whole) else None
    if left is not None:
        yield left


def _columns(batch: Batch) -> tuple[torch.Tensor, ...]:
    return batch.ids, batch.numeric, batch.labels, batch.weight


def _join(a: Batch, b: Batch) -> Batch:
    return Batch(*(torch.cat(pair) for pair in zip(_columns(a), _columns(b), strict=True)))


def _cut(batch: Batch, first: int, last: int) -> Batch:
    return Batch(*(column[first:last] for column in _columns(batch)))


def _read(split: Split, rows: slice | npt.NDArray[np.integer]) -> Batch:
    """Copy rows out of the memory maps."""
    return Batch(
        ids=torch.from_numpy(split.ids[rows].astype(np.int64)),
        numeric=torch.from_numpy(np.array(split.numeric[rows])),
        labels=torch.from_numpy(np.array(split.labels[rows])),
        weight=torch.from_numpy(np.array(split.weight[rows])),
    )
