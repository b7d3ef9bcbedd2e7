"""Ranking equals a plain per-group sort of the scorer's own columns."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recmtl.errors import DataError, FormulaError
from recmtl.serve import Ranker, Scorer

FORMULA = "p_click * p_buy_given_click"


@pytest.fixture(scope="module")
def ranker(scorer: Scorer) -> Ranker:
    return Ranker(scorer)


def plain_ranking(frame: pd.DataFrame, value: np.ndarray, group: str | None, k: int) -> list[int]:
    """Row numbers in the order that the ranking must have, by a loop over groups."""
    keys = [0] * len(frame) if group is None else frame[group].tolist()
    rows = []
    for key in dict.fromkeys(keys):
        members = [row for row, other in enumerate(keys) if other == key]
        rows += sorted(members, key=lambda row: (-value[row], row))[:k]
    return rows


@pytest.mark.parametrize("group", ["request", "item", None])
@pytest.mark.parametrize("k", [1, 3, 1000])
def test_equals_a_plain_loop(
    ranker: Ranker, scorer: Scorer, log: pa.Table, group: str | None, k: int
) -> None:
    frame = log.to_pandas().astype({"item": object})
    frame["item"] = frame["item"].where(frame["item"].notna(), None)
    frame = frame.sample(frac=1.0, random_state=0)
    scores = scorer.score(frame)
    value = scores["p_click"].to_numpy(np.float64) * scores["p_buy_given_click"].to_numpy(
        np.float64
    )
    ranked = ranker.rank(frame, by=FORMULA, group=group, k=k)
    rows = plain_ranking(frame, value, group, k)
    assert ranked.index.tolist() == frame.index[rows].tolist()
    np.testing.assert_array_equal(ranked["rank_score"], value[rows])
    for name in scorer.columns:
        np.testing.assert_array_equal(ranked[name], scores[name].to_numpy()[rows])


def test_ranks_count_from_one_in_every_group(ranker: Ranker, log: pa.Table) -> None:
    ranked = ranker.rank(log.to_pandas(), by="p_click", group="request", k=3)
    for _, rows in ranked.groupby("request", sort=False):
        assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
        assert rows["rank_score"].is_monotonic_decreasing


def test_top_k_is_the_head_of_the_whole_ranking(ranker: Ranker, log: pa.Table) -> None:
    frame = log.to_pandas()
    whole = ranker.rank(frame, by="p_click", group="request")
    assert len(whole) == len(frame)
    pd.testing.assert_frame_equal(
        ranker.rank(frame, by="p_click", group="request", k=2), whole[whole["rank"] <= 2]
    )


def test_ties_keep_the_order_of_the_input(ranker: Ranker, log: pa.Table) -> None:
    ranked = ranker.rank(log.to_pandas(), by="0 * p_click", k=50)
    assert ranked.index.tolist() == list(range(50))


def test_every_kind_of_frame_gives_the_same_ranking(ranker: Ranker, log: pa.Table) -> None:
    options = {"by": f"{FORMULA} * age", "group": "request", "k": 2}
    frame = ranker.rank(log.to_pandas(), **options)
    table = ranker.rank(log, **options)
    batch = ranker.rank(log.combine_chunks().to_batches()[0], **options)
    lists = {name: log[name].to_pylist() for name in log.column_names}
    lists["history"] = np.array(lists["history"], dtype=object)
    arrays = ranker.rank(lists, **options)
    assert isinstance(table, pa.Table)
    assert isinstance(arrays, dict)
    assert batch.equals(table)
    assert table.column_names == list(frame.columns) == list(arrays)
    for name in ("user_id", "p_click", "rank_score", "rank"):
        np.testing.assert_array_equal(table[name].to_numpy(), frame[name].to_numpy())
        np.testing.assert_array_equal(arrays[name], frame[name].to_numpy())


def test_keep_chooses_the_columns_that_return(ranker: Ranker, log: pa.Table) -> None:
    ranked = ranker.rank(log, by="p_click", group="request", k=1, keep=["item"])
    assert ranked.column_names == ["item", *ranker.scorer.columns, "rank_score", "rank"]


def test_the_input_is_left_alone(ranker: Ranker, log: pa.Table) -> None:
    frame = log.to_pandas()
    before = frame.copy()
    ranker.rank(frame, by="p_click", group="request", k=2)
    pd.testing.assert_frame_equal(frame, before)


def test_dictionary_encoded_groups(ranker: Ranker, log: pa.Table) -> None:
    frame = log.to_pandas()
    plain = ranker.rank(frame, by="p_click", group="request", k=1)
    categories = ranker.rank(
        frame.astype({"request": "category"}), by="p_click", group="request", k=1
    )
    assert categories.index.tolist() == plain.index.tolist()


def test_no_candidates_give_no_ranking(ranker: Ranker, log: pa.Table) -> None:
    assert ranker.rank(log.slice(0, 0), by="p_click", group="request", k=5).num_rows == 0
    assert len(ranker.rank(log.to_pandas().head(0), by="p_click")) == 0


def test_wrong_requests_get_one_line(ranker: Ranker, log: pa.Table) -> None:
    with pytest.raises(FormulaError, match="did you mean 'p_click'"):
        ranker.rank(log, by="p_clck")
    with pytest.raises(DataError, match="no column 'requst'; did you mean 'request'"):
        ranker.rank(log, by="p_click", group="requst")
    with pytest.raises(DataError, match="k is 0"):
        ranker.rank(log, by="p_click", k=0)
    with pytest.raises(DataError, match="cannot group by 'history'"):
        ranker.rank(log, by="p_click", group="history")
    with pytest.raises(FormulaError, match=r"not finite on \d+ of 700 rows"):
        ranker.rank(log, by="p_click * price")
    with pytest.raises(FormulaError, match="column 'item' holds"):
        ranker.rank(log, by="item * 2")
    clash = log.append_column("p_click", log["price"])
    with pytest.raises(DataError, match="'p_click' has the name of one that ranking adds"):
        ranker.rank(clash, by="p_click")


def test_threads_may_share_a_ranker(ranker: Ranker, log: pa.Table) -> None:
    frame = log.to_pandas()
    alone = ranker.rank(frame, by=FORMULA, group="request", k=3)
    with ThreadPoolExecutor(6) as pool:
        together = list(
            pool.map(lambda _: ranker.rank(frame, by=FORMULA, group="request", k=3), range(12))
        )
    for ranked in together:
        pd.testing.assert_frame_equal(ranked, alone)
