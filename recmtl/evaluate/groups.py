"""Groups of rows (users, requests), and the rows that have none.

A row without a group competes with no other row: metrics by group leave it out, and a bootstrap
that draws whole groups draws it alone. Were such rows one group, it would be the largest of all.
"""

import numpy as np
from numpy.typing import NDArray

from recmtl.data.encoded_log import NO_GROUP

__all__ = ["grouped_rows", "resampled_units"]


def grouped_rows(group: np.ndarray) -> NDArray[np.bool_]:
    """Where a row has a group, bool [R]: not `NO_GROUP`, and in other arrays not NaN or None.

    >>> grouped_rows(np.array([3, NO_GROUP, 0])).tolist()
    [True, False, True]
    """
    if group.dtype.kind in "iu":
        return np.asarray(group != NO_GROUP)
    if group.dtype.kind == "O":
        return np.array([value is not None and value == value for value in group], np.bool_)
    return np.asarray(group == group)


def resampled_units(group: np.ndarray | None, rows: int) -> NDArray[np.int64]:
    """Dense code 0..U-1 [rows] of what a bootstrap draws: groups, and each row without one.

    >>> resampled_units(np.array([7, NO_GROUP, 7, NO_GROUP]), 4).tolist()
    [0, 1, 0, 2]
    """
    if group is None:
        return np.arange(rows)
    has_group = grouped_rows(group)
    units = np.empty(rows, np.int64)
    values, units[has_group] = np.unique(group[has_group], return_inverse=True)
    alone = int(np.count_nonzero(~has_group))
    units[~has_group] = np.arange(len(values), len(values) + alone)
    return units
