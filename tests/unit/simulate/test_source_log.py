"""The log of planted sources: what is planted is there, and what is not planted is not."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.prepare import prepare
from recmtl.errors import DataError
from recmtl.schema import load_schema
from recmtl.simulate import PLANTS, simulate_sources, truth_path

SCHEMA = Path(__file__).parents[3] / "datasets" / "simulated" / "sources.yaml"
ROWS = 20_000
ALL = tuple(PLANTS)


def written(folder: Path, plants: tuple[str, ...], rows: int = ROWS, seed: int = 0) -> pa.Table:
    simulate_sources(folder / "log.parquet", rows, seed=seed, plants=plants)
    return pq.read_table(folder / "log.parquet")


def among_last(log: pa.Table) -> np.ndarray:
    """Whether an item of the candidate's category is among the last ones."""
    pairs = zip(log["seen_categories"].to_pylist(), log["category"].to_pylist(), strict=True)
    return np.array([category in events for events, category in pairs])


def rate_so_far(log: pa.Table, task: str) -> np.ndarray:
    """The smoothed rate of each row's user over his rows of earlier days, row by row."""
    days = log["time"].cast(pa.int64()).to_numpy() // 86_400_000
    users, labels = log["user_id"].to_numpy(), log[task].to_numpy()
    rates = []
    for user, day in zip(users[-2000:], days[-2000:], strict=True):
        before = labels[(users == user) & (days < day)]
        rates.append((before.sum() + 0.4) / (len(before) + 1.5))
    return np.array(rates)


@pytest.mark.parametrize("plants", [ALL, ("histories",), ("statistics",), ()])
def test_the_truth_says_which_tasks_need_which_source(
    tmp_path: Path, plants: tuple[str, ...]
) -> None:
    written(tmp_path, plants)
    truth = json.loads(truth_path(tmp_path / "log.parquet").read_text())
    expected = {"statistics": ["habit"], "histories": ["match"]}
    assert truth["sources"] == {source: expected[source] for source in plants}
    assert truth["rows"] == ROWS and all(0.65 < auc < 0.82 for auc in truth["best"].values())


def test_equal_arguments_give_equal_rows(tmp_path: Path) -> None:
    first, again = written(tmp_path, ALL, 500), written(tmp_path, ALL, 500)
    assert first.equals(again) and first.num_rows == 500
    assert not written(tmp_path, ALL, 500, seed=1).equals(first)


def test_a_match_is_positive_four_times_as_often(tmp_path: Path) -> None:
    log = written(tmp_path, ALL)
    label, is_match = log["match"].to_numpy(), among_last(log)
    assert abs(label[is_match].mean() - 0.45) < 0.02
    assert abs(label[~is_match].mean() - 0.10) < 0.02


def test_a_habit_goes_on_at_the_rate_so_far(tmp_path: Path) -> None:
    log = written(tmp_path, ALL)
    rate, label = rate_so_far(log, "habit"), log["habit"].to_numpy()[-2000:]
    for low, high in ((0.0, 0.15), (0.15, 0.4), (0.4, 1.0)):
        inside = (rate >= low) & (rate < high)
        spread = 3 * np.sqrt(rate[inside].var() + 0.25) / np.sqrt(inside.sum())
        assert abs(label[inside].mean() - rate[inside].mean()) < spread


@pytest.mark.parametrize("task", ["habit", "match", "plain"])
def test_without_plants_neither_past_nor_history_says_anything(tmp_path: Path, task: str) -> None:
    log = written(tmp_path, ())
    label, is_match = log[task].to_numpy(), among_last(log)
    noise = 4 * 0.5 / np.sqrt(min(is_match.sum(), (~is_match).sum()))
    assert abs(label[is_match].mean() - label[~is_match].mean()) < noise
    rate, last = rate_so_far(log, task), label[-2000:]
    assert abs(np.corrcoef(rate, last)[0, 1]) < 4 / np.sqrt(2000)


def test_the_last_days_have_users_of_their_own(tmp_path: Path) -> None:
    log = written(tmp_path, ALL)
    users = log["user_id"].to_numpy()
    early, late = set(users[: int(0.6 * ROWS)]), users[int(0.8 * ROWS) :]
    assert np.mean([user in early for user in late]) < 0.1


def test_rows_are_in_order_of_time_and_histories_are_of_earlier_rows(tmp_path: Path) -> None:
    log = written(tmp_path, ALL, 3000)
    times = log["time"].cast(pa.int64()).to_numpy()
    assert (np.diff(times) >= 0).all()
    assert {len(events) for events in log["seen"].to_pylist()} == {10}


def test_the_schema_reads_every_column(tmp_path: Path) -> None:
    simulate_sources(tmp_path / "log.parquet", 3000)
    schema = load_schema(SCHEMA)
    log = prepare(str(tmp_path / "log.parquet"), schema, tmp_path / "out")
    assert {"user.habit.rate.all", "seen.count"} <= set(log.encoding.fields)
    assert [field.name for field in log.encoding.histories["seen"]] == ["seen", "seen_categories"]
    assert set(schema.columns()) | {"row_id"} == set(pq.read_schema(tmp_path / "log.parquet").names)


def test_unknown_plants_and_empty_logs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no plant 'history'; did you mean 'histories'"):
        simulate_sources(tmp_path / "log.parquet", plants=["history"])
    with pytest.raises(DataError, match="rows must be at least 1, not 0"):
        simulate_sources(tmp_path / "log.parquet", 0)
    assert list(tmp_path.iterdir()) == []
