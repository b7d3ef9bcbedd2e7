"""Ranking equals a plain per-group sort of the scorer's own columns."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recmtl.errors import DataError, FormulaError
from recmtl.serve import Ranker, Scorer
from tests.chaos.bad_inputs import check_rank

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


def test_nothing_but_scores_may_be_kept(ranker: Ranker, log: pa.Table) -> None:
    for frame in (log, log.to_pandas(), {name: log[name].to_pylist() for name in log.column_names}):
        ranked = ranker.rank(frame, by="p_click", k=4, keep=[])
        assert np.asarray(ranked["rank"]).tolist() == [1, 2, 3, 4]
        names = ranked.column_names if isinstance(ranked, pa.Table) else list(ranked)
        assert names == [*ranker.scorer.columns, "rank_score", "rank"]


def test_lists_of_several_lengths_are_kept_from_a_dict(ranker: Ranker, log: pa.Table) -> None:
    lists = {name: log[name].to_pylist() for name in log.column_names}
    ranked = ranker.rank(lists, by="p_click", k=3, keep=["history", "item"])
    expected = ranker.rank(log, by="p_click", k=3, keep=["history", "item"])
    assert ranked["history"].tolist() == expected["history"].to_pylist()
    with pytest.raises(DataError, match="column 'clicked' has not one value a row"):
        ranker.rank(lists | {"clicked": [1]}, by="p_click")


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
    for k in (True, 2.0, "3"):
        with pytest.raises(DataError, match="keep at least one candidate"):
            ranker.rank(log, by="p_click", k=k)
    with pytest.raises(DataError, match="no column ''"):
        ranker.rank(log, by="p_click", group="")
    with pytest.raises(DataError, match="the name of column 7 is of type int"):
        ranker.rank(log.to_pandas().assign(x=1).rename(columns={"x": 7}), by="p_click")
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


USER = {"user_id": 2**40 + 3, "age": 33, "history": ["item-1", "item-2"], "bid": 1.5}


def joined(log: pa.Table, user: dict[str, object]) -> pa.Table:
    """The candidates with the user's values in every row."""
    for name, value in user.items():
        column = pa.array([value] * log.num_rows)
        log = log.drop_columns([name]) if name in log.column_names else log
        log = log.append_column(name, column)
    return log


def candidates(log: pa.Table) -> pa.Table:
    return log.drop_columns([name for name in USER if name in log.column_names])


@pytest.mark.parametrize(
    "user", [USER, {**USER, "age": None, "history": None}, {**USER, "user_id": 7, "history": []}]
)
def test_a_request_equals_the_joined_frame_bit_for_bit(
    ranker: Ranker, log: pa.Table, user: dict[str, object]
) -> None:
    options = {"by": f"{FORMULA} * bid", "k": 25, "keep": ["item", "price"]}
    whole = ranker.rank(joined(log, user), **options)
    assert ranker.rank_request(user, candidates(log), **options).equals(whole)
    frame = ranker.rank_request(user, candidates(log).to_pandas(), **options)
    for name in whole.column_names[2:]:
        np.testing.assert_array_equal(frame[name].to_numpy(), whole[name].to_numpy())
    lists = {name: candidates(log)[name].to_pylist() for name in ("item", "price")}
    arrays = ranker.rank_request(user, lists, **options)
    np.testing.assert_array_equal(arrays["rank_score"], whole["rank_score"].to_numpy())


def test_a_request_keeps_the_candidates_columns(ranker: Ranker, log: pa.Table) -> None:
    rows = candidates(log)
    ranked = ranker.rank_request(USER, rows, by="p_click")
    added = [*ranker.scorer.columns, "rank_score", "rank"]
    assert ranked.column_names == [*rows.column_names, *added]
    assert ranker.rank_request(USER, rows.slice(0, 0), by="p_click").num_rows == 0


def test_wrong_users_get_one_line(ranker: Ranker, log: pa.Table) -> None:
    with pytest.raises(DataError, match="'user_id' is one of the candidates too"):
        ranker.rank_request(USER, log, by="p_click")
    rows, young = candidates(log), {n: v for n, v in USER.items() if n != "age"}
    with pytest.raises(DataError, match="no column 'age'"):
        ranker.rank_request(young, rows, by="p_click")
    with pytest.raises(DataError, match="user: column 'age' holds no value of a column"):
        ranker.rank_request({**USER, "age": object()}, rows, by="p_click")
    with pytest.raises(FormulaError, match="did you mean 'bid'"):
        ranker.rank_request(USER, rows, by="p_click * bidd")
    with pytest.raises(DataError, match="'rank' has the name of one that ranking adds"):
        ranker.rank_request({**USER, "rank": 1}, rows, by="p_click")
    with pytest.raises(DataError, match="k is 0"):
        ranker.rank_request(USER, rows, by="p_click", k=0)


STRANGE = ["abc", b"x", "\ud800", float("nan"), float("inf"), None, [1], (1, "b"), {"a": 1}, {1}]
STRANGE += [object(), True, 2**70, np.arange(2), np.array(["item-1"]), pd.NA, pd.Timestamp("2020")]


@pytest.mark.parametrize(
    "value",
    STRANGE,
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("name", ["user_id", "age", "history"])
def test_strange_users_get_scores_or_one_line(
    ranker: Ranker, log: pa.Table, name: str, value: object
) -> None:
    try:
        ranked = ranker.rank_request({**USER, name: value}, candidates(log), by="p_click")
        assert ranked.num_rows == log.num_rows
    except DataError as error:
        assert name in str(error) and "\n" not in str(error)


def test_arguments_of_a_wrong_kind_get_one_line(ranker: Ranker, log: pa.Table) -> None:
    head = log.slice(0, 30)
    for call in (
        lambda: ranker.rank_request(None, candidates(log), by="p_click"),
        lambda: ranker.rank_request(USER, None, by="p_click"),
        lambda: ranker.rank_request(USER, candidates(log), by="p_click", keep=[1]),
        lambda: ranker.fuse(head, None, group="request"),
        lambda: ranker.fuse(head, ["clicked"], group="request"),
        lambda: ranker.fuse(head, {1: 1.0}, group="request"),
        lambda: ranker.fuse(head, {"clicked": "x"}, group="request"),
        lambda: ranker.fuse(head, {"clicked": None}, group="request"),
        lambda: ranker.fuse(head, {}, group="request"),
        lambda: ranker.fuse(head, {"clicked": 1}, group=None),
        lambda: ranker.fuse(head, {"clicked": 1}, group="request", columns=["item"]),
        lambda: ranker.fuse(head.slice(0, 0), {"clicked": 1}, group="request"),
        lambda: ranker.explain(head, 5),
        lambda: ranker.explain(head, steps=1.5),
        lambda: ranker.explain(None),
    ):
        with pytest.raises(DataError) as raised:
            call()
        assert "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def small(bundle: Path) -> Ranker:
    """Small chunks: the drawn frames have few rows."""
    return Ranker(Scorer.load(bundle, chunk_rows=64, threads=1))


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_request_gets_a_ranking_or_one_line(small: Ranker, data: st.DataObject) -> None:
    """The first of the thousands that tests/chaos/test_bad_inputs.py draws."""
    check_rank(data.draw, small)


@st.composite
def competitions(draw: st.DrawFn) -> tuple[list[str | None], list[int]]:
    """A group and a bid for every row: few distinct ones, so that groups mix and bids tie."""
    rows = draw(st.integers(1, 24))
    groups = st.lists(st.sampled_from(["x", "y", "z", None]), min_size=rows, max_size=rows)
    bids = st.lists(st.integers(-3, 3), min_size=rows, max_size=rows)
    return draw(groups), draw(bids)


def frame_of(log: pa.Table, groups: list[str | None], bids: list[int]) -> pa.Table:
    frame = log.slice(0, len(bids)).append_column("team", pa.array(groups, pa.string()))
    return frame.append_column("bid", pa.array(bids)).append_column(
        "row", pa.array(range(len(bids)))
    )


def ranked_rows(ranked: pa.Table) -> list[tuple[int, int]]:
    """Row number and rank, in the order of the output."""
    return list(zip(ranked["row"].to_pylist(), ranked["rank"].to_pylist(), strict=True))


few = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(competitions(), st.none() | st.integers(1, 30))
def test_rows_ranks_and_ties_are_those_of_a_plain_sort(
    small: Ranker, log: pa.Table, drawn: tuple[list[str | None], list[int]], k: int | None
) -> None:
    groups, bids = drawn
    expected = []
    for name in dict.fromkeys(groups):
        members = [row for row, team in enumerate(groups) if team == name]
        members.sort(key=lambda row: (-bids[row], row))
        expected += [(row, place) for place, row in enumerate(members[:k], 1)]
    ranked = small.rank(frame_of(log, groups, bids), by="bid", group="team", k=k)
    assert ranked_rows(ranked) == expected


@few
@given(competitions(), st.randoms(use_true_random=False))
def test_permuted_rows_get_the_same_scores_and_the_same_ranks_but_for_ties(
    small: Ranker, log: pa.Table, drawn: tuple[list[str | None], list[int]], dice: Random
) -> None:
    frame = frame_of(log, *drawn)
    order = list(range(frame.num_rows))
    dice.shuffle(order)
    before, after = (
        small.rank(rows, by="bid", group="team", keep=["row", "team"])
        for rows in (frame, frame.take(order))
    )
    places = [sorted(zip(*(t[n].to_pylist() for n in ("rank", "rank_score")), strict=True))
              for t in (before, after)]  # fmt: skip
    assert places[0] == places[1]
    scores = [t.sort_by("row").select(["row", *small.scorer.columns]) for t in (before, after)]
    assert scores[0].equals(scores[1])


@few
@given(competitions())
def test_only_the_order_of_the_formulas_values_decides(
    small: Ranker, log: pa.Table, drawn: tuple[list[str | None], list[int]]
) -> None:
    """Increasing functions keep every row where it is."""
    frame = frame_of(log, *drawn)
    plain = ranked_rows(small.rank(frame, by="bid", group="team"))
    for same_order in ("3 * bid - 7", "exp(bid)", "bid ** 3", "-(-bid)", "max(bid, -9)"):
        assert ranked_rows(small.rank(frame, by=same_order, group="team")) == plain


@few
@given(competitions())
def test_a_group_is_ranked_as_if_it_were_alone(
    small: Ranker, log: pa.Table, drawn: tuple[list[str | None], list[int]]
) -> None:
    groups, bids = drawn
    frame = frame_of(log, groups, bids)
    parts = [
        small.rank(frame.take([row for row, team in enumerate(groups) if team == name]), by="bid")
        for name in dict.fromkeys(groups)
    ]
    together = small.rank(frame, by="bid", group="team")
    assert together.combine_chunks().equals(pa.concat_tables(parts).combine_chunks())


def test_groups_of_one_keep_the_order_of_the_input_with_rank_one(
    small: Ranker, log: pa.Table
) -> None:
    frame = frame_of(log, [str(row) for row in range(20)], list(range(20)))
    for k in (None, 1, 5):
        ranked = small.rank(frame, by="-bid", group="team", k=k)
        assert ranked_rows(ranked) == [(row, 1) for row in range(20)]


@pytest.mark.parametrize("k", [7, 8, 10**30])
def test_more_places_than_candidates_are_all_candidates(
    small: Ranker, log: pa.Table, k: int
) -> None:
    frame = frame_of(log, ["x"] * 7 + ["y"] * 2, [1, 5, 3, 3, 2, 5, 0, 1, 2])
    assert small.rank(frame, by="bid", group="team", k=k).equals(
        small.rank(frame, by="bid", group="team")
    )


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.float32(), pa.string(), pa.large_string(), pa.binary(), pa.date32()]
)
def test_any_comparable_column_groups_alike(
    small: Ranker, log: pa.Table, kind: pa.DataType
) -> None:
    teams, bids = [3, 1, None, 3, 1, 2, None, 3], [1, 2, 3, 4, 5, 6, 7, 8]
    frame = frame_of(log, ["unused"] * 8, bids)
    values = pa.array(teams, pa.int32())
    values = values.cast(pa.string()).cast(kind) if pa.types.is_binary(kind) else values.cast(kind)
    ranked = small.rank(frame.set_column(frame.column_names.index("team"), "team", values),
                        by="bid", group="team", keep=["row"])  # fmt: skip
    assert ranked["row"].to_pylist() == [7, 3, 0, 4, 1, 6, 2, 5]
    assert ranked["rank"].to_pylist() == [1, 2, 3, 1, 2, 1, 2, 1]


def test_a_request_is_one_group(small: Ranker, log: pa.Table) -> None:
    rows = candidates(frame_of(log, ["x"] * 12, [row % 4 for row in range(12)]).drop_columns("bid"))
    user = {**USER, "bid": 2.0}
    ranked = small.rank_request(user, rows, by="bid * p_click", k=5)
    joined_rows = small.rank(joined(rows, user), by="2 * p_click", k=5)
    assert ranked_rows(ranked) == ranked_rows(joined_rows)
    assert ranked["rank_score"].equals(joined_rows["rank_score"])
