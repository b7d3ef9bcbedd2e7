"""Windows of late labels: a row is open until its window ends, whatever was seen of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.labelled.windows import late_rows, with_known_times
from recmtl.data.prepare import check_rows, prepare
from recmtl.data.reader import open_log
from recmtl.errors import DataError, SourceLocation
from recmtl.schema import Label, Schema, SplitRule, TaskSpec
from tests.late_logs import DAYS, WINDOW, late_log, late_schema, write_log

HERE = SourceLocation("log")
START = datetime(2024, 5, 1)
SCHEMA = late_schema("{column: bought, time: bought_at, window: 4, known_until: 10}")
few = settings(max_examples=60, deadline=None)


def rows_of(
    times: list[Any], events: list[Any], *, schema: Schema = SCHEMA, kind: pa.DataType | None = None
) -> Any:
    kind = kind or pa.int64()
    batch = pa.record_batch({"ts": pa.array(times, kind), "bought_at": pa.array(events, kind)})
    label = np.array([float(event is not None) for event in events])
    return late_rows(schema.tasks[0], schema, batch, label, HERE)


def test_a_row_is_open_until_its_window_ends_even_if_its_event_was_seen() -> None:
    late = rows_of([0, 0, 0, 6, 7, 7, 12], [None, 4, 5, None, None, 8, None])
    assert late.label.tolist()[:4] == [0, 1, 0, 0]  # an event after the window does not count
    assert late.open.tolist() == [False] * 4 + [True] * 3
    assert np.isnan(late.label[4:]).all()
    np.testing.assert_allclose(late.waited, [1, 1, 1, 1, 0.75, 0.75, 0], atol=1e-6)
    np.testing.assert_allclose(late.delay, [np.nan, 1, np.nan, np.nan, np.nan, 0.25, np.nan])


@few
@given(
    st.lists(st.tuples(st.integers(0, 30), st.one_of(st.none(), st.integers(0, 20))), min_size=1),
    st.integers(0, 20),
)
def test_what_is_known_later_agrees_with_what_was_known_before(
    rows: list[tuple[int, int | None]], more: int
) -> None:
    """A closed window stays as it is; an open one closes to what it will be."""
    times, events = [t for t, _ in rows], [None if d is None else t + d for t, d in rows]
    task = SCHEMA.tasks[0]
    later = replace(
        SCHEMA, tasks=(replace(task, label=replace(task.label, known_until=10 + more)),)
    )
    before, after = rows_of(times, events), rows_of(times, events, schema=later)
    closed = ~before.open
    np.testing.assert_array_equal(before.label[closed], after.label[closed])
    assert not (after.open & closed).any()
    assert (after.waited >= before.waited).all()
    seen = ~np.isnan(before.delay)
    np.testing.assert_array_equal(before.delay[seen], after.delay[seen])


FORMS = {
    "date": (pa.date32(), lambda day: (START + timedelta(days=day)).date()),
    "seconds": (pa.timestamp("s"), lambda day: START + timedelta(days=day)),
    "nanoseconds": (pa.timestamp("ns"), lambda day: START + timedelta(days=day)),
    "zone": (
        pa.timestamp("ms", "Asia/Tokyo"),
        lambda day: (START + timedelta(days=day)).replace(tzinfo=UTC),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_times_of_every_kind_say_the_same(form: str) -> None:
    kind, of_day = FORMS[form]
    end = "2024-05-11T00:00:00" + "Z" * (form == "zone")
    label = Label("bought", time="bought_at", window="4d", known_until=end)
    schema = replace(SCHEMA, tasks=(TaskSpec("buy", "binary", label),))
    events = [None, 4, 5, None, None, 8]
    late = rows_of(
        [of_day(day) for day in (0, 0, 0, 6, 7, 7)],
        [None if day is None else of_day(day) for day in events],
        schema=schema,
        kind=kind,
    )
    plain = rows_of([0, 0, 0, 6, 7, 7], events)
    for name in ("label", "open", "waited", "delay"):
        np.testing.assert_allclose(getattr(late, name), getattr(plain, name), err_msg=name)


def test_the_end_of_the_log_is_its_latest_row_or_event() -> None:
    label = Label("bought", time="bought_at", window=4)
    schema = replace(SCHEMA, tasks=(TaskSpec("buy", "binary", label),))

    class Batch:
        place = HERE

        def __init__(self, times: list[int], events: list[int | None]) -> None:
            self.columns = pa.record_batch(
                {"ts": pa.array(times), "bought_at": pa.array(events, pa.int64())}
            )

    batches = [Batch([3, 1], [None, None]), Batch([2, 5], [9, None])]
    resolved = with_known_times(schema, lambda names: iter(batches), HERE)
    assert resolved.tasks[0].label.known_until == 9
    assert with_known_times(resolved, lambda names: pytest.fail("read again"), HERE) == resolved


@pytest.mark.parametrize(
    ("times", "events", "kind", "message"),
    [
        ([5], [4], None, "1 events of task 'buy' lie before their rows"),
        ([None], [None], None, "is missing on 1 rows, whose window nobody knows"),
        ([START], [None], pa.timestamp("s"), "the window 4 does not measure.*with a unit"),
        (["x"], [None], pa.string(), "has no periods"),
    ],
)
def test_times_that_say_nothing_are_refused(
    times: list[Any], events: list[Any], kind: pa.DataType | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        rows_of(times, events, kind=kind)


def test_an_event_without_its_time_is_refused_or_left_out() -> None:
    batch = pa.record_batch({"ts": pa.array([0, 0]), "bought_at": pa.array([None, 2], pa.int64())})
    label, task = np.array([1.0, 1.0]), SCHEMA.tasks[0]
    with pytest.raises(DataError, match="is missing on 1 rows with an event of 'buy'"):
        late_rows(task, SCHEMA, batch, label, HERE)
    late = late_rows(replace(task, missing="ignore"), SCHEMA, batch, label, HERE)
    np.testing.assert_array_equal(late.label, [np.nan, 1])
    np.testing.assert_array_equal(late.waited, [np.nan, 1])


def test_a_prepared_log_holds_closed_labels_and_what_is_known_of_open_ones(tmp_path: Path) -> None:
    columns, happens = late_log(3000, seed=0)
    log = prepare(write_log(columns, tmp_path / "log.parquet"), late_schema(), tmp_path / "log")
    for part in ("train", "validation", "test"):
        rows = log.split(part)
        is_open = np.isnan(rows.labels[:, 0])
        np.testing.assert_array_equal(rows.labels[~is_open, 0], happens[rows.row[~is_open]])
        assert (rows.waits[is_open, 0] < 1).all() and (rows.waits[~is_open, 0] == 1).all()
        assert is_open.any() == (part == "train")
        positive = rows.labels[:, 0] == 1
        assert not np.isnan(rows.waits[positive, 1]).any()
    counts = {(c["split"], c["reason"]): c["rows"] for c in log.manifest["counts"]}
    assert counts[("train", "window_open")] == np.isnan(log.split("train").labels).sum()
    known = log.manifest["late_labels"]["buy"]
    assert known["window"] == f"{WINDOW}d"
    assert known["known_until"].startswith(f"1970-01-{int(DAYS):02d}")
    assert any("still open" in warning for warning in log.manifest["warnings"])


def test_a_split_whose_windows_are_all_open_is_refused(tmp_path: Path) -> None:
    columns, _ = late_log(1000, seed=1)
    schema = replace(late_schema(), split=SplitRule("time", 0.1, 0.1))
    path = write_log(columns, tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"no validation row has a label of task 'buy'.*still open"):
        check_rows(open_log(path), schema)


def test_a_log_without_late_labels_has_no_file_of_them(tmp_path: Path) -> None:
    columns, _ = late_log(300, seed=2)
    log = prepare(
        write_log(columns, tmp_path / "log.parquet"), late_schema("bought"), tmp_path / "log"
    )
    assert not (log.folder / "train" / "waits.npy").exists()
    assert log.split("train").waits.shape == (len(log.split("train")), 0)
    assert EncodedLog.open(log.folder).manifest.get("late_labels") is None


def test_a_child_is_known_where_its_parent_did_not_happen(tmp_path: Path) -> None:
    columns, _ = late_log(1000, seed=3)
    random = np.random.default_rng(0)
    columns["clicked"] = np.maximum(columns["bought"], random.integers(0, 2, 1000))
    schema = late_schema()
    click = TaskSpec("click", "binary", Label("clicked"))
    schema = replace(schema, tasks=(click, replace(schema.tasks[0], parent="click")))
    log = prepare(write_log(columns, tmp_path / "log.parquet"), schema, tmp_path / "log")
    rows = log.split("train")
    unclicked = rows.labels[:, 0] == 0
    assert (rows.labels[unclicked, 1] == 0).all() and (rows.waits[unclicked, 0] == 1).all()
    assert np.isnan(rows.labels[~unclicked, 1]).any()
