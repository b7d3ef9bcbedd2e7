"""Each task is judged on its own rows, whatever the other tasks do."""

import numpy as np
import pytest

from recmtl.errors import DataError
from recmtl.evaluate import PRIMARY, evaluate, metrics
from recmtl.evaluate.label_space import scores_of
from recmtl.evaluate.ranking_metrics import ranking_metrics
from recmtl.model.heads import HeadSpec
from recmtl.schema import Condition, TaskSpec
from recmtl.schema.names import joint_column, task_column


@pytest.fixture(scope="module")
def scored(made_up):
    labels, signal, group = made_up.make_labels(rows=3000)
    return labels, made_up.make_scores(signal, 1.0, 0), group


@pytest.fixture(scope="module")
def tasks(made_up):
    return made_up.tasks


def same(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name], equal_nan=True) for name in one
    )


def test_every_task_has_its_primary_metric(scored, tasks):
    found = evaluate(scored[1], scored[0], tasks)
    for task in tasks:
        assert np.isfinite(found[task.name][PRIMARY[task.kind].name])
    assert "gauc" not in found["click"]


def test_child_is_judged_on_the_parents_positives_only(scored, tasks):
    labels, predictions, group = scored
    weight = np.random.default_rng(0).random(len(labels))
    clicked = labels[:, 0] == 1
    found = evaluate(predictions, labels, tasks, group, weight)["purchase"]
    p = predictions["p_purchase_given_click"]
    assert found["auc"] == metrics.auc(labels[clicked, 1], p[clicked], weight[clicked])
    assert found["joint_auc"] == metrics.auc(
        labels[:, 1], predictions["p_click_and_purchase"], weight
    )
    assert found["gauc"] == metrics.gauc(
        labels[clicked, 1], p[clicked], group[clicked], weight[clicked]
    )
    spoiled = predictions | {"p_purchase_given_click": np.where(clicked, p, np.nan)}
    assert same(found, evaluate(spoiled, labels, tasks, group, weight)["purchase"])


@pytest.mark.parametrize("judged", range(5))
def test_a_task_does_not_move_when_others_change(scored, tasks, judged):
    labels, predictions, group = scored
    task = tasks[judged]
    mine = {judged} | ({0} if task.parent else set())
    random = np.random.default_rng(1)
    other_labels = labels.copy()
    for t in set(range(5)) - mine:
        other_labels[:, t] = random.permutation(labels[:, t])
    own = {name for name in predictions if task.name in name}
    other_scores = {
        name: values if name in own else random.permutation(values)
        for name, values in predictions.items()
    }
    before = evaluate(predictions, labels, tasks, group)[task.name]
    assert same(before, evaluate(other_scores, other_labels, tasks, group)[task.name])


def test_rows_without_a_label_are_as_if_absent(scored, tasks):
    labels, predictions, group = scored
    kept = np.arange(len(labels)) % 3 > 0
    holed = labels.copy()
    holed[~kept, 2] = np.nan
    found = evaluate(predictions, holed, tasks, group)["dislike"]
    p = predictions["p_dislike"][kept]
    assert found["auc"] == metrics.auc(labels[kept, 2], p)
    assert found["log_loss"] == metrics.log_loss(labels[kept, 2], p)


def test_binary_tasks_are_ranked_within_groups(scored, tasks):
    labels, predictions, group = scored
    found = evaluate(predictions, labels, tasks, group)
    clicked = labels[:, 0] == 1
    for prefix, column, label, rows in (
        ("", "p_purchase_given_click", labels[:, 1], clicked),
        ("joint_", "p_click_and_purchase", labels[:, 0] * labels[:, 1], slice(None)),
    ):
        known = ~np.isnan(label[rows])
        ranked = ranking_metrics(
            label[rows][known], predictions[column][rows][known], group[rows][known]
        )
        for name in ("ndcg", "map", "mrr", "hit_rate", "recall"):
            assert found["purchase"][f"{prefix}{name}_at_10"] == pytest.approx(ranked[name])
    assert "ndcg_at_10" not in found["rating"]
    assert "ndcg_at_10" not in evaluate(predictions, labels, tasks)["click"]


def test_unknown_child_label_counts_as_no_joint_event_only_where_the_parent_did_not_happen(
    scored, tasks
):
    labels, predictions, _ = scored
    holed = labels.copy()
    holed[labels[:, 0] == 0, 1] = np.nan
    before = evaluate(predictions, labels, tasks)["purchase"]
    assert same(before, evaluate(predictions, holed, tasks)["purchase"])


def test_one_class_or_no_row_gives_nan_not_a_crash(scored, tasks):
    labels, predictions, group = scored
    empty = labels.copy()
    empty[:, 0] = 0
    empty[:, 2:] = np.nan
    found = evaluate(predictions, empty, tasks, group)
    assert np.isnan(found["click"]["auc"])
    assert np.isfinite(found["click"]["log_loss"])
    assert np.isnan(found["purchase"]["auc"])
    assert np.isnan(found["watch_time"]["rmse"])
    assert np.isnan(found["rating"]["log_loss"])


def test_class_columns_go_to_the_task_with_the_longest_fitting_name():
    tasks = (
        TaskSpec("rating", "multiclass", Condition("a")),
        TaskSpec("rating_full", "multiclass", Condition("b")),
    )
    columns = {name: np.array([k / 10]) for k, name in enumerate(
        ["p_rating_1", "p_rating_2", "p_rating_full_1", "p_rating_full_2"]
    )}  # fmt: skip
    assert scores_of(columns, tasks, tasks[0]).tolist() == [[0.0, 0.1]]
    assert scores_of(columns, tasks, tasks[1]).tolist() == [[0.2, 0.3]]


@pytest.mark.parametrize(
    ("column", "change", "message"),
    [
        ("p_dislike", lambda p: p[:-1], "'dislike' have 2999 rows"),
        ("p_dislike", lambda p: np.where(p > 0.1, np.nan, p), "'dislike' hold .* not finite"),
        ("p_dislike", lambda p: np.log(p), "'dislike' range from .* not logits"),
        ("p_dislike", None, "'p_dislike' of task 'dislike' is missing"),
        ("p_click_and_purchase", lambda p: p * 3, "'purchase' range from"),
    ],
)
def test_scores_that_cannot_be_judged_are_refused_by_name(scored, tasks, column, change, message):
    labels, predictions, _ = scored
    broken = dict(predictions)
    if change is None:
        del broken[column]
    else:
        broken[column] = change(broken[column])
    with pytest.raises(DataError, match=message):
        evaluate(broken, labels, tasks)


def test_column_names_are_those_of_the_heads(tasks):
    for task in tasks:
        if task.kind != "multiclass":
            columns = HeadSpec(task.name, task.kind, parent=task.parent).columns
            assert columns[0] == task_column(task)
            assert task.parent is None or columns[1] == joint_column(task)
