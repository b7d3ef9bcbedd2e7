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
from recmtl.search.policy_factory import make_policy
from recmtl.search.schedule import BilevelRows, SearchSchedule, bilevel_split
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
    search=Search(epochs=2, warm_up=0.2, candidates=3),
)
SPACE = recmtl_grid(4, cells=3, widths=(8, 4), depth=2)


def permuted(problem: TabularProblem) -> TabularProblem:
    """The same problem with the test labels in another order."""
    order = np.random.default_rng(9).permutation(len(problem.test))
    return replace(problem, test=replace(problem.test, labels=problem.test.labels[order]))


@pytest.fixture(scope="module")
def found() -> SearchResult:
    return search(SPACE, PROBLEM, CONFIG, seed=0)


def test_the_two_parts_are_disjoint_and_all_rows() -> None:
    parts = bilevel_split(1000, 0.3, seed=4)
    assert np.array_equal(np.union1d(parts.weights, parts.policy), np.arange(1000))
    assert len(np.intersect1d(parts.weights, parts.policy)) == 0
    assert 230 < len(parts.policy) < 370
    for rows in (parts.weights, parts.policy):
        assert (np.diff(rows) > 0).all()


def test_another_seed_divides_otherwise_the_same_seed_alike() -> None:
    one, again, other = (bilevel_split(500, 0.3, seed=seed).policy for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_parts_that_overlap_are_refused() -> None:
    with pytest.raises(ConfigError, match="share rows"):
        BilevelRows(np.arange(10), np.arange(9, 20))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_part_without_rows_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"search\.policy_rows"):
        bilevel_split(50, share, seed=0)


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


def test_policies_are_read_off_the_layout() -> None:
    def kinds(name: str) -> set[str]:
        policy = make_policy(CATALOG[name].layout(4, cells=4, widths=(8, 4), depth=2), CONFIG)
        return {type(m).__name__ for m in policy.modules()} & {"RoutePolicy", "SkipPolicy"}

    assert kinds("mtnas") == kinds("snr_aver") == {"RoutePolicy"}
    assert kinds("adashare") == kinds("dynashare") == {"SkipPolicy"}
    assert kinds("recmtl_grid") == {"RoutePolicy", "SkipPolicy"}


def test_the_schedule_of_a_search() -> None:
    search = Search(epochs=4, warm_up=0.5, temperature=(4.0, 1.0), skips=Skips(curriculum=0.5))
    config = Config(training=Training(batch_size=10), search=search)
    layout = recmtl_grid(2, cells=2, widths=(4,), depth=4)
    plan = SearchSchedule(layout, bilevel_split(1000, 0.2, seed=0), config=config)
    assert (plan.total, plan.warm_up) == (4 * plan.steps_an_epoch, 2 * plan.steps_an_epoch)
    assert plan.ratio == 4 and plan.policy_steps == plan.warm_up // 4
    middle = (plan.warm_up + plan.total) // 2
    warmth = [plan.temperature(step) for step in (0, plan.warm_up, middle, plan.total)]
    assert warmth == pytest.approx([4.0, 4.0, 2.0, 1.0], rel=0.01)
    opened = [plan.open_layers(step) for step in range(plan.total)]
    assert opened[: plan.warm_up] == [0] * plan.warm_up
    assert opened[plan.warm_up :] == sorted(opened[plan.warm_up :])
    assert set(opened[plan.warm_up : middle]) == {1, 2, 3}
    assert set(opened[middle:]) == {3}
    always = SearchSchedule(
        layout, bilevel_split(1000, 0.2, seed=0), config=replace(config, search=Search())
    )
    assert always.open_layers(0) == 3
