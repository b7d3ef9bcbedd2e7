"""The pairs of rows in the right order, counted in one pass with a tree of sums (Fenwick 1994)."""

from recmtl.compiled import Array, compiled

__all__ = ["ordered_pairs", "ordered_pairs_of_groups"]


@compiled
def ordered_pairs(label: Array, place: Array, weight: Array) -> tuple[float, float]:
    """Weight of pairs in the right order, and of all pairs with different labels.

    Args:
        label: `[R]`, ascending.
        place: of each prediction among the distinct ones `[R]`, from 1.
        weight: of each row `[R]`.
    """
    size = 0
    for row in range(len(place)):
        size = max(size, place[row])
    sums = [0.0] * (size + 1)
    right, pairs, below, first = 0.0, 0.0, 0.0, 0
    for row in range(len(label)):
        if label[row] != label[first]:
            for earlier in range(first, row):
                below += weight[earlier]
                at = place[earlier]
                while at <= size:
                    sums[at] += weight[earlier]
                    at += at & -at
            first = row
        under, at = 0.0, place[row] - 1
        while at > 0:
            under += sums[at]
            at -= at & -at
        reached, at = 0.0, place[row]
        while at > 0:
            reached += sums[at]
            at -= at & -at
        right += weight[row] * 0.5 * (under + reached)
        pairs += weight[row] * below
    return right, pairs


@compiled
def ordered_pairs_of_groups(
    starts: Array,
    ends: Array,
    label: Array,
    place: Array,
    weight: Array,
    right: Array,
    pairs: Array,
) -> None:
    """`ordered_pairs` of each group, whose rows are `starts` to `ends`, into `right` and `pairs`.

    Rows are sorted by group and label, and places of predictions begin at 1 in every group.
    """
    for group in range(len(starts)):
        first, last = starts[group], ends[group]
        right[group], pairs[group] = ordered_pairs(
            label[first:last], place[first:last], weight[first:last]
        )
