"""Compiled passes over the events of histories, each in place of three to six of torch's.

`recmtl.model.fused_attention` makes gradients of them. Arrays are contiguous, of one lane where a
docstring names none: B histories of L events, K lists, embeddings of S features, H hidden units.
"""

import numpy as np

from recmtl.compiled import Array, compiled

__all__ = ["normalise", "normalise_backward", "weigh", "weigh_backward"]


@compiled
def normalise(events: Array, unit: Array, squares: Array, smallest: float) -> None:
    """Write embeddings `[N, lanes, S]` at length 1 to `[lanes, N, S]`, and squares `[lanes, N]`."""
    zero, unity = np.zeros(1, events.dtype)[0], np.ones(1, events.dtype)[0]
    least = np.full(1, smallest, events.dtype)[0]
    for n in range(len(events)):
        for lane in range(events.shape[1]):
            row, target, square = events[n, lane], unit[lane, n], zero
            for s in range(len(row)):
                square += row[s] * row[s]
            squares[lane, n] = square
            scale = unity / np.sqrt(max(square, least))
            for s in range(len(row)):
                target[s] = row[s] * scale


@compiled
def weigh(hidden: Array, of_candidate: Array, out: Array, bias: Array, weights: Array) -> None:
    """Hidden units `[B, L, H]` become `relu(hidden + of_candidate)` in place; write the weights.

    These `[B, L]` are `hidden @ out + bias`; `of_candidate` is `[B, H]`, `out` `[H]`, `bias` `[1]`.
    """
    zero = np.zeros(1, hidden.dtype)[0]
    for b in range(len(hidden)):
        shift = of_candidate[b]
        for event in range(hidden.shape[1]):
            row, weight = hidden[b, event], bias[0]
            for h in range(len(out)):
                value = row[h] + shift[h]
                value = zero if value < zero else value
                row[h] = value
                weight += value * out[h]
            weights[b, event] = weight


@compiled
def weigh_backward(
    of_weights: Array,
    hidden: Array,
    out: Array,
    of_hidden: Array,
    of_candidate: Array,
    of_out: Array,
) -> None:
    """Write the gradients of what `weigh` maps, given that of the weights `[B, L]`.

    Those of hidden units `[B, L, H]` and of what the candidate adds `[B, H]` are written, that of
    `out` `[H]` is added.
    """
    zero = np.zeros(1, hidden.dtype)[0]
    for b in range(len(hidden)):
        sums = of_candidate[b]
        sums[:] = 0
        for event in range(hidden.shape[1]):
            row, target, slope = hidden[b, event], of_hidden[b, event], of_weights[b, event]
            for h in range(len(out)):
                of_out[h] += slope * row[h]
                value = zero if row[h] <= zero else slope * out[h]
                target[h] = value
                sums[h] += value


@compiled
def normalise_backward(
    of_unit: Array,
    unit: Array,
    squares: Array,
    weights: Array,
    of_sums: Array,
    gradient: Array,
    smallest: float,
) -> None:
    """Write the gradients of embeddings `[B, L, K, lanes, S]`: of `normalise`, and of the sums.

    That of x / |x| is the gradient less its part along x, over |x|; lengths below the least count
    as constant. A sum weighs embeddings by `weights`.

    Args:
        of_unit: gradient `[lanes, B, L, K, S]` of the embeddings at length 1.
        unit: these, in the same shape.
        squares: `[lanes, B, L, K]`.
        weights: `[lanes, B, L]`.
        of_sums: gradient `[lanes, B, K, S]` of the sums over the events.
        gradient: is written.
        smallest: the least square.
    """
    zero, unity = np.zeros(1, unit.dtype)[0], np.ones(1, unit.dtype)[0]
    least = np.full(1, smallest, unit.dtype)[0]
    for b in range(gradient.shape[0]):
        for event in range(gradient.shape[1]):
            for k in range(gradient.shape[2]):
                for lane in range(gradient.shape[3]):
                    slope, row = of_unit[lane, b, event, k], unit[lane, b, event, k]
                    of_sum, weight = of_sums[lane, b, k], weights[lane, b, event]
                    square, along = squares[lane, b, event, k], zero
                    for s in range(len(row)):
                        along += slope[s] * row[s]
                    along = along if square > least else zero
                    scale = unity / np.sqrt(max(square, least))
                    target = gradient[b, event, k, lane]
                    for s in range(len(row)):
                        target[s] = (slope[s] - along * row[s]) * scale + weight * of_sum[s]
