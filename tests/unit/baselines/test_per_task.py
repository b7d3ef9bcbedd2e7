"""Models one a task: invariances, hand-worked cases, and second plain implementations."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from recmtl.baselines import constant, lightgbm, logistic
from recmtl.baselines.logistic import _bag
from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding, NumericField
from recmtl.schema import Condition, TaskSpec

NUMBERS = Encoding(1, (), (), (NumericField("x", "standard", 1),))
CONVERGED = logistic.LogisticSettings(path=(1.0,), steps=500, tolerance=1e-9)


def taken(split, rows):
    return split.take(np.asarray(rows, np.int64))


def numbers(x, labels, weight=None):
    """Rows of one number and some labels."""
    x, labels = np.asarray(x, np.float32)[:, None], np.asarray(labels, np.float32)
    count = len(x)
    weight = np.ones(count) if weight is None else weight
    return LogSplit(
        np.empty((count, 0), np.int32), x, labels.reshape(count, -1),
        np.asarray(weight, np.float32), np.zeros(count, np.int64), np.arange(count),
    )  # fmt: skip


def task(name="t", kind="binary", **options):
    return TaskSpec(name, kind, Condition(name), **options)


def fit_logistic(train, test, tasks, encoding=NUMBERS, **options):
    none = taken(train, [])
    return logistic.fit_predict(
        train, none, test, tasks, encoding, settings=CONVERGED, **options
    ).predictions


METHODS = {
    "constant": constant.fit_predict,
    "logistic": lambda *parts, **options: logistic.fit_predict(
        *parts, settings=CONVERGED, **options
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_weight_counts_a_row_as_often_as_it_says(name, small):
    """Every row has weight 2, so that the standardised numbers are the same on both sides."""
    half = taken(small.train, np.arange(1000))
    twice = taken(half, np.tile(np.arange(1000), 2))
    weighted = dataclasses.replace(half, weight=np.full(1000, 2.0, np.float32))
    none = taken(small.validation, [])
    one, two = (
        METHODS[name](
            train, none, small.test, small.tasks, small.encoding, classes=small.classes
        ).predictions
        for train in (weighted, twice)
    )
    for column in one:
        np.testing.assert_allclose(one[column], two[column], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_the_train_rows_does_not_matter(name, small):
    order = np.random.default_rng(0).permutation(len(small.train))
    one, two = (
        METHODS[name](
            train, small.validation, small.test, small.tasks[:2], small.encoding
        ).predictions
        for train in (small.train, taken(small.train, order))
    )
    for column in one:
        np.testing.assert_allclose(one[column], two[column], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_the_numbering_of_ids_does_not_matter(name, small):
    """A vocabulary in another order is the same vocabulary; row 0 stays the padding."""
    order = np.concatenate([[0], 1 + np.random.default_rng(1).permutation(30)]).astype(np.int32)

    def run(renamed):
        parts = (small.train, small.validation, small.test)
        if renamed:
            parts = [dataclasses.replace(part, ids=order[part.ids]) for part in parts]
        return METHODS[name](*parts, small.tasks[:1], small.encoding).predictions["p_click"]

    np.testing.assert_allclose(run(True), run(False), rtol=1e-3, atol=1e-4)


def test_the_constant_is_the_weighted_mean_of_the_tasks_own_rows():
    nan = np.nan
    train = numbers(
        np.zeros(4),
        [[1, 1, nan, 0], [0, nan, nan, 2], [1, 0, 3.0, 2], [1, 1, 0.0, 1]],
        weight=[1, 2, 3, 4],
    )
    tasks = (
        task("a"),
        task("b", parent="a"),
        task("v", "regression", transform="log1p"),
        task("c", "multiclass"),
    )
    p = constant.fit_predict(
        train, train, taken(train, [0]), tasks, NUMBERS, classes={"c": "xyz"}
    ).predictions
    expected = {
        "p_a": 8 / 10,
        "p_b_given_a": 5 / 8,
        "p_a_and_b": 8 / 10 * 5 / 8,
        "value_v": 4 ** (3 / 7) - 1,  # log1p: 3 -> log 4, 0 -> 0
        "p_c_x": 1 / 10,
        "p_c_y": 4 / 10,
        "p_c_z": 5 / 10,
    }
    assert list(p) == list(expected)
    for column, value in expected.items():
        assert p[column].tolist() == pytest.approx([value], rel=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_a_long_funnel_multiplies_from_the_root(name):
    random = np.random.default_rng(3)
    steps = np.cumprod(random.random((400, 4)) < 0.7, axis=1)
    tasks = [task("s0"), *(task(f"s{i}", parent=f"s{i - 1}") for i in range(1, 4))]
    train = numbers(random.normal(size=400), steps)
    p = METHODS[name](train, taken(train, []), train, tasks, NUMBERS).predictions
    joint = p["p_s0"].astype(np.float64)
    for i in range(1, 4):
        joint = joint * p[f"p_s{i}_given_s{i - 1}"]
        column = next(c for c in p if c.endswith(f"_and_s{i}"))
        np.testing.assert_allclose(p[column], joint, rtol=1e-5)


@pytest.mark.parametrize("name", ["constant", "logistic", "lightgbm"])
@pytest.mark.parametrize(("kind", "column"), [("multiclass", "p_t_y"), ("regression", "value_t")])
def test_a_task_with_one_label_always_says_it(name, kind, column):
    train = numbers(np.arange(60.0), np.ones(60))
    module = {"constant": constant, "logistic": logistic, "lightgbm": lightgbm}[name]
    options = {"classes": {"t": "xyz"}} if kind == "multiclass" else {}
    result = module.fit_predict(train, train, train, [task(kind=kind)], NUMBERS, **options)
    assert (result.predictions[column] == 1).all()
    assert result.cost["parameters"] == 1 and result.cost["multiply_adds"] == 0


def test_a_task_without_a_label_says_zero():
    train = numbers(np.arange(5.0), np.full(5, np.nan))
    p = fit_logistic(train, train, [task()])
    assert (p["p_t"] == 0).all()


def test_labels_turned_round_turn_the_probability_round():
    random = np.random.default_rng(4)
    x = random.normal(size=300)
    label = random.random(300) < expit(2 * x)
    one, two = (
        fit_logistic(numbers(x, y), numbers(x, y), [task()])["p_t"] for y in (label, ~label)
    )
    np.testing.assert_allclose(one, 1 - two, atol=2e-4)


def test_two_classes_are_a_binary_task():
    random = np.random.default_rng(5)
    x = random.normal(size=400)
    train = numbers(x, random.random(400) < expit(1.5 * x - 0.5))
    binary = fit_logistic(train, train, [task()])
    classes = fit_logistic(train, train, [task(kind="multiclass")], classes={"t": "ny"})
    np.testing.assert_allclose(classes["p_t_y"], binary["p_t"], atol=1e-6)


def test_a_class_that_no_row_of_the_task_has_is_never_said():
    """Rows of the parent's event may lack a class of the log's."""
    x = np.random.default_rng(8).normal(size=90)
    train = numbers(x, np.where(x > 0, 2, 0))
    p = fit_logistic(train, train, [task(kind="multiclass")], classes={"t": "abc"})
    assert (p["p_t_b"] == 0).all()
    np.testing.assert_allclose(p["p_t_a"] + p["p_t_c"], 1, rtol=1e-6)
    assert np.corrcoef(p["p_t_c"], x)[0, 1] > 0.8


@pytest.mark.parametrize(("factor", "shift"), [(3.0, 0.0), (0.01, 5.0), (100.0, -40.0)])
def test_a_regression_follows_the_unit_of_its_label(factor, shift):
    random = np.random.default_rng(6)
    x = random.normal(size=200)
    label = 2 * x + random.normal(size=200)
    test, regression = numbers(np.linspace(-2, 2, 9), np.zeros(9)), [task(kind="regression")]
    plain = fit_logistic(numbers(x, label), test, regression)["value_t"]
    moved = fit_logistic(numbers(x, factor * label + shift), test, regression)["value_t"]
    np.testing.assert_allclose(moved, factor * plain + shift, rtol=1e-3, atol=1e-3 * factor)


def test_more_penalty_shrinks_towards_the_base_rate(small):
    rate, spreads = small.train.labels[:, 0].mean(), []
    for c in (10.0, 0.1, 1e-3, 1e-9):
        settings = dataclasses.replace(CONVERGED, path=(c,))
        p = logistic.fit_predict(
            small.train, taken(small.train, []), small.test, small.tasks[:1], small.encoding,
            settings=settings,
        ).predictions["p_click"]  # fmt: skip
        spreads.append(np.abs(p - rate).mean())
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[-1] < 1e-4


@given(st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), min_size=1), st.data())
def test_a_bag_sums_the_values_of_each_id(rows, data):
    ids = np.array(rows, np.int32)
    values = np.array(
        data.draw(
            st.lists(
                st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=3, max_size=3),
                min_size=len(rows),
                max_size=len(rows),
            )
        )
    )
    dense = np.zeros((len(rows), 6))
    for r, row in enumerate(rows):
        for j, column in enumerate(row):
            dense[r, column] += values[r, j]
    bag = _bag(ids, values, 6)
    np.testing.assert_array_equal(bag.toarray(), dense)
    assert bag.nnz == np.count_nonzero(dense)


def test_parameters_are_counted_by_hand(small):
    none = taken(small.validation, [])
    result = logistic.fit_predict(
        small.train, none, small.test, small.tasks, small.encoding, classes=small.classes
    )
    seen = len(np.unique(small.train.ids[:, 0]))
    in_lists = len(np.unique(small.train.ids[:, 1:][small.train.ids[:, 1:] != 0]))
    columns = seen + in_lists + 2 + 2  # each number has an indicator of gaps
    outputs = 1 + 1 + 1 + 3
    assert result.cost["parameters"] == outputs * (columns + 1)
