"""Kinds of problem travel to other processes by name, and fit their baselines."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recmtl.errors import ConfigError, DataError
from recmtl.evaluate.label_space import defined_rows
from recmtl.job.problem_kind import TABULAR_PROBLEMS, ProblemKind
from recmtl.train.config import Config
from recmtl.vision.config import ImageDataConfig, VisionConfig
from recmtl.vision.job import IMAGE_PROBLEMS
from tests.tabular_problems import TASKS, make_problem

KINDS: list[ProblemKind[Any, Any]] = [TABULAR_PROBLEMS, IMAGE_PROBLEMS]
PROBLEM = make_problem(200)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_kind_is_pickled_by_the_names_of_its_functions(kind: ProblemKind[Any, Any]) -> None:
    assert pickle.loads(pickle.dumps(kind)) == kind
    assert len(pickle.dumps(kind)) < 1000, "names alone"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_cannot_be_opened_is_named(kind: ProblemKind[Any, Any], tmp_path: Path) -> None:
    config = kind.config_class()
    with pytest.raises((DataError, ConfigError), match=r"not an encoded log|names no reader"):
        kind.open(tmp_path, config)


def test_images_come_from_the_configuration_and_not_from_the_output_folder(tmp_path: Path) -> None:
    config = VisionConfig(
        data=ImageDataConfig(reader="multi_mnist", folder=str(tmp_path / "nowhere"))
    )
    with pytest.raises(DataError, match="nowhere"):
        IMAGE_PROBLEMS.open(tmp_path, config)


@pytest.mark.parametrize("name", TABULAR_PROBLEMS.baselines)
def test_a_baseline_predicts_all_test_rows_and_is_measured_on_validation_rows(name: str) -> None:
    result = TABULAR_PROBLEMS.baselines[name](PROBLEM, Config(), 0)
    assert {len(column) for column in result.predictions.values()} == {len(PROBLEM.test)}
    assert set(result.validation) == {task.name for task in TASKS}
    clocks = {"train_s", "cpu_s", "score_rows_per_s"}
    assert set(result.cost) == {"parameters", "multiply_adds", *clocks}
    assert result.validation_score is None and result.curves == {} and result.health == {}


@pytest.mark.parametrize("name", TABULAR_PROBLEMS.baselines)
def test_labels_of_test_rows_change_nothing_that_a_baseline_predicts(name: str) -> None:
    labels = np.zeros_like(PROBLEM.test.labels)
    blank = replace(PROBLEM, test=replace(PROBLEM.test, labels=labels))
    fit = TABULAR_PROBLEMS.baselines[name]
    ours, theirs = fit(PROBLEM, Config(threads=1), 0), fit(blank, Config(threads=1), 0)
    assert str(ours.validation) == str(theirs.validation), "some metrics are NaN"
    for column, scores in ours.predictions.items():
        np.testing.assert_array_equal(scores, theirs.predictions[column])


def test_the_constant_is_the_weighted_base_rate_of_the_train_rows() -> None:
    result = TABULAR_PROBLEMS.baselines["constant"](PROBLEM, Config(), 0)
    labels, weight = PROBLEM.train.labels, PROBLEM.train.weight.astype(np.float64)
    rate = float((labels[:, 0] * weight).sum() / weight.sum())
    np.testing.assert_allclose(result.predictions["p_click"], rate, rtol=1e-6)
    clicked = defined_rows(labels, TASKS, TASKS[1])
    bought = float((labels[clicked, 1] * weight[clicked]).sum() / weight[clicked].sum())
    joint = result.predictions["p_click_and_buy"]
    np.testing.assert_allclose(joint, rate * bought, rtol=1e-6)
