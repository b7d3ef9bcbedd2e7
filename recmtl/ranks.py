"""Several processes, called ranks, that compute as one: who computes which rows, and what they add.

Alone, a process computes every row, and all of this costs nothing. Within `together` each rank
computes its part of every batch, and `ranks()` adds up what the parts make. Random numbers are
drawn for the whole batch on every rank, so that a row meets the same ones on any number of ranks.

A rank is a process of `torch.distributed`; `recmtl.engines` starts them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from recmtl.errors import RecmtlError

__all__ = [
    "ALONE",
    "BatchPart",
    "RankLostError",
    "Ranks",
    "RanksStoppedError",
    "Share",
    "batch_mean",
    "computing",
    "draw",
    "first_row",
    "of_own_rows",
    "of_whole_batch",
    "ranks",
    "together",
]

T = TypeVar("T")
R = TypeVar("R")


class RankLostError(RecmtlError):
    """Another rank has ended, so that this one cannot go on."""


class RanksStoppedError(RecmtlError):
    """The first rank has ended the present work, and so do all others."""


@dataclass(frozen=True)
class BatchPart:
    """Rows `first` to `last` (not included) of a batch of `whole` rows.

    Attributes:
        first: see above.
        last: see above.
        whole: see above.
        ranks: that compute the batch together.
        is_idle: whether the rows are another rank's. A rank for which a small batch has no row
            computes the first one, which counts nothing, so that it takes part in every step.
    """

    first: int
    last: int
    whole: int
    ranks: int = 1
    is_idle: bool = False

    @property
    def rows(self) -> slice:
        """The rows, of the whole batch."""
        return slice(self.first, self.last)


@dataclass(frozen=True)
class Share:
    """Of every batch, the part of rank `number` of `count`."""

    number: int
    count: int

    def part(self, rows: int) -> BatchPart:
        """Its part of a batch of so many rows: consecutive ones, as many as the other ranks have.

        >>> [Share(rank, 3).part(8).rows for rank in range(3)]
        [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        >>> Share(0, 3).part(2)
        BatchPart(first=0, last=1, whole=2, ranks=3, is_idle=True)
        """
        first, last = (rows * edge // self.count for edge in (self.number, self.number + 1))
        if first == last:
            return BatchPart(0, 1, rows, self.count, is_idle=True)
        return BatchPart(first, last, rows, self.count)


class Ranks:
    """This process as one of `count` ranks; alone by default.

    Every method but those of a lone process is a call that all ranks make in the same order.

    Args:
        group: the processes; None if there is only this one.

    Attributes:
        number: of this rank; 0 is the first.
        count: of all ranks.
        stops: on the first rank, whether the present work is to end; see `mean_gradients`.
    """

    def __init__(self, group: "distributed.ProcessGroup | None" = None) -> None:
        self.group = group
        self.number = 0 if group is None else distributed.get_rank(group)
        self.count = 1 if group is None else distributed.get_world_size(group)
        self.stops = False

    @property
    def is_first(self) -> bool:
        """Whether this rank keeps what all compute."""
        return self.number == 0

    @property
    def share(self) -> Share | None:
        """The part of every batch that this rank computes; None for all of it."""
        return None if self.count == 1 else Share(self.number, self.count)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all ranks of tensors of one shape, the same bits on each."""
        if self.count == 1:
            return values
        summed = values.detach().clone(memory_format=torch.contiguous_format)
        with _peers():
            distributed.all_reduce(summed, group=self.group)
        return summed

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all ranks; see `total`."""
        return values if self.count == 1 else self.total(values) / self.count

    def joined(self, *columns: Tensor) -> list[Tensor]:
        """Columns of n rows, those of all ranks behind one another; n may differ by rank."""
        if self.count == 1:
            return list(columns)
        rows = len(columns[0])
        by_rank = torch.zeros(self.count, dtype=torch.long, device=columns[0].device)
        by_rank[self.number] = rows
        lengths = self.total(by_rank).tolist()
        joined = []
        for column in columns:
            mine = column.new_zeros(max(lengths), *column.shape[1:])
            mine[:rows] = column
            every = [torch.empty_like(mine) for _ in lengths]
            with _peers():
                distributed.all_gather(every, mine, group=self.group)
            joined.append(torch.cat([part[:n] for part, n in zip(every, lengths, strict=True)]))
        return joined

    def first(self, make: Callable[[], T]) -> T:
        """What the first rank makes, on all ranks; an error of recmtl is raised on all of them."""
        if self.count == 1:
            return make()
        message: list[Any] = [None, None]
        if self.is_first:
            try:
                message = [make(), None]
            except RecmtlError as error:
                message = [None, error]
        with _peers():
            distributed.broadcast_object_list(message, src=0, group=self.group)
        if message[1] is not None:
            raise message[1]
        made: T = message[0]
        return made

    def map(self, function: Callable[[R], T], items: Iterable[R]) -> list[T]:
        """`[function(item) for item in items]`, each done by one rank and known to all."""
        if self.count == 1:
            return [function(item) for item in items]
        mine = [function(item) for item in islice(items, self.number, None, self.count)]
        by_rank: list[Any] = [None] * self.count
        with _peers():
            distributed.all_gather_object(by_rank, mine, group=self.group)
        total = sum(map(len, by_rank))
        return [by_rank[n % self.count][n // self.count] for n in range(total)]


ALONE = Ranks()
_here = ALONE
_part: BatchPart | None = None


def ranks() -> Ranks:
    """The ranks that compute together now: this process alone outside of `together`."""
    return _here


@contextmanager
def together(several: Ranks) -> Iterator[Ranks]:
    """Let `ranks()` be these within the block; all of them enter it with the same work."""
    global _here
    before, _here = _here, several
    try:
        yield several
    finally:
        _here = before


@contextmanager
def computing(part: BatchPart | None) -> Iterator[None]:
    """Say within the block that a network is computed on a part of a batch, for `draw`."""
    global _part
    before, _part = _part, part
    try:
        yield
    finally:
        _part = before


def draw(shape: Sequence[int], axis: int, make: Callable[[Sequence[int]], Tensor]) -> Tensor:
    """Random numbers of a shape, of which each is that of a row of the batch.

    Args:
        shape: of what this rank needs.
        axis: along which the rows lie, each as often as it has places there.
        make: draws numbers of any shape.
    """
    if _part is None:
        return make(shape)
    each = shape[axis] // (_part.last - _part.first)
    whole = list(shape)
    whole[axis] = each * _part.whole
    return make(whole).narrow(axis, each * _part.first, shape[axis])


def first_row() -> int:
    """The number within its batch of the first row on which a network is computed now."""
    return 0 if _part is None else _part.first


def batch_mean(values: Tensor) -> Tensor:
    """The mean over the rows of the whole batch, of values `[B, ...]` of this rank's rows.

    Gradients pass to the values of this rank, so that their mean over the ranks is the gradient.
    """
    if _part is None:
        return values.mean(0)
    local = values.sum(0) * (0.0 if _part.is_idle else _part.ranks / _part.whole)
    return local + (ranks().mean(local) - local).detach()


def of_whole_batch(columns: Tensor) -> Tensor:
    """Columns `[B, ...]` of the whole batch, of those `[n, ...]` of this rank's rows.

    Gradients pass to the values of this rank alone. All ranks of a batch make the call.
    """
    if _part is None:
        return columns
    (whole,) = ranks().joined(columns.detach()[: 0 if _part.is_idle else None])
    if _part.is_idle:
        return whole
    return torch.cat([whole[: _part.first], columns, whole[_part.last :]])


def of_own_rows(losses: Tensor, weight: Tensor) -> Tensor:
    """Losses `[n]` of this rank's rows, with the gradient of those `[B]` of the whole batch.

    The loss of a row may depend on rows of other ranks. What a rank's rows do to the losses of the
    others is added to its own without changing them, so that the mean over the ranks of weighted
    mean losses, each times its share of the weight, has the gradient of one process.

    Args:
        losses: of all rows, with gradients to what this rank has computed.
        weight: of all rows `[B]`.
    """
    if _part is None:
        return losses
    if _part.is_idle:
        return losses.new_zeros(_part.last - _part.first)
    mine = losses[_part.rows]
    others = (losses * weight).sum() - (mine * weight[_part.rows]).sum()
    share = weight[_part.rows].sum()
    return mine + (others - others.detach()) / torch.where(share > 0, share, 1.0)


@contextmanager
def _peers() -> Iterator[None]:
    """Name what a call to other ranks meets if one of them is gone."""
    try:
        yield
    except RuntimeError as error:
        raise RankLostError(
            "another process of this training has ended; run the same command again to go on"
        ) from error
