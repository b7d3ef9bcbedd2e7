"""The stop metric: what fits which task, on which scale it is averaged, and what it chooses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recmtl.data.encoded_log import NO_GROUP
from recmtl.data.prepare import prepare
from recmtl.errors import ConfigError
from recmtl.evaluate.metrics import mean_over_tasks
from recmtl.evaluate.task_metrics import validation_score
from recmtl.model import predict
from recmtl.schema import Condition, Head, TaskSpec, load_schema
from recmtl.schema.reading import load
from recmtl.simulate import simulate
from recmtl.train.config import Config, Training
from recmtl.train.loop import train
from recmtl.train.stop_metric import (
    FITTING,
    check_stop_tasks,
    folds_of_rows,
    stop_metrics,
    stop_score,
    task_weights,
)
from recmtl.train.tabular_problem import TabularProblem
from recmtl.vision.config import VisionConfig
from tests.tabular_problems import TASKS, make_model, make_problem

SCHEMA = Path(__file__).parents[3] / "datasets" / "simulated" / "schema.yaml"
PROBLEM = make_problem()
WORST = {
    "click": {"auc": 0.5, "gauc": 0.5, "log_loss": np.log(2), "normalized_entropy": 1.0},
    "buy": {"auc": 0.5},
    "watch": {"rmse": 3.0, "r2": 0.0},
    "stars": {"auc": 0.5, "log_loss": np.log(3)},
}


def test_the_default_metrics_are_those_of_the_verdict() -> None:
    metrics = PROBLEM.evaluate(make_model(problem=PROBLEM))
    named = stop_metrics({"click": "auc", "watch": "rmse"}, TASKS, has_groups=False)
    of_verdict = pytest.approx(validation_score(metrics, TASKS), abs=1e-12)
    assert stop_score(metrics, PROBLEM.heads, named) == of_verdict


LABELS = np.array([[1, 0, 3.5, 2], [0, np.nan, np.nan, 2], [1, 1, 0.5, 0], [1, 0, 2, 1]], "float32")


def test_a_task_counts_by_the_rows_that_tell() -> None:
    """The rarer class of a binary task, labelled rows of a regression, all but the commonest."""
    weights = dict(zip((t.name for t in TASKS), task_weights(LABELS, TASKS), strict=True))
    expected = {"click": 1 / 101, "buy": 1 / 101, "watch": 3 / 103, "stars": 2 / 102}
    assert weights == pytest.approx(expected)
    doubled = task_weights(np.tile(LABELS, (2, 1)), TASKS)
    assert doubled == pytest.approx([2 / 102, 2 / 102, 6 / 106, 4 / 104])
    flipped = LABELS.copy()
    flipped[:, 1] = 1 - flipped[:, 1]
    np.testing.assert_array_equal(task_weights(flipped, TASKS), task_weights(LABELS, TASKS))


def test_the_score_is_the_mean_by_these_weights_and_plain_among_equals() -> None:
    metrics = PROBLEM.evaluate(make_model(problem=PROBLEM))
    values, weights = PROBLEM.task_scores(metrics), PROBLEM.score_weights
    by_hand = sum(weights[t] * values[t] for t in weights) / sum(weights.values())
    assert PROBLEM.score(metrics) == pytest.approx(by_hand, abs=1e-12)
    scores = np.array([[0.5, 0.7, np.nan], [0.1, 0.3, 0.9]])
    assert mean_over_tasks(scores, np.array([3.0, 3.0, 1.0])) == pytest.approx([0.6, 0.2])
    assert mean_over_tasks(scores, np.array([1.0, 3.0, 9.0])) == pytest.approx([0.65, 0.25])
    assert np.isnan(mean_over_tasks(scores, np.zeros(3))).all()


@pytest.mark.parametrize(
    ("task", "metric", "value"),
    [
        ("click", "gauc", 0.5),
        ("click", "log_loss", 0.0),
        ("click", "normalized_entropy", 0.0),
        ("watch", "rmse", 0.0),
        ("stars", "log_loss", 0.0),
        ("stars", "auc", 0.5),
    ],
)
def test_a_constant_has_the_same_place_on_the_scale_of_every_task(
    task: str, metric: str, value: float
) -> None:
    heads = [replace(head, mean=0.5) for head in PROBLEM.heads if head.name == task]
    chosen = stop_metrics({task: metric}, TASKS, has_groups=True)  # type: ignore[dict-item]
    assert stop_score(WORST, heads, chosen) == pytest.approx(value)


@pytest.mark.parametrize("metric", ["auc", "log_loss", "normalized_entropy"])
def test_more_is_better_whatever_the_direction_of_the_metric(metric: str) -> None:
    alone = PROBLEM.only(TASKS[0])
    alone = replace(alone, stop_metrics={"click": metric})  # type: ignore[dict-item]
    torch.manual_seed(0)
    model = make_model(problem=alone, layout=alone.layout("shared_bottom", Config().grid))
    before = alone.score(alone.evaluate(model))
    train(model, alone, Training(batch_size=32, epochs=4, checks=1), seed=0)
    assert alone.score(alone.evaluate(model)) > before


def test_the_best_check_is_that_of_the_stop_metric() -> None:
    problem = replace(PROBLEM, stop_metrics=stop_metrics("default", TASKS, has_groups=False))
    by_loss = {task.name: "log_loss" for task in TASKS if task.kind != "regression"}
    other = replace(problem, stop_metrics=stop_metrics(by_loss, TASKS, has_groups=False))
    for rows in (problem, other):
        torch.manual_seed(0)
        model = make_model(problem=rows)
        state = train(model, rows, Training(batch_size=16, epochs=3, patience=99), seed=0)
        scores = [check.score for check in state.checks]
        assert scores == [rows.score(check.metrics) for check in state.checks]
        assert state.best == int(np.argmax(scores))


def test_gauc_is_made_on_the_groups_of_the_rows() -> None:
    group = np.arange(len(PROBLEM.validation)) % 5
    problem = replace(PROBLEM, validation=replace(PROBLEM.validation, group=group))
    chosen = replace(problem, stop_metrics=stop_metrics({"click": "gauc"}, TASKS, has_groups=True))
    model = make_model(problem=problem)
    metrics = chosen.evaluate(model)
    assert "gauc" not in problem.evaluate(model)["click"] and "gauc" in metrics["click"]
    alone = chosen.only(TASKS[0])
    assert alone.score(metrics) == metrics["click"]["gauc"]
    assert len(predict(model, problem.validation)["p_click"]) == len(group)


REFUSED = {
    "a metric of another kind": ("gauc", True, "gauc does not fit task 'watch', which is regr"),
    "a metric of classes": ({"stars": "normalized_entropy"}, True, "give it auc or log_loss"),
    "no group": ({"click": "gauc"}, False, "needs groups; name their column under roles.group"),
    "an unknown task": ({"clik": "auc"}, True, "no task 'clik'; did you mean 'click'?"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_metric_that_does_not_fit_is_refused_in_one_line(name: str) -> None:
    setting, has_groups, message = REFUSED[name]
    with pytest.raises(ConfigError) as fault:
        stop_metrics(setting, TASKS, has_groups=has_groups)  # type: ignore[arg-type]
    assert message in str(fault.value) and "\n" not in str(fault.value)


def test_a_task_that_ranks_is_stopped_by_its_order() -> None:
    ranked = TaskSpec("best", "regression", Condition("grade"), head=Head("rank"))
    assert stop_metrics("default", [ranked], has_groups=True) == {"best": "gauc"}
    with pytest.raises(ConfigError, match="rmse does not fit task 'best', which is rank"):
        stop_metrics("rmse", [ranked], has_groups=True)


@pytest.mark.parametrize("kind", [kind for kind in FITTING if kind != "rank"])
def test_every_metric_that_fits_is_one_that_a_check_has(kind: str) -> None:
    task = next(task for task in TASKS if task.kind == kind)
    metrics = PROBLEM.evaluate(make_model(problem=PROBLEM))[task.name]
    assert set(FITTING[task.kind]) - {"gauc"} <= set(metrics)


def test_the_setting_is_read_from_yaml_and_checked_with_the_log(tmp_path: Path) -> None:
    text = "training: {stop_metric: {click: gauc, watch_time: rmse}}"
    config = load(Config, text, source="config.yaml", error=ConfigError)
    assert config.training.stop_metric == {"click": "gauc", "watch_time": "rmse"}
    with pytest.raises(ConfigError, match="stop_metric"):
        load(Config, "training: {stop_metric: acu}", source="config.yaml", error=ConfigError)
    with pytest.raises(ConfigError, match="is for tables"):
        load(VisionConfig, "training: {stop_metric: auc}", source="c.yaml", error=ConfigError)
    simulate(tmp_path / "log.parquet", 1500, users=60, items=40)
    log = prepare(str(tmp_path / "log.parquet"), load_schema(SCHEMA), tmp_path / "encoded")
    problem = TabularProblem.of(log, config.training.stop_metric)
    assert problem.stop_metrics is not None
    assert problem.stop_metrics["click"] == "gauc" and problem.stop_metrics["dislike"] == "auc"
    with pytest.raises(ConfigError, match="does not fit"):
        TabularProblem.of(log, "rmse")


def test_folds_divide_no_group_and_are_of_like_size() -> None:
    random = np.random.default_rng(0)
    group = random.integers(-5, 60, 4000)
    group[:40] = NO_GROUP
    folds = folds_of_rows(group, 8)
    for code in np.unique(group[40:]):
        assert len(set(folds[group == code])) == 1
    assert sorted(set(folds[:40].tolist())) == list(range(8)), "rows without a group are alone"
    shares = np.bincount(folds, minlength=8) / len(folds)
    assert shares.min() > 0.08 and shares.max() < 0.17
    assert folds_of_rows(np.zeros(5, np.int64), 2).tolist() == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("metric", ["default", "log_loss", "normalized_entropy"])
def test_scores_without_folds_are_the_stop_scores_of_the_rows_that_are_left(metric: str) -> None:
    setting = {"click": metric, "watch": "rmse"}
    chosen = stop_metrics(setting, TASKS, has_groups=False)
    problem, model = replace(PROBLEM, stop_metrics=chosen), make_model(problem=PROBLEM)
    scores = problem.fold_scores(model, 4)
    assert scores.shape == (5, len(TASKS))
    fold = np.arange(len(problem.validation)) % 4
    for row in range(5):
        part = problem.validation.take(np.flatnonzero(fold != row - 1))
        left = replace(problem, validation=part)
        want = left.score(left.evaluate(model))
        weights = np.array([*left.score_weights.values()])
        assert np.average(scores[row], weights=weights) == pytest.approx(want, abs=1e-12)


def test_rows_of_no_weight_count_in_no_fold() -> None:
    validation = PROBLEM.validation
    weight = validation.weight.copy()
    weight[::3] = 0.0
    model = make_model(problem=PROBLEM)
    weighted = replace(PROBLEM, validation=replace(validation, weight=weight))
    garbage = validation.labels.copy()
    garbage[::3] = np.where(np.isnan(garbage[::3]), garbage[::3], 1.0)
    altered = replace(weighted, validation=replace(weighted.validation, labels=garbage))
    np.testing.assert_array_equal(weighted.fold_scores(model, 4), altered.fold_scores(model, 4))


def test_stop_tasks_decide_alone_when_a_training_stops() -> None:
    named = replace(PROBLEM, stop_tasks=("watch", "click"))
    metrics = PROBLEM.evaluate(make_model())
    weights = named.score_weights
    assert list(weights) == ["click", "watch"]
    values = np.array([metrics["click"]["auc"], metrics["watch"]["r2"]])
    expected = np.average(values, weights=[*weights.values()])
    assert named.score(metrics) == pytest.approx(expected)
    scores, all_scores = (p.fold_scores(make_model(), 3) for p in (named, PROBLEM))
    assert scores.shape == (4, 2) and all_scores.shape == (4, len(TASKS))


def test_a_network_of_another_task_alone_stops_on_that_task() -> None:
    alone = replace(PROBLEM, stop_tasks=("watch",)).only(TASKS[0])
    assert alone.score({"click": {"auc": 0.7}}) == pytest.approx(0.7)


def test_a_stop_task_that_does_not_exist_is_refused_with_what_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"no task 'clik'; did you mean .*click"):
        check_stop_tasks(["clik"], TASKS)
    check_stop_tasks(["click"], TASKS)
