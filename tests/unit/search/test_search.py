"""The search: weights and policy never see the same row, and test labels choose nothing."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recmtl.errors import ConfigError
from recmtl.grid import (
    CATALOG,
    Layout,
    Routes,
    expected_multiply_adds,
    mmoe,
    prune,
    recmtl_grid,
)
from recmtl.model import TabularModel
from recmtl.search.search import SearchResult, search
from recmtl.train.config import Budget, Config, Grid, Search, Skips, Training
from recmtl.train.loop import train
from recmtl.train.optimizer import Optimizer
from recmtl.train.tabular_problem import TabularProblem
from tests.tabular_problems import make_model, make_problem

PROBLEM = make_problem(rows=400)
CONFIG = Config(
    grid=Grid(cells=3, widths=(8, 4), max_edges=2),
    training=Training(batch_size=32, epochs=2),
    search=Search(epochs=2, warm_up=0.2, candidates=3, race=False),
)
SPACE = recmtl_grid(4, cells=3, widths=(8, 4), depth=2)


def permuted(problem: TabularProblem) -> TabularProblem:
    """The same problem with the test labels in another order."""
    order = np.random.default_rng(9).permutation(len(problem.test))
    return replace(problem, test=replace(problem.test, labels=problem.test.labels[order]))


@pytest.fixture(scope="module")
def found() -> SearchResult:
    return search(SPACE, PROBLEM, CONFIG, seed=0)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, set[bytes]]]:
    """Which rows were looked at right before a step of the weights, and of the policy."""
    seen: dict[str, set[bytes]] = {"weights": set(), "policy": set()}
    looked: list[set[bytes]] = []
    forward, step = TabularModel.forward, Optimizer.step

    def spied_forward(
        self: TabularModel, ids: Tensor, numeric: Tensor, **rest: object
    ) -> list[Tensor]:
        if torch.is_grad_enabled():
            rows = zip(ids.numpy(), numeric.numpy(), strict=True)
            looked.append({i.tobytes() + n.tobytes() for i, n in rows})
        return forward(self, ids, numeric, **rest)

    def take(what: str) -> None:
        for rows in looked:
            seen[what] |= rows
        looked.clear()

    class SpiedAdam(torch.optim.Adam):
        def step(self, closure: None = None) -> None:
            take("policy")
            super().step(closure)

    def spied_step(self: Optimizer, loss: Tensor) -> None:
        take("weights")
        step(self, loss)

    monkeypatch.setattr(TabularModel, "forward", spied_forward)
    monkeypatch.setattr(Optimizer, "step", spied_step)
    monkeypatch.setattr(torch.optim, "Adam", SpiedAdam)
    yield seen


def test_weights_and_policy_never_see_the_same_row(steps: dict[str, set[bytes]]) -> None:
    search(SPACE, PROBLEM, CONFIG, seed=0)
    assert steps["weights"] & steps["policy"] == set()
    shares = [len(steps[what]) / len(PROBLEM.train) for what in ("weights", "policy")]
    assert shares[0] > 0.6 and 0.2 < shares[1] < 0.4


def test_the_same_seed_finds_the_same_route(found: SearchResult) -> None:
    again = search(SPACE, PROBLEM, CONFIG, seed=0)
    assert again.routes == found.routes
    assert again.candidates == found.candidates
    assert again.history == found.history


def test_test_labels_choose_nothing(found: SearchResult) -> None:
    """Neither the route, nor the best check, nor a bit of the trained weights."""
    turned = permuted(PROBLEM)
    assert search(SPACE, turned, CONFIG, seed=0).routes == found.routes
    layout = prune(SPACE, found.routes).layout
    fits = []
    for problem in (PROBLEM, turned):
        torch.manual_seed(0)
        model = make_model(layout, problem=problem)
        fitted = train(model, problem, CONFIG.training, seed=0)
        fits.append((fitted.best, [check.score for check in fitted.checks], model.state_dict()))
    assert fits[0][:2] == fits[1][:2]
    assert all(torch.equal(tensor, fits[1][2][name]) for name, tensor in fits[0][2].items())


def test_validation_labels_do_choose(found: SearchResult) -> None:
    """The control of the test above: it would notice."""
    order = np.random.default_rng(9).permutation(len(PROBLEM.validation))
    labels = PROBLEM.validation.labels[order]
    turned = replace(PROBLEM, validation=replace(PROBLEM.validation, labels=labels))
    again = search(SPACE, turned, CONFIG, seed=0)
    assert again.candidates != found.candidates


def test_the_chosen_candidate_is_the_best_on_validation_rows(found: SearchResult) -> None:
    values = [value for value, _ in found.candidates]
    best = found.candidates[int(np.argmin(values))]
    decisions = found.routes.decisions(SPACE)
    width = make_model(SPACE, problem=PROBLEM).grid.input_width
    sizes = CONFIG.sizes.embedding / 4
    cost = expected_multiply_adds(SPACE, decisions, input_width=int(width * sizes)).item()
    assert cost == pytest.approx(best[1], rel=1e-5)


def test_what_was_found_is_json(found: SearchResult) -> None:
    text = json.dumps({**asdict(found), "routes": found.routes.to_json()}, allow_nan=False)
    assert Routes.from_json(json.loads(text)["routes"]) == found.routes
    assert Layout.from_json(json.loads(text)["layout"]) == prune(SPACE, found.routes).layout
    assert found.budget is None
    assert len(found.history) >= 2


@pytest.mark.parametrize(
    "settings",
    [
        {"estimator": "reinforce", "samples": 2},
        {"estimator": "hard_concrete", "edge_price": 0.1},
        {"skips": Skips(hard=False, variant="code", sparsity=0.1, sharing=0.1, curriculum=0.5)},
        {"refine": 1},
        {"budget": Budget(share=0.8)},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_every_kind_of_search_repeats_itself(settings: dict[str, Any]) -> None:
    config = replace(CONFIG, search=replace(CONFIG.search, epochs=1, **settings))
    one, again, other = (search(SPACE, PROBLEM, config, seed=seed) for seed in (0, 0, 1))
    assert (one.routes, one.candidates) == (again.routes, again.candidates)
    assert one.candidates != other.candidates
    prune(SPACE, one.routes)


@pytest.mark.parametrize("name", [name for name, entry in CATALOG.items() if entry.searched])
def test_every_searched_space_of_the_catalog_is_searched(name: str) -> None:
    space = CATALOG[name].layout(4, cells=4, widths=(8, 4), depth=2)
    config = replace(CONFIG, search=replace(CONFIG.search, epochs=1))
    found = search(space, PROBLEM, config, seed=0)
    assert Layout.from_json(found.layout) == prune(space, found.routes).layout


def test_a_fixed_layout_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to search"):
        search(mmoe(4, experts=3, widths=(8, 4)), PROBLEM, CONFIG, seed=0)


def test_a_result_is_read_back_from_its_json(found: SearchResult) -> None:
    config = replace(CONFIG, search=replace(CONFIG.search, epochs=1, budget=Budget(share=0.8)))
    for result in (found, search(SPACE, PROBLEM, config, seed=0)):
        text = json.dumps(result.to_json(), allow_nan=False)
        again = SearchResult.from_json(json.loads(text))
        assert json.dumps(again.to_json()) == text
        assert (again.routes, again.candidates) == (result.routes, result.candidates)
        assert Layout.from_json(again.layout) == Layout.from_json(result.layout)


def test_files_of_a_search_have_these_names(found: SearchResult) -> None:
    """Reports and resumed studies read them: a name may change only with a reader of the old."""
    data = found.to_json()
    assert list(data) == [
        "routes",
        "layout",
        "history",
        "candidates",
        "seconds",
        "budget",
        "race",
        "winner",
    ]
    assert {key for record in data["history"] for key in record} == {
        "epoch",
        "temperature",
        "price",
        "entropy",
        "multiply_adds",
        "validation",
    }


def test_a_file_from_before_budgets_and_contests_is_read(found: SearchResult) -> None:
    data = found.to_json()
    for name in ("budget", "race", "candidates", "winner"):
        del data[name]
    old = SearchResult.from_json(json.loads(json.dumps(data)))
    assert (old.budget, old.race, old.candidates) == (None, [], [])
    assert old.routes == found.routes
    assert Layout.from_json(old.layout) == Layout.from_json(found.layout)


def test_records_follow_the_schedule(found: SearchResult) -> None:
    assert [record["epoch"] for record in found.history] == [1.0, 2.0]
    first, last = CONFIG.search.temperature
    assert last <= found.history[1]["temperature"] < found.history[0]["temperature"] <= first
    for record in found.history:
        assert 0.0 <= record["entropy"] <= 1.0
        assert record["multiply_adds"] > 0.0
        assert set(record["validation"]) == {task.name for task in PROBLEM.tasks}


def test_the_two_losses_of_a_race_of_release_0_1_are_read(found: SearchResult) -> None:
    data = {**found.to_json(), "race": [0.667, 0.652]}
    del data["winner"]
    old = SearchResult.from_json(json.loads(json.dumps(data)))
    assert [(row["name"], row["loss"]) for row in old.race] == [
        ("found", 0.667),
        ("shared_bottom", 0.652),
    ]
    assert SearchResult.from_json(json.loads(json.dumps(old.to_json()))) == old
