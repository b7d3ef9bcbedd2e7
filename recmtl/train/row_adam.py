"""Adam on the rows of a table that a batch touched, each of them once."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["RowAdam", "summed"]


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

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move the rows of the gradients; a `closure` is not called."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None and table.grad._nnz():
                    self._move(table, *summed(table.grad), group)

    def _move(self, table: Tensor, rows: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[table]
        if not state:
            state["step"] = 0
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table), torch.zeros_like(table)
        state["step"] += 1
        first, second = group["betas"]
        mean = state["exp_avg"].index_select(0, rows).lerp_(gradient, 1.0 - first)
        state["exp_avg"].index_copy_(0, rows, mean)
        square = state["exp_avg_sq"].index_select(0, rows)
        square.mul_(second).addcmul_(gradient, gradient, value=1.0 - second)
        state["exp_avg_sq"].index_copy_(0, rows, square)
        rate = (
            group["lr"] * math.sqrt(1.0 - second ** state["step"]) / (1.0 - first ** state["step"])
        )
        direction = mean.div_(square.sqrt_().add_(group["eps"]))
        # Adding to rows in place costs three times what copying them there and back does.
        table.index_copy_(0, rows, table.index_select(0, rows).sub_(direction, alpha=rate))


def summed(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows `[R]` of a sparse gradient, ascending, and the sum of each `[R, D]`."""
    indices, values = gradient._indices()[0], gradient._values()
    if gradient.is_coalesced():
        return indices, values
    # One sort of (row, occurrence) in one number; NumPy sorts numbers three times as fast as torch.
    bits = len(indices).bit_length()
    packed = (indices << bits) | torch.arange(len(indices), device=indices.device)
    packed = packed.sort().values if packed.is_cuda else torch.from_numpy(np.sort(packed.numpy()))
    sorted_rows, order = packed >> bits, packed & ((1 << bits) - 1)
    first = torch.ones_like(sorted_rows, dtype=torch.bool)
    torch.ne(sorted_rows[1:], sorted_rows[:-1], out=first[1:])
    starts = first.nonzero().flatten()
    return sorted_rows[starts], functional.embedding_bag(order, values, starts, mode="sum")
