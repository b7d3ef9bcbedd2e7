"""What forests cost beside a network: measured, since a tree compares and does not multiply.

CPU seconds, so that neither other processes nor the number of threads change a figure much.
"""

import time
from collections.abc import Callable

import numpy as np

from recmtl.data.encoded_log import LogSplit
from recmtl.forest.forests import Forests

__all__ = ["forest_cost", "multiply_add_seconds"]

TIMED_ROWS, TIMES = 4096, 5
WIDE, NARROW = 256, 128
"""A product of the size of a network's first."""


def forest_cost(forests: Forests, rows: LogSplit) -> dict[str, float]:
    """The cost of forests on some rows, at least one.

    Returns:
        `trees`, `leaves` (what was fitted), `cpu_us_per_row`, and `multiply_adds`: those of a
        network that would take as long on this machine.
    """
    ids, numeric = np.asarray(rows.ids[:TIMED_ROWS]), np.asarray(rows.numeric[:TIMED_ROWS])
    seconds = _fastest(lambda: forests.with_trees(ids, numeric)) / len(ids)
    return {
        "trees": sum(forest.booster.num_trees() for forest in forests.forests),
        "leaves": forests.leaves,
        "cpu_us_per_row": 1e6 * seconds,
        "multiply_adds": round(seconds / multiply_add_seconds()),
    }


def multiply_add_seconds() -> float:
    """CPU seconds of a multiply-add within a matrix product of a network's size, in float32."""
    x, weights = np.ones((TIMED_ROWS, WIDE), np.float32), np.ones((WIDE, NARROW), np.float32)
    return _fastest(lambda: x @ weights) / (TIMED_ROWS * WIDE * NARROW)


def _fastest(work: Callable[[], object]) -> float:
    """CPU seconds of the fastest of a few runs."""
    seconds = []
    for _ in range(TIMES):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return max(min(seconds), 1e-9)
