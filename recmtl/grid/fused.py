"""What training on a CPU does in fewer passes over memory than torch's operations would.

The same sums as the plain expressions, with gradients written by hand; everything else (another
device, no gradient, a graph that is being exported) takes those.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["dense", "is_supported", "mixed", "wide"]


def is_supported(tensor: Tensor) -> bool:
    """Whether the functions below may take the place of torch's for a computation on it."""
    return (
        tensor.device.type == "cpu"
        and tensor.dtype in (torch.float32, torch.float64)
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )


def dense(rows: Tensor, weight: Tensor, bias: Tensor, *, inner: bool = False) -> Tensor:
    """`relu(rows @ weight + bias)`: rows `[G, N, D]`, weight `[G, D, H]`, bias `[G, 1, H]`.

    `inner` says that one product and nothing else reads the result: its gradient is then made for
    this alone, and is overwritten.
    """
    hidden: Tensor = _Dense.apply(rows, weight, bias, inner)  # type: ignore[no-untyped-call]
    return hidden


def wide(
    lane: Tensor,
    weight: Tensor,
    bias: Tensor,
    beside: tuple[Tensor, Tensor] | None = None,
    *,
    inner: bool = False,
) -> tuple[Tensor, Tensor]:
    """As `dense` where all groups read one lane `[N, D]`, and a linear map of the lane beside.

    The lane's gradient is summed up in one place, which is why the map is here.

    Returns:
        Hidden `[G, N, H]`, and `[N, L]`, what weight `[L, D]` and bias `[L]` of `beside` make of
        the lane; without them L is 0.
    """
    beside = beside or (lane.new_empty(0, lane.shape[1]), lane.new_empty(0))
    hidden, also = _Wide.apply(lane, weight, bias, *beside, inner)  # type: ignore[no-untyped-call]
    return hidden, also


def mixed(weights: Tensor, outputs: Tensor) -> Tensor:
    """Weights `[B, K, A]` and outputs `[B, A, F]` to their weighted sums `[B, K, F]`."""
    sums: Tensor = _Mixed.apply(weights, outputs)  # type: ignore[no-untyped-call]
    return sums


def _hidden(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    from recmtl.grid.loops import add_and_relu

    hidden = torch.bmm(rows, weight)
    for group, own in zip(hidden.numpy(), bias.numpy(), strict=True):
        add_and_relu(group, own[0])
    return hidden


def _masked(gradient: Tensor, hidden: Tensor, *, inner: bool) -> tuple[Tensor, Tensor]:
    """The gradient `[G, N, H]` where ReLU let something through, and that of the bias."""
    from recmtl.grid.loops import relu_backward

    own = gradient.contiguous() if inner else gradient.clone(memory_format=torch.contiguous_format)
    sums = hidden.new_zeros(len(hidden), 1, hidden.shape[2])
    for given, seen, total in zip(own.numpy(), hidden.numpy(), sums.numpy(), strict=True):
        relu_backward(given, seen, total[0])
    return own, sums


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, inner: bool) -> Tensor:
        hidden = _hidden(rows, weight, bias)
        ctx.inner = inner
        ctx.save_for_backward(rows, weight, hidden)
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, hidden = ctx.saved_tensors
        masked, sums = _masked(gradient, hidden, inner=ctx.inner)
        of_rows = torch.bmm(masked, weight.transpose(1, 2)) if ctx.needs_input_grad[0] else None
        return of_rows, torch.bmm(rows.transpose(1, 2), masked), sums, None


class _Wide(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        lane: Tensor,
        weight: Tensor,
        bias: Tensor,
        beside: Tensor,
        also: Tensor,
        inner: bool,
    ) -> tuple[Tensor, Tensor]:
        hidden = _hidden(lane.expand(len(weight), *lane.shape), weight, bias)
        ctx.inner = inner
        ctx.save_for_backward(lane, weight, hidden, beside)
        # A narrow product is faster where its matrix lies as it is read.
        return hidden, torch.addmm(also, lane, beside.t().contiguous())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, of_linear: Tensor) -> tuple[Tensor | None, ...]:
        lane, weight, hidden, beside = ctx.saved_tensors
        masked, sums = _masked(gradient, hidden, inner=ctx.inner)
        of_lane = None
        if ctx.needs_input_grad[0]:
            of_lane = of_linear @ beside
            for group, own in zip(masked, weight, strict=True):
                of_lane.addmm_(group, own.t())
        of_weight = torch.bmm(lane.t().expand(len(weight), *lane.t().shape), masked)
        return of_lane, of_weight, sums, of_linear.t() @ lane, of_linear.sum(0), None


class _Mixed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, outputs: Tensor) -> Tensor:
        from recmtl.grid.loops import mix_forward

        # Experts leave their outputs one after the other: mostly no copy.
        weights, stacked = weights.contiguous(), outputs.transpose(0, 1).contiguous()
        sums = weights.new_empty(*weights.shape[:2], stacked.shape[2])
        mix_forward(weights.numpy(), stacked.numpy(), sums.numpy())
        ctx.save_for_backward(weights, stacked)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        from recmtl.grid.loops import mix_backward

        weights, stacked = ctx.saved_tensors
        of_weights, of_outputs = torch.empty_like(weights), torch.empty_like(stacked)
        arrays = (gradient.contiguous(), weights, stacked, of_weights, of_outputs)
        mix_backward(*(array.numpy() for array in arrays))
        return of_weights, of_outputs.transpose(0, 1)
