"""Target attention in training on a CPU: a block of histories at a time, gradients by hand.

The same sums as `TargetAttention.pooled` computes, in fewer passes over memory. A block is read
from the table, normalised, weighed and summed while it is in the processor's cache, and no longer
than its longest history: histories are taken in the order of their lengths, so that hardly any
padding is computed. The table's gradient has the rows that were read and no others.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["EVENTS", "SMALLEST", "read"]

EVENTS = 16_384
"""Events of a block, padding included: fewer cost calls of operations, more the cache."""
SMALLEST = 1e-12
"""Least squared length, for embeddings of zeros. The exporter of ONNX would drop it from a sum."""


def read(
    table: Tensor,
    ids: Tensor,
    target: Tensor,
    of_candidate: Tensor,
    weights: tuple[Tensor, Tensor, Tensor, Tensor],
    *,
    sparse: bool,
) -> tuple[Tensor, Tensor]:
    """Histories summed by their weights.

    Args:
        table: embeddings `[rows, lanes * size]`.
        ids: rows of the K aligned lists, `[B, length, K]`; 0 in the first list is padding.
        target: of each candidate the targets at length 1, `[lanes, B, T * size]`.
        of_candidate: what the candidate and the bias add to hidden units, `[lanes, B, H]`.
        weights: of events `[lanes, K * size, H]`, of products `[lanes, T * size, H]`, of hidden
            units `[lanes, H]`, and the weights' bias `[lanes]`.
        sparse: whether the table's gradient is sparse.

    Returns:
        The sums `[lanes, B, K * size]`, and the sums of the weights `[lanes, B]`.
    """
    inputs = (table, ids, target, of_candidate, *weights, sparse)
    pooled, totals = _Read.apply(*inputs)  # type: ignore[no-untyped-call]
    return pooled, totals


@dataclass(frozen=True)
class _Block:
    """Some histories, cut at the longest: B of them, of L events.

    Attributes:
        rows: which rows of the batch they are, `[B]`.
        ids: rows of the table, `[B, L, K]`.
        events: embeddings `[lanes, B, L, K, size]`.
        squares: their squared lengths `[lanes, B, L, K, 1]`.
        unit: embeddings at length 1, `[lanes, B, L, K * size]`.
        matrices: what maps `unit` to hidden units, one a candidate, `[lanes, B, K * size, H]`.
        hidden: `[lanes, B, L, H]`, after ReLU.
        weights: `[lanes, B, L]`; 0 of padding.
    """

    rows: Tensor
    ids: Tensor
    events: Tensor
    squares: Tensor
    unit: Tensor
    matrices: Tensor
    hidden: Tensor
    weights: Tensor


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        table: Tensor,
        ids: Tensor,
        target: Tensor,
        of_candidate: Tensor,
        of_events: Tensor,
        of_products: Tensor,
        out: Tensor,
        out_bias: Tensor,
        sparse: bool,
    ) -> tuple[Tensor, Tensor]:
        lanes, width = of_events.shape[:2]
        pooled, totals = target.new_zeros(lanes, len(ids), width), target.new_zeros(lanes, len(ids))
        unit = (of_events, of_products, out, out_bias)
        ctx.blocks = []
        for rows, length in _blocks(ids[:, :, 0] != 0):
            block = _read_block(table, ids[rows, :length], rows, target, of_candidate, unit)
            sums = torch.matmul(block.weights.unsqueeze(2), block.events.flatten(3))
            pooled[:, rows] = sums.squeeze(2)
            totals[:, rows] = block.weights.sum(2)
            ctx.blocks.append(block)
        ctx.sparse = sparse
        ctx.save_for_backward(table, target, of_candidate, *unit)
        return pooled, totals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_pooled: Tensor, of_totals: Tensor) -> tuple[Tensor | None, ...]:
        table, target, _, _, of_products, out, _ = ctx.saved_tensors
        sums = [torch.zeros_like(tensor) for tensor in ctx.saved_tensors[1:]]
        for_target, for_candidate, for_events, for_products, for_out, for_bias = sums
        rows_read, values = [], []
        for block in ctx.blocks:
            of_sums = of_pooled[:, block.rows]
            of_weights = torch.matmul(block.events.flatten(3), of_sums.unsqueeze(3)).squeeze(3)
            of_weights += of_totals[:, block.rows].unsqueeze(2)
            of_weights.masked_fill_(block.ids[:, :, 0] == 0, 0.0)
            for_bias += of_weights.sum((1, 2))
            flat = block.hidden.flatten(1, 2)
            for_out += torch.bmm(of_weights.flatten(1).unsqueeze(1), flat).squeeze(1)
            of_hidden = of_weights.unsqueeze(3) * out[:, None, None]
            of_hidden = torch.ops.aten.threshold_backward(of_hidden, block.hidden, 0)
            for_candidate[:, block.rows] = of_hidden.sum(2)
            of_matrices = torch.matmul(block.unit.transpose(2, 3), of_hidden)
            for_events += of_matrices.sum(1)
            of_matrices = of_matrices[:, :, : target.shape[2]]
            targets = target[:, block.rows].unsqueeze(3)
            for_products += (targets * of_matrices).sum(1)
            for_target[:, block.rows] = (of_matrices * of_products.unsqueeze(1)).sum(3)
            of_unit = torch.matmul(of_hidden, block.matrices.transpose(2, 3))
            of_embeddings = _of_embeddings(block, of_unit, of_sums)
            rows_read.append(block.ids.flatten())
            values.append(of_embeddings.permute(1, 2, 3, 0, 4).reshape(-1, table.shape[1]))
        ctx.blocks = []
        for_table = _table_gradient(table, rows_read, values, sparse=ctx.sparse)
        return for_table, None, *sums, None


def _blocks(real: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Rows with their longest history, the longest first; those without events are left out."""
    places = torch.arange(1, real.shape[1] + 1)
    lengths, order = (real * places).amax(1).sort(descending=True)
    ends = lengths.tolist()
    first = 0
    while first < len(ends) and ends[first]:
        count = max(1, EVENTS // ends[first])
        yield order[first : first + count], ends[first]
        first += count


def _read_block(
    table: Tensor,
    ids: Tensor,
    rows: Tensor,
    target: Tensor,
    of_candidate: Tensor,
    unit: tuple[Tensor, Tensor, Tensor, Tensor],
) -> _Block:
    of_events, of_products, out, out_bias = unit
    lanes, places = len(of_events), ids.shape
    embeddings = table.index_select(0, ids.flatten())
    events = embeddings.view(*places, lanes, -1).permute(3, 0, 1, 2, 4)
    squares = events.square().sum(-1, keepdim=True)
    lengthened = (events * squares.clamp_min(SMALLEST).rsqrt()).flatten(3)
    matrices = of_events.unsqueeze(1).repeat(1, len(rows), 1, 1)
    matrices[:, :, : target.shape[2]].addcmul_(
        target[:, rows].unsqueeze(3), of_products.unsqueeze(1)
    )
    hidden = torch.matmul(lengthened, matrices)
    hidden += of_candidate[:, rows].unsqueeze(2)
    hidden.relu_()
    weights = torch.matmul(hidden, out[:, None, :, None]).squeeze(3) + out_bias[:, None, None]
    weights.masked_fill_(ids[:, :, 0] == 0, 0.0)
    return _Block(rows, ids, events, squares, lengthened, matrices, hidden, weights)


def _of_embeddings(block: _Block, of_unit: Tensor, of_sums: Tensor) -> Tensor:
    """The gradient `[lanes, B, L, K, size]` of a block's embeddings.

    That of x / |x| is the gradient less its part along x, over |x|; lengths below the least count
    as constant.
    """
    shape = block.events.shape
    of_unit, unit = of_unit.view(shape), block.unit.view(shape)
    along = (of_unit * unit).sum(-1, keepdim=True) * (block.squares > SMALLEST)
    gradient = torch.addcmul(of_unit, unit, along, value=-1.0)
    gradient *= block.squares.clamp_min(SMALLEST).rsqrt()
    of_sums = of_sums.reshape(*shape[:2], 1, *shape[3:])
    return gradient.addcmul_(block.weights[..., None, None], of_sums)


def _table_gradient(
    table: Tensor, rows: list[Tensor], values: list[Tensor], *, sparse: bool
) -> Tensor:
    """The sum of all rows' gradients, by the table's row."""
    if not rows:
        rows, values = [torch.empty(0, dtype=torch.long)], [table.new_empty(0, table.shape[1])]
    places, gradients = torch.cat(rows).long().unsqueeze(0), torch.cat(values)
    gradient = torch.sparse_coo_tensor(places, gradients, table.shape, check_invariants=False)
    return gradient if sparse else gradient.to_dense()
