"""The rows of a table that a batch touched, moved by Adam in one compiled pass."""

import numpy as np

from recmtl.compiled import Array, compiled

__all__ = ["move_rows"]


@compiled
def move_rows(
    rows: Array,
    gradient: Array,
    distinct: Array,
    sums: Array,
    places: Array,
    table: Array,
    means: Array,
    squares: Array,
    numbers: Array,
) -> None:
    """One step of Adam for rows `[N]`, which may come several times, with gradients `[N, D]`.

    `distinct` `[N]` and `sums` `[N, D]` are room for those that differ; `places` `[all rows]` is
    -1 before and after. `numbers` are the weight of what is new in the first moment, of what is
    kept and what is new in the second, epsilon and the step's rate.
    """
    new, kept_square, new_square = numbers[0], numbers[1], numbers[2]
    epsilon, rate = numbers[3], numbers[4]
    found, size = 0, table.shape[1]
    for n in range(len(rows)):
        place = places[rows[n]]
        if place < 0:
            places[rows[n]] = found
            distinct[found] = rows[n]
            for d in range(size):
                sums[found, d] = gradient[n, d]
            found += 1
        else:
            for d in range(size):
                sums[place, d] += gradient[n, d]
    for n in range(found):
        row = distinct[n]
        places[row] = -1
        for d in range(size):
            mean = means[row, d] + (sums[n, d] - means[row, d]) * new
            square = squares[row, d] * kept_square + sums[n, d] * sums[n, d] * new_square
            means[row, d], squares[row, d] = mean, square
            table[row, d] -= rate * mean / (np.sqrt(square) + epsilon)
