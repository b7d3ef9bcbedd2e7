"""Ranking metrics against every order of the ties, against plain loops and scikit-learn."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from recmtl.errors import DataError
from recmtl.evaluate.ranking_metrics import GroupedRanking, ranking_metrics

NAMES = ("ndcg", "map", "mrr", "hit_rate", "recall")


def plain(gains: list[float], k: int) -> np.ndarray:
    """The metrics of one list of gains, best rank first, from their definitions."""
    shown, ideal = gains[:k], sorted(gains, reverse=True)[:k]
    dcg, best = (
        sum(gain / np.log2(rank + 1) for rank, gain in enumerate(part, start=1))
        for part in (shown, ideal)
    )
    relevant = [gain > 0 for gain in gains]
    ranks = [rank for rank, hit in enumerate(relevant, start=1) if hit and rank <= k]
    precision = sum(sum(relevant[:rank]) / rank for rank in ranks) / min(k, sum(relevant))
    first = 1 / ranks[0] if ranks else 0.0
    return np.array([dcg / best, precision, first, bool(ranks), len(ranks) / sum(relevant)])


def over_all_orders(gains: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """Mean of the metrics over all orders of the rows that the scores allow."""
    orders = [
        order
        for order in permutations(range(len(gains)))
        if all(scores[a] >= scores[b] for a, b in pairwise(order))
    ]
    return np.mean([plain([gains[row] for row in order], k) for order in orders], axis=0)


@st.composite
def rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Up to four groups of up to five rows, graded gains, many ties, in any order."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    group = np.repeat(np.arange(len(sizes)) * 7 - 5, sizes)
    count = len(group)
    gains = np.array(draw(st.lists(st.sampled_from([0, 0, 1, 3]), min_size=count, max_size=count)))
    scores = np.array(draw(st.lists(st.integers(-1, 2), min_size=count, max_size=count)))
    order = np.array(draw(st.permutations(range(count))))
    return gains[order], scores[order] / 3, group[order]


@given(rows(), st.sampled_from([1, 2, 3, 9]))
def test_equal_the_mean_over_every_order_of_the_ties(data, k):
    gains, scores, group = data
    members = [group == g for g in np.unique(group)]
    expected = [over_all_orders(gains[m], scores[m], k) for m in members if gains[m].any()]
    found = ranking_metrics(gains, scores, group, k=k)
    assert found["groups"] == len(expected)
    assert found["groups_left_out"] == len(members) - len(expected)
    if expected:
        wanted = np.mean(expected, axis=0)
        np.testing.assert_allclose([found[n] for n in NAMES], wanted, rtol=1e-12, atol=1e-13)
    else:
        assert np.isnan([found[n] for n in NAMES]).all()


@pytest.mark.parametrize("k", [1, 5, 10, None])
@pytest.mark.parametrize("decimals", [8, 1], ids=["no ties", "many ties"])
def test_ndcg_of_every_group_equals_scikit_learn(k, decimals):
    random = np.random.default_rng(0)
    group = np.sort(random.integers(0, 60, 900))
    gains, scores = random.integers(0, 5, 900), random.random(900).round(decimals)
    found = GroupedRanking(scores, group, k=k).ndcg(gains)
    for value, member in zip(found, np.unique(group), strict=True):
        own = group == member
        assert value == pytest.approx(ndcg_score([gains[own]], [scores[own]], k=k), abs=1e-12)


def test_average_precision_equals_scikit_learn_without_ties():
    random = np.random.default_rng(1)
    labels, scores, group = random.random(400) < 0.3, random.random(400), np.repeat([3, 9], 200)
    found = GroupedRanking(scores, group).average_precision(labels)
    for value, member in zip(found, (3, 9), strict=True):
        own = group == member
        assert value == pytest.approx(average_precision_score(labels[own], scores[own]), abs=1e-12)


def test_neither_the_order_of_the_rows_nor_that_of_the_groups_matters():
    random = np.random.default_rng(2)
    gains, scores = random.integers(0, 3, 300), random.random(300).round(1)
    group = random.integers(0, 40, 300)
    found = ranking_metrics(gains, scores, group, k=4)
    order = random.permutation(300)
    names = np.array([f"user {99 - member}" for member in group])
    again = ranking_metrics(gains[order], scores[order], names[order], k=4)
    assert again == pytest.approx(found, rel=1e-12)


def test_a_constant_score_is_worth_a_random_order():
    """One relevant row of n: recall and hit rate k / n, reciprocal rank H(n) / n."""
    gains, scores, group = np.eye(1, 20, 13)[0], np.zeros(20), np.zeros(20)
    found = ranking_metrics(gains, scores, group, k=None)
    assert found["mrr"] == pytest.approx(sum(1 / rank for rank in range(1, 21)) / 20)
    shown = ranking_metrics(gains, scores, group, k=5)
    assert shown["recall"] == pytest.approx(0.25)
    assert shown["hit_rate"] == pytest.approx(0.25)


def test_huge_runs_of_ties_stay_exact():
    """A quarter of the rows relevant, all tied: the hit rate at 1 is one too."""
    labels = np.arange(200_000) % 4 == 0
    found = ranking_metrics(labels, np.zeros(200_000), np.zeros(200_000), k=1)
    assert found["hit_rate"] == pytest.approx(0.25, rel=1e-8)
    assert found["ndcg"] == pytest.approx(0.25, rel=1e-12)


def test_any_increasing_map_of_the_scores_changes_nothing():
    random = np.random.default_rng(3)
    gains, scores = random.integers(0, 2, 200), random.normal(size=200)
    group = random.integers(0, 9, 200)
    assert ranking_metrics(gains, np.exp(3 * scores), group) == pytest.approx(
        ranking_metrics(gains, scores, group)
    )


def test_the_best_order_scores_one_and_no_rows_give_no_metric():
    gains, group = np.array([0, 3, 1, 0, 2]), np.array([0, 0, 0, 1, 1])
    found = ranking_metrics(gains, gains, group, k=2)
    assert [found[name] for name in NAMES] == [1.0] * 5
    empty = ranking_metrics(np.empty(0), np.empty(0), np.empty(0))
    assert np.isnan(empty["ndcg"]) and empty["groups"] == 0


@pytest.mark.parametrize(
    ("gains", "scores", "group", "k", "message"),
    [
        ([1, -1], [0, 1], [0, 0], 1, "a gain is negative or missing"),
        ([1, np.nan], [0, 1], [0, 0], 1, "a gain is negative or missing"),
        ([1, 0], [0, np.nan], [0, 0], 1, "score to rank by is NaN"),
        ([1, 0], [0, 1], [0, 0], 0, "k is 0"),
        ([1, 0], [0, 1], [0], 1, "2 scores and 1 groups"),
        ([1], [0, 1], [0, 0], 1, "1 gains and 2 scores"),
    ],
)
def test_what_cannot_be_ranked_is_refused(gains, scores, group, k, message):
    with pytest.raises(DataError, match=message):
        ranking_metrics(np.array(gains), np.array(scores), np.array(group), k=k)
