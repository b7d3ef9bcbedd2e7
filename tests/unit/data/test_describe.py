"""Drafting a schema: each kind of column goes where a careful reader would, with a reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.describe import describe
from recmtl.data.prepare import prepare
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


def test_unreadable_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no Parquet file found"):
        describe(str(tmp_path / "nothing.parquet"))
