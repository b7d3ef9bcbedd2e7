"""No two things that a schema names are written under one name, whatever the names."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recmtl.errors import DataError, SchemaError, SourceLocation
from recmtl.model.heads import HeadSpec
from recmtl.schema import (
    Condition,
    Numeric,
    Roles,
    Schema,
    SplitRule,
    TaskSpec,
    parse_schema,
    refuse_contradictions,
    refuse_same_columns,
)
from recmtl.schema.names import column_faults, name_faults, owner_of, scored_columns

HERE = SourceLocation("log.parquet")
X = Numeric("x", "x")


def binary(name: str, parent: str | None = None) -> TaskSpec:
    return TaskSpec(name, "binary", Condition(f"is {name}"), parent=parent)


def multiclass(name: str) -> TaskSpec:
    return TaskSpec(name, "multiclass", Condition(f"class of {name}"))


def schema(*tasks: TaskSpec, name: str = "shop", **parts: object) -> Schema:
    whole = {"features": (X,), "split": SplitRule("random"), **parts}
    return Schema(name=name, tasks=tasks, **whole)  # type: ignore[arg-type] # parts by name


def faults(*tasks: TaskSpec, **parts: object) -> list[str]:
    return [f"{'.'.join(path)}: {text}" for path, text in name_faults(schema(*tasks, **parts))]


def text_of(tasks: str, name: str = "shop") -> str:
    return (
        f"version: 1\nname: {name}\nfeatures: {{x: {{kind: numeric}}}}\nsplit: {{by: random}}\n"
        f"tasks:\n{tasks}"
    )


def test_a_joint_event_and_a_task_of_its_name_are_refused_with_the_line() -> None:
    tasks = (
        "  click: {kind: binary, label: c}\n"
        "  buy: {kind: binary, label: b, parent: click}\n"
        "  click_and_buy: {kind: binary, label: cb}\n"
    )
    with pytest.raises(SchemaError) as caught:
        parse_schema(text_of(tasks), source="s.yaml")
    assert str(caught.value) == (
        "s.yaml:8: tasks.click_and_buy: its scored column 'p_click_and_buy' has the name of column "
        "'p_click_and_buy' of task 'buy'; rename the task"
    )


CLICK, BUY = binary("click"), binary("buy", parent="click")
COLLISIONS: dict[str, tuple[Sequence[TaskSpec], str]] = {
    "conditional": ((CLICK, BUY, binary("buy_given_click")), "tasks.buy_given_click"),
    "two funnels": (
        (binary("a"), binary("a_and_b"), binary("b_and_c", "a"), binary("c", "a_and_b")),
        "tasks.c",
    ),
    "case of a task": ((CLICK, binary("Click")), "tasks.Click: differs from 'click' in case only"),
    "reserved": ((binary("mean"),), "tasks.mean: 'mean' has a meaning of its own in results"),
    "reserved in capitals": ((binary("All"),), "tasks.All: 'All' has a meaning"),
    "long": ((binary("a" * 101),), "the name has 101 characters; 100 are the most"),
    "read as a class": (
        (multiclass("click_and"), CLICK, BUY),
        "tasks.buy: its scored column 'p_click_and_buy' would be read as a class of task",
    ),
}


@pytest.mark.parametrize("case", COLLISIONS)
def test_tasks_whose_names_meet_are_refused(case: str) -> None:
    tasks, expected = COLLISIONS[case]
    assert any(expected in line for line in faults(*tasks)), faults(*tasks)
    with pytest.raises(SchemaError, match="shop: tasks"):
        refuse_contradictions(schema(*tasks))


@pytest.mark.parametrize(
    "tasks",
    [
        (CLICK, BUY, binary("buy_and_click")),
        (CLICK, BUY, binary("click_buy")),
        (multiclass("rating"), multiclass("rating_full")),
        (multiclass("rating"), TaskSpec("rating_1", "regression", Condition("y"))),
        (binary("a" * 100), binary("_"), binary("p_click"), binary("means")),
    ],
)
def test_tasks_with_names_of_their_own_are_not_refused(tasks: Sequence[TaskSpec]) -> None:
    assert faults(*tasks) == []


@pytest.mark.parametrize(
    ("parts", "place"),
    [
        ({"features": (Numeric("teacher", "p_click"),)}, "feature 'teacher'"),
        ({"features": (Numeric("teacher", "P_Click"),)}, "feature 'teacher'"),
        ({"roles": Roles(row_id="p_click")}, "roles.row_id"),
        ({"roles": Roles(group="p_click")}, "roles.group"),
        ({"roles": Roles(time="p_click")}, "roles.time"),
    ],
)
def test_a_column_that_stands_beside_the_scores_has_another_name(
    parts: dict[str, object], place: str
) -> None:
    (line,) = faults(CLICK, **parts)
    assert place in line and line.endswith("; rename the task")


@pytest.mark.parametrize(
    "name", ["a/b", "a:b", "my shop", "", " ", ".hidden", "-x", "é", "a" * 101]
)
def test_a_schema_name_that_no_registry_takes_is_refused(name: str) -> None:
    assert faults(CLICK, name=name)[0].startswith("name: ")
    with pytest.raises(SchemaError, match=r"s\.yaml:2: name: .*must be letters, digits"):
        parse_schema(text_of("  c: {kind: binary, label: c}\n", f"'{name}'"), source="s.yaml")


@pytest.mark.parametrize("name", ["shop", "shop-2", "2024.05_shop", "_", "a" * 100])
def test_a_plain_schema_name_is_taken(name: str) -> None:
    assert faults(CLICK, name=name) == []


def test_features_that_look_the_same_are_refused_by_their_code_points() -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    (line,) = faults(CLICK, features=(Numeric(composed, "a"), Numeric(apart, "b")))
    assert r"differs from 'caf\xe9' in the Unicode form only" in line
    assert faults(CLICK, features=(Numeric("Price", "a"), Numeric("price", "b"))) == []


def test_a_stored_schema_is_read_whatever_its_names() -> None:
    tasks = "  Click: {kind: binary, label: c}\n  click: {kind: binary, label: d}\n"
    assert parse_schema(text_of(tasks, "'a/b'"), source="s", stored=True).name == "a/b"


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("Yes", "yes"), "'p_stars_Yes' and 'p_stars_yes'; write them alike in the data"),
        (("caf\u00e9", "cafe\u0301"), "two of its classes would be scored as"),
        (("a`b", "c"), "which no formula can hold; use classes of at most 100 characters"),
        (("a\nb", "c"), "which no formula can hold"),
        (("x" * 300, "c"), "which no formula can hold"),
        (("full_3", "c"), "would be read as a class of task 'stars_full'"),
        (("only", "c"), "has the name of column 'p_stars_only' of task 'stars'; rename the task"),
    ],
)
def test_classes_are_checked_when_they_are_known(classes: tuple[str, ...], expected: str) -> None:
    tasks = (multiclass("stars"), multiclass("stars_full"), binary("stars_only"))
    whole = schema(*tasks)
    assert list(column_faults(whole)) == []
    known = {"stars": classes, "stars_full": (1, 2)}
    with pytest.raises(DataError, match=r"^log.parquet: column '.* stars") as caught:
        refuse_same_columns(whole, known, HERE)
    assert expected in str(caught.value)


def test_classes_with_names_of_their_own_pass() -> None:
    tasks = (multiclass("stars"), multiclass("stars_full"))
    refuse_same_columns(schema(*tasks), {"stars": (1, 2, -3), "stars_full": ("", "x y", "é")}, HERE)


names = st.sampled_from(["a", "b", "a_and_b", "b_given_a", "a_b", "A", "and", "given", "a_and"])
task_lists = st.lists(
    st.tuples(names, st.sampled_from(["binary", "child", "regression", "multiclass"])),
    min_size=1,
    max_size=5,
    unique_by=lambda pair: pair[0],
)


@given(
    task_lists, st.lists(st.sampled_from(["1", "b", "B", "and_b", "b_1"]), min_size=2, unique=True)
)
@example([("a", "binary"), ("b", "child"), ("a_and_b", "binary")], ["1", "b"])
def test_what_is_not_refused_has_columns_that_name_their_task(
    pairs: list[tuple[str, str]], classes: list[str]
) -> None:
    """The property behind all rules: columns differ, and each is read as its own task's."""
    first = pairs[0][0]
    tasks = [binary(first)]
    for name, kind in pairs[1:]:
        if kind == "child":
            tasks.append(binary(name, parent=first))
        elif kind == "multiclass":
            tasks.append(multiclass(name))
        else:
            tasks.append(TaskSpec(name, kind, Condition(name)))  # type: ignore[arg-type] # a kind
    whole = schema(*tasks)
    known = {task.name: classes for task in tasks if task.kind == "multiclass"}
    columns = {task.name: scored_columns(task, known.get(task.name, ())) for task in tasks}
    written = [column for own in columns.values() for column in own]
    alike = len({column.lower() for column in written}) < len(written)
    if alike:
        assert [*name_faults(whole), *column_faults(whole, known)]
    if not list(column_faults(whole, known)):
        for task in tasks:
            read = tuple(column for column in written if owner_of(column, tasks) == task.name)
            assert task.kind != "multiclass" or read == columns[task.name]


def test_heads_write_the_columns_of_their_tasks() -> None:
    assert HeadSpec("stars", "multiclass", classes=("1", "2")).columns == ("p_stars_1", "p_stars_2")
    assert HeadSpec("buy", "binary", parent="click").columns == scored_columns(BUY)
    assert HeadSpec("w", "regression").columns == ("value_w",)
