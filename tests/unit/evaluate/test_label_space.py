"""Rows, labels and columns of a task, in a funnel of three events and beside it."""

import numpy as np
import pytest

from recmtl.errors import DataError
from recmtl.evaluate.label_space import (
    defined_rows,
    joint_labels,
    scores_of,
    task_position,
)
from recmtl.schema import Condition, TaskSpec
from recmtl.schema.names import joint_column, task_column

CLICK = TaskSpec("click", "binary", Condition("click"))
BUY = TaskSpec("buy", "binary", Condition("buy"), parent="click")
WATCH = TaskSpec("watch", "regression", Condition("watch"))
STARS = TaskSpec("stars", "multiclass", Condition("stars"))
TASKS = (CLICK, BUY, WATCH, STARS)
NAN = np.nan
LABELS = np.array(
    [
        [1.0, 1.0, 2.5, 0.0],
        [1.0, 0.0, NAN, 1.0],
        [1.0, NAN, 0.0, NAN],
        [0.0, 0.0, 1.0, 2.0],
        [0.0, NAN, NAN, 0.0],
        [NAN, 1.0, 3.0, 1.0],
        [NAN, NAN, NAN, NAN],
    ]
)


@pytest.mark.parametrize(
    ("task", "rows"),
    [
        (CLICK, [0, 1, 2, 3, 4]),
        (BUY, [0, 1]),
        (WATCH, [0, 2, 3, 5]),
        (STARS, [0, 1, 3, 4, 5]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_task_is_defined_where_it_has_a_label_and_its_parent_happened(
    task: TaskSpec, rows: list[int]
) -> None:
    assert np.flatnonzero(defined_rows(LABELS, TASKS, task)).tolist() == rows


def test_the_joint_event_is_unknown_only_where_it_could_have_happened() -> None:
    expected = [1.0, 0.0, NAN, 0.0, 0.0, 1.0, NAN]
    np.testing.assert_array_equal(joint_labels(LABELS, TASKS, BUY), expected)


def test_the_joint_rate_is_the_parents_rate_times_the_childs() -> None:
    """On rows with both labels: p(click and buy) = p(click) p(buy | click)."""
    random = np.random.default_rng(0)
    click = random.integers(0, 2, 500).astype(np.float64)
    labels = np.stack([click, random.integers(0, 2, 500) * click, click, click], axis=1)
    child = labels[defined_rows(labels, TASKS, BUY), 1]
    joint = joint_labels(labels, TASKS, BUY)
    assert joint.mean() == pytest.approx(click.mean() * child.mean())


def test_the_order_of_tasks_gives_their_columns() -> None:
    assert [task_position(TASKS, task.name) for task in TASKS] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="refund"):
        task_position(TASKS, "refund")


def test_columns_say_what_is_predicted() -> None:
    names = [task_column(task) for task in (CLICK, BUY, WATCH)]
    assert names == ["p_click", "p_buy_given_click", "value_watch"]
    assert joint_column(BUY) == "p_click_and_buy"


def test_the_classes_of_a_task_keep_the_order_of_their_columns() -> None:
    predictions = {f"p_stars_{name}": np.full(2, value) for name, value in (("b", 1), ("a", 2))}
    scores = scores_of({"p_click": np.zeros(2), **predictions}, TASKS, STARS)
    assert scores.tolist() == [[1, 2], [1, 2]]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (BUY, "column 'p_buy_given_click' of task 'buy' is missing; found p_click, p_stars_1"),
        (STARS, r"task 'stars' needs columns p_stars_<class>, found \['p_stars_1'\]"),
    ],
    ids=["child", "one class"],
)
def test_a_missing_column_is_named(task: TaskSpec, message: str) -> None:
    predictions = {"p_click": np.zeros(3), "p_stars_1": np.zeros(3)}
    with pytest.raises(DataError, match=message):
        scores_of(predictions, TASKS, task)
