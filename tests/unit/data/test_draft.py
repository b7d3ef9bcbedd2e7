"""Whatever the types and names of a log, `prepare` takes the draft of its schema as it stands."""

import datetime
import warnings
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from recmtl.data.describe import describe
from recmtl.data.prepare import prepare
from recmtl.errors import DataError
from recmtl.schema import Schema, parse_schema
from tests.unit.data.arrow_forms import CELLS, FORMS, VALUES

ROWS = 120
DAYS = [datetime.date(2024, 1, 1 + i) for i in range(6)]
ODD: dict[str, Any] = {
    "null": pa.nulls(6),
    "struct": pa.array([{"a": 1}] * 6),
    "map": pa.array([[("a", 1)]] * 6, pa.map_(pa.string(), pa.int64())),
    "large decimals": pa.array([Decimal(10**37 + i) for i in range(6)], pa.decimal128(38, 0)),
    "larger decimals": pa.array([Decimal(10**70 + i) for i in range(6)], pa.decimal256(76, 0)),
    "unsigned": pa.array([2**63 + i for i in range(6)], pa.uint64()),
    "days": pa.array(DAYS),
    "days in ms": pa.array(DAYS, pa.date64()),
    "time of day": pa.array([datetime.time(i) for i in range(6)], pa.time64("us")),
    "duration": pa.array([datetime.timedelta(i) for i in range(6)]),
    "zone": pa.array(DAYS).cast(pa.timestamp("ms")).cast(pa.timestamp("ms", "Europe/Paris")),
    "infinite": pa.array([float("inf"), 1.0, 2.0, 3.0, None, -float("inf")]),
    "no text": pa.array([b"\xff", b"a", b"b", b"c", b"d", b"e"]),
    "lists of text": pa.array([["a", "b"], ["c"], [], None, ["a"], ["b"]]),
    "lists of days": pa.array([[day] for day in DAYS]),
    "lists of truth": pa.array([[True], [False], [], None, [True], [True]]),
    "lists of large decimals": pa.array([[Decimal(10**37)]] * 6, pa.list_(pa.decimal128(38, 0))),
    "lists of structs": pa.array([[{"a": 1}]] * 6),
    "lists of nothing": pa.array([[None]] * 6),
}
NAMES = ["c", "user_id", "event_time", "is_click", "weight", "dt", "request_id", "item"]


def columns_with(name: str, column: Any) -> dict[str, Any]:
    """A log of a column, repeated, beside an honest feature and an outcome."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    numbers = np.arange(ROWS)
    outcome = "click" if name != "click" else "buy"
    return {
        "x": np.random.default_rng(0).random(ROWS),
        outcome: numbers % 7 % 2,
        name: pa.chunked_array(chunks * (ROWS // len(column))),
    }


def drafted(columns: dict[str, Any], folder: Path) -> tuple[str, Schema]:
    """The draft of a log, which has been prepared with it."""
    path = folder / "log.parquet"
    pq.write_table(pa.table(columns), path)
    text = describe(str(path))
    schema = parse_schema(text, source="draft")
    with warnings.catch_warnings():
        prepare(str(path), schema, folder / f"out {len(list(folder.iterdir()))}")
    return text, schema


CASES = [(kind, FORMS[kind][form](VALUES[kind])) for kind, form in CELLS]
CASES = [(str(column.type), column) for _, column in CASES if not any(
    word in str(column.type) for word in ("run_end", "fixed_size_list", "values=string_view")
)]  # fmt: skip


@pytest.mark.parametrize(("kind", "column"), [*CASES, *ODD.items()], ids=lambda v: str(v)[:30])
def test_every_type_under_every_telling_name_gives_a_draft_that_prepares(
    kind: str, column: Any, tmp_path: Path
) -> None:
    number = sum(map(ord, kind))  # a name and its neighbour for each type: all of them meet some
    for name in ("c", NAMES[number % len(NAMES)]):
        drafted(columns_with(name, column), tmp_path)


cells = st.sampled_from([*CASES, *ODD.items()])
names = st.sampled_from(
    [*NAMES, "click", "Click", "click_and_buy", "p_click", "rank", "mean", "all"]
) | (st.text(min_size=1, max_size=6).filter(lambda text: "\x00" not in text and text.isprintable()))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(names, cells, min_size=1, max_size=6))
@example(
    {"p_click": ("x", ODD["zone"]), "is_Click": ("x", FORMS["boolean"]["bool"]([True, False]))}
)
def test_any_table_gives_a_draft_that_prepares(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, tuple[str, Any]]
) -> None:
    columns: dict[str, Any] = {"x": np.random.default_rng(0).random(ROWS)}
    for name, (_, column) in table.items():
        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        columns[name] = pa.chunked_array(chunks * (ROWS // len(column)))
    columns["bought"] = np.arange(ROWS) % 7 % 2
    text, schema = drafted(columns, tmp_path_factory.mktemp("draft"))
    assert all(text.count(f"{line}\n") for line in ("features:", "tasks:"))
    assert "bought" in {task.label.column for task in schema.tasks}


def test_what_prepare_would_refuse_is_a_comment_with_its_reason(tmp_path: Path) -> None:
    text, schema = drafted(columns_with("c", ODD["infinite"]), tmp_path)
    line = next(line for line in text.splitlines() if line.startswith("  # c: "))
    assert "# refused: " in line and "infinite" in line
    assert [feature.name for feature in schema.features] == ["x"]


def test_names_that_would_meet_are_comments(tmp_path: Path) -> None:
    numbers = np.arange(ROWS)
    click, buy = numbers % 2, (numbers % 4 == 1).astype(int)
    columns = {"x": numbers / 7, "click": click, "buy": buy, "click_and_buy": 1 - buy}
    text, schema = drafted(columns, tmp_path)
    assert {task.name for task in schema.tasks} == {"click", "buy"}
    assert "# refused: tasks.click_and_buy: its scored column 'p_click_and_buy'" in text


def test_large_whole_numbers_are_ids_not_amounts(tmp_path: Path) -> None:
    ids = pa.array([Decimal(2**60 + i) for i in range(60)], pa.decimal128(38, 0))
    text, _ = drafted(columns_with("account", ids), tmp_path)
    assert "  account: {kind: categorical, min_count: 2}" in text
    text, _ = drafted(columns_with("pixels", pa.array(range(60))), tmp_path)
    assert "  pixels: {kind: numeric}" in text


def test_a_column_that_cannot_be_read_is_set_aside(tmp_path: Path) -> None:
    for i, kind in enumerate((pa.string(), pa.int64())):
        numbers = np.arange(i * 60, i * 60 + 60)
        mixed = pa.array(numbers).cast(kind)
        columns = {"x": numbers / 7, "click": numbers % 2, "mixed": mixed}
        pq.write_table(pa.table(columns), tmp_path / f"{i}.parquet")
    schema = parse_schema(describe(str(tmp_path)), source="draft")
    assert schema.ignore == ("mixed",)
    with pytest.raises(DataError, match="column 'mixed': holds"):
        pq.write_table(pa.table({"mixed": pa.nulls(0)}), tmp_path / "out.parquet")
        for i, kind in enumerate((pa.string(), pa.int64())):
            pq.write_table(pa.table({"mixed": pa.array([1]).cast(kind)}), tmp_path / f"{i}.parquet")
        (tmp_path / "out.parquet").unlink()
        describe(str(tmp_path))


Line = Callable[[str], str]


@pytest.fixture
def line_of(tmp_path: Path) -> Callable[..., str]:
    """The line of a column in the draft of a log."""

    def line(name: str, values: Any) -> str:
        text, _ = drafted(columns_with(name, pa.array(values)), tmp_path)
        return next(line for line in text.splitlines() if name in line.split("#")[0])

    return line


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Stroke", ["Yes", "No", "No"]),
        ("Diabetic", ["Yes", "No", "No, borderline"]),
        ("notified", [0, 1, 1]),
        ("notified", [0.0, 1.0, None]),
        ("active", [True, False, True]),
        ("rating", [1, 2, 3, 4, 5]),
        ("user_click_count", list(range(60))),
        ("Weight_n", list(range(60))),
        ("body_weight", [61.5, 80.0, 70.0]),
        ("weight", [1.0, -1.0, 2.0]),
    ],
)
def test_what_may_be_an_outcome_or_a_weight_is_no_feature_without_a_question(
    line_of: Callable[..., str], name: str, values: list[Any]
) -> None:
    line = line_of(name, values)
    assert "{kind: " in line and "  # ? " in line


@pytest.mark.parametrize(
    ("name", "doubt"),
    [("weight", "? "), ("w", "? "), ("sample_weight", ""), ("InstanceWeight", "")],
)
def test_a_weight_of_the_row_is_a_role_and_a_short_name_a_question(
    tmp_path: Path, name: str, doubt: str
) -> None:
    text, schema = drafted(columns_with(name, pa.array([0.5, 1.5, 2.5])), tmp_path)
    assert schema.roles.sample_weight == name
    assert f"sample_weight: {name}  # {doubt}named like a weight of the row" in text


@pytest.mark.parametrize("name", ["sex", "city", "hour"])
def test_a_plain_column_raises_no_question(line_of: Callable[..., str], name: str) -> None:
    assert "?" not in line_of(name, ["female", "male", "male"])


@pytest.mark.parametrize(
    "days",
    [[20240501, 20240502, 20240503], ["2024-05-01", "2024-05-02", "2024-05-03"], DAYS],
    ids=["numbers", "texts", "dates"],
)
def test_the_date_of_a_partition_is_a_time_or_ignored(tmp_path: Path, days: list[Any]) -> None:
    columns = columns_with("dt", pa.array(days))
    _, alone = drafted(columns, tmp_path)
    assert "dt" in (alone.roles.time, *alone.ignore)
    assert "dt" not in {feature.column for feature in alone.features}
    _, beside = drafted({**columns, "time_ms": np.arange(ROWS)}, tmp_path)
    assert beside.roles.time == "time_ms" and "dt" in beside.ignore


@pytest.mark.parametrize("suffix", [".avro", ".xlsx"])
def test_another_format_is_refused_with_what_to_do(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"log{suffix}").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="convert it to Parquet, Arrow or CSV"):
        describe(str(tmp_path / f"log{suffix}"))
