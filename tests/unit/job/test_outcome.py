"""How far searches agree on what tasks should share."""

import numpy as np
import pytest

from recmtl.job.outcome import agreement

SAME = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 1.0]])


def other(value: float) -> np.ndarray:
    """`SAME` with another overlap of the first two tasks."""
    changed = SAME.copy()
    changed[0, 1] = changed[1, 0] = value
    return changed


def test_equal_searches_agree_wholly() -> None:
    assert agreement(np.stack([SAME, SAME, SAME])) == 1.0


def test_searches_that_share_nothing_agree_wholly() -> None:
    assert agreement(np.stack([np.eye(3), np.eye(3)])) == 1.0


def test_searches_that_share_other_pairs_do_not_agree() -> None:
    nothing, apart = np.eye(3), np.eye(3)
    nothing[0, 1] = nothing[1, 0] = 1.0
    apart[1, 2] = apart[2, 1] = 1.0
    assert agreement(np.stack([nothing, apart])) == 0.0


def test_agreement_is_the_jaccard_index_of_the_overlaps_above_the_diagonal() -> None:
    assert agreement(np.stack([SAME, other(0.1)])) == pytest.approx(0.3 / 0.7, abs=1e-4)


def test_agreement_is_the_mean_over_all_pairs_of_seeds() -> None:
    pairs = [agreement(np.stack([SAME, other(v)])) for v in (0.1, 0.5)]
    pairs.append(agreement(np.stack([other(0.1), other(0.5)])))
    found = agreement(np.stack([SAME, other(0.1), other(0.5)]))
    assert found == pytest.approx(np.mean(pairs), abs=1e-4)
