"""The schema file: what may be written, what every mistake looks like, and the way back to text."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recmtl.errors import SchemaError
from recmtl.schema import (
    Categorical,
    Condition,
    ListOf,
    Numeric,
    Roles,
    Schema,
    SideTable,
    SplitRule,
    TaskSpec,
    dump_schema,
    load_schema,
    parse_schema,
    refuse_contradictions,
)
from recmtl.schema.features import KINDS
from tests.chaos.bad_inputs import check_schema

HEAD = "version: 1\nname: s\nfeatures:\n  f: {kind: numeric}\n"
TASKS = "tasks:\n  t: {kind: binary, label: y}\n"
SPLIT = "split: {by: random}\n"
FULL = """
version: 1
name: shop
tables:
  - {path: users.parquet, key: user}
features:
  user: {kind: categorical, min_count: 2}
  city: {kind: categorical, hash_buckets: 100}
  price: {kind: numeric, encoding: standard, log: true}
  seen: {kind: list, table: user, max_length: 5, pooling: sum, keep: first}
  clicks: {kind: numeric, column: n_clicks, encoding: quantile, bins: 9}
tasks:
  click: {kind: binary, label: {column: is_click}}
  buy: {kind: binary, label: bought, parent: click}
  college: {kind: binary, label: {column: education, one_of: [BA, 3, true]}}
  watch: {kind: regression, label: watch_s, transform: log1p,
          rows: {column: is_click, equals: 1}, weight: 0.5}
  long: {kind: binary, label: {column: watch_s, at_least: 18}, missing: ignore}
  stars: {kind: multiclass, label: stars}
roles: {group: request, time: ts, row_id: id, sample_weight: w}
split: {by: time, validation: 0.2, test_from: 2024-01-31}
ignore: [debug]
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(SchemaError) as caught:
        parse_schema(text, source="s.yaml")
    return str(caught.value).splitlines()


def test_every_key_reaches_its_place() -> None:
    assert parse_schema(FULL, source="s.yaml") == Schema(
        name="shop",
        features=(
            Categorical("user", "user", min_count=2),
            Categorical("city", "city", hash_buckets=100),
            Numeric("price", "price", encoding="standard", log=True),
            ListOf("seen", "seen", table="user", max_length=5, pooling="sum", keep="first"),
            Numeric("clicks", "n_clicks", encoding="quantile", bins=9),
        ),
        tasks=(
            TaskSpec("click", "binary", Condition("is_click")),
            TaskSpec("buy", "binary", Condition("bought"), parent="click"),
            TaskSpec("college", "binary", Condition("education", one_of=("BA", 3, True))),
            TaskSpec(
                "watch",
                "regression",
                Condition("watch_s"),
                rows=Condition("is_click", equals=1),
                weight=0.5,
                transform="log1p",
            ),
            TaskSpec("long", "binary", Condition("watch_s", at_least=18.0), missing="ignore"),
            TaskSpec("stars", "multiclass", Condition("stars")),
        ),
        split=SplitRule("time", validation=0.2, test_from="2024-01-31"),
        roles=Roles("request", "ts", "id", "w"),
        tables=(SideTable("users.parquet", "user"),),
        ignore=("debug",),
    )


def test_dumping_and_reading_again_changes_nothing() -> None:
    schema = parse_schema(FULL, source="s.yaml")
    text = dump_schema(schema)
    assert parse_schema(text, source="dump") == schema
    assert dump_schema(parse_schema(text, source="dump")) == text


values = st.one_of(st.text(), st.integers(), st.booleans(), st.floats(allow_nan=False))


@given(values.filter(lambda v: not isinstance(v, float) or abs(v) < 1e300), st.text(min_size=1))
def test_any_value_and_any_name_survive_dumping(value: str | int | float | bool, name: str) -> None:
    task = TaskSpec("t", "binary", Condition("label", equals=value))
    feature = Numeric(name, "x")
    schema = Schema(name, (feature,), (task,), SplitRule("random"))
    back = parse_schema(dump_schema(schema), source="dump", stored=True)
    assert back == schema
    assert type(back.tasks[0].label.equals) is type(value)


@pytest.mark.parametrize("word", ["no", "on", "1e3", "2024-01-31", "12:30", "null", "007", "~"])
def test_texts_that_look_like_something_else_survive(word: str) -> None:
    task = TaskSpec("t", "binary", Condition(word, equals=word))
    schema = Schema("s", (Numeric(f"{word}_", "x"),), (task,), SplitRule("random"))
    assert parse_schema(dump_schema(schema), source="dump") == schema


def test_all_mistakes_are_told_at_once_with_their_lines() -> None:
    text = """version: 1
name: x
features:
  a: {kind: catgorical}
  b: {kind: numeric, bin: 3, log: 1}
  c: {kind: categorical, min_count: 2, hash_buckets: 4}
  h: {kind: list, table: cc}
  y: {kind: numeric}
tasks:
  click: {kind: binary, lable: is_click}
  t: {kind: regression, label: y, weight: 0}
  u: {kind: binary, label: y, parent: w}
split: {by: tim}
"""
    assert mistakes(text) == [
        f"s.yaml:4: features.a: kind must be one of {', '.join(KINDS)}, not 'catgorical'; "
        "did you mean 'categorical'?",
        "s.yaml:5: features.b: unknown key 'bin'; did you mean 'bins'?",
        "s.yaml:5: features.b.log: must be true or false, not 1",
        "s.yaml:6: features.c: give min_count (a vocabulary) or hash_buckets (hashing), not both",
        "s.yaml:7: features.h.table: there is no feature 'cc'",
        "s.yaml:8: features.y: column 'y' is the label of task 'u' and would give the answer "
        "away; drop this feature",
        "s.yaml:10: tasks.click: unknown key 'lable'; did you mean 'label'?",
        "s.yaml:10: tasks.click: missing key 'label'",
        "s.yaml:11: tasks.t.weight: must be above 0, not 0",
        "s.yaml:12: tasks.u.parent: there is no task 'w'",
        "s.yaml:13: split.by: must be one of time, group, random, column, not 'tim'; "
        "did you mean 'time'?",
    ]


CASES = {
    "missing parts": ("version: 1\n", ["1: missing key 'name'", "1: missing key 'split'"]),
    "version": (HEAD.replace("1", "2") + TASKS + SPLIT, ["1: version: must be one of 1, not 2"]),
    "unknown part": (HEAD + TASKS + SPLIT + "task: 1\n", ["8: unknown key 'task'; did you mean"]),
    "given twice": (HEAD + TASKS + SPLIT + SPLIT, ["8: key 'split' is given twice"]),
    "bad YAML": ("a: [1\nb: 2\n", ["2: not valid YAML"]),
    "alias": ("a: &x 1\nb: *x\n", ["1: aliases (*name) are not supported"]),
    "no kind": (
        HEAD + "  g: {column: c}\n" + TASKS + SPLIT,
        ["5: features.g: missing key 'kind'"],
    ),
    "number as column": (
        HEAD + "  g: {kind: numeric, column: 5}\n" + TASKS + SPLIT,
        ["5: features.g.column: must be text, not 5; write '5' in quotes"],
    ),
    "shared table is numeric": (
        HEAD + "  g: {kind: list, table: f}\n" + TASKS + SPLIT,
        ["5: features.g.table: 'f' is not categorical"],
    ),
    "shared table with its own count": (
        HEAD + "  g: {kind: list, table: f, min_count: 3}\n" + TASKS + SPLIT,
        ["5: features.g: table shares a vocabulary; drop min_count"],
    ),
    "feature is in a rows rule": (
        HEAD + "tasks:\n  t: {kind: binary, label: y, rows: {column: f, equals: 1}}\n" + SPLIT,
        ["4: features.f: column 'f' is the rows rule of task 't'"],
    ),
    "feature is ignored": (
        HEAD + TASKS + SPLIT + "ignore: [f]\n",
        ["4: features.f: column 'f' is also under ignore"],
    ),
    "feature says the split": (
        HEAD + TASKS + "split: {by: column, column: f}\n",
        ["4: features.f: column 'f' is the split"],
    ),
    "two rules": (
        HEAD + "tasks:\n  t: {kind: binary, label: {column: y, equals: 1, at_least: 2}}\n" + SPLIT,
        ["6: tasks.t.label: give only one of equals, one_of, at_least"],
    ),
    "rule for a regression": (
        HEAD + "tasks:\n  t: {kind: regression, label: {column: y, equals: 1}}\n" + SPLIT,
        ["6: tasks.t: a rule in label gives 0 and 1"],
    ),
    "transform of a class": (
        HEAD + "tasks:\n  t: {kind: binary, label: y, transform: log1p}\n" + SPLIT,
        ["6: tasks.t: transform is for kind: regression only"],
    ),
    "rows without a rule": (
        HEAD + "tasks:\n  t: {kind: binary, label: y, rows: z}\n" + SPLIT,
        ["6: tasks.t: rows needs one of"],
    ),
    "name of a task": (
        HEAD + "tasks:\n  a-b: {kind: binary, label: y}\n" + SPLIT,
        ["6: tasks.a-b: a task name is letters"],
    ),
    "parent is no event": (
        HEAD + TASKS + "  u: {kind: binary, label: z, parent: v}\n"
        "  v: {kind: regression, label: w}\n" + SPLIT,
        ["7: tasks.u.parent: 'v' is not binary"],
    ),
    "a circle of parents": (
        HEAD + "tasks:\n  t: {kind: binary, label: y, parent: u}\n"
        "  u: {kind: binary, label: z, parent: t}\n" + SPLIT,
        ["6: tasks.t.parent: 't' is its own ancestor", "7: tasks.u.parent: 'u' is its own"],
    ),
    "time without its role": (
        HEAD + TASKS + "split: {by: time}\n",
        ["7: split.by: by: time needs roles.time"],
    ),
    "group without its role": (
        HEAD + TASKS + "split: {by: group}\n",
        ["7: split.by: by: group needs roles.group"],
    ),
    "column without a column": (
        HEAD + TASKS + "split: {by: column}\n",
        ["7: split: by: column needs column"],
    ),
    "fraction": (
        HEAD + TASKS + "split: {by: random, test: 1.5}\n",
        ["7: split.test: must be below 1, not 1.5"],
    ),
    "nothing to train on": (
        HEAD + TASKS + "split: {by: random, validation: 0.5, test: 0.5}\n",
        ["7: split: validation and test together leave no row"],
    ),
    "boundaries in the wrong order": (
        HEAD + TASKS + "roles: {time: c}\nsplit: {by: time, validation_from: 9, test_from: 3}\n",
        ["8: split.validation_from: must be before test_from"],
    ),
    "a list instead of a mapping": (
        "version: 1\nname: s\nfeatures: [a]\n" + TASKS + SPLIT,
        ["3: features: must be a mapping of names"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_mistake_has_its_line(case: str) -> None:
    text, expected = CASES[case]
    found = mistakes(text)
    for start in expected:
        assert any(line.startswith(f"s.yaml:{start}") for line in found), found


def test_only_the_real_mistake_is_told() -> None:
    found = mistakes(
        HEAD + "tasks:\n  t: {kind: binry, label: y}\n  u: "
        "{kind: binary, label: z, parent: t}\n" + SPLIT
    )
    assert len(found) == 1


def test_a_schema_built_in_python_is_checked_too() -> None:
    task = TaskSpec("t", "binary", Condition("y"))
    schema = Schema("s", (Numeric("y", "y"),), (task,), SplitRule("time"))
    with pytest.raises(SchemaError) as caught:
        refuse_contradictions(schema)
    assert len(str(caught.value).splitlines()) == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"none\.yaml: no such schema file; check the path"):
        load_schema(tmp_path / "none.yaml")


def test_columns_are_all_that_is_read_once() -> None:
    columns = parse_schema(FULL, source="s.yaml").columns()
    assert len(columns) == len(set(columns))
    assert set(columns) == {
        *("user", "city", "price", "seen", "n_clicks", "is_click", "bought", "education"),
        *("watch_s", "stars", "request", "ts", "w"),
    }


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_text_is_a_schema_or_a_schema_error(data: st.DataObject) -> None:
    """The first of the thousands that tests/chaos/test_bad_inputs.py draws."""
    check_schema(data.draw)
