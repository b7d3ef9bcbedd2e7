"""The affinity a second time, from numpy's and scipy's own correlations, and what leaves it be."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import spearmanr

from recmtl.errors import DataError
from recmtl.policies import rsa_affinity

DEPTHS, TASKS, ROWS = 2, 3, 12


def some_features(seed: int = 0) -> list[list[np.ndarray]]:
    """Features of related tasks: a common part and one of each task; widths differ by depth."""
    random = np.random.default_rng(seed)
    features = []
    for width in (5, 7):
        common = random.normal(size=(ROWS, width))
        features.append([common + random.normal(size=(ROWS, width)) for _ in range(TASKS)])
    return features


def plain_affinity(features: list[list[np.ndarray]]) -> np.ndarray:
    triangle = np.triu_indices(ROWS, k=1)
    affinity = np.ones((len(features), TASKS, TASKS))
    for depth, tasks in enumerate(features):
        dissimilar = [(1.0 - np.corrcoef(rows))[triangle] for rows in tasks]
        for i, j in combinations(range(TASKS), 2):
            rho = spearmanr(dissimilar[i], dissimilar[j]).statistic
            affinity[depth, i, j] = affinity[depth, j, i] = rho
    return affinity


def test_it_is_scipys_spearman_of_numpys_dissimilarities() -> None:
    features = some_features()
    affinity = rsa_affinity(features)
    np.testing.assert_allclose(affinity, plain_affinity(features), rtol=0, atol=1e-12)
    assert np.ptp(affinity[:, 0, 1:]) > 0.01


def test_ties_are_averaged() -> None:
    """Rows in four groups of equal ones: few dissimilarities, each many times."""
    random = np.random.default_rng(3)
    features = [[np.repeat(random.normal(size=(4, 6)), 3, axis=0) for _ in range(TASKS)]]
    triangle = np.triu_indices(ROWS, k=1)
    ranked = [(1.0 - np.corrcoef(rows)).round(9)[triangle] for rows in features[0]]
    affinity = rsa_affinity(features)[0]
    for i, j in combinations(range(TASKS), 2):
        assert affinity[i, j] == pytest.approx(spearmanr(ranked[i], ranked[j]).statistic, abs=1e-12)


def test_symmetric_with_a_unit_diagonal() -> None:
    affinity = rsa_affinity(some_features())
    assert affinity.shape == (DEPTHS, TASKS, TASKS)
    np.testing.assert_array_equal(affinity, affinity.transpose(0, 2, 1))
    np.testing.assert_array_equal(affinity.diagonal(axis1=1, axis2=2), 1.0)


def test_three_rows_by_hand() -> None:
    """Correlations of a with b .5, of b with c -.5, of a with c -1."""
    a, b, c = [1.0, -1, 0], [1.0, 0, -1], [-1.0, 1, 0]
    # Pairs (01, 02, 12) rank 1 3 2, then 1 2 3, then 3 1 2.
    affinity = rsa_affinity([[np.array(rows) for rows in ([a, b, c], [b, a, c], [a, c, b])]])
    want = [[1.0, 0.5, -1.0], [0.5, 1.0, -0.5], [-1.0, -0.5, 1.0]]
    np.testing.assert_allclose(affinity[0], want, rtol=0, atol=1e-12)


def test_scaling_and_shifting_any_row_changes_nothing() -> None:
    features, random = some_features(), np.random.default_rng(1)
    moved = [
        [rows * random.uniform(0.1, 9, (ROWS, 1)) + random.normal(size=(ROWS, 1)) for rows in tasks]
        for tasks in features
    ]
    np.testing.assert_allclose(rsa_affinity(moved), rsa_affinity(features), rtol=0, atol=1e-12)


def test_rotating_a_tasks_features_about_their_means_changes_nothing() -> None:
    """Another basis of the same features: an orthogonal map that keeps the constant vector."""
    features = some_features()
    rows, width = features[0][0], features[0][0].shape[1]
    random = np.random.default_rng(2)
    basis, _ = np.linalg.qr(np.column_stack([np.ones(width), random.normal(size=(width, 4))]))
    turn, _ = np.linalg.qr(random.normal(size=(width - 1, width - 1)))
    whole = np.eye(width)
    whole[1:, 1:] = turn
    turned = [[rows @ basis @ whole @ basis.T, *features[0][1:]], features[1]]
    assert np.abs(turned[0][0] - rows).max() > 0.1
    np.testing.assert_allclose(rsa_affinity(turned), rsa_affinity(features), rtol=0, atol=1e-12)


def test_images_are_flattened() -> None:
    features = some_features()
    pictures = [[rows.reshape(ROWS, -1, 1, 1) for rows in tasks] for tasks in features]
    np.testing.assert_array_equal(rsa_affinity(pictures), rsa_affinity(features))


def test_constant_rows_lie_at_one_from_all_others() -> None:
    features = some_features()[1:]
    features[0][0][:3] = [[0.1], [0.7], [2.3]]
    assert np.any(features[0][0][:3].mean(1) != [0.1, 0.7, 2.3])  # the means round
    triangle = np.triu_indices(ROWS, k=1)
    dissimilar = np.ones((ROWS, ROWS))
    dissimilar[3:, 3:] = 1.0 - np.corrcoef(features[0][0][3:])
    other = 1.0 - np.corrcoef(features[0][1])
    want = spearmanr(dissimilar[triangle], other[triangle]).statistic
    assert rsa_affinity(features)[0, 0, 1] == pytest.approx(want, abs=1e-12)


def test_a_network_that_tells_no_rows_apart_is_like_no_other() -> None:
    features = some_features()
    features[1][2][:] = 0.1
    affinity = rsa_affinity(features)
    np.testing.assert_array_equal(affinity[1, 2], [0.0, 0.0, 1.0])
    assert affinity[0, 2, 0] != 0.0


def test_what_cannot_be_compared_is_refused() -> None:
    features = some_features()
    features[1][2][4, 0] = np.nan
    with pytest.raises(DataError, match="depth 1, task 2: features are not finite"):
        rsa_affinity(features)
    with pytest.raises(DataError, match="depth 0, task 0: 2 rows; give at least 3"):
        rsa_affinity([[np.ones((2, 4))]])
    with pytest.raises(DataError, match="depth 0: tasks have different numbers of rows"):
        rsa_affinity([[np.eye(4), np.eye(5)]])
