"""What a study keeps of a model is read back as it was, and costs of single tasks add up."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recmtl.job.fit import Fit, ModelResult
from recmtl.model import ModelSizes, load_model
from recmtl.train.config import Config, Grid, Training
from recmtl.train.training_state import ValidationCheck
from tests.tabular_problems import TASKS, make_problem

CONFIG = Config(
    sizes=ModelSizes(embedding=4, tower=(6,)),
    grid=Grid(cells=3, depth=1, widths=(8,)),
    training=Training(batch_size=64, epochs=1, checks=1, health_rows=0),
)
PROBLEM = make_problem(150)
RESULT = ModelResult(
    {"p_click": np.array([0.25, 0.5, 1.0], np.float32)},
    {"parameters": 10, "multiply_adds": None},
    0.7,
    {"click": {"auc": 0.7, "log_loss": float("nan")}},
    {"mmoe": [{"epoch": 1.0, "score": 0.7, "loss": 0.5}]},
    {"tasks": ["click"]},
)


def make_fit(tmp_path: Path, progress: list[tuple[str, int, int]] | None = None) -> Fit:
    def on_progress(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        if progress is not None:
            progress.append((what, done, total))

    tmp_path.mkdir(exist_ok=True)
    return Fit(PROBLEM, CONFIG, 3, on_progress, lambda name, seed: tmp_path / f"{name}-{seed}")


def test_a_result_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    RESULT.save(tmp_path / "0")
    loaded = ModelResult.load(tmp_path / "0")
    assert loaded is not None
    np.testing.assert_array_equal(loaded.predictions["p_click"], RESULT.predictions["p_click"])
    ours, theirs = ({**asdict(r), "predictions": None} for r in (RESULT, loaded))
    assert math.isnan(theirs["validation"]["click"].pop("log_loss")), "not defined, and kept so"
    ours["validation"]["click"].pop("log_loss")
    assert ours == theirs


def test_columns_of_a_larger_array_are_saved_as_their_own_values(tmp_path: Path) -> None:
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    replace(RESULT, predictions={"p_click": table[:, 1]}).save(tmp_path / "0")
    loaded = ModelResult.load(tmp_path / "0")
    assert loaded is not None
    np.testing.assert_array_equal(loaded.predictions["p_click"], [1.0, 3.0, 5.0])


def test_a_folder_without_a_result_has_none(tmp_path: Path) -> None:
    assert ModelResult.load(tmp_path / "0") is None
    (tmp_path / "0.partial").mkdir()
    assert ModelResult.load(tmp_path / "0") is None


def test_results_of_the_first_release_had_neither_health_nor_test_metrics(tmp_path: Path) -> None:
    RESULT.save(tmp_path / "0")
    file = tmp_path / "0" / "trained.json"
    facts = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in facts.items() if k not in ("health", "test")}))
    loaded = ModelResult.load(tmp_path / "0")
    assert loaded is not None and loaded.health == {} and loaded.test == {}
    assert loaded.curves == RESULT.curves


def test_a_network_beside_its_result_has_the_weights_that_were_scored(tmp_path: Path) -> None:
    layout = PROBLEM.layout("mmoe", CONFIG.grid)
    network, result = make_fit(tmp_path).network("mmoe", layout)
    result.save(tmp_path / "0", network)
    predictions, _ = PROBLEM.scored(load_model(tmp_path / "0"))
    for name, scores in result.predictions.items():
        np.testing.assert_array_equal(predictions[name], scores)
    assert list(result.curves) == ["mmoe"] and len(result.curves["mmoe"]) == 1
    assert result.validation_score == PROBLEM.score(result.validation)


def test_the_seed_alone_decides_what_is_trained(tmp_path: Path) -> None:
    layout = PROBLEM.layout("mmoe", CONFIG.grid)
    first = make_fit(tmp_path / "a").network("mmoe", layout)[0].state_dict()
    torch.manual_seed(99)
    again = make_fit(tmp_path / "b").network("mmoe", layout)[0].state_dict()
    other = replace(make_fit(tmp_path / "c"), seed=4).network("mmoe", layout)[0].state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_costs_of_single_tasks_add_up_and_their_scores_are_averaged(tmp_path: Path) -> None:
    progress: list[tuple[str, int, int]] = []
    fit = make_fit(tmp_path, progress)
    result = fit.single_tasks(lambda problem: problem.layout("shared_bottom", CONFIG.grid))
    parts = {}
    for task in TASKS:
        alone = replace(make_fit(tmp_path / task.name), problem=PROBLEM.only(task))
        layout = alone.problem.layout("shared_bottom", CONFIG.grid)
        parts[task.name] = alone.network(f"single_task-{task.name}", layout)[1]
    for name in ("parameters", "multiply_adds"):
        assert result.cost[name] == sum(part.cost[name] or 0 for part in parts.values())
    scores = [part.validation_score for part in parts.values()]
    assert result.validation_score == pytest.approx(np.mean([s for s in scores if s is not None]))
    assert result.validation == {name: part.validation[name] for name, part in parts.items()}
    assert list(result.curves) == [f"single_task-{task.name}" for task in TASKS]
    assert {what for what, _, _ in progress} == set(result.curves)


def test_rows_a_second_of_single_tasks_are_those_of_scoring_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = iter([100.0, 50.0, 25.0, 100.0])

    def trained(fit: Fit, name: str, layout: object, problem: object) -> tuple[None, ModelResult]:
        task = name.removeprefix("single_task-")
        cost = {"parameters": 1, "multiply_adds": 1, "train_s": 1.0}
        columns = {"p_click": np.zeros(1)} if task == "click" else {f"p_{task}": np.zeros(1)}
        result = ModelResult(columns, {**cost, "score_rows_per_s": next(speeds)}, 0.5, {task: {}})
        return None, result

    monkeypatch.setattr(Fit, "_train", trained)
    result = make_fit(tmp_path).single_tasks(lambda problem: problem.layout("mmoe", CONFIG.grid))
    assert result.cost["score_rows_per_s"] == pytest.approx(1 / (0.01 + 0.02 + 0.04 + 0.01))
    assert result.cost["train_s"] == 4.0


def test_a_training_that_stops_early_is_shown_as_finished(tmp_path: Path) -> None:
    progress: list[tuple[str, int, int]] = []
    fit = make_fit(tmp_path, progress)
    training = replace(CONFIG.training, epochs=50, patience=1, learning_rate=1.0)
    stops = replace(fit, config=replace(CONFIG, training=training))
    stops.network("mmoe", PROBLEM.layout("mmoe", CONFIG.grid))
    _, done, total = progress[-1]
    assert done == total < 50 * len(PROBLEM.train)


def test_predictions_on_validation_rows_are_kept_and_may_be_missing(tmp_path: Path) -> None:
    _, result = make_fit(tmp_path).network("mmoe", PROBLEM.layout("mmoe", CONFIG.grid))
    assert {len(scores) for scores in result.on_validation.values()} == {len(PROBLEM.validation)}
    result.save(tmp_path / "model")
    loaded = ModelResult.load(tmp_path / "model")
    assert loaded is not None
    np.testing.assert_array_equal(loaded.on_validation["p_click"], result.on_validation["p_click"])
    (tmp_path / "model" / "validation.safetensors").unlink()  # as a study of 0.1 left it
    earlier = ModelResult.load(tmp_path / "model")
    assert earlier is not None and earlier.on_validation == {}
