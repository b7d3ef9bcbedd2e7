"""Periods: days of a zone, hours, steps of numbers; and the keys of rows."""

import datetime as dt
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.columns.canonical import canonical
from recmtl.data.statistics.periods import periods
from recmtl.data.statistics.row_keys import key_types, row_keys
from recmtl.errors import DataError
from recmtl.schema import PastStatistics
from tests.unit.data.past_cases import HERE, counted, schema_of, training_numbers, write

EPOCH = dt.date(1970, 1, 1)


def entry(**settings: Any) -> PastStatistics:
    """An entry that counts rows of a user."""
    return PastStatistics("u", "user", values=("count",), **settings)


def periods_of(times: pa.Array, **settings: Any) -> list[int]:
    """The periods of times, -7 where missing."""
    column = canonical(times, "t", HERE)
    return periods(column, entry(**settings), "t", HERE, missing=-7).tolist()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
@given(seconds=st.lists(st.integers(-(10**9), 2 * 10**9), min_size=1, max_size=20))
def test_days_are_those_of_the_calendar_of_the_zone(
    unit: str, zone: str, seconds: list[int]
) -> None:
    times = pa.array(seconds, pa.timestamp("s", "Europe/Paris")).cast(
        pa.timestamp(unit, "Europe/Paris")
    )
    days = [dt.datetime.fromtimestamp(s, ZoneInfo(zone)).date() for s in seconds]
    expected = [(day - EPOCH).days for day in days]
    assert periods_of(times, time_zone=zone) == expected


def test_days_around_summer_time_have_23_and_25_hours() -> None:
    for month, day, hours in ((3, 31, 23), (10, 27, 25)):
        midnight = dt.datetime(2024, month, day, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
        seconds = pa.array([int(midnight) + 3600 * hour for hour in range(48)])
        days = periods_of(seconds.cast(pa.timestamp("s", "UTC")), time_zone="Europe/Berlin")
        assert days.count(days[0]) == hours


def test_dates_and_times_without_zone_are_what_the_clock_shows() -> None:
    moments = [dt.datetime(2024, 5, 1, 23, 59), None, dt.datetime(1969, 12, 31, 1)]
    expected = [(dt.date(2024, 5, 1) - EPOCH).days, -7, -1]
    assert periods_of(pa.array(moments), time_zone="Asia/Tokyo") == expected
    days = pa.array([None if m is None else m.date() for m in moments])
    assert periods_of(days) == periods_of(days.cast(pa.date64())) == expected


def test_numbers_are_divided_by_the_grain() -> None:
    assert periods_of(pa.array([-1, 0, 9, 10, None]), grain=10) == [-1, 0, 0, 1, -7]
    floats = pa.array([-0.5, 9.99, float("nan"), 1e300])
    assert periods_of(floats, grain=10) == [-1, 0, -7, 2**62 // 10]
    assert periods_of(pa.nulls(2), grain=10) == [-7, -7]


@pytest.mark.parametrize(
    ("times", "grain", "message"),
    [
        (pa.array([1]), "1d", "write the grain of u a whole number"),
        (pa.array([dt.date(2024, 5, 1)]), 1, "write the grain of u with a unit"),
        (pa.array(["2024-05-01"]), "1d", "holds string, which has no periods"),
    ],
)
def test_a_grain_of_another_kind_is_refused(times: pa.Array, grain: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        periods_of(times, grain=grain)


def keys_of(columns: dict[str, Any], **settings: Any) -> list[tuple[int, int]]:
    """(row, hash) of every key."""
    arrays = {name: canonical(pa.array(values), name, HERE) for name, values in columns.items()}
    types = settings.pop("types", key_types(arrays, list(columns)))
    keys = row_keys(arrays, list(columns), HERE, types=types, **settings)
    rows = range(len(keys.codes)) if keys.rows is None else keys.rows.tolist()
    return list(zip(rows, keys.hashes[keys.codes].tolist(), strict=True))


@given(
    pairs=st.lists(st.tuples(st.integers(-3, 3) | st.none(), st.text(max_size=2) | st.none())),
)
def test_equal_keys_have_equal_hashes_and_others_do_not(
    pairs: list[tuple[int | None, str | None]],
) -> None:
    first, second = (
        pa.array([p[0] for p in pairs], pa.int64()),
        pa.array([p[1] for p in pairs], pa.string()),
    )
    keys = keys_of({"a": first, "b": second})
    assert [row for row, _ in keys] == [i for i, pair in enumerate(pairs) if None not in pair]
    by_hash = {hashed: pairs[row] for row, hashed in keys}
    assert len(by_hash) == len({pairs[row] for row, _ in keys})


def test_a_key_of_two_columns_has_an_order() -> None:
    (_, one), (_, other) = keys_of({"a": [1, 2], "b": [2, 1]})
    assert one != other


def test_elements_of_lists_are_keys_and_gaps_are_none() -> None:
    keys = keys_of({"tags": [["a", "b"], None, [], ["b", None, "b"]]})
    assert [row for row, _ in keys] == [0, 0, 3, 3]
    assert keys[1][1] == keys[2][1] == keys[3][1] != keys[0][1]


def test_buckets_bound_the_number_of_keys() -> None:
    assert {hashed for _, hashed in keys_of({"a": list(range(1000))}, buckets=7)} == set(range(7))


def test_text_of_whole_numbers_finds_whole_numbers() -> None:
    assert keys_of({"a": ["17"]}, types=("int64",)) == keys_of({"a": [17]})
    with pytest.raises(DataError, match="holds text such as 'x' where whole numbers were fitted"):
        keys_of({"a": ["x"]}, types=("int64",))


def test_lists_and_other_columns_are_no_key_together() -> None:
    with pytest.raises(DataError, match="give lists an entry of their own"):
        keys_of({"a": [1], "b": [[1]]})


def test_hours_and_zones_decide_what_a_row_sees(tmp_path: Path) -> None:
    # 22:30 and 23:30 UTC are one day in UTC, two in Berlin.
    times = pa.array([81_000, 84_600], pa.timestamp("s", "UTC"))
    table = pa.table(
        {"t": times, "user": [1, 1], "price": [0.0, 0], "click": [1, 0], "like": [1, 0]}
    )
    path = write(table, tmp_path / "log.parquet")
    counts = []
    for more in ("grain: 1d", "grain: 1d, time_zone: Europe/Berlin", "grain: 1h"):
        schema = schema_of(f"{{name: u, key: user, values: [count], {more}}}")
        numbers = training_numbers(path, schema, counted(path, schema))
        counts.append(numbers["u.count.all"].tolist())
    assert counts == [[0, 0], [0, 1], [0, 1]]


def test_hashed_keys_share_their_counts(tmp_path: Path) -> None:
    table = pa.table(
        {"t": [0, 0, 1, 1], "user": [1, 2, 1, 2], "price": [0.0] * 4, "click": [1, 0, 0, 0]}
    ).append_column("like", pa.array([0.0] * 4))
    path = write(table, tmp_path / "log.parquet")
    schema = schema_of("{name: u, key: user, values: [count], grain: 1, hash_buckets: 1}")
    state = counted(path, schema)
    assert training_numbers(path, schema, state)["u.count.all"].tolist() == [0, 0, 2, 2]
    assert len(state.entries[0].sums.keys) == 1


def test_frozen_rows_see_train_rows_only(tmp_path: Path) -> None:
    days = np.repeat(np.arange(10), 4)
    table = pa.table(
        {
            "t": days,
            "user": [1] * 40,
            "price": np.zeros(40),
            "click": [0, 1] * 20,
            "like": np.zeros(40),
        }
    )
    path = write(table, tmp_path / "log.parquet")
    split = "{by: time, validation_from: 6, test_from: 8}"
    text = "{{name: u, key: user, values: [count], windows: [all, 2], grain: 1{}}}"
    counts = {}
    for freeze in ("", ", freeze: train_end"):
        schema = schema_of(text.format(freeze), split=split)
        counts[freeze] = training_numbers(path, schema, counted(path, schema))
    assert counts[""]["u.count.all"][::4].tolist() == [4 * day for day in range(10)]
    frozen = counts[", freeze: train_end"]
    assert frozen["u.count.all"][::4].tolist() == [4 * min(day, 6) for day in range(10)]
    assert frozen["u.count.2"][::4].tolist() == [0, 4, *[8] * 8]
