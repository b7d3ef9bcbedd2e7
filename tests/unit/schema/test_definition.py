"""The parts of a schema: what each refuses, what it answers, and that text keeps all of it."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recmtl.errors import SchemaError
from recmtl.schema import (
    Categorical,
    Condition,
    ExactValues,
    Feature,
    ListOf,
    Numeric,
    Roles,
    Schema,
    SideTable,
    SplitRule,
    TaskSpec,
    dump_schema,
    parse_schema,
    refuse_contradictions,
)

Y = Condition("y")
IS_1 = Condition("z", equals=1)
REFUSED: list[tuple[type[Any], dict[str, Any], str]] = [
    (Categorical, {"min_count": 0}, "min_count: must be at least 1, not 0"),
    (Categorical, {"hash_buckets": 0}, "hash_buckets: must be at least 1, not 0"),
    (Categorical, {"min_count": 2, "hash_buckets": 9}, "give min_count .* or hash_buckets"),
    (Numeric, {"bins": 0}, "bins: must be at least 1, not 0"),
    (Numeric, {"bins": 4097}, "bins: must be at most 4,096, not 4097"),
    (ListOf, {"max_length": 0}, "max_length: must be at least 1, not 0"),
    (ListOf, {"max_length": 10_001}, "max_length: must be at most 10,000, not 10001"),
    (ListOf, {"min_count": 0}, "min_count: must be at least 1"),
    (ListOf, {"table": "f", "min_count": 2}, "table shares a vocabulary; drop min_count"),
    (ListOf, {"table": "f", "hash_buckets": 2}, "table shares a vocabulary; drop min_count"),
    (ListOf, {"target": "f"}, "target is for pooling: attention"),
    (ListOf, {"align": "f", "pooling": "sum"}, "align is for pooling: attention"),
    (ListOf, {"times": "t"}, "times is for pooling: attention"),
    (ListOf, {"pooling": "attention"}, "attention needs target, .* or align"),
    (ListOf, {"pooling": "attention", "target": "f", "table": "g"}, "target is the table, too"),
    (ListOf, {"pooling": "attention", "target": "f", "min_count": 2}, "target shares a vocabulary"),
    (ListOf, {"pooling": "attention", "align": "f", "times": "t"}, "times belongs to the history"),
]


@pytest.mark.parametrize(("kind", "options", "message"), REFUSED)
def test_a_feature_refuses_numbers_out_of_range(
    kind: type[Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kind("f", "f", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"equals": 1, "one_of": (1,)}, "give only one of equals, one_of, at_least"),
        ({"one_of": (1,), "at_least": 1.0}, "give only one of equals, one_of, at_least"),
        ({"one_of": ()}, "one_of must not be empty"),
    ],
)
def test_a_condition_has_one_rule_at_most(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Condition("y", **options)


@pytest.mark.parametrize("rule", [{"equals": 0}, {"equals": False}, {"at_least": 0.0}])
def test_a_rule_of_zero_is_a_rule(rule: dict[str, Any]) -> None:
    assert Condition("y", **rule).is_rule
    assert not Y.is_rule


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (("9t", "binary", Y, {}), "a task name is letters, digits and _"),
        (("t", "binary", Y, {"weight": 0.0}), "weight: must be above 0, not 0.0"),
        (("t", "multiclass", IS_1, {}), "kind: multiclass needs the value"),
        (("t", "multiclass", Y, {"transform": "log1p"}), "transform is for kind: regression"),
        (("t", "regression", Y, {"parent": "u"}), "only a binary task can have a parent"),
        (("t", "binary", Y, {"parent": "u", "rows": IS_1}), "drop rows"),
        (("t", "binary", Y, {"rows": Y}), "rows needs one of equals, one_of, at_least"),
    ],
)
def test_a_task_refuses_what_it_cannot_mean(
    task: tuple[str, Any, Condition, dict[str, Any]], message: str
) -> None:
    name, kind, label, options = task
    with pytest.raises(ValueError, match=message):
        TaskSpec(name, kind, label, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "random", "validation": 0.0}, "validation: must be above 0, not 0.0"),
        ({"by": "random", "test": 1.0}, "test: must be below 1, not 1.0"),
        ({"by": "random", "validation": 0.7, "test": 0.3}, "leave no row to train on"),
        ({"by": "group", "test_from": 3}, "are for by: time only"),
        ({"by": "column"}, "by: column needs column"),
        ({"by": "time", "column": "c"}, "column is not used by: time"),
        ({"by": "random", "column": "c"}, "column is not used by: random"),
    ],
)
def test_a_split_refuses_keys_of_another_way(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SplitRule(**options)


def schema(**parts: Any) -> Schema:
    filled: dict[str, Any] = {
        "features": (Numeric("f", "f"),),
        "tasks": (TaskSpec("t", "binary", Y),),
        "split": SplitRule("random"),
    }
    return Schema("s", **(filled | parts))


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ({"features": ()}, "s: features: needs at least one feature"),
        ({"tasks": ()}, "s: tasks: needs at least one task"),
        (
            {"tables": (SideTable("a", "k"), SideTable("b", "k"), SideTable("a", "k"))},
            "s: tables.2: 'a' is joined twice by 'k'",
        ),
        (
            {"features": (Categorical("item", "i"), ListOf("seen", "s", table="itme"))},
            "s: features.seen.table: there is no feature 'itme'; did you mean 'item'?",
        ),
    ],
)
def test_contradictions_between_parts_are_refused(parts: dict[str, Any], line: str) -> None:
    with pytest.raises(SchemaError) as caught:
        refuse_contradictions(schema(**parts))
    assert str(caught.value) == line


def test_a_funnel_may_be_deep_but_not_circular() -> None:
    chain = [TaskSpec("t0", "binary", Y)]
    chain += [TaskSpec(f"t{i}", "binary", Y, parent=f"t{i - 1}") for i in range(1, 6)]
    refuse_contradictions(schema(tasks=tuple(chain)))
    with pytest.raises(SchemaError) as caught:
        refuse_contradictions(schema(tasks=(TaskSpec("t0", "binary", Y, parent="t5"), *chain[1:])))
    assert len(str(caught.value).splitlines()) == 6


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [(3, 9, False), (9, 3, True), (3, 3, True), ("a", "b", False), (9, "a", False)],
)
def test_validation_starts_before_test(first: Any, second: Any, refused: bool) -> None:
    split = SplitRule("time", validation_from=first, test_from=second)
    parts = schema(split=split, roles=Roles(time="ts"))
    if refused:
        with pytest.raises(SchemaError, match=r"split\.validation_from: must be before test_from"):
            refuse_contradictions(parts)
    else:
        refuse_contradictions(parts)


def test_parts_are_found_by_name_and_unknown_names_are_key_errors() -> None:
    parts = schema()
    assert parts.feature("f") is parts.features[0] and parts.task("t") is parts.tasks[0]
    for find in (parts.feature, parts.task):
        with pytest.raises(KeyError, match="other"):
            find("other")


# Round trips: any schema that can be built is read back from its text.

names = st.text("abc-_ :#'\"1é", min_size=1, max_size=5)
scalars = st.one_of(
    st.text(max_size=5), st.integers(), st.booleans(), st.floats(allow_nan=False, width=32)
).filter(lambda value: value not in (float("inf"), float("-inf")))
vocabularies = st.one_of(
    st.fixed_dictionaries({}, optional={"min_count": st.integers(1, 50)}),
    st.fixed_dictionaries({"hash_buckets": st.integers(1, 10**6)}),
)
list_options = st.fixed_dictionaries(
    {"max_length": st.integers(1, 10_000)},
    optional={"pooling": st.sampled_from(["mean", "sum"]), "keep": st.just("first")},
)
numeric_options = st.fixed_dictionaries(
    {},
    optional={
        "encoding": st.sampled_from(["piecewise", "quantile", "standard"]),
        "bins": st.integers(1, 4096),
        "log": st.booleans(),
        "values": st.builds(ExactValues, st.integers(1, 1000)),
    },
)


@st.composite
def features(draw: st.DrawFn, name: str) -> Feature:
    column = draw(st.just(name) | names.map(lambda text: f"f {text}"))
    kind = draw(st.sampled_from(["categorical", "numeric", "list"]))
    if kind == "numeric":
        return Numeric(name, column, **draw(numeric_options))
    if kind == "categorical":
        return Categorical(name, column, **draw(vocabularies))
    return ListOf(name, column, **draw(list_options), **draw(vocabularies))


@st.composite
def conditions(draw: st.DrawFn, rule: bool) -> Condition:
    column = draw(names.map(lambda text: f"y {text}"))
    if not rule:
        return Condition(column)
    return draw(
        st.one_of(
            st.builds(Condition, st.just(column), equals=scalars),
            st.builds(Condition, st.just(column), one_of=st.lists(scalars, min_size=1).map(tuple)),
            st.builds(Condition, st.just(column), at_least=st.floats(-1e9, 1e9)),
        )
    )


@st.composite
def tasks(draw: st.DrawFn, name: str) -> TaskSpec:
    kind = draw(st.sampled_from(["binary", "regression", "multiclass"]))
    binary, regression = kind == "binary", kind == "regression"
    return TaskSpec(
        name,
        kind,
        draw(conditions(rule=binary and draw(st.booleans()))),
        rows=draw(st.none() | conditions(rule=True)),
        weight=draw(st.floats(1e-3, 1e3)),
        transform=draw(st.sampled_from(["none", "log1p"])) if regression else "none",
        missing=draw(st.sampled_from(["refuse", "ignore"])),
    )


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    feature_names = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    task_names = draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=3, unique=True))
    columns = names.map(lambda text: f"r {text}")
    paths = draw(st.lists(names, max_size=2, unique=True))
    return Schema(
        name=draw(st.text(max_size=8)),
        features=tuple(draw(features(name)) for name in feature_names),
        tasks=tuple(draw(tasks(name)) for name in task_names),
        split=draw(
            st.sampled_from(
                [
                    SplitRule("random", seed=4),
                    SplitRule("time", validation_from="2024-01-31", test_from="2024-02-01"),
                    SplitRule("column", column="part"),
                    SplitRule("group", validation=0.25, test=0.2),
                ]
            )
        ),
        roles=Roles(group=draw(columns), time=draw(columns), row_id=draw(st.none() | columns)),
        tables=tuple(SideTable(path, "k") for path in paths),
        ignore=tuple(f"i {text}" for text in draw(st.lists(names, max_size=2))),
    )


@given(schemas())
def test_a_schema_is_read_back_from_its_text(parts: Schema) -> None:
    text = dump_schema(parts)
    again = parse_schema(text, source="dump", stored=True)
    assert again == parts and repr(again) == repr(parts), "1, 1.0 and true stay apart"
    assert dump_schema(again) == text
    assert set(again.feature_columns()) <= set(again.columns())


@given(schemas())
def test_a_text_holds_no_default(parts: Schema) -> None:
    document = yaml.safe_load(dump_schema(parts))
    for name, entry in document["features"].items():
        assert entry.get("column") != name
        assert entry.get("min_count") != 1 and entry.get("pooling") != "mean"
        assert entry.get("encoding") != "piecewise" and entry.get("log") is not False
    for entry in document["tasks"].values():
        assert entry.get("weight") != 1.0 and entry.get("transform") != "none"
        assert entry.get("missing") != "refuse"


def test_a_schema_is_built_in_python_in_the_forms_of_yaml() -> None:
    built = Schema(
        "shop",
        features={"price": Numeric(bins=8), "user": "categorical", "tags": {"kind": "list"}},  # type: ignore[arg-type]
        tasks={"click": {"kind": "binary", "label": "is_click"}},  # type: ignore[arg-type]
        split="time",  # type: ignore[arg-type]
        roles={"time": "ts"},  # type: ignore[arg-type]
    )
    text = """
version: 1
name: shop
features: {price: {kind: numeric, bins: 8}, user: categorical, tags: {kind: list}}
tasks: {click: {kind: binary, label: is_click}}
split: time
roles: {time: ts}
"""
    assert built == parse_schema(text, source="shop.yaml")
    assert parse_schema(dump_schema(built), source="again") == built


@pytest.mark.parametrize(
    ("features", "line"),
    [
        ({"price": Numeric("cost")}, "Schema: features.price: is called 'cost'; build it without"),
        ({"price": 3}, "Schema: features.price: must be a mapping of settings"),
        ({"price": {"kind": "numeric", "name": "p"}}, "Schema: features.price: name stands before"),
        ({"price": "numerc"}, "Schema: features.price: kind must be one of .* mean 'numeric'"),
        (["price"], "Schema: features: must be a mapping of names"),
        ({"a": {"kind": "list", "keap": 1}}, "Schema: features.a: unknown key 'keap'.* 'keep'"),
    ],
)
def test_a_feature_built_wrongly_in_python_is_named(features: Any, line: str) -> None:
    with pytest.raises(SchemaError, match=line):
        Schema(
            "s", features=features, tasks=(TaskSpec("t", "binary", Y),), split=SplitRule("random")
        )
