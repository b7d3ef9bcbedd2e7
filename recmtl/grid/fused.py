"""Training on a CPU in fewer passes over memory than torch's operations would take.

`dense`, `wide` and `mixed` compute the same sums as the plain expressions in their docstrings, with
gradients written by hand. Callers take the plain expressions wherever `is_supported` says no: on
another device, without gradients, in a graph that is being exported. The compiled loops are
imported where they are about to run, since Numba takes a moment to load.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["dense", "is_supported", "mixed", "wide"]


def is_supported(tensor: Tensor) -> bool:
    """Whether the functions below may replace torch's for a computation on this tensor."""
    return (
        tensor.device.type == "cpu"
        and tensor.dtype in (torch.float32, torch.float64)
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )


def dense(rows: Tensor, weight: Tensor, bias: Tensor, *, inner: bool = False) -> Tensor:
    """`relu(rows @ weight + bias)`: rows `[G, N, D]`, weight `[G, D, H]`, bias `[G, 1, H]`.

    `inner` promises that one product and nothing else reads the result. The gradient then belongs
    to this function alone, and is overwritten.
    """
    hidden: Tensor = _Dense.apply(rows, weight, bias, inner)  # type: ignore[no-untyped-call]
    return hidden


def wide(
    lane: Tensor,
    weight: Tensor,
    bias: Tensor,
    linear: tuple[Tensor, Tensor] | None = None,
    *,
    inner: bool = False,
) -> tuple[Tensor, Tensor]:
    """As `dense` if all groups read one lane `[N, D]`, and a linear map of the same lane.

    One function computes both because the lane's gradient is summed up in one place.

    Args:
        lane: rows that every group reads.
        weight: `[G, D, H]`.
        bias: `[G, 1, H]`.
        linear: weight `[L, D]` and bias `[L]` of the linear map.
        inner: as for `dense`.

    Returns:
        Hidden `[G, N, H]`, and the mapped lane `[N, L]`; without a linear map L is 0.
    """
    linear = linear or (lane.new_empty(0, lane.shape[1]), lane.new_empty(0))
    hidden, mapped = _Wide.apply(lane, weight, bias, *linear, inner)  # type: ignore[no-untyped-call]
    return hidden, mapped


def mixed(weights: Tensor, outputs: Tensor) -> Tensor:
    """The weighted sums `weights @ outputs` `[B, K, F]` of `[B, K, A]` and `[B, A, F]`."""
    sums: Tensor = _Mixed.apply(weights, outputs)  # type: ignore[no-untyped-call]
    return sums


def _hidden(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    from recmtl.grid.loops import add_and_relu  # Numba is slow to load

    hidden = torch.bmm(rows, weight)
    for group, group_bias in zip(hidden.numpy(), bias.numpy(), strict=True):
        add_and_relu(group, group_bias[0])
    return hidden


def _masked(gradient: Tensor, hidden: Tensor, *, inner: bool) -> tuple[Tensor, Tensor]:
    """The gradient `[G, N, H]`, 0 where ReLU was 0, and that of the bias `[G, 1, H]`."""
    from recmtl.grid.loops import relu_backward  # Numba is slow to load

    if inner:
        masked = gradient.contiguous()
    else:
        masked = gradient.clone(memory_format=torch.contiguous_format)
    sums = hidden.new_zeros(len(hidden), 1, hidden.shape[2])
    for group, activations, total in zip(masked.numpy(), hidden.numpy(), sums.numpy(), strict=True):
        relu_backward(group, activations, total[0])
    return masked, sums


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
        linear_weight: Tensor,
        linear_bias: Tensor,
        inner: bool,
    ) -> tuple[Tensor, Tensor]:
        hidden = _hidden(lane.expand(len(weight), *lane.shape), weight, bias)
        ctx.inner = inner
        ctx.save_for_backward(lane, weight, hidden, linear_weight)
        # A narrow product is faster on a matrix that lies in memory as it is read.
        return hidden, torch.addmm(linear_bias, lane, linear_weight.t().contiguous())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, of_linear: Tensor) -> tuple[Tensor | None, ...]:
        lane, weight, hidden, linear_weight = ctx.saved_tensors
        masked, sums = _masked(gradient, hidden, inner=ctx.inner)
        of_lane = None
        if ctx.needs_input_grad[0]:
            of_lane = of_linear @ linear_weight
            for group, group_weight in zip(masked, weight, strict=True):
                of_lane.addmm_(group, group_weight.t())
        of_weight = torch.bmm(lane.t().expand(len(weight), *lane.t().shape), masked)
        return of_lane, of_weight, sums, of_linear.t() @ lane, of_linear.sum(0), None


class _Mixed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, outputs: Tensor) -> Tensor:
        from recmtl.grid.loops import mix_forward  # Numba is slow to load

        # Experts write their outputs one after the other, so that this is mostly no copy.
        weights, stacked = weights.contiguous(), outputs.transpose(0, 1).contiguous()
        sums = weights.new_empty(*weights.shape[:2], stacked.shape[2])
        mix_forward(weights.numpy(), stacked.numpy(), sums.numpy())
        ctx.save_for_backward(weights, stacked)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        from recmtl.grid.loops import mix_backward  # Numba is slow to load

        weights, stacked = ctx.saved_tensors
        of_weights, of_outputs = torch.empty_like(weights), torch.empty_like(stacked)
        arrays = (gradient.contiguous(), weights, stacked, of_weights, of_outputs)
        mix_backward(*(array.numpy() for array in arrays))
        return of_weights, of_outputs.transpose(0, 1)
