"""Ids as trees see them."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recmtl.forest.columns import Codes


def test_codes_go_by_descending_frequency_and_mark_the_unseen():
    codes = Codes.fit(np.array([7, 7, 9, 9, 9, 5], np.int32))
    assert codes(np.array([9, 7, 5, 6, 4, 10, 0], np.int32)).tolist() == [0, 1, 2, -1, -1, -1, -1]


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 12)))
def test_codes_are_ranks_of_frequency(seen, asked):
    """Ties go to the smaller id; what no train row has is -1."""
    counts = Counter(seen)
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    expected = [ranked.index(value) if value in counts else -1 for value in asked]
    codes = Codes.fit(np.array(seen, np.int32))
    assert codes(np.array(asked, np.int32)).tolist() == expected
