"""The shop, its two interests and the links to labels: rates, formulas, and counts of the truth."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from recmtl.simulate.impressions import HISTORY, append_clicks, draw_blocks, first_histories
from recmtl.simulate.log import GroupWriter, TruthScore, binned_auc, lists, named, nullable
from recmtl.simulate.shop import (
    AGE_BANDS,
    CATEGORIES,
    SEGMENTS,
    TAGS,
    draw_codes,
    draw_shop,
    draw_table,
    zipf_reach,
)
from recmtl.simulate.world import (
    DAYS,
    World,
    chances_of,
    draw_world,
    expected_auc,
    intercept_for,
    sigmoid,
    taste_terms,
    value_terms,
)


@pytest.fixture(scope="module")
def world() -> World:
    return draw_world(5, users=300, items=200)


@given(st.integers(1, 60), st.floats(0.0, 2.0))
def test_shares_fall_as_a_power_of_the_rank(count: int, exponent: float) -> None:
    share = np.diff(zipf_reach(count, exponent), prepend=0.0)
    assert share.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(share, share[0] * np.arange(1, count + 1) ** -exponent, rtol=1e-9)


def test_codes_are_drawn_with_their_shares_and_never_beyond_the_last() -> None:
    reach = np.cumsum([0.5, 0.0, 0.3, 0.2 - 1e-12])
    codes = draw_codes(np.random.default_rng(0), reach, 40_000)
    share = np.bincount(codes, minlength=4) / len(codes)
    np.testing.assert_allclose(share, [0.5, 0.0, 0.3, 0.2], atol=0.01)
    assert draw_codes(np.random.default_rng(0), np.array([0.0, 0.0]), 9).max() == 1


@pytest.mark.parametrize("shape", [(8,), (24,), (24, 2)])
def test_tables_are_standardised_and_unlike_tables_orthogonal(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(1)
    table = draw_table(random, *shape)
    np.testing.assert_allclose(table.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(table.std(axis=0), 1.0)
    if len(shape) == 1:
        assert table @ draw_table(random, *shape, unlike=table) == pytest.approx(0.0, abs=1e-9)


def test_a_shop_has_codes_prices_and_gaps_in_their_ranges() -> None:
    shop = draw_shop(np.random.default_rng(2), users=4000, items=4000)
    users, items = shop.users, shop.items
    for codes, count in ((users.segment, SEGMENTS), (users.age_band, AGE_BANDS)):
        assert set(codes.tolist()) == set(range(count))
    assert set(items.category.tolist()) == set(range(CATEGORIES))
    assert items.tags.min() == -1 and items.tags.max() == TAGS - 1
    assert (items.tags[:, 0] >= 0).all(), "every item has a tag"
    gaps = np.diff((items.tags >= 0).astype(int), axis=1)
    assert (gaps <= 0).all(), "tags come first, gaps after them"
    assert np.isnan(users.spend).mean() == pytest.approx(0.1, abs=0.02)
    assert np.isnan(items.rating).mean() == pytest.approx(0.15, abs=0.02)
    assert (items.discount > 0).mean() == pytest.approx(0.45, abs=0.03)
    assert items.discount.max() <= 0.5 and items.price.min() > 0
    assert np.nanmin(items.rating) >= 1.0 and np.nanmax(items.rating) <= 5.0
    for identifiers in (users.identifier, items.identifier):
        assert len(set(identifiers.tolist())) == 4000


@given(st.lists(st.floats(-700, 700), min_size=1))
def test_the_sigmoid_is_scipys(logits: list[float]) -> None:
    np.testing.assert_allclose(sigmoid(np.array(logits)), expit(logits), atol=1e-15)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=20), st.floats(0.05, 0.95))
def test_the_intercept_meets_the_rate(logits: list[float], rate: float) -> None:
    logit, weight = np.array(logits), np.arange(1.0, len(logits) + 1)
    constant = intercept_for(logit, weight, rate)
    assert np.average(expit(constant + logit), weights=weight) == pytest.approx(rate, abs=1e-5)


def test_the_expected_auc_is_the_mean_over_drawn_labels() -> None:
    random = np.random.default_rng(3)
    chance = random.beta(1, 4, 300)
    drawn = [roc_auc_score(random.random(300) < chance, chance) for _ in range(400)]
    assert expected_auc(chance, np.ones(300)) == pytest.approx(np.mean(drawn), abs=0.01)


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=60))
def test_the_auc_of_counts_is_the_auc_of_the_rows(rows: list[tuple[int, bool]]) -> None:
    """Ties count half in both."""
    bins, labels = (np.array(column) for column in zip(*rows, strict=True))
    negative, positive = (np.bincount(bins[labels == value], minlength=10) for value in (0, 1))
    expected = roc_auc_score(labels, bins) if 0 < labels.sum() < len(labels) else 0.5
    found = binned_auc(negative.astype(float), positive.astype(float))
    assert found == pytest.approx(expected)


def test_probabilities_are_the_links_of_the_two_interests(world: World) -> None:
    block = next(draw_blocks(world, rows=3000, seed=1))
    user, item, context = block.user, block.item, block.context
    chances = chances_of(world, user, item, context)
    for number, terms in enumerate((taste_terms, value_terms)):
        columns = terms(world.shop, user, item, context)
        interest = sum(
            world.slope[number, t] * (columns[:, t] - world.centre[number, t])
            for t in range(columns.shape[1])
        )
        np.testing.assert_allclose((chances.taste, chances.value)[number], interest)
    for p, (intercept, slope), interest in (
        (chances.click, world.click, chances.taste),
        (chances.purchase_given_click, world.purchase, chances.value),
        (chances.dislike, world.dislike, chances.value),
    ):
        np.testing.assert_allclose(p, expit(intercept + slope * interest))
    assert world.click[1] > 0 and world.purchase[1] > 0 > world.dislike[1]


def test_labels_happen_as_often_as_their_probabilities_say(world: World) -> None:
    blocks = list(draw_blocks(world, rows=60_000, seed=2))
    click, p = (np.concatenate(parts) for parts in zip(
        *((block.click, block.chances.click) for block in blocks), strict=True
    ))  # fmt: skip
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 1.0)):
        rows = (p >= low) & (p < high)
        error = np.sqrt(0.25 / rows.sum())
        assert click[rows].mean() == pytest.approx(p[rows].mean(), abs=4 * error)
    bought = sum(block.purchase.sum() for block in blocks)
    expected = sum(block.chances.purchase_given_click[block.click].sum() for block in blocks)
    assert bought == pytest.approx(expected, abs=4 * np.sqrt(expected))


def test_blocks_follow_one_another_in_rows_requests_and_days(world: World) -> None:
    blocks = list(draw_blocks(world, rows=12_000, seed=3))
    row = np.concatenate([block.row for block in blocks])
    request = np.concatenate([block.request for block in blocks])
    day = np.concatenate([block.context.day for block in blocks])
    position = np.concatenate([block.context.position for block in blocks])
    np.testing.assert_array_equal(row, np.arange(12_000))
    assert set(np.diff(request).tolist()) <= {0, 1} and (np.diff(day) >= 0).all()
    assert day.min() >= 0 and day.max() < DAYS
    np.testing.assert_array_equal(position == 0, np.diff(request, prepend=-1) == 1)


def test_clicks_push_the_oldest_items_out_of_a_history(world: World) -> None:
    block = next(draw_blocks(world, rows=4000, seed=4))
    history = first_histories(world, np.random.default_rng(0))
    expected = [list(row) for row in history]
    for user, item in zip(block.user[block.click], block.item[block.click], strict=True):
        expected[user] = [*expected[user][1:], item]
    append_clicks(history, block)
    assert history.shape == (300, HISTORY)
    np.testing.assert_array_equal(history, expected)


def test_the_truth_adds_up_whatever_the_blocks(world: World) -> None:
    """Counted by block or from all rows at once: the rates are shares of rows."""
    blocks, score = list(draw_blocks(world, rows=9000, seed=5)), TruthScore()
    for block in blocks:
        score.add(block)
    click = np.concatenate([block.click for block in blocks])
    purchase = np.concatenate([block.purchase for block in blocks])
    rates = score.rates()
    assert rates["click"] == rates["watch_time"] == pytest.approx(click.mean())
    assert rates["purchase"] == pytest.approx(purchase[click].mean())
    assert set(score.best()) == {
        "click_auc", "purchase_auc", "dislike_auc", "watch_time_log_r2"
    }  # fmt: skip


def test_without_rows_the_truth_is_chance() -> None:
    score = TruthScore()
    assert set(score.rates().values()) == {0.0}
    assert {score.best()[f"{task}_auc"] for task in ("click", "purchase", "dislike")} == {0.5}


def test_columns_hold_names_gaps_and_lists() -> None:
    assert named("city", np.array([2, 0])).to_pylist() == ["city_2", "city_0"]
    assert nullable(np.array([1.5, np.nan])).to_pylist() == [1.5, None]
    codes = np.array([[-1, 0, 2], [-1, -1, -1], [1, -1, 1]])
    assert lists(codes, np.array([10, 11, 12])).to_pylist() == [[10, 12], [], [11, 11]]
    assert lists(codes).to_pylist() == [["tag_0", "tag_2"], [], ["tag_1", "tag_1"]]


@pytest.mark.parametrize("sizes", [[3, 3, 3], [10], [1] * 10, [4, 0, 6]])
def test_row_groups_do_not_depend_on_the_tables_added(tmp_path: Path, sizes: list[int]) -> None:
    table = pa.table({"row": np.arange(sum(sizes))})
    with GroupWriter(tmp_path / "log.parquet", 4) as writer:
        for first, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
            writer.add(table.slice(first, size))
    file = pq.ParquetFile(tmp_path / "log.parquet")
    groups = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    assert groups == [4] * (sum(sizes) // 4) + ([sum(sizes) % 4] if sum(sizes) % 4 else [])
    assert file.read().equals(table)
