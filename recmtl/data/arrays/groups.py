"""Groups of rows that competed: their numbers, and rows read so that groups stay whole.

A pass over a log in which the rows of a group lie together reads it in long stretches, as any other
pass. Where they lie apart (groups are users, rows come by time), rows are read one by one, in the
order in which groups first appear.
"""

import numpy as np
import numpy.typing as npt

__all__ = [
    "Bools",
    "drawn_rows",
    "edges_between_groups",
    "group_numbers",
    "mixed_groups",
    "rows_by_group",
    "units_of",
]

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float32]
LARGEST_NUMBER = 1 << 24
"""Up to it float32 holds every whole number; further groups start from 0 again."""


def group_numbers(group: Ints, no_group: int) -> Numbers:
    """The number of each row's group in the order of first appearance, float32 `[R, 1]`.

    NaN on rows without a group (`no_group`), each of which is alone.

    >>> group_numbers(np.array([7, 5, 7, -1]), -1)[:, 0].tolist()
    [0.0, 1.0, 0.0, nan]
    """
    _, first, code = np.unique(np.asarray(group), return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    numbers = (place[code] % LARGEST_NUMBER).astype(np.float32)
    numbers[np.asarray(group) == no_group] = np.nan
    return numbers[:, np.newaxis]


def rows_by_group(
    member: Numbers, rows: npt.NDArray[np.integer] | None
) -> tuple[npt.NDArray[np.integer] | None, Bools]:
    """Row numbers in which groups follow one another, and at which of them a group begins.

    Args:
        member: numbers of groups `[R]`.
        rows: the rows to read, all if None; None is returned where their order stays.
    """
    member = member if rows is None else member[rows]
    order = np.argsort(member, kind="stable")
    if (order[1:] < order[:-1]).any():
        rows, member = order if rows is None else rows[order], member[order]
    is_first = np.ones(len(member), np.bool_)
    is_first[1:] = member[1:] != member[:-1]  # true of NaN
    return rows, is_first


def edges_between_groups(is_first: Bools, edges: Ints, block: int) -> Ints:
    """Starts of blocks, each moved to the next start of a group, if a block has room for that."""
    starts = np.flatnonzero(is_first)
    later = np.append(starts, len(is_first))[np.searchsorted(starts, edges)]
    moved = np.unique(np.where(later - edges < block, later, edges))
    return moved[moved < len(is_first)]


def mixed_groups(is_first: list[Bools], random: np.random.Generator) -> Ints:
    """An order of the rows of some blocks `[n]` in which whole groups are mixed.

    Args:
        is_first: of each block, at which of its rows a group begins; each block begins one.
        random: draws the order.
    """
    begins = np.concatenate(is_first)
    begins[np.cumsum([0, *(len(of_block) for of_block in is_first[:-1])])] = True
    group = np.cumsum(begins) - 1
    return np.argsort(random.permutation(int(group[-1]) + 1)[group], kind="stable")


def units_of(member: Numbers) -> Ints:
    """A code from 0 of each row `[R]`, equal within a group; rows without one have each its own."""
    is_alone = np.isnan(member)
    codes = np.where(is_alone, 0, member).astype(np.int64)
    codes[is_alone] = codes.max(initial=-1) + 1 + np.arange(np.count_nonzero(is_alone))
    return codes


def drawn_rows(count: int, of: int, units: Ints | None, random: np.random.Generator) -> Ints:
    """At most `count` of so many rows, sorted: single ones, or whole units but for the last."""
    if units is None:
        return np.sort(random.permutation(of)[:count])
    place = random.permutation(int(units.max(initial=-1)) + 1)[units]
    return np.sort(np.argsort(place, kind="stable")[:count])
