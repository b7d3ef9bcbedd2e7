"""One task alone: its own rows, its own statistics, no trace of the funnel."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.model import predict
from recmtl.schema import TaskSpec, load_schema
from recmtl.simulate import simulate
from recmtl.train.config import Grid, Training
from recmtl.train.loop import train
from recmtl.train.tabular_problem import TabularProblem
from tests.tabular_problems import TASKS, make_heads, make_model, make_problem

PROBLEM = make_problem()
CLICK, BUY, WATCH, STARS = TASKS
SCHEMA = Path(__file__).resolve().parents[3] / "datasets" / "simulated" / "schema.yaml"


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_alone_has_the_rows_on_which_it_is_defined(task: TaskSpec) -> None:
    alone = PROBLEM.only(task)
    position = TASKS.index(task)
    for whole, part in ((PROBLEM.train, alone.train), (PROBLEM.validation, alone.validation)):
        labels = whole.labels
        own = ~np.isnan(labels[:, position])
        if task is BUY:
            own &= labels[:, 0] == 1
        assert part.row.tolist() == whole.row[own].tolist()
        np.testing.assert_array_equal(part.ids, whole.ids[own])
        np.testing.assert_array_equal(part.numeric, whole.numeric[own])
        np.testing.assert_array_equal(part.weight, whole.weight[own])
        np.testing.assert_array_equal(part.labels, labels[own][:, [position]])


def test_the_material_has_rows_to_leave_out() -> None:
    assert len(PROBLEM.only(CLICK).train) == len(PROBLEM.train)
    assert all(len(PROBLEM.only(task).train) < len(PROBLEM.train) for task in TASKS[1:])


def test_a_funnel_child_alone_is_a_plain_task_with_its_own_rate() -> None:
    alone = PROBLEM.only(BUY)
    (task,), (head,) = alone.tasks, alone.heads
    assert task.parent is None and head.parent is None
    clicked = PROBLEM.train.labels[:, 0] == 1
    bought, weight = PROBLEM.train.labels[clicked, 1], PROBLEM.train.weight[clicked]
    assert head.mean == pytest.approx(np.average(bought, weights=weight))
    assert head.weight == BUY.weight
    assert head.columns == ("p_buy",)


@pytest.mark.parametrize("task", [WATCH, STARS], ids=lambda task: task.name)
def test_statistics_alone_are_those_of_all_tasks(task: TaskSpec) -> None:
    """These two are already defined on their own rows only."""
    (head,), whole = PROBLEM.only(task).heads, PROBLEM.heads[TASKS.index(task)]
    assert (head.mean, head.std) == pytest.approx((whole.mean, whole.std))
    assert head.classes == whole.classes


def test_every_test_row_is_scored_by_a_task_alone() -> None:
    alone = PROBLEM.only(BUY)
    model = make_model(problem=alone)
    train(model, alone, Training(batch_size=32, epochs=1), seed=0)
    assert len(predict(model, alone.test)["p_buy"]) == len(PROBLEM.test)
    np.testing.assert_array_equal(alone.test.ids, PROBLEM.test.ids)


def test_a_child_unknown_without_its_parent_starts_and_trains_alike() -> None:
    """NaN instead of 0 where the parent did not happen says the same."""
    labels = PROBLEM.train.labels.copy()
    labels[labels[:, 0] == 0, 1] = np.nan
    heads, like = make_heads(labels), make_heads(PROBLEM.train.labels)
    assert [head.mean for head in heads] == pytest.approx([head.mean for head in like])
    other = replace(PROBLEM, train=replace(PROBLEM.train, labels=labels))
    scores = []
    for problem in (PROBLEM, other):
        torch.manual_seed(7)
        model = make_model(problem=PROBLEM)
        train(model, problem, Training(batch_size=32, epochs=1), seed=0)
        scores.append(predict(model, problem.test))
    for name, column in scores[0].items():
        np.testing.assert_array_equal(scores[1][name], column)


def test_an_encoded_log_becomes_a_problem(tmp_path: Path) -> None:
    simulate(tmp_path / "log.parquet", 1500, users=60, items=40)
    log: EncodedLog = prepare(
        str(tmp_path / "log.parquet"), load_schema(SCHEMA), tmp_path / "encoded"
    )
    problem = TabularProblem.of(log)
    assert [task.name for task in problem.tasks] == ["click", "purchase", "watch_time", "dislike"]
    sizes = [len(part) for part in (problem.train, problem.validation, problem.test)]
    assert sum(sizes) == 1500 and min(sizes) > 150
    labels = problem.train.labels
    assert problem.heads[0].mean == pytest.approx(float(labels[:, 0].mean()), rel=1e-5)
    known = labels[~np.isnan(labels[:, 2]), 2]
    assert problem.heads[2].mean == pytest.approx(float(np.log1p(known).mean()), rel=1e-5)


@pytest.mark.parametrize("name", ["mmoe", "towers_apart", "branched", "recmtl_grid"])
def test_layouts_of_the_catalog_have_the_experts_of_the_grid(name: str) -> None:
    """A fixed network differs from the searched one in the wiring, not in the kind of experts."""
    for kind in ("mlp", "cross"):
        layout = PROBLEM.layout(name, Grid(widths=(8, 4), depth=2, experts=kind))
        assert layout.layers[0].experts == kind
        assert layout.layers[0].width == 4


def test_a_bootstrap_sample_draws_whole_groups_and_is_the_same_for_every_model() -> None:
    problem = make_problem(300)
    group = np.arange(len(problem.train)) // 7
    problem = replace(problem, train=replace(problem.train, group=group))
    sample, other = problem.resampled(0), problem.resampled(1)
    times = np.bincount(sample.train.row, minlength=problem.train.row.max() + 1)[problem.train.row]
    assert all(len(set(times[group == number])) == 1 for number in range(group.max() + 1))
    assert np.all(np.diff(sample.train.row) >= 0), "in their order"
    np.testing.assert_array_equal(sample.train.row, problem.resampled(0).train.row)
    assert len(sample.train.row) != len(other.train.row) or np.any(
        sample.train.row != other.train.row
    )
    assert sample.validation is problem.validation and sample.test is problem.test
