"""The optimizer of a network: lazy Adam on embedding rows, a dense optimizer on everything else.

`Optimizer` combines both with gradient clipping and learning-rate decay. `RowAdam` and
`clip_gradients` work on sparse gradients without making another sparse tensor.
"""

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recmtl.model import Network
from recmtl.model.rank_steps import mean_gradients
from recmtl.train.config import Training
from recmtl.train.recipe.averaging import AveragedWeights
from recmtl.train.recipe.make_weighting import make_weighting

__all__ = ["Optimizer", "RowAdam", "clip_gradients", "sum_by_row"]

TableArrays = tuple[Tensor, Tensor, Tensor]
"""A table and the first and second moments of its rows, `[rows, D]` each."""
StepNumbers = tuple[float, float, float, float]
"""Decay of the first and of the second moment, epsilon, step size."""


class Optimizer:
    """Updates a model from its gradients; learning rates fall as the settings say.

    An embedding table's gradient is sparse, and only the rows of the batch move. This is lazy
    Adam: moments of untouched rows do not decay, so the result differs from that of dense Adam.

    Args:
        model: the network to train.
        settings: learning rates, weight decay, clipping and decay.
        total_steps: number of steps over which learning rates fall.

    Attributes:
        weighting: of the tasks' losses, for those who take steps; its state is part of this one's.
        average: of the weights over the steps; None if none is kept.
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
        self.weighting = make_weighting(model, settings)
        self.average: AveragedWeights | None = None
        if settings.average:
            sparse = {id(table) for table in tables}
            dense = [p for p in model.parameters() if id(p) not in sparse]
            self.average = AveragedWeights(dense, tables, decay=settings.average)

    def add(self, loss: torch.Tensor) -> None:
        """Add the gradient of a scalar loss to those that the next step follows."""
        torch.autograd.backward(loss)

    def step(self, loss: torch.Tensor | None = None) -> None:
        """Follow the gradients added since the last step, and that of a scalar `loss` if given."""
        if loss is not None:
            self.add(loss)
        tables = [] if self.sparse is None else _parameters(self.sparse)
        mean_gradients(_parameters(self.dense), tables)
        if self.settings.clip:
            clip_gradients([*tables, *_parameters(self.dense)], self.settings.clip)
        share = self._rate_share()
        for group, rate in zip(self.dense.param_groups, self.rates, strict=True):
            group["lr"] = rate * share
        if self.sparse is not None:
            self.sparse.param_groups[0]["lr"] = self.settings.table_learning_rate * share
        moving = None if self.average is None else self.average.before_step()
        for part in self._parts():
            part.step()
            part.zero_grad(set_to_none=True)
        self.steps += 1
        if self.average is not None and moving is not None:
            self.average.after_step(moving)

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the network has its averaged weights, if any are kept."""
        return nullcontext() if self.average is None else self.average.in_place()

    @property
    def progress(self) -> float:
        """Share of the total steps taken so far, from 0 to 1."""
        return self.steps / self.total_steps

    def state_dict(self) -> dict[str, Any]:
        """Moments and number of steps, for a checkpoint."""
        return {
            "sparse": None if self.sparse is None else self.sparse.state_dict(),
            "dense": self.dense.state_dict(),
            "weighting": self.weighting.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state_dict` data."""
        if self.sparse is not None:
            self.sparse.load_state_dict(state["sparse"])
        self.dense.load_state_dict(state["dense"])
        if state.get("weighting"):  # fixed weights have no state, and old checkpoints none
            self.weighting.load_state_dict(state["weighting"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.steps = state["steps"]

    def _parts(self) -> list[torch.optim.Optimizer]:
        return [self.dense] if self.sparse is None else [self.sparse, self.dense]

    def _rate_share(self) -> float:
        """Factor of the initial learning rates at this step."""
        settings, progress = self.settings, self.progress
        if progress < settings.warm_up:
            return (self.steps + 1) / math.ceil(settings.warm_up * self.total_steps)
        if settings.step_every:
            return float(settings.step_factor ** (self.steps // settings.step_every))
        if settings.warm_up:
            progress = (progress - settings.warm_up) / (1.0 - settings.warm_up)
        if settings.decay == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * progress))
        return 1.0 - progress if settings.decay else 1.0


def _parameters(part: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in part.param_groups for parameter in group["params"]]


def _dense(groups: list[dict[str, Any]], settings: Training) -> torch.optim.Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        momentum = settings.betas[0]
        return torch.optim.SGD(groups, lr=rate, weight_decay=decay, momentum=momentum, fused=True)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate, weight_decay=decay, betas=settings.betas, fused=True)


class RowAdam(torch.optim.Optimizer):
    """Lazy Adam with the results and the state of `torch.optim.SparseAdam`, in less time.

    Kingma and Ba (ICLR 2015), algorithm 1, applied to the rows of a sparse gradient alone: moments
    of other rows do not decay. Reading: epsilon is added before the bias of the second moment is
    corrected, as in `SparseAdam`.

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
        # Work space of `move_rows`, one entry for each row; not part of the state.
        self._slots: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move the rows that have gradients; `closure` is never called."""
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
            self._move_compiled(arrays, gradient, (first, second, group["eps"], rate))
        else:
            _move_with_torch(arrays, *sum_by_row(gradient), (first, second, group["eps"], rate))

    def _move_compiled(self, arrays: TableArrays, gradient: Tensor, numbers: StepNumbers) -> None:
        """One compiled pass over the gradient's rows, and one over the distinct rows."""
        from recmtl.train.row_kernels import move_rows  # numba loads slowly; scoring needs none

        table, rows = arrays[0], gradient._indices()[0]
        if table not in self._slots:
            self._slots[table] = torch.full((len(table),), -1, dtype=torch.int32)
        values = gradient._values().contiguous()
        work_space = (torch.empty_like(rows), torch.empty_like(values), self._slots[table])
        first, second, epsilon, rate = numbers
        factors = torch.tensor(
            [1.0 - first, second, 1.0 - second, epsilon, rate], dtype=table.dtype
        )
        move_rows(*(a.detach().numpy() for a in (rows, values, *work_space, *arrays, factors)))


def _move_with_torch(
    arrays: TableArrays, rows: Tensor, gradient: Tensor, numbers: StepNumbers
) -> None:
    """The same step in PyTorch, for any device: distinct rows `[R]`, their gradients `[R, D]`."""
    (table, means, squares), (first, second, epsilon, rate) = arrays, numbers
    mean = means.index_select(0, rows).lerp_(gradient, 1.0 - first)
    means.index_copy_(0, rows, mean)
    square = squares.index_select(0, rows)
    square.mul_(second).addcmul_(gradient, gradient, value=1.0 - second)
    squares.index_copy_(0, rows, square)
    direction = mean.div_(square.sqrt_().add_(epsilon))
    # Adding to rows in place costs three times as much as copying them out and back.
    table.index_copy_(0, rows, table.index_select(0, rows).sub_(direction, alpha=rate))


@torch.no_grad()
def clip_gradients(parameters: Iterable[Tensor], bound: float) -> None:
    """Scale all gradients by one factor so that their common norm is at most `bound`.

    Pascanu, Mikolov and Bengio (ICML 2013), algorithm 1. The norm is that of all gradients written
    as one vector. A table row that was looked up several times counts once, with the sum of its
    gradients. If the norm is below the bound, no bit changes.

    Args:
        parameters: everything that is trained; sparse gradients become coalesced.
        bound: above 0.
    """
    gradients = [_gradient_values(p, p.grad) for p in parameters if p.grad is not None]
    if gradients:
        norm = torch.nn.utils.get_total_norm(gradients)
        factor = (bound / norm).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor)


def _gradient_values(parameter: Tensor, gradient: Tensor) -> Tensor:
    """A view of the gradient's numbers, of a table those of its distinct rows."""
    if not gradient.is_sparse:
        return gradient
    if not gradient.is_coalesced():
        rows, values = sum_by_row(gradient)
        gradient = torch.sparse_coo_tensor(
            rows[None], values, gradient.shape, check_invariants=False, is_coalesced=True
        )
        parameter.grad = gradient
    return gradient._values()


def sum_by_row(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows `[R]` of a sparse gradient, ascending, and their sums `[R, D]`."""
    indices, values = gradient._indices()[0], gradient._values()
    if gradient.is_coalesced():
        return indices, values
    grouped = grouped_by_numpy if indices.device.type == "cpu" else grouped_by_torch
    rows, order, starts = grouped(indices)
    return rows, functional.embedding_bag(order, values, starts, mode="sum")


def grouped_by_torch(indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct indices ascending; positions sorted by index; where each index starts in them."""
    ordered, order = indices.sort(stable=True)
    rows, counts = torch.unique_consecutive(ordered, return_counts=True)
    return rows, order, counts.cumsum(0) - counts


def grouped_by_numpy(indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Equal to `grouped_by_torch` in a third of its time: index and position sorted as one number.

    >>> [part.tolist() for part in grouped_by_numpy(torch.tensor([7, 2, 7]))]
    [[2, 7], [1, 0, 2], [0, 1]]
    """
    bits = len(indices).bit_length()
    packed = np.sort(indices.numpy() << bits | np.arange(len(indices)))
    ordered, order = packed >> bits, packed & ((1 << bits) - 1)
    first = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    starts = first.nonzero()[0]
    return torch.from_numpy(ordered[starts]), torch.from_numpy(order), torch.from_numpy(starts)
