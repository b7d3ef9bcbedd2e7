"""What is held out is a share, a function of the seed, and never part of a group."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.errors import ConfigError
from recmtl.vision.data.source import hold_out


@given(st.integers(2, 300), st.floats(0.01, 0.99), st.integers(0, 9), st.lists(st.integers(0, 20)))
def test_parts_are_disjoint_and_whole(count: int, share: float, seed: int, tail: list[int]) -> None:
    groups = [*range(2), *(tail + [0] * count)][:count]
    for given_groups in (None, groups):
        kept, held = hold_out(count, share, seed, groups=given_groups)
        assert len(kept) and len(held)
        assert np.array_equal(np.sort(np.concatenate([kept, held])), np.arange(count))
        if given_groups is None:
            assert abs(len(held) - share * count) <= 1
        else:
            assert not {groups[i] for i in kept} & {groups[i] for i in held}
        again = hold_out(count, share, seed, groups=given_groups)
        assert np.array_equal(again[1], held)


def test_seeds_differ() -> None:
    assert len({tuple(hold_out(50, 0.2, seed)[1]) for seed in range(10)}) == 10


@pytest.mark.parametrize(
    ("count", "share", "groups"),
    [(1, 0.5, None), (9, 0.0, None), (9, 1.0, None), (9, 0.5, "a" * 9)],
)
def test_what_cannot_be_parted_is_refused(count: int, share: float, groups: str | None) -> None:
    with pytest.raises(ConfigError, match="cannot be held out"):
        hold_out(count, share, 0, groups=groups)
