"""Top lists of two rankings, against a plain loop over groups."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.data.encoded_log import NO_GROUP
from recmtl.evaluate.ranking_metrics import ranking_metrics
from recmtl.schema import Label, TaskSpec
from recmtl.watch.top_lists import compare_lists

TASKS = (
    TaskSpec("click", "binary", Label("c")),
    TaskSpec("buy", "binary", Label("b"), parent="click"),
)
few = settings(max_examples=50, deadline=None)
scores = st.lists(st.integers(0, 5), min_size=30, max_size=30).map(lambda s: np.array(s, float))
groups = st.lists(st.integers(0, 4), min_size=30, max_size=30).map(np.array)
NOTHING = np.full((30, 2), np.nan, np.float32)


def plain(
    one: np.ndarray, other: np.ndarray, group: np.ndarray, k: int
) -> tuple[float, float, int]:
    overlaps, same = [], []
    for member in np.unique(group):
        rows = np.flatnonzero(group == member)
        if len(rows) <= k:
            continue
        lists = [
            sorted(rows.tolist(), key=lambda r, s=s: (-s[r], r))[:k]  # type: ignore[misc] # a default
            for s in (one, other)
        ]
        overlaps.append(len(set(lists[0]) & set(lists[1])) / k)
        same.append(lists[0] == lists[1])
    return (
        float(np.mean(overlaps)) if overlaps else np.nan,
        float(np.mean(same)) if same else np.nan,
        len(overlaps),
    )


@few
@given(scores, scores, groups, st.integers(1, 8))
def test_lists_are_those_of_a_loop(
    one: np.ndarray, other: np.ndarray, group: np.ndarray, k: int
) -> None:
    lists = compare_lists(one, other, group, k=k, labels=NOTHING, tasks=TASKS)
    overlap, same, count = plain(one, other, group, k)
    assert lists.groups == count
    np.testing.assert_allclose((lists.overlap, lists.same), (overlap, same))


@few
@given(scores, groups)
def test_equal_rankings_have_equal_lists(one: np.ndarray, group: np.ndarray) -> None:
    lists = compare_lists(one, 3 * one + 1, group, k=3, labels=NOTHING, tasks=TASKS)
    if lists.groups:
        assert (lists.overlap, lists.same) == (1.0, 1.0)


def test_rows_without_a_group_are_in_no_list() -> None:
    group = np.full(30, NO_GROUP)
    random = np.random.default_rng(0)
    one, other = random.random((2, 30))
    lists = compare_lists(one, other, group, k=2, labels=NOTHING, tasks=TASKS)
    assert lists.groups == 0 and np.isnan(lists.overlap) and lists.changes == ()


def test_the_better_ranking_has_the_larger_ndcg_of_every_event() -> None:
    random = np.random.default_rng(1)
    group = np.repeat(np.arange(100), 20)
    taste = random.normal(size=2000)
    click = (random.random(2000) < 1 / (1 + np.exp(-2 * taste))).astype(np.float32)
    buy = np.where(click == 1, random.integers(0, 2, 2000), np.nan).astype(np.float32)
    labels = np.stack([click, buy], 1)
    lists = compare_lists(random.random(2000), taste, group, k=5, labels=labels, tasks=TASKS)
    by_task = {change.task: change for change in lists.changes}
    assert set(by_task) == {"click", "buy"}
    click_change = by_task["click"]
    assert click_change.challenger - click_change.champion > 3 * click_change.error > 0
    assert click_change.groups == 100
    ndcg = ranking_metrics(click, taste, group, k=5)["ndcg"]
    assert click_change.challenger == pytest.approx(ndcg)


def test_a_group_with_an_unknown_label_has_no_ndcg() -> None:
    group = np.repeat(np.arange(4), 10)
    labels = np.zeros((40, 2), np.float32)
    labels[::10, 0] = 1
    labels[3, 0] = np.nan
    random = np.random.default_rng(0)
    lists = compare_lists(*random.random((2, 40)), group, k=2, labels=labels, tasks=TASKS[:1])
    assert lists.groups == 4
    assert [change.groups for change in lists.changes] == [3]
