"""Rows that do not count: found for the right reason, counted by split, told or refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recmtl.data.columns.gaps import (
    TEXTS,
    Gap,
    GapCount,
    GapCounts,
    gap_warnings,
    label_gaps,
    refuse_empty_splits,
)
from recmtl.data.columns.labels import LabelFit
from recmtl.data.encoded_log import NO_GROUP, EncodedLog
from recmtl.data.prepare import prepare
from recmtl.errors import DataError, SourceLocation
from recmtl.schema import Condition, Schema, SplitRule, TaskSpec

Write = Callable[..., str]
PLACE = SourceLocation("log.parquet")
CLICK = TaskSpec("click", "binary", Condition("click"), missing="ignore")
BUY = TaskSpec("buy", "binary", Condition("buy"), parent="click", missing="ignore")
STARS = TaskSpec("stars", "multiclass", Condition("stars"), missing="ignore")
WATCH = TaskSpec(
    "watch", "regression", Condition("watch"), Condition("shown", equals=1), missing="ignore"
)


def gaps_of(train: list[bool], tasks: tuple[TaskSpec, ...], **columns: Any) -> dict[str, Any]:
    """Rows of each gap that is not empty, and of how many, by reason and task."""
    schema, batch = Schema("s", (), tasks, SplitRule("random")), pa.record_batch(columns)
    fit = LabelFit(schema, "log")
    fit.add(batch, np.array(train), PLACE)
    encoded = fit.finish().encode(batch, PLACE)
    return {
        f"{gap.reason} {gap.name}": (
            np.flatnonzero(gap.rows).tolist(),
            batch.num_rows if gap.among is None else int(gap.among.sum()),
        )
        for gap in label_gaps(schema, batch, encoded, PLACE)
        if gap.rows.any()
    }


def test_rows_of_a_funnel_are_lost_only_where_the_event_may_have_happened() -> None:
    for failed in (0, None):  # nothing is lost by either way of writing
        columns = {
            "click": pa.array([1, 1, 1, 0, 0, None, None, None]),
            "buy": pa.array([1, 0, None, failed, 0, 1, 0, None]),
        }
        assert gaps_of([True] * 8, (CLICK, BUY), **columns) == {
            "label_unknown click": ([5, 6, 7], 8),
            "parent_unknown buy": ([5, 6], 6),
            "label_unknown buy": ([2, 7], 6),
        }


def test_a_class_that_train_lacks_is_told_from_one_that_is_missing() -> None:
    columns = {"stars": pa.array([1, 2, 1, 3, None, 3])}
    gaps = gaps_of([True, True, True, False, False, False], (STARS,), **columns)
    assert gaps == {"class_unseen stars": ([3, 5], 6), "label_unknown stars": ([4], 6)}


def test_rows_outside_of_a_rule_are_not_lost_but_those_without_its_column_are() -> None:
    columns = {"shown": pa.array([1, 1, 1, 0, None]), "watch": pa.array([1.0, 3.0, None, None, 2])}
    gaps = gaps_of([True] * 5, (WATCH,), **columns)
    assert gaps == {"rule_unknown watch": ([4], 5), "label_unknown watch": ([2], 3)}


def test_counts_do_not_depend_on_how_the_rows_are_cut() -> None:
    random = np.random.default_rng(0)
    parts = random.integers(0, 3, 300).astype(np.uint8)
    rows, among = random.random(300) < 0.2, random.random(300) < 0.7
    rows &= among
    entries = []
    for cuts in ([], [7, 100, 101]):
        counts = GapCounts(("train", "validation", "test"))
        for at in np.split(np.arange(300), cuts):
            gap = Gap("label_unknown", "click", "c", rows[at], among[at])
            counts.add(
                [gap, Gap("group_missing", "group", "g", np.zeros(len(at), bool))], parts[at]
            )
        entries.append(counts.entries())
    assert entries[0] == entries[1]
    for part, entry in enumerate(entries[0]):
        inside = parts == part
        assert (entry.rows, entry.of) == ((rows & inside).sum(), (among & inside).sum())
        assert GapCount.from_json(entry.to_json()) == entry


def count(split: str, rows: int, reason: Any = "label_unknown", of: int = 100) -> GapCount:
    return GapCount(split, reason, "click", "is_click", rows, of)


def test_one_line_tells_a_column_its_splits_their_shares_and_a_remedy() -> None:
    counts = [count("train", 10), count("validation", 11), count("test", 30)]
    (line,) = gap_warnings(counts)
    assert line == (
        "column 'is_click' ('click'): 11.0% of the validation rows, 30.0% of the test rows have "
        "no label and do not count for the task; fill the column, or say with `rows` where the "
        "label is defined"
    )


def test_unknown_ids_are_told_where_they_are_more_than_in_train() -> None:
    counts = [count("train", 40, "id_unknown"), count("test", 50, "id_unknown")]
    assert list(gap_warnings(counts)) == []
    (line,) = gap_warnings([*counts[:1], count("test", 51, "id_unknown")])
    assert "51.0% of the test values are missing, unseen in train" in line
    assert list(gap_warnings([count("train", 99, "id_unknown")])) == []
    assert len(list(gap_warnings([count("test", 11, "id_unknown")]))) == 1


def test_every_reason_has_its_words() -> None:
    for reason in TEXTS:
        (line,) = gap_warnings([count("test", 100, reason)])
        assert line.count(";") == 1 and "100.0% of the test" in line


def test_a_split_without_labels_groups_or_side_rows_is_refused() -> None:
    lost = count("test", 80, "class_unseen", of=80)
    with pytest.raises(DataError, match=r"^log: no test row has a label of task 'click'; col"):
        refuse_empty_splits([lost], {"test": {"click": 0}}, "log")
    with pytest.raises(DataError, match="task 'click'; correct the split, or drop the task"):
        refuse_empty_splits([], {"test": {"click": 0}}, "log")
    for reason in ("group_missing", "key_unmatched"):
        with pytest.raises(DataError, match=r"^log: .*100\.0% of the test rows have no"):
            refuse_empty_splits([count("test", 80, reason, of=80)], {}, "log")
        refuse_empty_splits([count("test", 79, reason, of=80)], {}, "log")


def counts_of(log: EncodedLog) -> dict[tuple[str, str, str], tuple[int, int]]:
    entries = map(GapCount.from_json, log.manifest["counts"])
    return {(one.split, one.reason, one.name): (one.rows, one.of) for one in entries}


def test_a_prepared_log_counts_what_is_lost(
    schema: Schema, columns: dict[str, Any], write: Write, tmp_path: Path
) -> None:
    """The rows come in the order of time: 240 train, 80 validation, 80 test."""
    columns["request"] = [None if i in (45, 46) else int(i) for i in columns["request"]]
    stars = columns["stars"]
    stars[350:390] = [9] * 40
    log = prepare(write(columns), schema, tmp_path / "out")
    counts = counts_of(log)
    assert counts["test", "class_unseen", "stars"] == (40, 80)
    bounds = ((0, 240), (240, 320), (320, 400))
    nulls = [sum(star is None for star in stars[a:b]) for a, b in bounds]
    got = [counts[part, "label_unknown", "stars"] for part in ("train", "validation", "test")]
    assert got == list(zip(nulls, (240, 80, 80), strict=True))
    strangers = [int((columns["user_id"][a:b] > 24).sum()) for a, b in ((0, 240), (240, 320))]
    assert counts["train", "key_unmatched", "users.parquet"] == (strangers[0], 240)
    assert counts["validation", "key_unmatched", "users.parquet"] == (strangers[1], 80)
    assert counts["test", "group_missing", "group"] == (16, 80)
    assert (log.split("test").group == NO_GROUP).sum() == 16
    assert log.manifest["labelled"]["test"]["stars"] == 80 - 40 - nulls[2]
    assert any("50.0% of the test rows hold a class" in line for line in log.manifest["warnings"])


def test_rows_without_a_group_of_the_split_are_counted_too(
    schema: Schema, columns: dict[str, Any], write: Write, tmp_path: Path
) -> None:
    columns["team"] = [f"t{i % 40}" if i % 5 else " " for i in range(400)]
    split = SplitRule("group", validation=0.3, test=0.3, column="team")
    log = prepare(write(columns), replace(schema, split=split), tmp_path / "out")
    counts = [one for one in log.manifest["counts"] if one["reason"] == "group_missing"]
    assert sum(one["rows"] for one in counts) == 80
    assert {one["column"] for one in counts} == {"team"}
    assert [one["split"] for one in counts] == ["train", "validation", "test"]
    columns["team"] = [None] * 400
    with pytest.raises(DataError, match=r"'team': 100.0% of the train rows have no group"):
        prepare(write(columns), replace(schema, split=split), tmp_path / "none")


@pytest.mark.parametrize(
    ("column", "rows", "message"),
    [
        ("request", slice(320, 400), "column 'request': 100.0% of the test rows have no group"),
        ("request", slice(0, 400), "column 'request': 100.0% of the train rows have no group"),
        ("stars", slice(320, 400), "no test row has a label of task 'stars'; column 'stars': 100"),
    ],
)
def test_a_split_in_which_nothing_is_left_is_refused(
    schema: Schema,
    columns: dict[str, Any],
    write: Write,
    tmp_path: Path,
    column: str,
    rows: Any,
    message: str,
) -> None:
    values = list(columns[column])
    values[rows] = [None] * len(values[rows])
    columns[column] = values
    with pytest.raises(DataError, match=message):
        prepare(write(columns), schema, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_log_without_gaps_counts_nothing_but_ids(
    schema: Schema, columns: dict[str, Any], write: Write, tmp_path: Path
) -> None:
    columns["stars"] = [1 if star is None else star for star in columns["stars"]]
    columns["user_id"] %= 25
    tasks = tuple(replace(task, missing="refuse") for task in schema.tasks)
    log = prepare(write(columns), replace(schema, tasks=tasks), tmp_path / "out")
    assert {reason for _, reason, _ in counts_of(log)} <= {"id_unknown"}
    for (part, _, feature), (unknown, values) in counts_of(log).items():
        assert unknown == log.manifest["unknown"][part][feature]
        assert values == log.manifest["values"][part][feature]
