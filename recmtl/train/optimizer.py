"""Adam on the rows of a table that a batch touched, each of them once.

Gradient clipping: one norm of all gradients, table rows summed, is held below a bound.

The optimisers behind one step: lazy Adam on touched table rows, a dense one on the rest.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recmtl.model import Network
from recmtl.train.config import Training

__all__ = ["Optimizer", "RowAdam", "clip", "summed"]

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
        from recmtl.train.row_kernels import move_rows

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


@torch.no_grad()
def clip(parameters: Iterable[Tensor], bound: float) -> None:
    """Scale all gradients by one factor so that their common norm is at most `bound`.

    Pascanu, Mikolov and Bengio (ICML 2013), algorithm 1. The norm is the root of the sum of the
    squares of all gradients as if they were one vector; a row of a table that was looked up several
    times counts once, with the sum of its gradients. Below the bound nothing changes by one bit.

    Args:
        parameters: all that is trained; sparse gradients become coalesced.
        bound: above 0.
    """
    gradients = [_values(p, p.grad) for p in parameters if p.grad is not None]
    if gradients:
        norm = torch.nn.utils.get_total_norm(gradients)
        factor = (bound / norm).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor)


def _values(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The gradient's numbers, in place; those of the distinct rows of a table."""
    if not gradient.is_sparse:
        return gradient
    if not gradient.is_coalesced():
        rows, values = summed(gradient)
        gradient = torch.sparse_coo_tensor(
            rows[None], values, gradient.shape, check_invariants=False, is_coalesced=True
        )
        parameter.grad = gradient
    return gradient._values()


class Optimizer:
    """Updates a model from its gradients; learning rates fall as the settings say.

    An embedding table's gradient is sparse and only the rows of the batch move. This is lazy
    Adam: moments of untouched rows do not decay, so it is another optimiser than dense Adam.
    """

    def __init__(self, model: Network, settings: Training, *, total_steps: int) -> None:
        tables = model.sparse_parameters()
        self.sparse: torch.optim.Optimizer | None = None
        if tables:
            self.sparse = RowAdam(tables, lr=settings.table_learning_rate)
        apart = {id(table) for table in tables}
        if settings.head_learning_rate is not None:
            apart |= {id(p) for p in model.heads.parameters()}
        groups = [{"params": [p for p in model.parameters() if id(p) not in apart]}]
        if settings.head_learning_rate is not None:
            groups.append({"params": list(model.heads.parameters())})
        self.dense = _dense(groups, settings)
        rates = (settings.learning_rate, settings.head_learning_rate)
        self.rates = [rate for rate in rates if rate is not None]
        self.settings, self.total_steps, self.steps = settings, max(1, total_steps), 0

    def add(self, loss: torch.Tensor) -> None:
        """Add the gradient of a scalar loss to what the next step will follow."""
        torch.autograd.backward(loss)

    def step(self, loss: torch.Tensor | None = None) -> None:
        """Take one step by the gradients added since the last one, and that of a scalar `loss`."""
        if loss is not None:
            self.add(loss)
        if self.settings.clip:
            groups = [group for part in self._parts() for group in part.param_groups]
            clip((p for group in groups for p in group["params"]), self.settings.clip)
        share = self._share()
        for group, rate in zip(self.dense.param_groups, self.rates, strict=True):
            group["lr"] = rate * share
        if self.sparse is not None:
            self.sparse.param_groups[0]["lr"] = self.settings.table_learning_rate * share
        for part in self._parts():
            part.step()
            part.zero_grad(set_to_none=True)
        self.steps += 1

    @property
    def progress(self) -> float:
        """Share of all steps that are taken."""
        return self.steps / self.total_steps

    def state_dict(self) -> dict[str, Any]:
        """Moments and position, for a checkpoint."""
        return {
            "sparse": None if self.sparse is None else self.sparse.state_dict(),
            "dense": self.dense.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict` data."""
        if self.sparse is not None:
            self.sparse.load_state_dict(state["sparse"])
        self.dense.load_state_dict(state["dense"])
        self.steps = state["steps"]

    def _parts(self) -> list[torch.optim.Optimizer]:
        return [self.dense] if self.sparse is None else [self.sparse, self.dense]

    def _share(self) -> float:
        """Of the first learning rates that is left at this step."""
        if self.settings.step_every:
            return float(self.settings.step_factor ** (self.steps // self.settings.step_every))
        return 1.0 - self.progress if self.settings.decay else 1.0


def _dense(groups: list[dict[str, Any]], settings: Training) -> torch.optim.Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        momentum = settings.betas[0]
        return torch.optim.SGD(groups, lr=rate, weight_decay=decay, momentum=momentum, fused=True)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate, weight_decay=decay, betas=settings.betas, fused=True)
