"""Adam on the rows of a table that a batch touched, each of them once."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["RowAdam", "summed"]

Arrays = tuple[Tensor, Tensor, Tensor]
"""A table, and the two moments of its rows."""
Numbers = tuple[float, float, float, float]
"""Decay of the two moments, epsilon, the step's rate."""


class RowAdam(torch.optim.Optimizer):
    """Lazy Adam, as `torch.optim.SparseAdam` and with its state, for a fraction of its time.

    Kingma and Ba (ICLR 2015), algorithm 1, on the rows of a sparse gradient alone: moments of other
    rows do not decay. Reading: epsilon is added before the second moment's bias is corrected, as in
    `SparseAdam`. No step makes another sparse tensor.

    Args:
        tables: parameters `[rows, D]` whose gradients are sparse in their first axis.
        lr: learning rate.
        betas: decay of the two moments.
        eps: added to the root of the second moment.
    """

    def __init__(
        self,
        tables: Iterable[Tensor],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(tables, {"lr": lr, "betas": betas, "eps": eps})
        # Room for `move_rows`, an entry a row; no part of the state.
        self._places: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move the rows of the gradients; a `closure` is not called."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None and table.grad._nnz():
                    self._move(table, table.grad, group)

    def _move(self, table: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[table]
        if not state:
            state["step"] = 0
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table), torch.zeros_like(table)
        state["step"] += 1
        first, second = group["betas"]
        rate = (
            group["lr"] * math.sqrt(1.0 - second ** state["step"]) / (1.0 - first ** state["step"])
        )
        arrays = table, state["exp_avg"], state["exp_avg_sq"]
        if table.device.type == "cpu":
            self._move_here(arrays, gradient, (first, second, group["eps"], rate))
        else:
            _move_there(arrays, *summed(gradient), (first, second, group["eps"], rate))

    def _move_here(self, arrays: Arrays, gradient: Tensor, numbers: Numbers) -> None:
        """One compiled pass over the gradient's rows and one over the distinct ones."""
        from recmtl.train.row_loop import move_rows

        table, rows = arrays[0], gradient._indices()[0]
        if table not in self._places:
            self._places[table] = torch.full((len(table),), -1, dtype=torch.int32)
        values = gradient._values().contiguous()
        room = (torch.empty_like(rows), torch.empty_like(values), self._places[table])
        first, second, epsilon, rate = numbers
        told = torch.tensor([1.0 - first, second, 1.0 - second, epsilon, rate], dtype=table.dtype)
        move_rows(*(a.detach().numpy() for a in (rows, values, *room, *arrays, told)))


def _move_there(arrays: Arrays, rows: Tensor, gradient: Tensor, numbers: Numbers) -> None:
    """The same with torch: distinct rows `[R]`, their gradients `[R, D]`."""
    (table, means, squares), (first, second, epsilon, rate) = arrays, numbers
    mean = means.index_select(0, rows).lerp_(gradient, 1.0 - first)
    means.index_copy_(0, rows, mean)
    square = squares.index_select(0, rows)
    square.mul_(second).addcmul_(gradient, gradient, value=1.0 - second)
    squares.index_copy_(0, rows, square)
    direction = mean.div_(square.sqrt_().add_(epsilon))
    # Adding to rows in place costs three times what copying them there and back does.
    table.index_copy_(0, rows, table.index_select(0, rows).sub_(direction, alpha=rate))


def summed(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows `[R]` of a sparse gradient, ascending, and the sum of each `[R, D]`."""
    indices, values = gradient._indices()[0], gradient._values()
    if gradient.is_coalesced():
        return indices, values
    grouped = grouped_by_numpy if indices.device.type == "cpu" else grouped_by_torch
    rows, order, starts = grouped(indices)
    return rows, functional.embedding_bag(order, values, starts, mode="sum")


def grouped_by_torch(indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct indices ascending; positions, those of an index in order; where each starts."""
    ordered, order = indices.sort(stable=True)
    rows, counts = torch.unique_consecutive(ordered, return_counts=True)
    return rows, order, counts.cumsum(0) - counts


def grouped_by_numpy(indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `grouped_by_torch`, in a third of its time: one sort of (index, position) as a number."""
    bits = len(indices).bit_length()
    packed = np.sort(indices.numpy() << bits | np.arange(len(indices)))
    ordered, order = packed >> bits, packed & ((1 << bits) - 1)
    first = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    starts = first.nonzero()[0]
    return torch.from_numpy(ordered[starts]), torch.from_numpy(order), torch.from_numpy(starts)
