"""Preparing a log: what comes out equals a plain computation; what does not fit is refused."""

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.filesize import decimal

from recmtl.data.encoded_log import ArrayWriter, EncodedLog
from recmtl.data.prepare import prepare
from recmtl.errors import DataError, SchemaError
from recmtl.schema import Categorical, Condition, Numeric, Schema, SplitRule, TaskSpec

Write = Callable[..., str]
Columns = dict[str, Any]


def left_over(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.suffix not in (".parquet", ".yaml"))


def whole(log: EncodedLog, name: str) -> np.ndarray:
    parts = [log.split(part) for part in ("train", "validation", "test")]
    order = np.argsort(np.concatenate([part.row for part in parts]))
    return np.concatenate([getattr(part, name) for part in parts])[order]


def test_every_row_lands_in_exactly_one_part(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    log = prepare(write(columns), schema, tmp_path / "out")
    np.testing.assert_array_equal(whole(log, "row"), np.arange(400))
    assert log.manifest["rows"] == {"train": 240, "validation": 80, "test": 80}
    assert left_over(tmp_path) == ["out"]


def test_time_parts_follow_one_another(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    order = np.random.default_rng(1).permutation(400)
    columns["ts"] = columns["ts"][order]
    log = prepare(write(columns), schema, tmp_path / "out")
    times = [columns["ts"][log.split(p).row] for p in ("train", "validation", "test")]
    assert times[0].max() < times[1].min()
    assert times[1].max() < times[2].min()


def test_labels_equal_the_columns(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    log = prepare(write(columns), schema, tmp_path / "out")
    labels = whole(log, "labels")
    np.testing.assert_array_equal(labels[:, 0], columns["is_click"])
    np.testing.assert_array_equal(labels[:, 1], columns["is_buy"])
    np.testing.assert_array_equal(labels[:, 2], columns["watch_s"].astype(np.float32))
    stars = np.array([np.nan if s is None else s - 1 for s in columns["stars"]])
    np.testing.assert_array_equal(labels[:, 3], stars)
    weight = columns["w"] / columns["w"][:240].mean()
    np.testing.assert_array_equal(whole(log, "weight"), weight.astype(np.float32))


def test_statistics_are_those_of_the_train_rows(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    log = prepare(write(columns), schema, tmp_path / "out")
    train = slice(0, 240)
    clicked = columns["is_click"][train] == 1
    watch, weight = np.log1p(columns["watch_s"][train][clicked]), columns["w"][train][clicked]
    mean = np.average(watch, weights=weight)
    found = log.label_statistics
    assert found["click"].positives == columns["is_click"][train].sum()
    assert found["click"].rows == 240
    assert found["watch"].rows == len(watch)
    assert found["watch"].mean == pytest.approx(mean)
    std = np.average((watch - mean) ** 2, weights=weight) ** 0.5
    assert found["watch"].std == pytest.approx(std)
    assert found["stars"].classes == (1, 2, 3, 4, 5)


def test_equal_groups_and_only_those_have_equal_codes(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    group = whole(prepare(write(columns), schema, tmp_path / "out"), "group")
    assert len(np.unique(group)) == 50
    assert all(len(np.unique(group[i : i + 8])) == 1 for i in range(0, 400, 8))


def test_row_groups_and_files_do_not_change_the_result(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    path = write(columns, row_group_size=400)
    one = prepare(path, schema, tmp_path / "one")
    (tmp_path / "parts").mkdir()
    shutil.copy(tmp_path / "users.parquet", tmp_path / "parts")
    table = pa.table(columns)
    for i, first in enumerate(range(0, 400, 150)):
        part = table.slice(first, 150)
        pq.write_table(part, tmp_path / "parts" / f"{i}.parquet", row_group_size=37)
    many = prepare(str(tmp_path / "parts"), schema, tmp_path / "many")
    globbed = prepare(str(tmp_path / "parts" / "?.parquet"), schema, tmp_path / "globbed")
    for name in ("ids", "numeric", "labels", "weight", "group"):
        np.testing.assert_array_equal(whole(one, name), whole(many, name))
    assert many.fingerprint == globbed.fingerprint != one.fingerprint


def test_validation_and_test_rows_do_not_move_what_is_fitted(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    before = prepare(write(columns), schema, tmp_path / "before")
    columns["price"][240:] = 1e6
    columns["item_id"][240:] = ["new"] * 160
    columns["user_id"][240:] = 7
    after = prepare(write(columns), schema, tmp_path / "after")
    assert before.encoding == after.encoding
    for name in ("ids", "numeric"):
        left, right = (getattr(log.split("train"), name) for log in (before, after))
        np.testing.assert_array_equal(left, right)
    assert after.manifest["unknown"]["test"]["item_id"] == 80


def test_same_input_is_reused_and_other_input_replaces_it(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = prepare(write(columns), schema, out)
    stamp = (out / "manifest.json").stat().st_ino
    again = prepare(write(columns), schema, out)
    assert (out / "manifest.json").stat().st_ino == stamp
    columns["is_click"][0] = 1
    columns["watch_s"][0] = 3.0
    columns["price"][0] = 123.0
    other = prepare(write(columns), schema, out)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert left_over(tmp_path) == ["out"]


def test_a_folder_that_is_no_encoded_log_is_not_replaced(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="not an encoded log; choose another folder"):
        prepare(write(columns), schema, tmp_path / "home")
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"


def drop(name: str) -> Callable[[Columns], None]:
    return lambda columns: columns.pop(name)


def put(name: str, row: int, value: object) -> Callable[[Columns], None]:
    def change(columns: Columns) -> None:
        values = list(columns[name])
        values[row] = value
        columns[name] = values

    return change


def fill(name: str, values: object) -> Callable[[Columns], None]:
    def change(columns: Columns) -> None:
        columns[name] = [values] * 400

    return change


def constant_click(columns: Columns) -> None:
    fill("is_click", 1)(columns)
    fill("watch_s", 2.0)(columns)


REFUSED = {
    "missing feature column": (drop("price"), "'price'", "is missing", "add it"),
    "missing label column": (drop("is_buy"), "'is_buy'", "is missing", "add it"),
    "missing join key": (drop("user_id"), "'user_id'", "is missing", "add it"),
    "text where numbers are": (fill("price", "dear"), "'price'", "not numbers", "store numbers"),
    "text label": (fill("watch_s", "long"), "'watch_s'", "not numbers", "store numbers"),
    "struct feature": (fill("user_id", {"a": 1}), "'user_id'", "struct", "unpack it"),
    "list where one value is": (fill("item_id", ["a"]), "'item_id'", "list<", "kind: list"),
    "one value where lists are": (fill("tags", 3), "'tags'", "not lists", "kind: categorical"),
    "fractions as categories": (fill("item_id", 0.5), "'item_id'", "fractions", "kind: numeric"),
    "infinite number": (put("price", 100, np.inf), "'price'", "infinite", "replace"),
    "constant label": (constant_click, "'is_click'", "is 1 on every train row", "drop task"),
    "constant child": (fill("is_buy", 0), "'is_buy'", "is 0 on every train row", "drop task"),
    "label not 0 or 1": (put("is_click", 100, 2), "'is_click'", "holds 2", "give label a rule"),
    "null label": (put("is_click", 100, None), "'is_click'", "1 labels", "missing: ignore"),
    "NaN label": (put("is_buy", 100, np.nan), "'is_buy'", "null, NaN", "missing: ignore"),
    "infinite label": (put("is_buy", 100, np.inf), "'is_buy'", "infinite", "missing: ignore"),
    "missing time": (put("ts", 100, None), "'ts'", "1 missing times", "drop those rows"),
    "negative weight": (put("w", 100, -1.0), "'w'", "negative", "drop sample_weight"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_columns_are_refused_in_one_line_and_leave_nothing(
    case: str, schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    change, column, fault, remedy = REFUSED[case]
    change(columns)
    with pytest.raises(DataError) as caught:
        prepare(write(columns), schema, tmp_path / "out")
    message = str(caught.value)
    assert "\n" not in message
    assert ".parquet" in message
    for part in (column, fault, remedy):
        assert part in message
    assert left_over(tmp_path) == []


def test_the_row_group_of_a_bad_value_is_named(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    put("is_click", 100, None)(columns)
    with pytest.raises(DataError, match=r"log\.parquet, row group 1: column 'is_click'"):
        prepare(write(columns, row_group_size=64), schema, tmp_path / "out")


def test_conversions_without_a_click_are_counted(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    unclicked = np.flatnonzero(columns["is_click"] == 0)[:3]
    columns["is_buy"][unclicked] = 1
    with pytest.raises(DataError, match=r"'is_buy': 3 rows have buy = 1 where .* click = 0; corr"):
        prepare(write(columns), schema, tmp_path / "out")
    assert left_over(tmp_path) == []


def test_a_label_among_the_features_is_refused(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    features = (*schema.features, Categorical("leak", "is_buy"))
    with pytest.raises(SchemaError, match=r"features\.leak: column 'is_buy' is the label of"):
        prepare(write(columns), replace(schema, features=features), tmp_path / "out")


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda data: b"", r"is empty \(0 bytes\); write it again"),
        (lambda data: data[: len(data) // 2], "truncated or not Parquet"),
        (lambda data: b"a,b\n1,2\n" * 50, "truncated or not Parquet"),
        (lambda data: data[:200] + b"\xff" * 3000 + data[3200:], "row group 0.*write the file"),
    ],
    ids=["empty", "truncated", "csv", "overwritten"],
)
def test_damaged_files_are_refused(
    damage: Callable[[bytes], bytes],
    fault: str,
    schema: Schema,
    columns: Columns,
    write: Write,
    tmp_path: Path,
) -> None:
    path = Path(write(columns))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"log\.parquet.*{fault}"):
        prepare(str(path), schema, tmp_path / "out")
    assert left_over(tmp_path) == []


def test_no_file_and_no_rows_are_refused(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="no data file found; check the path"):
        prepare(str(tmp_path / "nothing*.parquet"), schema, tmp_path / "out")
    empty = {name: pa.array(values).slice(0, 0) for name, values in columns.items()}
    with pytest.raises(DataError, match="holds no rows"):
        prepare(write(empty), schema, tmp_path / "out")
    assert left_over(tmp_path) == []


def test_an_empty_part_is_refused(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    late = replace(schema, split=SplitRule(by="time", test_from=10**9))
    with pytest.raises(DataError, match="no row falls into test; correct split"):
        prepare(write(columns), late, tmp_path / "out")
    assert left_over(tmp_path) == []


def test_a_full_disk_is_one_clear_error(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(writer: ArrayWriter, arrays: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ArrayWriter, "append", full)
    with pytest.raises(DataError, match="the disk is full; free some space"):
        prepare(write(columns), schema, tmp_path / "out")
    assert left_over(tmp_path) == []


def test_too_little_space_is_said_before_writing(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = prepare(write(columns), schema, tmp_path / "out").folder
    arrays = [np.load(path).nbytes for path in log.rglob("*.npy")]
    shutil.rmtree(log)
    needed = decimal(sum(arrays))
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=f"needs {needed} and 10 bytes are free; free {needed}"):
        prepare(write(columns), schema, tmp_path / "out")
    assert left_over(tmp_path) == []


def test_data_that_change_while_they_are_read_are_refused(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    """A side table rewritten between two streams would give a silent mixture."""

    def rewrite(stage: str, done: int, total: int) -> None:
        if stage == "encode":
            users = pq.read_table(tmp_path / "users.parquet")
            pq.write_table(users.slice(1), tmp_path / "users.parquet")

    with pytest.raises(DataError, match=r"users\.parquet: changed while it was read; run again"):
        prepare(write(columns), schema, tmp_path / "out", progress=rewrite)
    assert left_over(tmp_path) == []


def test_what_decides_the_log_is_told_before_anything_is_written(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    facts: list[Mapping[str, Any]] = []

    def admit(told: Mapping[str, Any]) -> None:
        facts.append(told)
        raise DataError("another job")

    with pytest.raises(DataError, match="another job"):
        prepare(write(columns), schema, tmp_path / "out", admit=admit)
    assert left_over(tmp_path) == []
    log = prepare(write(columns), schema, tmp_path / "out", admit=lambda told: facts.append(told))
    prepare(write(columns), schema, tmp_path / "out", admit=lambda told: facts.append(told))
    assert facts[0] == facts[1] == facts[2] == json.loads(json.dumps(facts[0]))
    assert facts[0]["data"] == log.fingerprint and facts[0]["like"] is None
    assert sorted(facts[0]["inputs"]) == ["log.parquet", "side table 1, users.parquet"]
    assert facts[0]["schema"]["features"]["price"]["kind"] == "numeric"


def test_an_interruption_leaves_the_older_log_alone(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    before = prepare(write(columns), schema, tmp_path / "out").fingerprint
    columns["price"][0] = 5.0

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "encode":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(write(columns), schema, tmp_path / "out", progress=stop)
    assert EncodedLog.open(tmp_path / "out").fingerprint == before
    assert left_over(tmp_path) == ["out"]


def test_near_copies_of_a_label_are_told(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    columns["clicked_text"] = np.where(columns["is_click"] == 1, "yes", "no").tolist()
    columns["seconds"] = np.nan_to_num(columns["watch_s"]) * 2
    features = (
        *schema.features,
        Categorical("clicked_text", "clicked_text"),
        Numeric("seconds", "seconds"),
    )
    log = prepare(write(columns), replace(schema, features=features), tmp_path / "out")
    told = json.loads((tmp_path / "out" / "manifest.json").read_text())["warnings"]
    assert any("'clicked_text'" in line and "'click'" in line for line in told)
    assert any("'seconds'" in line and "'click'" in line for line in told)
    assert any("'seconds'" in line and "'watch'" in line for line in told)
    assert not any(f"'{name}'" in line for line in told for name in ("user_id", "price", "age"))
    assert log.manifest["warnings"] == told


def test_a_rare_label_makes_no_false_warning(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    rare = np.zeros(4000, np.int64)
    rare[::100] = 1
    tasks = (TaskSpec("rare", "binary", Condition("rare")),)
    features = (Categorical("day", "day"), Numeric("x", "x"))
    data = {"rare": rare, "day": np.arange(4000) // 2000, "x": np.ones(4000)}
    small = Schema("rare", features, tasks, SplitRule(by="random"))
    log = prepare(write(data), small, tmp_path / "out")
    assert log.manifest["warnings"] == []


def test_a_folder_that_cannot_be_written_is_one_clear_error(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written .*; choose another folder"):
        prepare(write(columns), schema, tmp_path / "file" / "out")


PEAK = """
import resource, sys
from recmtl.data.prepare import prepare
from recmtl.schema import Categorical, Condition, Numeric, Schema, SplitRule, TaskSpec
features = (*(Numeric(f"x{i}", f"x{i}") for i in range(8)), Categorical("a", "a"))
schema = Schema("s", features, (TaskSpec("t", "binary", Condition("t")),), SplitRule("random"))
prepare(sys.argv[1], schema, sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    part = {f"x{i}": random.random(200_000) for i in range(8)}
    part |= {"a": random.integers(0, 1000, 200_000), "t": random.integers(0, 2, 200_000)}
    table = pa.table(part)
    peaks = []
    for times in (2, 8):
        path = tmp_path / f"{times}.parquet"
        # One row group of all rows: not even that may be held at once.
        pq.write_table(pa.concat_tables([table] * times), path, row_group_size=10**7)
        command = [sys.executable, "-c", PEAK, str(path), str(tmp_path / f"out{times}")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    # The larger file has 96 MB more of raw values and 63 MB more of encoded ones.
    assert peaks[1] - peaks[0] < 40
