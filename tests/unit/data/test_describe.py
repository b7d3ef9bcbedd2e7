"""Drafting a schema: each kind of column goes where a careful reader would, with a reason."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.describe import ColumnProfile, column_profiles, describe
from recmtl.data.draft import sample as module
from recmtl.data.prepare import prepare
from recmtl.data.reader import open_log
from recmtl.errors import DataError
from recmtl.schema import Categorical, ListOf, Numeric, load_schema, parse_schema

Columns = dict[str, Any]


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., str]:
    def write(**columns: Any) -> str:
        pq.write_table(pa.table(columns), tmp_path / "my-log.parquet")
        return str(tmp_path / "my-log.parquet")

    return write


def test_the_draft_of_a_log_can_be_prepared(
    columns: Columns, write: Callable[..., str], tmp_path: Path
) -> None:
    del columns["stars"], columns["watch_s"]
    path = write(columns)
    (tmp_path / "draft.yaml").write_text(describe(path))
    schema = load_schema(tmp_path / "draft.yaml")
    assert {task.name: task.parent for task in schema.tasks} == {"click": None, "buy": "click"}
    assert schema.roles.time == "ts"
    assert schema.roles.sample_weight == "w"
    assert schema.split.by == "time"
    shared = schema.feature("history")
    assert isinstance(shared, ListOf)
    assert shared.table == "item_id"
    assert prepare(path, schema, tmp_path / "out").manifest["rows"]["train"] > 0


def test_kinds_follow_types_and_counts(log: Callable[..., str]) -> None:
    random = np.random.default_rng(0)
    text = describe(
        log(
            click=random.integers(0, 2, 500),
            store_id=random.integers(0, 400, 500),
            hour=random.integers(0, 24, 500),
            stock=random.integers(0, 400, 500),
            price=random.random(500),
            colour=[f"c{i % 9}" for i in range(500)],
            member=[True, False] * 250,
        )
    )
    schema = parse_schema(text, source="draft")
    kinds = {feature.name: type(feature) for feature in schema.features}
    assert kinds == {
        "store_id": Categorical,
        "hour": Categorical,
        "stock": Numeric,
        "price": Numeric,
        "colour": Categorical,
        "member": Categorical,
    }
    assert all("#" in line for line in text.splitlines() if line.startswith("  "))


def test_what_is_no_feature_is_set_aside_with_a_reason(log: Callable[..., str]) -> None:
    text = describe(
        log(
            click=[0, 1, 1, 0, 1],
            same=[7] * 5,
            nothing=[None] * 5,
            story=list("abcde"),
            play_time_ms=[1, 2, 3, 4, 5],
            nested=[{"a": 1}] * 5,
            x=[0.5, 1.5, 0.5, 1.5, 2.5],
        )
    )
    schema = parse_schema(text, source="draft")
    assert [feature.name for feature in schema.features] == ["x"]
    assert set(schema.ignore) == {"same", "nothing", "story", "play_time_ms", "nested"}
    assert "same  # constant" in text


def test_roles_and_split_follow_names(log: Callable[..., str]) -> None:
    base = {"click": [0, 1] * 50, "user_id": np.arange(100) // 5}
    request = {"request_id": np.arange(100) // 10, "impression_id": np.arange(100)}
    plain = parse_schema(describe(log(**base)), source="draft")
    assert (plain.roles.group, plain.split.by) == ("user_id", "group")
    full = parse_schema(describe(log(**base, **request)), source="draft")
    assert (full.roles.group, full.roles.row_id) == ("request_id", "impression_id")
    fold = ["train", "validation", "test", "train"] * 25
    said = parse_schema(describe(log(**base, fold=fold)), source="draft")
    assert (said.split.by, said.split.column) == ("column", "fold")


def test_two_texts_named_like_an_outcome_are_a_task(log: Callable[..., str]) -> None:
    text = describe(log(income_50k=["- 50000", "50000+", "- 50000"], age=[1.5, 2.5, 3.5]))
    condition = parse_schema(text, source="draft").tasks[0].label
    assert (condition.column, condition.equals) == ("income_50k", "50000+")


def test_odd_names_are_quoted(log: Callable[..., str]) -> None:
    columns = {"click": [0, 1] * 5, "null": np.arange(10) / 3, "a: b": np.arange(10) / 3}
    schema = parse_schema(describe(log(**columns, **{"2": np.arange(10) / 7})), source="draft")
    assert [feature.column for feature in schema.features] == ["null", "a: b", "2"]


def test_without_a_task_the_draft_says_so(log: Callable[..., str]) -> None:
    assert "No task was found" in describe(log(x=[0.5, 1.5]))


def test_a_log_without_rows_is_refused(log: Callable[..., str]) -> None:
    with pytest.raises(DataError, match="holds no rows; check how it was written"):
        describe(log(click=pa.array([], pa.int8())))


def test_unreadable_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data file found"):
        describe(str(tmp_path / "nothing.parquet"))


def profile(log: Callable[..., str], column: Any) -> ColumnProfile:
    return next(column_profiles(open_log(log(column=column))))


TIMES = pa.array([0, 1, None], pa.timestamp("ms"))
ODD: dict[str, tuple[Any, str, int, int]] = {
    "dictionary": (pa.array(["a", "b", "a", None]).dictionary_encode(), "text", 1, 2),
    "large text": (pa.array(["a", "b", "a"], pa.large_string()), "text", 0, 2),
    "decimal": (pa.array([Decimal("1.50"), Decimal("2.50"), None]), "float", 1, 2),
    "nan and null": (pa.array([1.0, float("nan"), None, 1.0]), "float", 2, 1),
    "truth": (pa.array([True, None, True]), "bool", 1, 1),
    "time": (TIMES, "time", 1, 2),
    "date": (TIMES.cast(pa.date32()), "time", 1, 1),
    "list": (pa.array([[1, 2], [], None, [2]]), "list", 1, 2),
    "large list": (pa.array([[1, 2], [3]], pa.large_list(pa.int8())), "list", 0, 3),
    "fixed list": (pa.array([[1, 2], [2, 1]], pa.list_(pa.int16(), 2)), "list", 0, 2),
    "list of lists": (pa.array([[[1]], [[2]]]), "other", 0, 0),
    "structure": (pa.array([{"a": 1}, None]), "other", 1, 0),
    "bytes": (pa.array([b"a", b"b"]), "other", 0, 2),
    "nothing": (pa.nulls(3), "other", 3, 0),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_columns_have_a_shape_gaps_and_values(log: Callable[..., str], case: str) -> None:
    column, shape, missing, distinct = ODD[case]
    seen = profile(log, column)
    assert (seen.name, seen.rows) == ("column", len(column))
    assert (seen.shape, seen.missing, seen.distinct) == (shape, missing, distinct)


@pytest.mark.parametrize(
    ("column", "event", "positive"),
    [
        ([0, 1, 1, None], 1, {1, 2}),
        ([0.0, 1.0, float("nan")], 1, {1}),
        ([True, False, None, True], 1, {0, 3}),
        ([Decimal(0), Decimal(1), None], 1, {1}),
        (["no", "yes", "no", None], "yes", {1}),
        ([1, 2, 2], None, set()),
        ([0, 1, 2], None, set()),
        (["a", "b", "c"], None, set()),
        ([1, 1], None, set()),
    ],
)
def test_the_event_is_1_or_the_rarer_of_two_texts(
    log: Callable[..., str], column: list[Any], event: Any, positive: set[int]
) -> None:
    seen = profile(log, column)
    assert (seen.event, seen.positive) == (event, positive)


@pytest.mark.parametrize(
    ("column", "unique"), [([1, 2, 3], True), ([1, 1], False), ([1, None], False), ([1], False)]
)
def test_unique_means_another_value_in_every_row(
    log: Callable[..., str], column: list[Any], unique: bool
) -> None:
    assert profile(log, column).unique == unique


def test_only_the_first_rows_are_looked_at(
    log: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = log(x=np.arange(300_000) // 100_000)
    monkeypatch.setattr(module, "SAMPLE_ROWS", 1000)
    seen = next(column_profiles(open_log(path)))
    assert 1000 <= seen.rows < 200_000 and seen.distinct <= 2
    assert f"Drafted from {seen.rows:,} of 300,000 rows" in describe(path)


def test_a_list_shares_the_vocabulary_that_holds_most_of_its_values(
    log: Callable[..., str],
) -> None:
    count = np.arange(120)
    columns = {
        "click": count % 2,
        "item_id": count % 40,
        "shop_id": count % 60 + 20,
        "word": [f"w{i % 30}" for i in count],
        "history": [[int(i % 45)] for i in count],
        "far": [[int(i % 90) + 1000] for i in count],
        "words": pa.array([[f"w{i % 33}"] for i in count], pa.list_(pa.large_string())),
    }
    schema = parse_schema(describe(log(**columns)), source="draft")
    tables = {f.name: f.table for f in schema.features if isinstance(f, ListOf)}
    assert tables == {"history": "item_id", "far": None, "words": "word"}
    assert "# 89% of its values are values of item_id" in describe(log(**columns))


def test_a_click_is_the_parent_only_of_what_never_happens_without_it(
    log: Callable[..., str],
) -> None:
    columns = {
        "is_click": [1, 1, 1, 0, 0],
        "is_buy": [1, 0, 0, 0, 0],
        "is_like": [1, 0, 0, 1, 0],
        "is_follow": [1, 1, 1, 0, 0],
        "x": [0.5, 1.5, 2.5, 0.5, 1.5],
    }
    schema = parse_schema(describe(log(**columns)), source="draft")
    parents = {task.name: task.parent for task in schema.tasks}
    assert parents == {"click": None, "buy": "click", "like": None, "follow": None}


def test_task_names_are_identifiers_and_differ(log: Callable[..., str]) -> None:
    outcome = [0, 1, None, 1]
    columns = {"is_click": outcome, "click": outcome, "2 buy!": outcome, "x": [0.5, 1.5, 2.5, 3.5]}
    schema = parse_schema(describe(log(**columns)), source="draft")
    assert [(task.name, task.label.column) for task in schema.tasks] == [
        ("click", "is_click"),
        ("click_", "click"),
        ("_buy_", "2 buy!"),
    ]
    assert {task.missing for task in schema.tasks} == {"ignore"}


def test_a_second_time_a_gap_and_a_text_are_no_time_role(log: Callable[..., str]) -> None:
    hours = pa.array(np.arange(90) * 3_600_000, pa.timestamp("ms"))
    columns = {
        "click": np.arange(90) % 2,
        "gap_time": pa.array([None, *range(89)]),
        "text_time": [f"{i:02}h" for i in range(90)],
        "shown": hours,
        "bought": hours,
        "x": np.arange(90) % 7 / 3,
    }
    schema = parse_schema(describe(log(**columns)), source="draft")
    assert schema.roles.time == "shown"
    assert set(schema.ignore) == {"gap_time", "text_time", "bought"}


@pytest.mark.parametrize(
    ("folder", "name"), [("my log.parquet", "my_log"), ("...parquet", "log"), ("Übung-2", "bung_2")]
)
def test_a_draft_is_named_after_its_file(tmp_path: Path, folder: str, name: str) -> None:
    (tmp_path / folder).mkdir()
    pq.write_table(pa.table({"click": [0, 1], "x": [0.5, 1.5]}), tmp_path / folder / "a.parquet")
    text = describe(f"{tmp_path / folder}/")
    assert parse_schema(text, source="draft").name == name
