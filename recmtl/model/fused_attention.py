"""Target attention in training on a CPU: a block of histories at a time, gradients by hand.

The same sums as `TargetAttention.forward` computes, in fewer passes over memory. A block is read
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
        squares: their squared lengths `[lanes, B * L * K]`.
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
        from recmtl.model import attention_loops as loops  # Numba is slow to load

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
            of_hidden = torch.empty_like(block.hidden)
            of_shifts = torch.empty_like(for_candidate[:, block.rows])
            for lane in range(len(out)):
                loops.weigh_backward(
                    *_arrays(of_weights[lane], block.hidden[lane], out[lane]),
                    *_arrays(of_hidden[lane], of_shifts[lane], for_out[lane]),
                )
            for_candidate[:, block.rows] = of_shifts
            of_matrices = torch.matmul(block.unit.transpose(2, 3), of_hidden)
            for_events += of_matrices.sum(1)
            of_matrices = of_matrices[:, :, : target.shape[2]]
            targets = target[:, block.rows].unsqueeze(3)
            for_products += (targets * of_matrices).sum(1)
            for_target[:, block.rows] = (of_matrices * of_products.unsqueeze(1)).sum(3)
            of_unit = torch.matmul(of_hidden, block.matrices.transpose(2, 3))
            rows_read.append(block.ids.flatten())
            values.append(_of_embeddings(block, of_unit, of_sums))
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
    from recmtl.model import attention_loops as loops  # Numba is slow to load

    of_events, of_products, out, out_bias = unit
    lanes, places = len(of_events), ids.shape
    embeddings = table.index_select(0, ids.flatten()).view(ids.numel(), lanes, -1)
    flat = embeddings.new_empty(lanes, ids.numel(), embeddings.shape[2])
    squares = flat.new_empty(flat.shape[:2])
    vectors, at_length_1, of_vectors = _arrays(embeddings, flat, squares)
    loops.normalise(vectors, at_length_1, of_vectors, SMALLEST)
    lengthened = flat.view(lanes, *places[:2], -1)
    matrices = of_events.unsqueeze(1).repeat(1, len(rows), 1, 1)
    matrices[:, :, : target.shape[2]].addcmul_(
        target[:, rows].unsqueeze(3), of_products.unsqueeze(1)
    )
    hidden = torch.matmul(lengthened, matrices)
    weights = hidden.new_empty(hidden.shape[:3])
    shifts = of_candidate[:, rows]
    for lane in range(lanes):
        loops.weigh(
            *_arrays(
                hidden[lane], shifts[lane], out[lane], out_bias[lane : lane + 1], weights[lane]
            )
        )
    events = embeddings.view(*places, lanes, -1).permute(3, 0, 1, 2, 4)
    weights.masked_fill_(ids[:, :, 0] == 0, 0.0)
    return _Block(rows, ids, events, squares, lengthened, matrices, hidden, weights)


def _of_embeddings(block: _Block, of_unit: Tensor, of_sums: Tensor) -> Tensor:
    """The gradient `[B * L * K, lanes * size]` of a block's embeddings."""
    from recmtl.model import attention_loops as loops  # Numba is slow to load

    shape = block.events.shape
    gradient = of_unit.new_empty(*shape[1:4], shape[0], shape[4])
    of_unit, squares = of_unit.view(shape), block.squares.view(shape[:4])
    slopes, unit, lengths = _arrays(of_unit, block.unit.view(shape), squares)
    of_sums = of_sums.reshape(*shape[:2], *shape[3:])
    weights, of_pooled, target = _arrays(block.weights, of_sums, gradient)
    loops.normalise_backward(slopes, unit, lengths, weights, of_pooled, target, SMALLEST)
    return gradient.view(-1, shape[0] * shape[4])


def _arrays(*tensors: Tensor) -> list[Any]:
    """The tensors as NumPy's arrays; what a loop writes to is contiguous already."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _table_gradient(
    table: Tensor, rows: list[Tensor], values: list[Tensor], *, sparse: bool
) -> Tensor:
    """The sum of all rows' gradients, by the table's row."""
    if not rows:
        rows, values = [torch.empty(0, dtype=torch.long)], [table.new_empty(0, table.shape[1])]
    places, gradients = torch.cat(rows).long().unsqueeze(0), torch.cat(values)
    gradient = torch.sparse_coo_tensor(places, gradients, table.shape, check_invariants=False)
    return gradient if sparse else gradient.to_dense()
