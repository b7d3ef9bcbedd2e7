"""Labels: rules against plain Python, statistics against plain sums, every refusal."""

import datetime
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.columns.labels import LabelFit, Labels, LabelStatistics
from recmtl.data.columns.rules import satisfied
from recmtl.errors import DataError, SourceLocation
from recmtl.schema import Condition, Head, Label, Schema, SplitRule, TaskSpec
from recmtl.schema.tasks.head import HeadKind

PLACE = SourceLocation("here")
CLICK = TaskSpec("click", "binary", Condition("click"))


def schema_of(*tasks: TaskSpec) -> Schema:
    return Schema("s", (), tasks, SplitRule("random"))


def fit(columns: dict[str, Any], *tasks: TaskSpec, train: Any = None) -> LabelFit:
    batch = pa.record_batch(columns)
    label_fit = LabelFit(schema_of(*tasks), "data")
    label_fit.add(batch, np.ones(batch.num_rows, bool) if train is None else train, PLACE)
    return label_fit


def encoded(columns: dict[str, Any], *tasks: TaskSpec) -> np.ndarray:
    return fit(columns, *tasks).finish().encode(pa.record_batch(columns), PLACE)


NUMBERS = st.lists(st.none() | st.integers(-3, 3), min_size=1, max_size=8)
OPTIONS = st.lists(st.integers(-3, 3), min_size=1, max_size=3).map(tuple)


@given(NUMBERS, OPTIONS, st.sampled_from(["int8", "int64", "uint8", "float32", "float64"]))
def test_a_rule_on_numbers_holds_where_plain_python_says_so(
    values: list[int | None], options: tuple[int, ...], form: str
) -> None:
    if form.startswith("uint"):
        values = [None if value is None else abs(value) for value in values]
    column = pa.array(values, form)
    among, missing = satisfied(Condition("x", one_of=options), column, PLACE)
    equal, _ = satisfied(Condition("x", equals=options[0]), column, PLACE)
    at_least, _ = satisfied(Condition("x", at_least=options[0]), column, PLACE)
    assert missing.tolist() == [value is None for value in values]
    assert among.tolist() == [value in options for value in values]
    assert equal.tolist() == [value == options[0] for value in values]
    assert at_least.tolist() == [value is not None and value >= options[0] for value in values]


def test_each_value_of_a_list_may_be_a_task() -> None:
    genres = pa.array([["a", "b"], [], None, ["b"]])
    tasks = [
        TaskSpec(name, "binary", Label("genres", contains=name), missing="ignore") for name in "ab"
    ]
    labels = encoded({"genres": genres}, *tasks)
    np.testing.assert_array_equal(labels, [[1, 1], [0, 0], [np.nan, np.nan], [0, 1]])


@given(st.lists(st.none() | st.sampled_from(["a", "b", ""]), min_size=1, max_size=8))
def test_a_rule_on_text_holds_whether_or_not_it_is_in_a_dictionary(texts: list[str | None]) -> None:
    rule = Condition("x", one_of=("a", "", "not there"))
    for column in (pa.array(texts, pa.string()), pa.array(texts, pa.large_string())):
        for form in (column, column.dictionary_encode()):
            holds, missing = satisfied(rule, form, PLACE)
            assert holds.tolist() == [text in ("a", "") for text in texts]
            assert missing.tolist() == [text is None for text in texts]


def test_integers_beyond_2_to_the_53_are_compared_exactly() -> None:
    column = pa.array([2**60, 2**60 + 1, None])
    holds, _ = satisfied(Condition("x", equals=2**60 + 1), column, PLACE)
    assert holds.tolist() == [False, True, False]


def test_true_and_1_are_the_same_to_a_rule() -> None:
    for option in (True, 1, 1.0):
        for column in (pa.array([True, False, None]), pa.array([1, 0, None], pa.int8())):
            holds, missing = satisfied(Condition("x", equals=option), column, PLACE)
            assert holds.tolist() == [True, False, False]
            assert missing.tolist() == [False, False, True]


def test_no_rule_holds_on_a_column_of_nulls() -> None:
    for rule in (Condition("x", equals="a"), Condition("x", at_least=0)):
        holds, missing = satisfied(rule, pa.nulls(2), PLACE)
        assert not holds.any() and missing.all()


@pytest.mark.parametrize(
    ("column", "rule", "fault"),
    [
        (pa.array([1]), Condition("x", equals="1"), "holds int64, and .* '1'; .* without quotes"),
        (pa.array(["1"]), Condition("x", equals=1), "holds string, and .* 1; .* in quotes"),
        (
            pa.array(["1"]).dictionary_encode(),
            Condition("x", one_of=("1", 2)),
            "holds string, and .* 2; .* in quotes",
        ),
        (pa.array(["1"]), Condition("x", at_least=1), "holds string, not numbers"),
        (
            pa.array([1], pa.timestamp("s")),
            Condition("x", equals=1),
            "holds timestamp.* with 1; wri",
        ),
        (pa.array([[1]]), Condition("x", at_least=1), "holds list<.*, not numbers"),
    ],
)
def test_a_rule_that_compares_numbers_with_text_is_refused(
    column: Any, rule: Condition, fault: str
) -> None:
    with pytest.raises(DataError, match=f"here: column 'x': {fault}"):
        satisfied(rule, column, PLACE)


@given(st.lists(st.tuples(st.integers(0, 1), st.booleans()), min_size=1, max_size=20), st.data())
def test_statistics_of_batches_are_those_of_all_train_rows(
    rows: list[tuple[int, bool]], data: st.DataObject
) -> None:
    clicks, train = (np.array(column) for column in zip(*rows, strict=True))
    cut = data.draw(st.integers(0, len(rows)))
    label_fit = LabelFit(schema_of(CLICK), "data")
    for part in (slice(0, cut), slice(cut, None)):
        label_fit.add(pa.record_batch({"click": clicks[part]}), train[part], PLACE)
    statistics = label_fit._statistics(CLICK)
    assert statistics.rows == train.sum()
    assert statistics.positives == clicks[train].sum()
    if train.any():
        assert statistics.mean == pytest.approx(clicks[train].mean())
        assert statistics.std == pytest.approx(clicks[train].std())


def test_a_logarithmic_label_has_the_moments_of_its_logarithm_and_keeps_its_values() -> None:
    watch = TaskSpec("watch", "regression", Condition("watch"), transform="log1p")
    seconds = np.array([0.0, 3.0, 100.0])
    labels = fit({"watch": seconds}, watch).finish()
    assert labels.statistics["watch"].mean == pytest.approx(np.log1p(seconds).mean())
    assert labels.statistics["watch"].std == pytest.approx(np.log1p(seconds).std())
    batch = pa.record_batch({"watch": seconds})
    np.testing.assert_array_equal(labels.encode(batch, PLACE)[:, 0], seconds.astype(np.float32))


def test_rows_outside_of_the_rule_have_no_label() -> None:
    rows = Condition("click", equals=1)
    watch = TaskSpec("watch", "regression", Condition("watch"), rows=rows)
    columns = {"click": [1, 0, 1, None], "watch": pa.array([2.0, None, 4.0, 9.0])}
    np.testing.assert_array_equal(encoded(columns, watch)[:, 0], [2, np.nan, 4, np.nan])


@pytest.mark.parametrize(
    ("stars", "classes"),
    [
        (pa.array([3, 1, None, 3]), (1, 3)),
        (pa.array([3.0, 1.0, math.nan, 3.0]), (1, 3)),
        (pa.array(["c", "a", None, "c"]), ("a", "c")),
        (pa.array(["c", "a", None, "c"]).dictionary_encode(), ("a", "c")),
        (pa.array([True, False, None, True]), (0, 1)),
    ],
)
def test_classes_are_numbered_in_the_order_of_their_values(
    stars: Any, classes: tuple[Any, ...]
) -> None:
    task = TaskSpec("stars", "multiclass", Condition("stars"), missing="ignore")
    labels = fit({"stars": stars}, task).finish()
    assert labels.statistics["stars"].classes == classes
    assert labels.statistics["stars"].rows == 3
    assert labels.statistics["stars"].mean == pytest.approx(2 / 3)
    got = labels.encode(pa.record_batch({"stars": stars}), PLACE)[:, 0]
    np.testing.assert_array_equal(got, [1, 0, np.nan, 1])


def test_a_class_that_no_train_row_has_is_no_label() -> None:
    task = TaskSpec("stars", "multiclass", Condition("stars"))
    columns = {"stars": [1, 2, 3, 2]}
    train = np.array([True, True, False, True])
    labels = fit(columns, task, train=train).finish()
    got = labels.encode(pa.record_batch(columns), PLACE)[:, 0]
    np.testing.assert_array_equal(got, [0, 1, np.nan, 1])


BUY = TaskSpec("buy", "binary", Condition("buy"), parent="click")
STARS = TaskSpec("stars", "multiclass", Condition("stars"))
LOG = TaskSpec("watch", "regression", Condition("watch"), transform="log1p")
REFUSED = {
    "too many classes": ({"stars": np.arange(1001)}, (STARS,), "has 1001 classes, more than 1000; "
                         "make task 'stars' a regression"),
    "one class": ({"stars": [4, 4]}, (STARS,), "is 4 on every train row"),
    "no label": ({"click": pa.nulls(2)},
                 (TaskSpec("click", "binary", Condition("click"), missing="ignore"),),
                 "has no label on any train row; drop task 'click'"),
    "constant": ({"click": [1, 1]}, (CLICK,), "the label of task 'click' is 1 on every train row"),
    "constant where the parent is": ({"click": [1, 1, 0], "buy": [1, 1, 0]}, (CLICK, BUY),
                                     "is constant on the train rows where 'click' is 1"),
    "orphans": ({"click": [1, 1, 0, 0], "buy": [1, 0, 1, 1]}, (CLICK, BUY),
                "2 rows have buy = 1 where its parent click = 0; correct those rows"),
    "text": ({"click": ["yes", "no"]}, (CLICK,), "holds string, not numbers"),
    "other values": ({"click": [0, 2]}, (CLICK,), "holds 2, but the label of task 'click' must"),
    "missing": ({"click": pa.array([0, None])}, (CLICK,), "1 labels of task 'click' are null"),
    "infinite": ({"watch": [1.0, math.inf]}, (LOG,), "1 labels of task 'watch' are null, NaN or "),
    "missing class": ({"stars": pa.array([1, None])}, (STARS,), "1 labels of task 'stars' are"),
    "minus one": ({"watch": [-1.0, 2.0]}, (LOG,), "holds labels <= -1, which log1p cannot take"),
    "fractions": ({"stars": [1.5, 2.0]}, (STARS,), "holds fractions or infinities"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_labels_that_cannot_be_learned_are_refused(case: str) -> None:
    columns, tasks, fault = REFUSED[case]
    with pytest.raises(DataError, match=rf"(here|data): column '\w+': .*{fault}"):
        fit(columns, *tasks).finish()


def test_orphans_are_counted_over_batches_and_named_where_the_first_one_stands() -> None:
    label_fit = LabelFit(schema_of(CLICK, BUY), "data")
    for i, click in enumerate(([1, 1], [0, 1], [0, 0])):
        batch = pa.record_batch({"click": click, "buy": [1, 0]})
        label_fit.add(batch, np.ones(2, bool), SourceLocation(f"file {i}"))
    with pytest.raises(DataError, match=r"^file 1: column 'buy': 2 rows have buy = 1"):
        label_fit.finish()


CART = TaskSpec("cart", "binary", Condition("cart"), parent="click", missing="ignore")
PAY = TaskSpec("pay", "binary", Condition("pay"), parent="cart")


def test_orphans_are_seen_through_steps_that_nothing_is_known_of() -> None:
    columns = {"click": [0, 1, 0, 1], "cart": pa.array([None, 1, 0, None]), "pay": [1, 1, 0, 0]}
    label_fit = LabelFit(schema_of(CLICK, CART, PAY), "data")
    everywhere = np.ones(4, bool)
    label_fit.add(
        pa.record_batch(columns), everywhere, SourceLocation("a", 2), row=np.arange(70, 74)
    )
    label_fit.add(pa.record_batch(columns), everywhere, SourceLocation("b"), row=np.arange(74, 78))
    message = "2 rows have pay = 1 where click = 0; correct those rows (70, 74 of the log, counted"
    with pytest.raises(DataError, match=rf"^a, row group 2: column 'pay': {re.escape(message)}"):
        label_fit.finish()


def test_of_many_orphans_the_first_five_are_named() -> None:
    columns = {"click": np.arange(40) % 2, "buy": np.ones(40, int)}
    with pytest.raises(DataError, match=r"20 rows .*correct those rows \(0, 2, 4, 6, 8, \.\.\. of"):
        fit(columns, CLICK, BUY).finish()


@pytest.mark.parametrize("outside", [0, None])
def test_the_rows_rule_of_a_parent_holds_for_its_children(outside: int | None) -> None:
    """Outside of it nothing is asked of a child, whatever the log says there."""
    click = replace(CLICK, rows=Condition("shown", equals=1))
    columns = {
        "shown": [1, 1, 1, 1, 0, 0],
        "click": [1, 1, 0, 1, 0, 1],
        "buy": pa.array([1, 0, 0, 1, outside, outside]),
    }
    expected = [[1, 1], [1, 0], [0, 0], [1, 1], [np.nan] * 2, [np.nan] * 2]
    np.testing.assert_array_equal(encoded(columns, click, BUY), expected)


def test_statistics_survive_a_manifest() -> None:
    statistics = LabelStatistics(7, 3, 0.5, 0.25, ("a", "b"))
    child = replace(statistics, classes=(), given_parent=0.75)
    assert LabelStatistics.from_json(statistics.to_json()) == statistics
    assert LabelStatistics.from_json(child.to_json()) == child
    assert Labels(schema_of(STARS), {"stars": statistics}).statistics["stars"] is statistics


DAY = datetime.date(2024, 5, 1)
RULES = [
    (pa.array([0.1, 0.2, None], pa.float32()), {"equals": 0.1}, [True, False, False]),
    (pa.array([0.7, 0.2], pa.float32()), {"at_least": 0.7}, [True, False]),
    (pa.array([0.1, 0.3, 0.2], pa.float32()), {"one_of": (0.3, 0.1)}, [True, True, False]),
    (pa.array([0.1, 0.2]), {"equals": 0.1}, [True, False]),
    (pa.array([1e38], pa.float32()), {"at_least": 1e39}, [False]),
    (pa.array([1.0, 2.0, None]), {"equals": 1}, [True, False, False]),
    (pa.array([1, 2]), {"equals": 1.0}, [True, False]),
    (pa.array([True, False, None]), {"equals": True}, [True, False, False]),
    (pa.array([True, False, None]), {"equals": 1}, [True, False, False]),
    (pa.array([1, 0], pa.int8()), {"equals": True}, [True, False]),
    (pa.array([2**63 - 1, 5]), {"one_of": (2**63, 5)}, [False, True]),
    (pa.array([44], pa.int8()), {"equals": 300}, [False]),
    (pa.array([b"a", None, b"b"]), {"equals": "a"}, [True, False, False]),
    (pa.array([DAY, None]), {"equals": "2024-05-01"}, [True, False]),
    (pa.array([DAY]).cast(pa.timestamp("ms")), {"one_of": ("2024-05-01", "2024-05-02")}, [True]),
    (pa.array([DAY]).cast(pa.timestamp("us", "UTC")), {"equals": "2024-05-01T02:00+02:00"}, [True]),
]


@pytest.mark.parametrize(("column", "rule", "expected"), RULES)
def test_a_rule_compares_at_the_precision_and_the_unit_of_its_column(
    column: pa.Array, rule: dict[str, Any], expected: list[bool]
) -> None:
    holds, missing = satisfied(Condition("x", **rule), column, SourceLocation())
    assert holds.tolist() == expected
    assert missing.tolist() == column.is_null().to_pylist()


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        (pa.array([DAY]), 5, "holds date32.*, and the rule compares it with 5; write .* in quotes"),
        (
            pa.array([DAY]),
            "May",
            "holds date32.*, and the rule compares it with May; write the val",
        ),
        (
            pa.array([True]),
            "true",
            "holds bool, and the rule compares it with 'true'; .* without q",
        ),
        (
            pa.array([DAY]).cast(pa.timestamp("s", "UTC")),
            "2024-05-01",
            "compares it with 2024-05-01; wri",
        ),
    ],
)
def test_a_rule_of_another_kind_than_its_column_is_refused(
    column: pa.Array, value: Any, fault: str
) -> None:
    with pytest.raises(DataError, match=fault):
        satisfied(Condition("x", equals=value), column, SourceLocation())


@pytest.mark.parametrize(
    ("head", "values", "fault"),
    [
        ("ziln", [0.0, 1.5, -2.0], "holds the label -2, and head ziln .* needs 0 or more"),
        ("poisson", [0.0, 1.5, 2.0], "holds the label 1.5, and head poisson .* needs a count"),
        ("negative_binomial", [0.0, -1.0, 2.0], "holds the label -1"),
    ],
)
def test_labels_that_a_head_gives_no_probability_are_refused(
    head: HeadKind, values: list[float], fault: str
) -> None:
    task = TaskSpec("watch", "regression", Condition("watch"), head=Head(head))
    with pytest.raises(DataError, match=fault):
        fit({"watch": values}, task)
    assert fit({"watch": [0.0, 1.0, 4.0]}, task).finish().statistics["watch"].rows == 3


def test_classes_in_order_are_whole_numbers() -> None:
    task = TaskSpec("stars", "multiclass", Condition("stars"), head=Head("ordinal"))
    fitted = fit({"stars": [10, 2, 1, 2]}, task).finish()
    assert fitted.statistics["stars"].classes == (1, 2, 10)
    with pytest.raises(DataError, match="'bad' the first, whose order is not known"):
        fit({"stars": ["good", "bad", "good"]}, task).finish()
