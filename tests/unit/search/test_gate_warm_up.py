"""Instance gates are held open at first: every row runs, and no such check is the best."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from recmtl.grid import full_decision
from recmtl.grid.catalog import adashare, dynashare
from recmtl.model import TabularModel
from recmtl.search import search as search_module
from recmtl.search.search import search
from recmtl.train import tabular_problem
from recmtl.train.config import Config, Search, Training
from recmtl.train.loop import train
from tests.tabular_problems import TASKS, make_model, make_problem

PROBLEM = make_problem()
TASK_COUNT = len(TASKS)
SPACE = dynashare(TASK_COUNT, widths=(6,), rates=(0.5,), hidden=(5,))
SETTINGS = Training(batch_size=32, epochs=4, checks=1, patience=1, gate_warm_up=0.5)


def gates(model: TabularModel) -> list[Tensor]:
    return [p.detach().clone() for n, p in model.named_parameters() if ".instance." in n]


def test_a_held_gate_lets_every_row_run() -> None:
    model = make_model(SPACE)
    grid, lanes = model.grid, torch.randn(50, 1, model.grid.input_width)
    decisions = [full_decision(layer) for layer in SPACE.layers]
    open_grid = make_model(adashare(TASK_COUNT, widths=(6,), blocks=1, hidden=(5,))).grid
    open_grid.load_state_dict({n: v for n, v in grid.state_dict().items() if "instance" not in n})
    for mode in (True, False):
        grid.train(mode)
        assert grid.hold_open(True)
        assert torch.equal(grid(lanes, decisions), open_grid(lanes, decisions))
        assert float(grid.rate_penalty()) == 0.0
        assert not grid.hold_open(False)
        assert not torch.equal(grid(lanes, decisions), open_grid(lanes, decisions))
    assert not open_grid.hold_open(True), "there is no gate"


def test_gates_learn_after_the_warm_up_and_its_checks_are_never_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scores that fall from check to check: only those with gates at work count."""
    scores = [0.9, 0.8, 0.1, 0.2]
    monkeypatch.setattr(tabular_problem, "stop_score", lambda *_: scores[len(seen)])
    model, seen = make_model(SPACE), []
    start = gates(model)

    def on_progress(what: str, done: int, total: int, check: object) -> None:
        if check is not None:
            seen.append(gates(model))

    fitted = train(model, PROBLEM, SETTINGS, seed=0, on_progress=on_progress)
    assert [check.held for check in fitted.checks] == [True, True, False, False]
    assert fitted.best == 3
    moved = [[not torch.equal(a, b) for a, b in zip(start, now, strict=True)] for now in seen]
    assert [all(m) for m in moved] == [False, False, True, True] and not any(moved[1])


def test_a_network_without_gates_has_no_warm_up() -> None:
    fitted = train(make_model(), PROBLEM, SETTINGS, seed=0)
    assert not any(check.held for check in fitted.checks)


def test_a_search_holds_gates_open_while_it_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    step: Callable[..., None] = search_module._RouteSearch.step_weights

    def remember(run: search_module._RouteSearch, batch: object, number: int) -> None:
        gate = run.supernet.model.grid.layer(1).instance
        told.append(gate is not None and gate.held)
        step(run, batch, number)

    monkeypatch.setattr(search_module._RouteSearch, "step_weights", remember)
    config = Config(
        training=SETTINGS, search=Search(epochs=2, warm_up=0.5, candidates=2, race=False)
    )
    search(SPACE, PROBLEM, config, seed=0)
    warm = len(told) // 2
    assert told == [True] * warm + [False] * (len(told) - warm)


def test_a_share_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="gate_warm_up: must be below 1"):
        replace(SETTINGS, gate_warm_up=1.0)
