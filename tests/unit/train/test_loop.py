"""Training: the best weights come back bit for bit, and a killed run goes on to the same bits."""

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from recmtl.errors import DataError
from recmtl.evaluate.task_metrics import validation_score
from recmtl.grid import shared_bottom
from recmtl.model import TabularModel, predict
from recmtl.train import tabular_problem
from recmtl.train.checkpoint import read_state
from recmtl.train.config import Training
from recmtl.train.loop import train
from recmtl.train.training_state import TrainingState, ValidationCheck
from tests.tabular_problems import TASKS, make_model, make_problem, rows_of

PROBLEM = make_problem()
SETTINGS = Training(batch_size=32, epochs=3, checks=2, patience=10)


def weights(model: TabularModel) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def assert_same_bits(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def timeless(fitted: TrainingState) -> dict[str, object]:
    return {**asdict(fitted), "seconds": 0.0, "cpu_seconds": 0.0}


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Scores that the next checks will have, in order."""
    scores: list[float] = []
    monkeypatch.setattr(tabular_problem, "stop_score", lambda *_: scores.pop(0))
    yield scores


@pytest.mark.parametrize(("script", "best"), [([0.1, 0.9, 0.2, 0.8, 0.9, 0.3], 1), ([0.5] * 6, 0)])
def test_the_weights_are_those_of_the_best_check(
    scripted: list[float], script: list[float], best: int
) -> None:
    scripted.extend(script)
    model, seen = make_model(dropout=0.2), []

    def on_progress(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        if check is not None:
            seen.append(weights(model))

    fitted = train(model, PROBLEM, SETTINGS, seed=0, on_progress=on_progress)
    assert (len(seen), fitted.best) == (6, best)
    assert_same_bits(weights(model), seen[best])
    assert not torch.equal(seen[best]["encoder.table.weight"], seen[-1]["encoder.table.weight"])


def test_training_stops_after_so_many_checks_without_a_better_one(scripted: list[float]) -> None:
    scripted.extend([0.5, 0.9, *[0.1] * 10])
    settings = replace(SETTINGS, epochs=9, patience=3)
    fitted = train(make_model(), PROBLEM, settings, seed=0)
    assert len(fitted.checks) == 2 + 3
    assert fitted.best == 1


def test_an_undefined_score_is_never_the_best(scripted: list[float]) -> None:
    scripted.extend([np.nan, 0.2, np.nan, 0.3, 0.1, 0.1])
    assert train(make_model(), PROBLEM, SETTINGS, seed=0).best == 3


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("rows_before", [300, 257 * 2 + 1, 257 * 3])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path, rows_before: int) -> None:
    """Killed in the second epoch, in the third, and after the last: dropout and moments go on."""
    whole = make_model(dropout=0.3)
    start = weights(whole)
    uninterrupted = train(whole, PROBLEM, SETTINGS, seed=5)

    def kill(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        if done >= rows_before:
            raise Killed

    halted = make_model(dropout=0.3)
    halted.load_state_dict(start)
    path = tmp_path / "run.safetensors"
    with pytest.raises(Killed):
        train(halted, PROBLEM, SETTINGS, seed=5, on_progress=kill, checkpoint=path)
    assert path.is_file()
    torch.manual_seed(99)
    revived = make_model(dropout=0.3)
    resumed = train(revived, PROBLEM, SETTINGS, seed=5, checkpoint=path)
    assert timeless(resumed) == timeless(uninterrupted)
    assert_same_bits(weights(revived), weights(whole))


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("rows_before", [150, 200, 257 + 230, 257 * 3])
def test_a_run_killed_within_a_pass_goes_on_within_it(
    tmp_path: Path, rows_before: int, accumulate: int
) -> None:
    """Saved after every second step, not in time with passes, checks and learning rates."""
    settings = replace(SETTINGS, save_every=2, accumulate=accumulate)
    whole, revived = make_model(dropout=0.3), make_model(dropout=0.3)
    halted = make_model(dropout=0.3)
    halted.load_state_dict(whole.state_dict())
    plain = train(whole, PROBLEM, replace(settings, save_every=0), seed=5)
    done_by: dict[str, list[int]] = {"halted": [], "revived": []}

    def on_progress(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        done_by[what].append(done)
        if what == "halted" and done >= rows_before:
            raise Killed

    told = {"on_progress": on_progress, "checkpoint": tmp_path / "run.safetensors"}
    with pytest.raises(Killed):
        train(halted, PROBLEM, settings, seed=5, name="halted", **told)
    torch.manual_seed(99)
    resumed = train(revived, PROBLEM, settings, seed=5, name="revived", **told)
    assert timeless(resumed) == timeless(plain)
    assert_same_bits(weights(revived), weights(whole))
    again = sorted(set(done_by["halted"]) & set(done_by["revived"]))
    assert 1 <= len(again) <= 2, "what was done after the last save is all that is done again"


def test_a_finished_run_is_read_back(tmp_path: Path) -> None:
    path, model = tmp_path / "run.safetensors", make_model()
    fitted = train(model, PROBLEM, SETTINGS, seed=0, checkpoint=path)
    again = make_model()
    assert timeless(train(again, PROBLEM, SETTINGS, seed=0, checkpoint=path)) == timeless(fitted)
    assert_same_bits(weights(again), weights(model))


def test_a_checkpoint_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.safetensors"
    train(make_model(), PROBLEM, replace(SETTINGS, epochs=1), seed=0, checkpoint=path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match=r"run\.safetensors: checkpoint not written.*free disk"):
        train(make_model(), PROBLEM, SETTINGS, seed=0, checkpoint=path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["run.safetensors"]


@pytest.mark.parametrize("how", ["cut", "of another network"])
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path, how: str) -> None:
    path, model = tmp_path / "run.safetensors", make_model()
    train(model, PROBLEM, replace(SETTINGS, epochs=1), seed=0, checkpoint=path)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        model = make_model(shared_bottom(len(TASKS), widths=(8, 4)))
    with pytest.raises(DataError, match=r"run\.safetensors: not a checkpoint of this .*delete it"):
        train(model, PROBLEM, SETTINGS, seed=0, checkpoint=path)


def test_a_checkpoint_holds_tensors_and_json_only(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    train(make_model(), PROBLEM, replace(SETTINGS, epochs=1), seed=0, checkpoint=path)
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    json.loads(header.pop("__metadata__")["state"])
    with read_state(path) as state:
        assert state is not None
        history = state["history"]
    assert history["rows"] == len(PROBLEM.train) and len(history["checks"]) == 2
    assert {entry["dtype"] for entry in header.values()} <= {"F32", "I64", "U8"}


def test_training_beats_the_constant() -> None:
    problem = make_problem(rows=1500)
    model = make_model(problem=problem)
    settings = Training(batch_size=64, epochs=4, table_learning_rate=0.03)
    fitted = train(model, problem, settings, seed=0)
    metrics = fitted.checks[fitted.best].metrics
    assert metrics["click"]["auc"] > 0.75
    assert metrics["watch"]["r2"] > 0.3


def test_the_score_is_the_mean_over_tasks_that_have_one() -> None:
    metrics = {task.name: {"auc": 0.7, "r2": 0.1} for task in TASKS}
    assert validation_score(metrics, TASKS) == pytest.approx((0.7 + 0.7 + 0.1 + 0.7) / 4)
    metrics["buy"]["auc"] = np.nan
    assert validation_score(metrics, TASKS) == pytest.approx((0.7 + 0.1 + 0.7) / 3)


def test_a_score_of_no_task_is_undefined_and_says_so_quietly() -> None:
    metrics = {task.name: {"auc": np.nan, "r2": np.nan} for task in TASKS}
    assert np.isnan(validation_score(metrics, TASKS))


def test_predictions_do_not_depend_on_the_batch_size() -> None:
    model = make_model()
    one, two = (predict(model, PROBLEM.test, batch_size=size) for size in (90, 7))
    assert list(one) == list(model.columns)
    for name in one:
        np.testing.assert_allclose(one[name], two[name], atol=1e-6)


def test_an_empty_split_has_empty_predictions() -> None:
    scores = predict(make_model(), rows_of(PROBLEM.test, slice(0)))
    assert {len(column) for column in scores.values()} == {0}


@pytest.mark.parametrize("parts", [(0.5, 1.0), (0.01, 0.35, 0.36, 1.0), (0.5, 0.5, 1.0)])
def test_a_training_in_parts_ends_with_the_bits_of_a_whole_one(
    tmp_path: Path, parts: tuple[float, ...]
) -> None:
    torch.manual_seed(1)
    whole, path = make_model(dropout=0.2), tmp_path / "parts.safetensors"
    want, steps = train(whole, PROBLEM, SETTINGS, seed=5), list[int]()
    for until in parts:
        torch.manual_seed(1)
        model, rows = make_model(dropout=0.2), list[int]()
        state = train(
            model,
            PROBLEM,
            SETTINGS,
            seed=5,
            checkpoint=path,
            until=until,
            on_progress=lambda *facts, rows=rows: rows.append(facts[1]),
        )
        steps.append(len(rows))
    assert_same_bits(weights(model), weights(whole))
    assert timeless(state) == timeless(want)
    a_pass = -(-len(PROBLEM.train) // SETTINGS.batch_size)
    assert sum(steps) == a_pass * SETTINGS.epochs, "no step is taken twice"
