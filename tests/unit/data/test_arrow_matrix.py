"""Every form that Parquet stores, in every use, alone and beside a file of another form.

The encoded log must be that of the plainest form in one file, bit for bit.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.describe import describe
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.schema import parse_schema
from tests.unit.data.arrow_forms import CELLS, FORMS, NOON, VALUES

ROWS = 60
NOT_IN_PARQUET = ("run ends", "dictionary of views")
CATEGORY, NUMBER = "c: {kind: categorical, column: x}", "n: {kind: numeric, column: x}"
HASHED = "h: {kind: categorical, column: x, hash_buckets: 3}"
STANDARD = "s: {kind: numeric, column: x, encoding: standard}"
CLASSES = "{kind: multiclass, label: copy, missing: ignore}"
RULE = "{kind: binary, label: {column: copy, one_of: [a, c]}, missing: ignore}"
USES = {
    "integer": (f"{CATEGORY}, {HASHED}, {NUMBER}", CLASSES),
    "float": (f"{NUMBER}, {STANDARD}", "{kind: regression, label: copy, missing: ignore}"),
    "text": (f"{CATEGORY}, {HASHED}", RULE),
    "binary": (f"{CATEGORY}, {HASHED}", CLASSES),
    "boolean": (f"{CATEGORY}, {NUMBER}", "{kind: binary, label: copy, missing: ignore}"),
    "timestamp": (CATEGORY, "{kind: regression, label: row}"),
    "list": ("l: {kind: list, column: x, max_length: 3}", "{kind: regression, label: row}"),
}
"""The features and the task that read a column of a kind, and its copy."""
SCHEMA = """
version: 1
name: matrix
features: {{{features}}}
tasks:
  other: {{kind: binary, label: y}}
  task: {task}
roles: {{{roles}}}
split: {{by: time}}
"""
STORED = [(kind, form) for kind, form in CELLS if form not in NOT_IN_PARQUET]


def values_of(kind: str, *, fixed: bool) -> list[Any]:
    if kind == "timestamp":
        return [NOON + np.timedelta64(i // 2, "m").item() for i in range(ROWS)]
    values = (VALUES[kind] * ROWS)[:ROWS]
    return [[0, 1] if row is None else row for row in values] if fixed else values


def write_log(folder: Path, kind: str, files: list[str], *, fixed: bool) -> None:
    """A log whose rows are spread over files, of which each holds column x in a form."""
    folder.mkdir(parents=True)
    values, size = values_of(kind, fixed=fixed), ROWS // len(files)
    for i, form in enumerate(files):
        rows = slice(i * size, (i + 1) * size)
        numbers = np.arange(rows.start, rows.stop)
        column = FORMS[kind][form](values[rows])
        columns = {"x": column, "copy": column, "y": numbers % 2, "row": numbers, "ts": numbers}
        # Row groups of 10 in every file: sums of floats depend on what is added up together.
        pq.write_table(pa.table(columns), folder / f"{i}.parquet", row_group_size=10)


def prepared(folder: Path, kind: str, files: list[str], *, fixed: bool) -> EncodedLog:
    """The encoded log of the files that `write_log` makes."""
    write_log(folder / "log", kind, files, fixed=fixed)
    features, task = USES[kind]
    roles = "time: x" if kind == "timestamp" else "time: ts"
    roles += ", group: x" if kind in ("integer", "text", "binary") else ""
    schema = parse_schema(SCHEMA.format(features=features, task=task, roles=roles), source="s")
    return prepare(str(folder / "log"), schema, folder / "out")


@pytest.fixture(scope="module")
def plainest(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The log of a kind in its first form and one file."""

    @cache
    def of(kind: str, fixed: bool) -> EncodedLog:
        return prepared(tmp_path_factory.mktemp("one"), kind, [next(iter(FORMS[kind]))],
                        fixed=fixed)  # fmt: skip

    return of


def assert_same(log: EncodedLog, expected: EncodedLog) -> None:
    for part in ("train", "validation", "test"):
        mine, theirs = log.split(part), expected.split(part)
        for name in ("row", "ids", "numeric", "labels", "weight", "group"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name), err_msg=name)
    assert log.encoding == expected.encoding
    assert log.manifest["unknown"] == expected.manifest["unknown"]
    assert log.label_statistics == expected.label_statistics


@pytest.mark.parametrize(("kind", "form"), STORED)
def test_a_form_is_encoded_as_the_plainest(
    kind: str, form: str, plainest: Any, tmp_path: Path
) -> None:
    fixed = kind == "list" and "fixed" in form
    assert_same(prepared(tmp_path, kind, [form], fixed=fixed), plainest(kind, fixed))


@pytest.mark.parametrize(("kind", "form"), STORED)
def test_a_form_beside_another_is_encoded_as_the_plainest(
    kind: str, form: str, plainest: Any, tmp_path: Path
) -> None:
    fixed = kind == "list" and "fixed" in form
    first = next(iter(FORMS[kind]))
    for number, files in enumerate(([first, form], [form, first, form])):
        log = prepared(tmp_path / str(number), kind, files, fixed=fixed)
        assert_same(log, plainest(kind, fixed))


@pytest.mark.parametrize(("kind", "form"), STORED)
def test_a_form_beside_another_is_described_as_the_plainest(
    kind: str, form: str, tmp_path: Path
) -> None:
    fixed = kind == "list" and "fixed" in form
    first = next(iter(FORMS[kind]))
    drafts = []
    for name, files in (("mixed", [first, form]), ("plain", [first, first])):
        write_log(tmp_path / name / "log", kind, files, fixed=fixed)
        drafts.append(describe(str(tmp_path / name / "log")).splitlines()[1:])
    assert drafts[0] == drafts[1]
    if kind in ("integer", "float", "list", "text", "boolean"):
        assert any(line.startswith("  x: {kind: ") for line in drafts[0])


def test_a_wider_integer_in_a_later_file_is_described(tmp_path: Path) -> None:
    for i, column in enumerate([pa.array([1, 2], pa.int8()), pa.array([1000, 2**40])]):
        pq.write_table(pa.table({"x": column}), tmp_path / f"{i}.parquet")
    assert "x: {kind: categorical}  # 4 distinct values" in describe(str(tmp_path))


PROMOTED = [
    ("boolean", "integer"), ("boolean", "float"), ("integer", "float"), ("text", "binary"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "wider"), PROMOTED)
@pytest.mark.parametrize("swapped", [False, True])
def test_a_kind_beside_a_wider_one_is_encoded_as_the_wider_one_alone(
    kind: str, wider: str, swapped: bool, tmp_path: Path
) -> None:
    """0 and 1 as booleans beside integers or floats, and so on."""
    values = {"boolean": [True, None, False], "integer": [1, None, 0], "text": ["b", None, "a"]}
    equal = {"boolean": values["integer"], "integer": values["integer"], "text": values["text"]}
    mixed = [(kind, values[kind]), (wider, equal[kind])]
    logs = []
    for name, files in (("mixed", mixed[::-1] if swapped else mixed), ("alone", [mixed[1]] * 2)):
        folder = tmp_path / name
        folder.mkdir()
        for i, (of, cells) in enumerate(files):
            column = FORMS[of][PLAIN[of]]([*cells, *cells] * 5)
            table = {"x": column, "copy": column, "y": np.arange(30) % 2}
            table["ts"] = np.arange(30) + 30 * i
            pq.write_table(pa.table(table), folder / f"{i}.parquet")
        schema = SCHEMA.format(
            features=f"{CATEGORY}, {HASHED}", task=CLASSES, roles="time: ts, group: x"
        )
        logs.append(prepare(str(folder), parse_schema(schema, source="s"), tmp_path / f"o{name}"))
    assert_same(logs[0], logs[1])


PLAIN = {
    "boolean": "bool", "integer": "int64", "float": "float64", "text": "string", "binary": "binary",
}  # fmt: skip
