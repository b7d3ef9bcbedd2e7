"""The choice among frozen routes, and the contest of the found route with full sharing.

Full sharing replaces the found route only where that surely gains on the mean and surely hurts no
task; the contest is the training of the winner, too.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from recmtl.grid import Decision, Layout, Routes, prune, recmtl_grid
from recmtl.grid.catalog import mtnas
from recmtl.search import selection
from recmtl.search.budget import CostMultiplier
from recmtl.search.policy_factory import make_policy
from recmtl.search.refine import FOLDS
from recmtl.search.search import SearchResult, search
from recmtl.search.selection import (
    RouteObjective,
    choose_route,
    compare_full_sharing,
    contest_files,
    final_losses,
    full_sharing,
    sample_route,
    sample_rows,
    surely_better,
)
from recmtl.search.supernet import Supernet
from recmtl.train.config import Budget, Config, Search, Training
from recmtl.train.loop import train
from recmtl.train.training_state import TrainingState
from tests.grids import random_routes
from tests.tabular_problems import make_problem

SPACE = recmtl_grid(4, cells=6, widths=(6, 4), depth=2)
PROBLEM = make_problem(rows=200)
CONFIG = Config(
    training=Training(batch_size=64, epochs=3, health_rows=0),
    search=Search(epochs=1, refine=0, candidates=2, race=True),
)


def folds(*gains: float, spread: float = 0.01) -> Tensor:
    """Losses `[FOLDS, T]` of a champion whose challenger loses nothing anywhere."""
    signs = torch.tensor([1.0, -1.0]).repeat(FOLDS // 2)
    return torch.tensor(gains) + spread * signs.unsqueeze(1)


@pytest.mark.parametrize(
    ("gains", "spread", "saved", "wins"),
    [
        ((0.1, 0.1), 0.01, 0.0, True),
        ((0.0, 0.0), 0.01, 0.0, False),
        ((0.1, 0.1), 1.0, 0.0, False),
        ((0.3, -0.1), 0.01, 0.0, False),
        ((0.3, -0.001), 0.01, 0.0, True),
        ((0.0, 0.0), 0.01, 0.1, True),
        ((0.1, 0.1), 0.01, -0.2, False),
    ],
    ids=["sure", "nothing", "noise", "one hurt", "one hardly", "cheaper", "dearer"],
)
def test_who_beats_whom(gains: tuple[float, ...], spread: float, saved: float, wins: bool) -> None:
    champion = folds(*gains, spread=spread)
    assert surely_better(torch.zeros_like(champion), champion, saved=saved) is wins


def test_together_all_tasks_train_one_column() -> None:
    found = full_sharing(random_routes(SPACE, 3), SPACE)
    layout = prune(SPACE, found).layout
    assert found.layers[-1].edges == ((4,),) * 4
    assert layout.layers[0].num_experts == 1 and not any(layout.layers[-1].detached_edges)


def test_what_has_no_common_column_stays_as_found() -> None:
    for space in (recmtl_grid(3, cells=3, widths=(4,)), mtnas(3, cells=4, levels=[(4,), (4,)])):
        found = random_routes(space, 1)
        assert full_sharing(found, space) == found


@pytest.mark.parametrize("better", [True, False])
def test_the_winner_goes_on_from_where_the_race_left_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, better: bool
) -> None:
    """Raced and then trained, a network is to the bit what it is when it is trained alone."""
    monkeypatch.setattr(selection, "surely_better", lambda *_, **__: better)
    path = tmp_path / "searched.safetensors"
    (tmp_path / "searched.0.safetensors").write_text("left by a search that was killed")
    found = search(SPACE, PROBLEM, CONFIG, seed=2, checkpoint=path)
    assert list(tmp_path.iterdir()) == [path]
    layout = Layout.from_json(found.layout)
    raced, went_on = _trained(layout, checkpoint=path)
    alone, whole = _trained(layout)
    assert went_on.rows == whole.rows and raced.keys() == alone.keys()
    assert all(torch.equal(raced[name], alone[name]) for name in alone)
    assert [check.epoch for check in went_on.checks] == [check.epoch for check in whole.checks]


def _trained(
    layout: Layout, checkpoint: Path | None = None
) -> tuple[dict[str, Tensor], TrainingState]:
    torch.manual_seed(2)
    model = PROBLEM.network(layout, CONFIG.sizes)
    fitted = train(model, PROBLEM, CONFIG.training, seed=2, checkpoint=checkpoint)
    return model.state_dict(), fitted


def test_a_race_is_repeatable_with_a_checkpoint_and_without(tmp_path: Path) -> None:
    layout = prune(SPACE, random_routes(SPACE, 1)).layout
    losses = [
        final_losses(layout, problem=PROBLEM, config=CONFIG, seed=5, checkpoint=checkpoint)
        for checkpoint in (None, tmp_path / "one.safetensors")
    ]
    assert losses[0].shape == (FOLDS, 4) and losses[0].isfinite().all()
    assert torch.equal(*losses)


@pytest.mark.parametrize("budget", [None, Budget(share=0.6)])
@pytest.mark.parametrize("better", [True, False])
def test_the_search_keeps_the_winner(
    monkeypatch: pytest.MonkeyPatch, budget: Budget | None, better: bool
) -> None:
    """Whoever wins is what is found, at the size of the budget if there is one."""
    losses = iter((folds(0.5, 0.5, 0.5, 0.5), folds(*[0.2 if better else 0.8] * 4)))
    monkeypatch.setattr(selection, "final_losses", lambda *_, **__: next(losses))
    found = _searched(replace(CONFIG, search=replace(CONFIG.search, budget=budget)))
    alone = _searched(replace(CONFIG, search=replace(CONFIG.search, budget=budget, race=False)))
    rival = full_sharing(alone.routes, SPACE)
    assert found.routes == (rival if better else alone.routes) and len(found.race) == 2
    assert alone.race == [] and (found.budget is None) == (budget is None)
    assert Layout.from_json(found.layout).num_tasks == 4
    if budget is not None:
        assert found.budget["met"]


def _searched(config: Config) -> SearchResult:
    return search(SPACE, PROBLEM, config, seed=2)


fold_losses = st.lists(st.floats(0.1, 2.0), min_size=2 * FOLDS, max_size=2 * FOLDS)


@given(fold_losses, fold_losses, st.floats(-0.5, 0.5), st.floats(0.0, 1.0))
def test_at_most_one_of_two_networks_is_surely_better(
    one: list[float], other: list[float], saved: float, more: float
) -> None:
    first, second = (torch.tensor(values).view(FOLDS, 2) for values in (one, other))
    wins = surely_better(first, second, saved=saved)
    assert not (wins and surely_better(second, first, saved=-saved))
    assert not wins or surely_better(first, second, saved=saved + more), "cheaper is no worse"
    scaled = surely_better(4 * first, 4 * second, saved=4 * saved)
    assert scaled is wins, "the unit of loss does not matter"


def test_full_sharing_changes_only_searched_layers_with_a_common_edge() -> None:
    for seed in range(5):
        routes = random_routes(SPACE, seed)
        shared = full_sharing(routes, SPACE)
        assert shared.layers[:-1] == routes.layers[:-1]
        assert shared.layers[-1].run == routes.layers[-1].run
        assert full_sharing(shared, SPACE) == shared, "a second time changes nothing"


def test_a_sample_of_rows_is_sorted_repeatable_and_never_more_than_there_are() -> None:
    split = PROBLEM.validation
    assert sample_rows(split, len(split), 0) is split and sample_rows(split, 10**6, 0) is split
    sample, again, other = (sample_rows(split, 50, seed) for seed in (0, 0, 1))
    assert len(sample) == 50 and (np.diff(sample.row) > 0).all()
    assert np.array_equal(sample.row, again.row) and not np.array_equal(sample.row, other.row)
    assert set(sample.row) <= set(split.row)


def test_a_contest_without_a_checkpoint_leaves_no_files(tmp_path: Path) -> None:
    assert contest_files(None) == []
    names = [path.name for path in contest_files(tmp_path / "searched-3.safetensors")]
    assert names == ["searched-3.0.safetensors", "searched-3.1.safetensors"]


@pytest.mark.parametrize("wins", [True, False])
def test_only_the_winner_s_training_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wins: bool
) -> None:
    layouts = [prune(SPACE, random_routes(SPACE, seed)).layout for seed in range(2)]
    trained: list[tuple[Layout, Path]] = []

    def losses_of(layout: Layout, *, checkpoint: Path, **_: object) -> Tensor:
        checkpoint.write_text(f"state {len(trained)}")
        trained.append((layout, checkpoint))
        return folds(0.5, 0.5) - (0.2 if wins else -0.2) * (len(trained) - 1)

    monkeypatch.setattr(selection, "final_losses", losses_of)
    path = tmp_path / "searched.safetensors"
    shared_wins, means = compare_full_sharing(
        *layouts, saved=0.0, problem=PROBLEM, config=CONFIG, seed=0, checkpoint=path
    )
    assert shared_wins is wins
    assert means == pytest.approx([0.5, 0.3 if wins else 0.7])
    assert [layout for layout, _ in trained] == layouts
    assert list(tmp_path.iterdir()) == [path] and path.read_text() == f"state {int(wins)}"


def objective(weight: float = 0.0) -> RouteObjective:
    torch.manual_seed(0)
    supernet = Supernet(SPACE, problem=PROBLEM, config=CONFIG)
    return RouteObjective(supernet, multiplier=CostMultiplier(weight, steps=1), target=None)


def test_the_objective_is_the_loss_plus_the_weighted_cost() -> None:
    losses, routes = torch.tensor([0.2, 0.4, 0.1, 0.3]), random_routes(SPACE, 4)
    decisions = routes.decisions(SPACE)
    free, priced = objective(0.0), objective(0.5)
    loss = float(free.supernet.normalised(losses))
    assert free(losses, decisions) == pytest.approx(loss)
    share = float(priced.supernet.cost_share(decisions))
    assert priced(losses, decisions) == pytest.approx(loss + 0.5 * share)
    assert priced(2 * losses, decisions) - priced(losses, decisions) == pytest.approx(loss)


def distance(routes: Routes, planted: Routes) -> float:
    """Edges in which two routes differ."""
    pairs = zip(routes.layers, planted.layers, strict=True)
    return sum(
        len({*first} ^ {*second})
        for layer, other in pairs
        for first, second in zip(layer.edges, other.edges, strict=True)
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_candidate_nearest_to_a_planted_route_is_chosen(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The losses are planted: the further from a drawn route, the higher."""
    judged, policy = objective(), make_policy(SPACE, CONFIG)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
    torch.manual_seed(seed)
    planted, compared = sample_route(policy), list[Routes]()

    def planted_losses(_: object, candidates: list[list[Decision]]) -> Tensor:
        compared.extend(Routes.of(SPACE, decisions) for decisions in candidates)
        return torch.tensor([[0.1 + distance(routes, planted)] * 4 for routes in compared])

    monkeypatch.setattr(judged.supernet, "compare", planted_losses)
    settings = replace(CONFIG.search, candidates=40)
    torch.manual_seed(seed)  # the planted route is the first of the draws
    routes, figures = choose_route(judged, policy, PROBLEM.validation, settings=settings, seed=0)
    assert routes == planted and distance(routes, planted) == 0
    assert len(figures) == len(compared) == len(set(compared)) > 20
    costs = [cost for _, cost in figures]
    assert costs == sorted(costs)


def test_cost_decides_between_routes_of_equal_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    judged, policy = objective(0.3), make_policy(SPACE, CONFIG)
    equal = lambda _, candidates: torch.ones(len(candidates), 4)  # noqa: E731
    monkeypatch.setattr(judged.supernet, "compare", equal)
    settings = replace(CONFIG.search, candidates=30)
    routes, figures = choose_route(judged, policy, PROBLEM.validation, settings=settings, seed=0)
    cost = judged.supernet.pruned_multiply_adds(routes)
    assert cost == pytest.approx(min(cost for _, cost in figures))
