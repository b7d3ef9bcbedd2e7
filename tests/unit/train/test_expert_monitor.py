"""Experts watched during training: at every check, on rows spread over the validation split."""

import json
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from recmtl.grid import expert_use, mmoe
from recmtl.model import TabularModel
from recmtl.train.config import Training
from recmtl.train.expert_monitor import health_curves, health_record, monitor_experts
from recmtl.train.loop import train
from recmtl.train.training_state import TrainingState, ValidationCheck
from tests.tabular_problems import TASKS, make_model, make_problem, rows_of

PROBLEM = make_problem()
SETTINGS = Training(batch_size=32, epochs=2, checks=2, patience=10, learning_rate=0.01)
NAMES = [task.name for task in TASKS]


@pytest.fixture(scope="module")
def fitted() -> tuple[TabularModel, TrainingState]:
    torch.manual_seed(0)
    model = make_model(mmoe(len(TASKS), experts=3, widths=(8, 4)), dropout=0.2)
    return model, train(model, PROBLEM, SETTINGS, seed=0)


def test_every_check_knows_the_health_of_the_experts(
    fitted: tuple[TabularModel, TrainingState],
) -> None:
    model, found = fitted
    healths = [check.health for check in found.checks]
    assert len(healths) == 4 and None not in healths
    assert healths[0] is not None and healths[0].drift is None
    for before, after in pairwise(healths):
        assert before is not None and after is not None
        change = np.abs(np.array(after.use) - np.array(before.use)).mean(1)
        assert after.drift == pytest.approx(change, abs=2e-6)
    # The model has the weights of the best check again.
    best = found.checks[found.best].health
    again = monitor_experts(model, PROBLEM.validation, rows=SETTINGS.health_rows, before=None)
    assert best is not None and again is not None
    assert replace(best, drift=None) == again


def test_watching_changes_no_bit_of_the_weights() -> None:
    ends = []
    for rows in (0, 50):
        torch.manual_seed(0)
        model = make_model(dropout=0.3)
        found = train(model, PROBLEM, replace(SETTINGS, health_rows=rows), seed=1)
        assert [check.health is None for check in found.checks] == [rows == 0] * 4
        ends.append(model.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize(("rows", "taken"), [(3, [0, 60, 119]), (500, list(range(120)))])
def test_rows_are_spread_over_the_split(rows: int, taken: list[int]) -> None:
    model, split = make_model(dropout=0.5).train(), PROBLEM.validation
    health = monitor_experts(model, split, rows=rows, before=None)
    assert model.training and model.encoder.training and model.grid.training
    model.eval()
    ids = torch.from_numpy(split.ids[taken].astype(np.int64))
    numeric = torch.from_numpy(split.numeric[taken])
    use = expert_use(model.grid, model.encoder(ids, numeric))
    assert health is not None
    np.testing.assert_allclose(health.use, use.detach().numpy(), atol=1e-5)


def test_without_rows_nothing_is_measured() -> None:
    empty = rows_of(PROBLEM.validation, slice(0))
    assert monitor_experts(make_model(), empty, rows=100, before=None) is None
    assert health_record(TrainingState(), mmoe(2, experts=2, widths=(4,)), NAMES) == {}
    assert list(health_curves({})) == []


def test_a_check_comes_back_from_json(fitted: tuple[TabularModel, TrainingState]) -> None:
    _, found = fitted
    for check in (*found.checks, replace(found.checks[0], health=None)):
        assert ValidationCheck.from_json(json.loads(json.dumps(asdict(check)))) == check
    old = asdict(found.checks[0])
    del old["health"]  # as version 0.1 wrote it
    assert ValidationCheck.from_json(old).health is None


def test_a_record_is_told_as_curves(fitted: tuple[TabularModel, TrainingState]) -> None:
    model, found = fitted
    record = json.loads(json.dumps(health_record(found, model.grid.layout, NAMES)))
    curves = list(health_curves(record))
    assert [epoch for epoch, _ in curves] == [check.epoch for check in found.checks]
    per_task = {f"{part}.{name}" for part in ("entropy", "drift") for name in NAMES}
    per_expert = {f"dead.1.{e}" for e in range(3)}
    use = {f"use.{name}.1.{e}" for name in NAMES for e in range(3)}
    numbers = curves[-1][1]
    assert set(numbers) == per_task | per_expert | use | {"similarity.layer_1"}
    assert set(curves[0][1]) == set(numbers) - {f"drift.{name}" for name in NAMES}
    last = found.checks[-1].health
    assert last is not None
    assert numbers["use.watch.1.2"] == last.use[2][2]
    matrix = np.array(last.similarity[0])
    assert numbers["similarity.layer_1"] == matrix[np.tril_indices(3, -1)].max()


def test_a_record_warns_of_the_best_check() -> None:
    """A broken expert is told of where the weights that stay are those of that check."""
    torch.manual_seed(0)
    model = make_model(mmoe(len(TASKS), experts=3, widths=(8, 4)))
    healthy = monitor_experts(model, PROBLEM.validation, rows=100, before=None)
    with torch.no_grad():
        model.grid.layer(0).experts.biases[0][1] = -1e4
    broken = monitor_experts(model, PROBLEM.validation, rows=100, before=healthy)
    checks = [ValidationCheck(e, 0.5, 0.1, {}, h) for e, h in ((1.0, healthy), (2.0, broken))]
    told = [
        health_record(TrainingState(checks, best), model.grid.layout, NAMES)["warnings"]
        for best in (0, 1)
    ]
    assert told == [[], ["Expert 1.1 is dead: 100% of its units are zero on every row."]]
