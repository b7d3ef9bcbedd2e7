"""Compiled passes over the outputs of experts, each in place of three or four of torch's.

`recmtl.grid.fused` makes gradients of them. Arrays are float32 or float64 with contiguous rows. NaN
stays NaN, as in torch.
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
def relu_backward(gradient: Array, activations: Array, sums: Array) -> None:
    """Set gradients `[N, H]` to 0 where activations are 0, in place; add their sums to `[H]`."""
    zero = np.zeros(1, activations.dtype)[0]
    for n in range(len(gradient)):
        slope, row = gradient[n], activations[n]
        for h in range(len(sums)):
            value = zero if row[h] <= zero else slope[h]
            slope[h] = value
            sums[h] += value


@compiled
def mix_forward(weights: Array, outputs: Array, mixed: Array) -> None:
    """Write the weighted sums of outputs `[A, B, F]` by weights `[B, K, A]` into `[B, K, F]`."""
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
    """Write the gradients of weights and outputs, given that of their sums `[B, K, F]`."""
    zero = np.zeros(1, outputs.dtype)[0]
    for b in range(len(weights)):
        for a in range(weights.shape[2]):
            output, target = outputs[a, b], of_outputs[a, b]
            target[:] = 0
            for k in range(weights.shape[1]):
                weight, slope, product = weights[b, k, a], gradient[b, k], zero
                for f in range(len(target)):
                    target[f] += weight * slope[f]
                    product += slope[f] * output[f]
                of_weights[b, k, a] = product
