"""The draws of `RareIds`, compiled: one pass over the ids of a batch, and no array of draws.

Only `RareIds` uses this module, and imports it at its first batch, since it loads numba.
"""

import numpy as np

from recmtl.compiled import Array, compiled

__all__ = ["replace_ids"]

# Splitmix64 (Steele, Lea, Flood 2014): its state is a counter, so that each id has a draw of its
# own whatever is drawn for the others.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX_A, _MIX_B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _40 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(40)
_UNIT = np.float32(2.0**-24)


@compiled
def replace_ids(
    ids: Array, chance: Array, unknown: Array, seed: Array, replaced: Array, first: int
) -> None:
    """Copy ids `[B, I]` to `replaced`, of which each becomes `unknown[column]` by its chance.

    Args:
        ids: rows of the embedding table.
        chance: of each row of the table.
        unknown: `[I]`.
        seed: `[1]`, uint64; equal seeds give equal draws.
        replaced: `[B, I]`, is written.
        first: number of ids of the whole batch before these.
    """
    state = seed[0] + np.uint64(first) * _STEP
    for b in range(ids.shape[0]):
        for i in range(ids.shape[1]):
            state += _STEP
            row = ids[b, i]
            if chance[row] > 0:
                mixed = (state ^ (state >> _30)) * _MIX_A
                mixed = (mixed ^ (mixed >> _27)) * _MIX_B
                mixed = mixed ^ (mixed >> _31)
                if np.float32(mixed >> _40) * _UNIT < chance[row]:
                    row = unknown[i]
            replaced[b, i] = row
