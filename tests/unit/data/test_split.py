"""Splits: the shares asked for, groups and ties kept together, exact quantiles."""

import copy
import datetime
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.data.counted_log import CountedLog
from recmtl.data.reader import Log, LogBatch, open_log
from recmtl.data.split import kth_smallest, ordered, plan_split
from recmtl.engines.folds import FoldT, merged
from recmtl.errors import DataError, SourceLocation
from recmtl.schema import Roles, Schema, SplitRule

Write = Callable[..., str]


def parts_of(write: Write, split: SplitRule, **columns: Any) -> np.ndarray:
    log = open_log(write(columns))
    schema = Schema("s", (), (), split, Roles(time="ts", group="request"))
    assign = plan_split(schema, CountedLog(log, None))
    batches = log.batches(log.column_names(), rows=50)
    return np.concatenate([assign(batch) for batch in batches])


@pytest.mark.slow
@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=60),
    st.data(),
)
@settings(max_examples=100, deadline=None)
def test_kth_smallest_equals_sorting(values: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(values) - 1))
    array = np.array(values, np.int64)

    def fold(result: FoldT) -> FoldT:
        pieces = [copy.deepcopy(result) for _ in range(3)]
        for piece, part in zip(pieces, np.array_split(array, 3), strict=True):
            piece.add(part)
        return merged(iter(pieces))

    assert kth_smallest(fold, k) == sorted(values)[k]


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=30))
@settings(max_examples=50, deadline=None)
def test_times_keep_their_order_as_integers(values: list[float]) -> None:
    x = np.array(values) + 0.0  # turns -0.0 into 0.0, which sorts beside it
    keys = ordered(pa.array(x), "ts", SourceLocation())
    np.testing.assert_array_equal(np.argsort(x, kind="stable"), np.argsort(keys, kind="stable"))


def test_ties_in_time_stay_together(write: Write) -> None:
    times = np.repeat(np.arange(10), 20)
    parts = parts_of(write, SplitRule("time", validation=0.15, test=0.15), ts=times)
    assert all(len(np.unique(parts[times == t])) == 1 for t in range(10))
    assert np.bincount(parts).tolist() == [120, 40, 40]


def test_explicit_boundaries_are_first_values(write: Write) -> None:
    split = SplitRule("time", validation_from=60, test_from=80)
    parts = parts_of(write, split, ts=np.arange(100))
    np.testing.assert_array_equal(parts, np.repeat([0, 1, 2], [60, 20, 20]))


def test_dates_are_times_too(write: Write) -> None:
    days = np.arange("2024-01-01", "2024-04-10", dtype="datetime64[D]")
    for unit in ("D", "us"):
        split = SplitRule("time", validation=0.1, test_from="2024-04-01")
        parts = parts_of(write, split, ts=pa.array(days.astype(f"datetime64[{unit}]")))
        np.testing.assert_array_equal(parts == 2, days >= np.datetime64("2024-04-01"))
        assert (parts == 1).sum() == 10


def test_a_boundary_of_another_type_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match="'ts': holds int64, which 'today' is not; write"):
        parts_of(write, SplitRule("time", test_from="today"), ts=np.arange(100))


def test_groups_stay_whole_and_shares_are_kept(write: Write) -> None:
    group = np.random.default_rng(0).integers(0, 2000, 4000)
    parts = parts_of(write, SplitRule("group", validation=0.2, test=0.3), request=group)
    of_group: dict[int, set[int]] = {}
    for g, part in zip(group.tolist(), parts.tolist(), strict=True):
        of_group.setdefault(g, set()).add(part)
    assert all(len(found) == 1 for found in of_group.values())
    shares = np.bincount([next(iter(found)) for found in of_group.values()]) / len(of_group)
    # Four standard errors of a share of .5 over 1,730 groups.
    assert shares == pytest.approx([0.5, 0.2, 0.3], abs=0.048)


def test_groups_do_not_move_when_rows_are_added_or_the_type_changes(write: Write) -> None:
    group = np.arange(300)
    before = parts_of(write, SplitRule("group"), request=group)
    after = parts_of(
        write, SplitRule("group"), request=np.append(group, group + 1000).astype(float)
    )
    np.testing.assert_array_equal(before, after[:300])


def test_random_parts_change_with_the_seed_only(write: Write) -> None:
    column = np.arange(2000)
    one, again = (parts_of(write, SplitRule("random"), x=column) for _ in range(2))
    other = parts_of(write, SplitRule("random", seed=1), x=column)
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.2
    assert np.bincount(one) / 2000 == pytest.approx([0.8, 0.1, 0.1], abs=0.04)


def test_a_column_can_say_it(write: Write) -> None:
    said = ["train", "test", "validation", "train"]
    parts = parts_of(write, SplitRule("column", column="fold"), fold=said)
    assert parts.tolist() == [0, 2, 1, 0]
    with pytest.raises(DataError, match="'fold': holds 'dev'; write one of train, validation"):
        parts_of(write, SplitRule("column", column="fold"), fold=[*said, "dev"])


def parts_of_files(folder: Path, split: SplitRule, *columns: Any) -> np.ndarray:
    """Parts of the rows of a log of which each file holds one of the columns of times."""
    for i, column in enumerate(columns):
        pq.write_table(pa.table({"ts": column}), folder / f"{i}.parquet", row_group_size=7)
    log = open_log(str(folder))
    assign = plan_split(Schema("s", (), (), split, Roles(time="ts")), CountedLog(log, None))
    return np.concatenate([assign(batch) for batch in log.batches(["ts"])])


HOURS = np.arange(100) * 3600
TIMES = {
    "int64": lambda hours: pa.array(hours),
    "int32": lambda hours: pa.array(hours, pa.int32()),
    "uint64": lambda hours: pa.array(hours, pa.uint64()),
    "float64": lambda hours: pa.array(hours * 1.0),
    "float32": lambda hours: pa.array(hours.astype(np.float32)),
    "decimal": lambda hours: pa.array(hours).cast(pa.decimal128(20, 0)),
}
STAMPS = {
    unit: lambda hours, unit=unit: pa.array(hours, pa.timestamp("s")).cast(pa.timestamp(unit))
    for unit in ("ms", "us", "ns")
}
PAIRS = [
    pytest.param(forms[one], forms[other], id=f"{one} then {other}")
    for forms in (TIMES, STAMPS)
    for one, other in itertools.permutations(forms, 2)
]


@pytest.mark.parametrize(("older", "newer"), PAIRS)
def test_the_newest_rows_are_test_rows_whatever_form_their_file_has(
    older: Any, newer: Any, tmp_path: Path
) -> None:
    parts = parts_of_files(tmp_path, SplitRule("time"), older(HOURS[:50]), newer(HOURS[50:]))
    np.testing.assert_array_equal(parts, np.repeat([0, 1, 2], [80, 10, 10]))


def test_instants_of_two_zones_are_ordered_as_instants(tmp_path: Path) -> None:
    zones = [pa.timestamp("ms", zone) for zone in ("Asia/Tokyo", "America/New_York")]
    files = [pa.array(HOURS[i::2] * 1000).cast(zone) for i, zone in enumerate(zones)]
    parts = parts_of_files(tmp_path, SplitRule("time"), *files)
    hours = np.concatenate([HOURS[::2], HOURS[1::2]])
    np.testing.assert_array_equal(parts, np.searchsorted(HOURS[[80, 90]], hours, side="right"))


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (pa.array(HOURS[:50]), pa.array(HOURS[50:], pa.timestamp("s"))),
        (pa.array(HOURS[:50], pa.timestamp("ms")), pa.array(HOURS[50:], pa.timestamp("ms", "UTC"))),
        (pa.array(range(50), pa.date32()), pa.array(HOURS[50:], pa.timestamp("ms"))),
        (pa.array(map(str, HOURS[:50])), pa.array(HOURS[50:])),
    ],
    ids=["number and time", "zone", "day and time", "text and number"],
)
def test_times_that_have_no_order_among_them_are_refused(
    older: Any, newer: Any, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"1\.parquet: column 'ts': holds .*0\.parquet; "):
        parts_of_files(tmp_path, SplitRule("time"), older, newer)


def test_integers_that_floats_would_merge_are_refused_as_times(tmp_path: Path) -> None:
    files = pa.array([1.0, 2.0]), pa.array([2**60, 2**60 + 1])
    with pytest.raises(DataError, match=r"1\.parquet, row group 0: column 'ts': holds integers "
                       r"beyond 2\^53, .*; store int64 in all files"):  # fmt: skip
        parts_of_files(tmp_path, SplitRule("time"), *files)


def test_times_beyond_64_bits_are_refused(write: Write) -> None:
    times = pa.array([2**63, 5], pa.uint64())
    with pytest.raises(DataError, match=r"'ts': holds times beyond 64 bits .*; store them as"):
        parts_of(write, SplitRule("time"), ts=times)


def test_a_boundary_is_rounded_as_the_times_of_its_column_are(write: Write) -> None:
    tenths = np.arange(100, dtype=np.float32) / np.float32(10)
    split = SplitRule("time", validation_from=0.7, test_from=0.9)
    parts = parts_of(write, split, ts=pa.array(tenths))
    np.testing.assert_array_equal(parts, np.searchsorted([7, 9], np.arange(100), side="right"))


DAYS = [datetime.date(2024, 1, 1) + datetime.timedelta(i) for i in range(100)]
UTC = datetime.UTC


def instants(unit: str, zone: str | None) -> pa.Array:
    """Noon of each day, in Tokyo's time for every zone."""
    noons = [datetime.datetime(d.year, d.month, d.day, 3, tzinfo=UTC) for d in DAYS]
    return pa.array(noons if zone else [t.replace(tzinfo=None) for t in noons],
                    pa.timestamp(unit, zone))  # fmt: skip


TIME_FORMS = {
    "days": pa.array(DAYS),
    "milliseconds of days": pa.array(DAYS, pa.date64()),
    "text": pa.array([str(day) for day in DAYS]),
    "text in codes": pa.array([f"{day} 03:00" for day in DAYS]).dictionary_encode(),
    **{unit: instants(unit, None) for unit in ("s", "ms", "us", "ns")},
    **{f"{unit} UTC": instants(unit, "UTC") for unit in ("s", "ns")},
    "Tokyo": instants("ms", "Asia/Tokyo"),
    "epoch": instants("s", None).cast(pa.int64()),
    "float epoch": instants("s", None).cast(pa.int64()).cast(pa.float64()),
    "decimal epoch": instants("s", None).cast(pa.int64()).cast(pa.decimal128(20, 0)),
}


@pytest.mark.parametrize("form", TIME_FORMS)
def test_times_of_any_form_split_the_same_rows(form: str, write: Write) -> None:
    shuffled = np.random.default_rng(0).permutation(100)
    times = TIME_FORMS[form].take(pa.array(shuffled))
    parts = parts_of(write, SplitRule("time", validation=0.2, test=0.1), ts=times)
    np.testing.assert_array_equal(parts, np.searchsorted([70, 90], shuffled, side="right"))


RIGHT = [
    ("days", "2024-03-01", 60),
    ("milliseconds of days", "2024-03-01", 60),
    ("text", "2024-03-01", 60),
    ("text in codes", "2024-03-01 03:00", 60),
    *((unit, "2024-03-01", 60) for unit in ("s", "ms", "us", "ns")),
    *((unit, "2024-03-01T03:00:00.000001", 61) for unit in ("s", "ms", "us", "ns")),
    *((unit, "2024-03-01T12:00:00+09:00", 60) for unit in ("s UTC", "ns UTC", "Tokyo")),
    *((unit, "2024-03-01T03:00:01Z", 61) for unit in ("s UTC", "ns UTC", "Tokyo")),
    ("epoch", 1709262000, 60),
    ("epoch", 1709262000.0, 60),
    ("float epoch", 1709262000, 60),
    ("decimal epoch", 1709262000, 60),
]


@pytest.mark.parametrize(("form", "boundary", "first"), RIGHT)
def test_a_boundary_means_the_same_on_any_form(
    form: str, boundary: Any, first: int, write: Write
) -> None:
    parts = parts_of(write, SplitRule("time", test_from=boundary), ts=TIME_FORMS[form])
    np.testing.assert_array_equal(np.flatnonzero(parts == 2), np.arange(first, 100))


WRONG = [
    ("days", 19_783, r"holds date32\[day\], which 19783 is not; write"),
    ("days", "2024-03-01T10:00", "which '2024-03-01T10:00' is not; write"),
    ("ms", 1709262000, "which 1709262000 is not; write it without an offset, as 2024-05-31T18:00"),
    ("ms", "2024-03-01T03:00Z", "is not; write it without an offset, as 2024-05-31T18:00:00$"),
    ("ms UTC", "2024-03-01", r"is not; write it with its offset from UTC, as .*18:00:00\+00:00$"),
    ("Tokyo", "2024-03-01T12:00", r"is not; write it with its offset from UTC"),
    ("Tokyo", "2024-03-01T12:00[Asia/Tokyo]", "is not; write it with its offset from UTC"),
    ("epoch", "2024-03-01", "holds int64, which '2024-03-01' is not; write validation_from"),
    ("text", 5, "holds text, which 5 is not; write it without an offset"),
    ("text", "spring", "holds text, which 'spring' is not; write it without an offset"),
]


@pytest.mark.parametrize(("form", "boundary", "fault"), WRONG)
def test_a_boundary_that_may_mean_another_time_is_refused(
    form: str, boundary: Any, fault: str, write: Write
) -> None:
    times = instants("ms", "UTC") if form == "ms UTC" else TIME_FORMS[form]
    with pytest.raises(DataError, match=f"column 'ts': .*{fault}"):
        parts_of(write, SplitRule("time", test_from=boundary), ts=times)


def test_times_that_no_64_bits_of_microseconds_hold_are_refused(write: Write) -> None:
    with pytest.raises(DataError, match="'ts': holds times beyond 64 bits"):
        parts_of(write, SplitRule("time"), ts=pa.array([2**62, 1] * 20, pa.timestamp("ms")))


@pytest.mark.parametrize(
    ("times", "boundary", "fault"),
    [
        (["monday"] * 9, None, "holds text such as 'monday', which is no time without a zone; st"),
        (["2024-05-01T10:00Z"] * 9, None, "holds text such as '2024-05-01T10:00Z', which is no ti"),
        ([[1]] * 9, None, r"holds list<.*>, which is no time; store a number"),
        ([True, False] * 9, None, "holds bool, which is no time; store a number"),
        ([1, None] * 9, None, "has 9 missing times; drop those rows"),
        ([1.0, float("nan")] * 9, None, "has 9 missing times; drop those rows"),
        ([{"a": 1}] * 9, 5, "holds struct<a: int64>, which 5 is not; write validation_from"),
        ([1, 2] * 9, 1.5, "holds int64, which 1.5 is not; write validation_from / test_from"),
    ],
)
def test_a_column_that_has_no_order_is_refused(
    times: Any, boundary: Any, fault: str, write: Write
) -> None:
    split = SplitRule("time", test_from=boundary)
    with pytest.raises(DataError, match=f"column 'ts': {fault}"):
        parts_of(write, split, ts=times)


def test_a_split_column_without_a_value_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match="'fold': has missing values; write one of train"):
        parts_of(write, SplitRule("column", column="fold"), fold=["train", None, "test"])


def missing_in(form: str, rows: np.ndarray) -> Any:
    """A column of users with a hundredth of the rows without one, in a form of its own."""
    users = [None if row % 100 == 0 else int(row) % 300 for row in rows]
    if form == "text":
        return pa.array([None if u is None else f"u{u}" for u in users])
    if form == "blank text":
        return pa.array([(" " * (row % 3)) if u is None else f"u{u}" for row, u in
                         zip(rows, users, strict=True)])  # fmt: skip
    if form == "dictionary":
        return pa.array([None if u is None else f"u{u}" for u in users]).dictionary_encode()
    if form == "NaN":
        return pa.array([np.nan if u is None else float(u) for u in users])
    return pa.array(users, form)


@pytest.mark.parametrize(
    "form", ["int64", "int16", "float64", "NaN", "text", "blank text", "dictionary"]
)
def test_rows_without_a_group_are_placed_one_by_one_and_users_are_whole(
    write: Write, form: str
) -> None:
    """In whatever order the rows come, and however they are cut into files."""
    rows = np.random.default_rng(0).permutation(20_000)
    parts = parts_of(
        write, SplitRule("group", validation=0.2, test=0.3), request=missing_in(form, rows)
    )
    nobody = rows % 100 == 0
    shares = np.bincount(parts[nobody], minlength=3) / nobody.sum()
    # Four standard errors of a share of .5 over 200 rows.
    assert shares == pytest.approx([0.5, 0.2, 0.3], abs=0.15)
    user = rows % 300
    for u in np.unique(user[~nobody]):
        assert len(np.unique(parts[~nobody & (user == u)])) == 1


def test_a_user_is_in_one_part_in_all_files_whatever_their_types(tmp_path: Path) -> None:
    forms = [pa.int8(), pa.int64(), pa.uint16(), pa.float64(), pa.decimal128(20, 0)]
    for i, form in enumerate(forms):
        users = np.random.default_rng(i).permutation(np.arange(100))
        column = pa.array([None, *users.tolist()]).cast(form)
        pq.write_table(pa.table({"request": column}), tmp_path / f"{i}.parquet")
    log = open_log(str(tmp_path))
    schema = Schema("s", (), (), SplitRule("group"), Roles(group="request"))
    assign, places = plan_split(schema, CountedLog(log, None)), dict[int, set[int]]()
    for batch in log.batches(["request"]):
        column = batch.columns.column("request").to_pylist()
        for user, part in zip(column, assign(batch).tolist(), strict=True):
            if user is not None:
                places.setdefault(int(user), set()).add(part)
    assert len(places) == 100
    assert all(len(parts) == 1 for parts in places.values())


@given(st.integers(0, 2**32), st.floats(0.05, 0.45), st.floats(0.05, 0.45))
@settings(max_examples=15, deadline=None)
def test_a_larger_test_share_only_adds_rows_to_it(seed: int, small: float, more: float) -> None:
    """Rows are ranked by their hash, so that a part grows without exchanging its rows."""
    batch = LogBatch(pa.record_batch({"x": np.zeros(500)}), 0, SourceLocation())
    parts = [
        plan_split(
            Schema("s", (), (), SplitRule("random", validation=0.05, test=share, seed=seed)),
            CountedLog(Log("", [], tables=[]), None),
        )(batch)
        for share in (min(small, more), max(small, more))
    ]
    assert ((parts[0] == 2) <= (parts[1] == 2)).all()
