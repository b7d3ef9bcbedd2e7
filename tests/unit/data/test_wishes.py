"""What a person says of a log goes before what a draft would read off it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.draft.schema_draft import SchemaDraft, draft_schema
from recmtl.data.draft.wishes import Wishes
from recmtl.data.prepare import prepare
from recmtl.errors import DataError, SchemaError
from recmtl.schema import load_schema

Drafted = Callable[..., SchemaDraft]
ROWS = 600


@pytest.fixture
def path(tmp_path: Path) -> str:
    random = np.random.default_rng(0)
    days = np.datetime64("2024-05-01") + np.arange(ROWS) // 60
    columns = {
        "user_id": random.integers(0, 40, ROWS),
        "slate": np.arange(ROWS) // 5,
        "item": random.integers(0, 90, ROWS),
        "click": random.integers(0, 2, ROWS),
        "like": random.integers(0, 2, ROWS),
        "sold": random.integers(0, 2, ROWS).astype(bool),
        "watch time": random.random(ROWS) * 60,
        "device": random.choice(["phone", "tablet", "tv"], ROWS),
        "day": pa.array(days.astype("datetime64[D]")),
        "loaded_ts": pa.array(days.astype("datetime64[us]") + np.arange(ROWS)),
        "price": random.random(ROWS),
        "gappy": pa.array(np.arange(ROWS), mask=np.arange(ROWS) % 7 == 0),
    }
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    return str(tmp_path / "log.parquet")


def test_without_wishes_the_draft_is_what_it_was(path: str) -> None:
    schema = draft_schema(path).schema
    assert {task.name for task in schema.tasks} == {"click", "like"}
    assert (schema.roles.group, schema.roles.time) == ("user_id", "loaded_ts")


def test_the_wished_tasks_are_the_tasks_and_no_other_outcome_is_a_feature(path: str) -> None:
    schema = draft_schema(path, wishes=Wishes.of(["click", "sold", "watch time", "device"])).schema
    kinds = {task.name: (task.kind, task.label.column) for task in schema.tasks}
    assert kinds == {
        "click": ("binary", "click"),
        "sold": ("binary", "sold"),
        "watch_time": ("regression", "watch time"),
        "device": ("multiclass", "device"),
    }
    assert {feature.column for feature in schema.features} == {
        "user_id",
        "slate",
        "item",
        "price",
        "gappy",
    }
    assert "like" in schema.ignore


def test_a_dict_names_the_tasks(path: str) -> None:
    schema = draft_schema(path, wishes=Wishes.of({"buy": "sold", "open": "click"})).schema
    assert {task.name: task.label.column for task in schema.tasks} == {
        "buy": "sold",
        "open": "click",
    }


def test_group_and_time_are_those_that_are_wished(path: str) -> None:
    draft = draft_schema(path, wishes=Wishes.of(group="slate", time="day"))
    assert (draft.schema.roles.group, draft.schema.roles.time) == ("slate", "day")
    assert draft.schema.split.by == "time"
    assert "loaded_ts" in draft.schema.ignore
    assert "user_id" in {feature.name for feature in draft.schema.features}
    assert "as you said" in draft.text


def test_a_wished_draft_can_be_prepared(path: str, tmp_path: Path) -> None:
    wishes = Wishes.of(["click", "watch time"], group="slate", time="day")
    file = draft_schema(path, name="my shop", wishes=wishes).save(tmp_path / "draft.yaml")
    schema = load_schema(file)
    assert schema.name == "my_shop"
    assert sum(prepare(path, schema, tmp_path / "log").manifest["rows"].values()) == ROWS


@pytest.mark.parametrize(
    "wishes",
    [Wishes.of(["clik"]), Wishes.of(group="clik"), Wishes.of(time="clik")],
    ids=["task", "group", "time"],
)
def test_a_column_that_is_not_there_is_named_with_the_nearest(path: str, wishes: Wishes) -> None:
    with pytest.raises(DataError, match="no column 'clik'; did you mean 'click'"):
        draft_schema(path, wishes=wishes)


def test_a_single_name_is_no_list_of_tasks() -> None:
    with pytest.raises(DataError, match="'click'; give a list"):
        Wishes.of("click")


def test_a_wish_that_the_rows_refuse_is_an_error_and_no_comment(path: str) -> None:
    draft = draft_schema(path, wishes=Wishes.of(["click"], time="gappy"))
    with pytest.raises(SchemaError, match=r"split by the time 'gappy'.*refused.*missing times"):
        _ = draft.schema


def test_a_draft_without_a_task_says_so(tmp_path: Path) -> None:
    pq.write_table(pa.table({"price": np.arange(99.0)}), tmp_path / "log.parquet")
    draft = draft_schema(str(tmp_path / "log.parquet"))
    with pytest.raises(SchemaError, match="tasks"):
        _ = draft.schema
    assert "No task was found" in draft.text


def test_a_draft_shows_its_text_and_a_notebook_escapes_it(path: str) -> None:
    draft = draft_schema(path, name="a")
    assert repr(draft) == str(draft) == draft.text
    assert SchemaDraft("<b>", Wishes())._repr_html_() == "<pre>&lt;b&gt;</pre>"


def test_statistics_are_proposed_of_the_tasks_and_of_no_comment(path: str) -> None:
    text = draft_schema(path, wishes=Wishes.of(["click"], time="loaded_ts")).text
    assert "of: [click]" in text and ", ]" not in text
