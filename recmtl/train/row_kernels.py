"""Adam for the touched rows of an embedding table, compiled: two passes and no sort.

Only `RowAdam` uses this module, and imports it at its first step, since it loads numba.
"""

import numpy as np

from recmtl.compiled import Array, compiled

__all__ = ["move_rows"]


@compiled
def move_rows(
    rows: Array,
    gradient: Array,
    distinct: Array,
    sums: Array,
    slots: Array,
    table: Array,
    means: Array,
    squares: Array,
    numbers: Array,
) -> None:
    """One step of Adam for rows `[N]`, repeated ones included, with gradients `[N, D]`.

    Args:
        rows: row numbers of the table.
        gradient: one gradient for each of them; those of equal rows are added.
        distinct: work space `[N]` for the distinct rows.
        sums: work space `[N, D]` for their summed gradients.
        slots: work space, one entry for each row of the table, -1 before and after the call.
        table: weights, updated in place.
        means: first moments, updated in place.
        squares: second moments, updated in place.
        numbers: weight of the new value in the first moment; weights of the old and of the new
            value in the second; epsilon; step size.
    """
    new, kept_square, new_square = numbers[0], numbers[1], numbers[2]
    epsilon, rate = numbers[3], numbers[4]
    count, size = 0, table.shape[1]
    for n in range(len(rows)):
        slot = slots[rows[n]]
        if slot < 0:
            slots[rows[n]] = count
            distinct[count] = rows[n]
            for d in range(size):
                sums[count, d] = gradient[n, d]
            count += 1
        else:
            for d in range(size):
                sums[slot, d] += gradient[n, d]
    for n in range(count):
        row = distinct[n]
        slots[row] = -1
        for d in range(size):
            mean = means[row, d] + (sums[n, d] - means[row, d]) * new
            square = squares[row, d] * kept_square + sums[n, d] * sums[n, d] * new_square
            means[row, d], squares[row, d] = mean, square
            table[row, d] -= rate * mean / (np.sqrt(square) + epsilon)
