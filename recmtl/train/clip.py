"""Gradient clipping: one norm of all gradients, table rows summed, is held below a bound."""

from collections.abc import Iterable

import torch
from torch import Tensor

from recmtl.train.row_adam import summed

__all__ = ["clip"]


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
