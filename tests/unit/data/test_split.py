"""Splits: the shares asked for, groups and ties kept together, exact quantiles."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.data.reader import open_log
from recmtl.data.split import kth_smallest, ordered, plan_split
from recmtl.errors import DataError, SourceLocation
from recmtl.schema import Roles, Schema, SplitRule

Write = Callable[..., str]


def parts_of(write: Write, split: SplitRule, **columns: Any) -> np.ndarray:
    log = open_log(write(columns))
    schema = Schema("s", (), (), split, Roles(time="ts", group="request"))
    assign = plan_split(schema, log)
    batches = log.batches(log.column_names(), rows=50)
    return np.concatenate([assign(batch) for batch in batches])


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=60),
    st.data(),
)
@settings(max_examples=100, deadline=None)
def test_kth_smallest_equals_sorting(values: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(values) - 1))
    array = np.array(values, np.int64)

    def scan() -> Iterator[np.ndarray]:
        yield from np.array_split(array, 3)

    assert kth_smallest(scan, k) == sorted(values)[k]


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
