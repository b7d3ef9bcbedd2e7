"""Statistics of the past: what a row may know, by a second implementation and by laws."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.data.statistics import past
from recmtl.errors import DataError
from tests.unit.data.past_cases import (
    HERE,
    counted,
    log_table,
    parts_of,
    plain_numbers,
    schema_of,
    training_numbers,
    write,
)

USER = "{name: u, key: user, of: [click, like, {column: watch}], windows: [all, 3, 1], grain: 1"
VALUES = "values: [rate, count, last]"
FULL = f"""
{USER}, {VALUES}, smoothing: 2}}
{{name: pair, key: [user, item], of: [click], grain: 1, delay: 1}}
{{name: tags, key: tags, of: [click, {{column: watch}}], windows: [all, 2], grain: 1, {VALUES}}}
"""


def numbers_of(table: pa.Table, entries: str, folder: Path, **more: str) -> dict[str, np.ndarray]:
    """The training numbers of a log in one file."""
    path, schema = write(table, folder / "log.parquet"), schema_of(entries, **more)
    return training_numbers(path, schema, counted(path, schema))


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    """Equal to the bit, missing numbers included."""
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


@pytest.mark.parametrize("key", [["user"], ["user", "item"], ["tags"]])
@pytest.mark.parametrize(("delay", "smoothing"), [(0, 2.0), (2, 0.0)])
def test_numbers_are_those_of_two_plain_loops(
    key: list[str], delay: int, smoothing: float, tmp_path: Path
) -> None:
    table = log_table(150)
    entry = f"{{name: x, key: {key}, of: [click, like, {{column: watch}}], windows: [all, 3, 1], "
    entry += f"{VALUES}, grain: 1, delay: {delay}, smoothing: {smoothing}}}"
    numbers = numbers_of(table, entry, tmp_path)
    plain = plain_numbers(
        table.to_pylist(),
        keys=key,
        outcomes=["click", "like", "watch"],
        windows={"all": None, "3": 3, "1": 1},
        smoothing=smoothing,
        sees=lambda row, other: other["t"] < row["t"] - delay,
        distance=lambda row, other: row["t"] - delay - other["t"],
    )
    for name, values in plain.items():
        first, window = name.split(".")
        word = "mean" if first == "watch" else "rate"
        full = f"x.count.{window}" if first == "count" else f"x.{first}.{word}.{window}"
        np.testing.assert_array_equal(numbers[full], values, err_msg=full)


def test_last_is_the_least_distance_to_a_row_or_to_an_event(tmp_path: Path) -> None:
    table = log_table(120)
    numbers = numbers_of(
        table, f"{{name: x, key: tags, of: [click], grain: 1, {VALUES}}}", tmp_path
    )
    rows = table.to_pylist()
    for i, row in enumerate(rows):
        past = [
            o for o in rows if o["t"] < row["t"] and set(o["tags"] or ()) & set(row["tags"] or ())
        ]
        clicks = [o for o in past if o["click"]]
        for name, others in (("x.last", past), ("x.click.last", clicks)):
            least = min((row["t"] - o["t"] for o in others), default=np.nan)
            np.testing.assert_equal(numbers[name][i], least)


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10**6), parts=st.integers(2, 5))
def test_a_shuffled_log_in_many_files_gives_the_same(
    seed: int, parts: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("shuffled")
    table, schema = log_table(200, seed), schema_of(FULL)
    path = write(table, folder / "log.parquet")
    order = np.random.default_rng(seed).permutation(table.num_rows)
    other = write(table.take(pa.array(order)), folder / "parts", parts=parts)
    expected = training_numbers(path, schema, counted(path, schema))
    state = counted(other, schema)
    same(
        {name: values[order] for name, values in expected.items()},
        training_numbers(other, schema, state),
    )
    for mine, theirs in zip(counted(path, schema).entries, state.entries, strict=True):
        assert mine.sums.cells().equals(theirs.sums.cells())


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), row=st.integers(0, 149), delay=st.integers(0, 2))
def test_no_outcome_at_or_after_the_period_less_the_delay_changes_a_number(
    seed: int, row: int, delay: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("leak")
    table = log_table(150, seed)
    entries = FULL.replace("grain: 1", f"grain: 1, delay: {delay}").replace(", delay: 1}", "}")
    before = numbers_of(table, entries, folder)
    period = table["t"][row].as_py()
    later = table["t"].to_numpy() >= period - delay
    dice, changed = np.random.default_rng(seed), table
    for name in ("click", "like", "watch"):
        values = table[name].to_numpy().astype(float)
        values[later] = dice.integers(0, 2, later.sum())
        changed = changed.set_column(
            changed.column_names.index(name), name, pa.array(values, from_pandas=True)
        )
    after = numbers_of(changed, entries, folder)
    rows = table["t"].to_numpy() <= period
    same(
        {name: values[rows] for name, values in before.items()},
        {name: values[rows] for name, values in after.items()},
    )


def test_an_outcome_of_the_last_period_that_counts_does_change_a_number(tmp_path: Path) -> None:
    table = pa.table({"t": [1, 2, 2], "user": [7, 7, 7], "price": [0.0, 0, 0]})
    table = table.append_column("like", pa.array([0, 0, 0]))
    entry = "{name: u, key: user, of: [click], grain: 1, smoothing: 1}"
    rates = [
        numbers_of(table.append_column("click", pa.array(click)), entry, tmp_path)
        for click in ([0, 0, 1], [1, 0, 1])
    ]
    assert [r["u.click.rate.all"].tolist()[1:] for r in rates] == [[0, 0], [1, 1]]
    assert np.isnan(rates[0]["u.click.rate.all"][0])


@pytest.mark.parametrize("day", range(1, 9))
def test_the_state_of_an_earlier_day_answers_as_training_did(day: int, tmp_path: Path) -> None:
    table, schema = log_table(300, seed=3), schema_of(FULL)
    path = write(table, tmp_path / "log.parquet")
    training = training_numbers(path, schema, counted(path, schema))
    times = table["t"].to_numpy()
    state = counted(write(table.filter(pa.array(times < day)), tmp_path / "old.parquet"), schema)
    rows = table.filter(pa.array(times == day))
    columns = {name: rows[name].combine_chunks() for name in ("t", "user", "item", "tags")}
    scored, _ = state.values(columns, rows.num_rows, HERE)
    same(scored, {name: values[times == day] for name, values in training.items()})
    # A row that brings no time is looked up right after the end of the state.
    columns["t"] = pa.nulls(rows.num_rows)
    if times[times < day].max() == day - 1:
        same(state.values(columns, rows.num_rows, HERE)[0], scored)


def test_sums_beyond_64_bits_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = log_table(50)
    monkeypatch.setattr(past, "LARGEST_SUM", 10_000.0)
    with pytest.raises(DataError, match="'watch': adds up to more than 64 bits hold"):
        numbers_of(table, FULL, tmp_path)


def test_days_that_are_added_give_the_state_of_the_whole_log(tmp_path: Path) -> None:
    table, schema = log_table(300, seed=4), schema_of(FULL)
    whole = counted(write(table, tmp_path / "log.parquet"), schema)
    times, state = table["t"].to_numpy(), None
    for day in range(9):
        rows = table.filter(pa.array(times == day))
        state = counted(write(rows, tmp_path / f"{day}.parquet"), schema, state)
        state.save(tmp_path / f"state-{day}")
        state = type(state).load(tmp_path / f"state-{day}", schema)
    for mine, theirs in zip(whole.entries, state.entries, strict=True):
        assert mine.sums.cells().equals(theirs.sums.cells())
        assert (mine.types, mine.kind) == (theirs.types, theirs.kind)


def test_without_time_a_train_row_does_not_know_its_own_outcome(tmp_path: Path) -> None:
    table = log_table(200, seed=5)
    entry = "{name: u, key: [user, item], of: [click], smoothing: 3, folds: 4}"
    before = numbers_of(table, entry, tmp_path, roles="{}")["u.click.rate.all"]
    train = parts_of(tmp_path / "log.parquet", schema_of(entry, roles="{}")) == 0
    for row in range(0, 200, 7):
        click = table["click"].to_numpy().copy()
        click[row] = 1 - click[row]
        changed = table.set_column(table.column_names.index("click"), "click", pa.array(click))
        after = numbers_of(changed, entry, tmp_path, roles="{}")["u.click.rate.all"]
        np.testing.assert_equal(after[row], before[row])
        # A train row's outcome moves other rows (a row without a key moves none).
        counts = train[row] and table["user"][row].as_py() is not None
        assert np.array_equal(before, after, equal_nan=True) != counts


def test_without_time_other_rows_know_all_train_rows(tmp_path: Path) -> None:
    table = log_table(120, seed=6)
    entry = "{name: u, key: user, of: [click], smoothing: 3, folds: 4}"
    numbers = numbers_of(table, entry, tmp_path, roles="{}")
    train = parts_of(tmp_path / "log.parquet", schema_of(entry, roles="{}")) == 0
    rows = [
        {**row, "train": bool(is_train)}
        for row, is_train in zip(table.to_pylist(), train, strict=True)
    ]
    plain = plain_numbers(
        rows,
        keys=["user"],
        outcomes=["click"],
        windows={"all": None},
        smoothing=3.0,
        sees=lambda row, other: other["train"],
        distance=lambda row, other: 1,
    )
    np.testing.assert_array_equal(
        numbers["u.click.rate.all"][~train], np.array(plain["click.all"])[~train]
    )
