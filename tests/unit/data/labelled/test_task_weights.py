"""Weights that a task has of its own: 0 leaves a row out of that task, 2 is the row twice."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recmtl.data.encoded_log import EncodedLog, LogSplit
from recmtl.data.prepare import prepare
from recmtl.errors import DataError
from recmtl.evaluate.task_metrics import evaluate
from recmtl.evaluate.transfer_test import judge_transfer
from recmtl.forest.task_rows import task_rows
from recmtl.model.heads import TabularHeads
from recmtl.schema import Schema
from recmtl.train.tabular_problem import TabularProblem
from tests.late_logs import late_log, late_schema, write_log
from tests.tabular_problems import TASKS, make_heads, make_problem

Write = Callable[..., str]
PARTS = ("train", "validation", "test")


@pytest.fixture
def schema(schema: Schema) -> Schema:
    """The schema of the small log, without weights of rows."""
    return replace(schema, roles=replace(schema.roles, sample_weight=None))


def weighed(schema: Schema, **columns: str) -> Schema:
    tasks = (replace(t, sample_weight=columns.get(t.name)) for t in schema.tasks)
    return replace(schema, tasks=tuple(tasks))


def dice_weights(rows: int) -> np.ndarray:
    return np.random.default_rng(3).choice([0.0, 0.5, 2.0], rows)


def test_one_weight_of_all_tasks_is_the_weight_of_the_rows(
    schema: Schema, columns: dict[str, Any], write: Write, tmp_path: Path
) -> None:
    """Statistics of labels are the same; those of features are not, as they count rows."""
    columns = {**columns, "w": np.maximum(dice_weights(400), 0.5)}
    rows = replace(schema, roles=replace(schema.roles, sample_weight="w"))
    every = weighed(schema, **{task.name: "w" for task in schema.tasks})
    of_rows = prepare(write(columns), rows, tmp_path / "rows")
    of_tasks = prepare(write(columns), every, tmp_path / "tasks")
    for name, label in of_rows.label_statistics.items():
        like = of_tasks.label_statistics[name]
        assert (label.mean, label.std) == pytest.approx((like.mean, like.std), rel=1e-9), name
        parents = [label.given_parent or 0.0, like.given_parent or 0.0]
        assert parents[0] == pytest.approx(parents[1], rel=1e-9)
    for part in PARTS:
        ours, theirs = of_tasks.split(part), of_rows.split(part)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        at = ~np.isnan(ours.labels)
        ratio = (ours.weights / theirs.weight[:, None])[at]
        assert ratio == pytest.approx(ratio[0], rel=1e-6)
        assert (ours.weight == 1).all() and theirs.weights.shape == (len(theirs), 0)


def test_a_weight_of_zero_leaves_the_row_out_of_its_task_alone(
    schema: Schema, columns: dict[str, Any], write: Write, tmp_path: Path
) -> None:
    columns = {**columns, "w": dice_weights(400)}
    name = schema.tasks[-1].name
    plain = prepare(write(columns), schema, tmp_path / "plain")
    log = prepare(write(columns), weighed(schema, **{name: "w"}), tmp_path / "log")
    left_out = 0
    for part in PARTS:
        ours, before = log.split(part), plain.split(part)
        weight = columns["w"][ours.row]
        np.testing.assert_array_equal(ours.labels[:, :-1], before.labels[:, :-1])
        expected = np.where(weight == 0, np.nan, before.labels[:, -1])
        np.testing.assert_array_equal(ours.labels[:, -1], expected)
        at = ~np.isnan(expected)
        np.testing.assert_array_equal(ours.weights[at, -1], weight[at].astype(np.float32))
        assert (ours.weights[:, :-1] == 1).all() and (ours.weights > 0).all()
        left_out += int((weight == 0).sum())
    counts = [c for c in log.manifest["counts"] if c["reason"] == "weight_zero"]
    assert sum(count["rows"] for count in counts) == left_out > 0
    assert {count["column"] for count in counts} == {"w"}


@pytest.mark.parametrize("value", [None, -1.0, np.inf, 1e16, 1e-16])
def test_what_is_no_weight_is_refused_where_the_task_is_defined(
    schema: Schema, columns: dict[str, Any], write: Write, tmp_path: Path, value: float | None
) -> None:
    columns = {**columns, "w": [value, *[1.0] * 399]}
    with pytest.raises(DataError, match=r"column 'w'.*1 weights of task .* are missing, negative"):
        prepare(write(columns), weighed(schema, **{schema.tasks[0].name: "w"}), tmp_path / "log")


def test_a_late_label_of_weight_zero_is_not_learnt_as_an_open_window(tmp_path: Path) -> None:
    columns, _ = late_log(600, seed=0)
    columns["w"] = dice_weights(600)
    path, schema = write_log(columns, tmp_path / "log.parquet"), late_schema()
    name = next(task.name for task in schema.tasks if task.label.is_late)
    plain = prepare(path, schema, tmp_path / "plain").split("train")
    split = prepare(path, weighed(schema, **{name: "w"}), tmp_path / "log").split("train")
    is_left_out = columns["w"][split.row] == 0
    assert np.isnan(split.waits[is_left_out]).all()
    np.testing.assert_array_equal(split.waits[~is_left_out], plain.waits[~is_left_out])


def own_weights(split: LogSplit, seed: int = 0) -> LogSplit:
    dice = np.random.default_rng(seed)
    return replace(split, weights=dice.uniform(0.5, 2, split.labels.shape).astype(np.float32))


def test_each_task_is_learnt_and_measured_with_its_own_weights() -> None:
    problem = make_problem(rows=120)
    split = own_weights(problem.train)
    heads = TabularHeads(make_heads(split.labels), width=4, tower=()).eval()
    lanes = torch.randn(len(split), 4, 4)
    labels, weights = torch.from_numpy(split.labels), torch.from_numpy(split.weights)
    losses = heads.losses(heads(lanes), labels, weights)
    scores = heads.scores(heads(lanes)).detach().numpy()
    predictions = dict(zip(heads.columns, scores.T, strict=True))
    metrics = evaluate(predictions, split.labels, TASKS, weight=split.weights)
    noisy = {n: v + 0.01 * np.random.default_rng(1).random(len(v)) for n, v in predictions.items()}
    noisy = {n: np.clip(v, 0, 1) if n.startswith("p_") else v for n, v in noisy.items()}
    models = {"searched": {0: predictions}, "single_task": {0: noisy}}
    judged = judge_transfer(models, split.labels, TASKS, weight=split.weights, resamples=20)
    for number, task in enumerate(TASKS):
        alone = weights[:, number]
        assert losses[number] == heads.losses(heads(lanes), labels, alone)[number]
        one = split.weights[:, number]
        same = evaluate(predictions, split.labels, TASKS, weight=one)[task.name]
        assert metrics[task.name] == pytest.approx(same, nan_ok=True)
        like = judge_transfer(models, split.labels, TASKS, weight=one, resamples=20)
        assert judged.tasks[task.name] == like.tasks[task.name]


def test_batches_parts_and_single_tasks_keep_the_weights_of_their_tasks() -> None:
    problem = make_problem(rows=100)
    parts = [own_weights(getattr(problem, part), n) for n, part in enumerate(PARTS)]
    problem = TabularProblem(*parts, problem.encoding, TASKS, problem.heads)
    batch = next(problem.train.batches(batch_size=30, seed=4))
    assert batch.weight.shape == (30, 4) and batch[:7].weight.shape == (7, 4)
    for number, task in enumerate(TASKS):
        alone = problem.only(task)
        rows = np.searchsorted(problem.train.row, alone.train.row)
        np.testing.assert_array_equal(alone.train.weights[:, 0], parts[0].weights[rows, number])
        label = alone.train.labels[:, 0].astype(np.float64)
        label = np.log1p(label) if task.transform == "log1p" else label
        mean = np.average(label, weights=alone.train.weights[:, 0])
        assert alone.heads[0].mean == pytest.approx(mean, rel=1e-6)


def test_weights_of_a_baseline_have_mean_one() -> None:
    split = own_weights(make_problem(rows=100).train)
    tasks = [replace(task, sample_weight="w") for task in TASKS]
    rows = task_rows(split.ids, split, tasks, tasks[1])
    assert rows.weight.mean() == pytest.approx(1.0)
    kept = split.labels[:, 0] == 1
    assert rows.weight / rows.weight[0] == pytest.approx(
        split.weights[kept, 1] / split.weights[kept, 1][0], rel=1e-6
    )


def test_a_log_without_such_weights_has_no_file_of_them(
    schema: Schema, columns: dict[str, Any], write: Write, tmp_path: Path
) -> None:
    log = prepare(write(columns), schema, tmp_path / "log")
    assert not (log.folder / "train" / "weights.npy").exists()
    assert EncodedLog.open(log.folder).split("train").weights.shape[1] == 0
