"""Compiled passes over what experts make, each in place of three or four of torch's.

Arrays are float32 or float64 with contiguous rows. NaN stays NaN, as in torch.
"""

import numpy as np

from recmtl.compiled import Array, compiled

__all__ = ["add_and_relu", "mix_backward", "mix_forward", "relu_backward"]


@compiled
def add_and_relu(products: Array, bias: Array) -> None:
    """`relu(products + bias)` in place: products `[N, H]`, bias `[H]`."""
    zero = np.zeros(1, products.dtype)[0]
    for n in range(len(products)):
        row = products[n]
        for h in range(len(bias)):
            value = row[h] + bias[h]
            row[h] = zero if value < zero else value


@compiled
def relu_backward(gradient: Array, seen: Array, sums: Array) -> None:
    """Gradients `[N, H]` to zero where ReLU let nothing through, in place; their sums to `[H]`."""
    zero = np.zeros(1, seen.dtype)[0]
    for n in range(len(gradient)):
        given, row = gradient[n], seen[n]
        for h in range(len(sums)):
            value = zero if row[h] <= zero else given[h]
            given[h] = value
            sums[h] += value


@compiled
def mix_forward(weights: Array, outputs: Array, mixed: Array) -> None:
    """Weights `[B, K, A]`, outputs `[A, B, F]` to `mixed` `[B, K, F]`: their weighted sums."""
    for b in range(len(weights)):
        for k in range(weights.shape[1]):
            target = mixed[b, k]
            target[:] = 0
            for a in range(weights.shape[2]):
                weight, output = weights[b, k, a], outputs[a, b]
                for f in range(len(target)):
                    target[f] += weight * output[f]


@compiled
def mix_backward(
    gradient: Array, weights: Array, outputs: Array, of_weights: Array, of_outputs: Array
) -> None:
    """The gradients of weights and outputs from that of their weighted sums `[B, K, F]`."""
    zero = np.zeros(1, outputs.dtype)[0]
    for b in range(len(weights)):
        for a in range(weights.shape[2]):
            output, target = outputs[a, b], of_outputs[a, b]
            target[:] = 0
            for k in range(weights.shape[1]):
                weight, given, product = weights[b, k, a], gradient[b, k], zero
                for f in range(len(target)):
                    target[f] += weight * given[f]
                    product += given[f] * output[f]
                of_weights[b, k, a] = product
