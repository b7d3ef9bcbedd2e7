"""Together replaces what was found only where that surely gains and surely hurts no task.

The race is the training of the winner, too.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from recmtl.grid import Layout, prune, recmtl_grid
from recmtl.grid.catalog import mtnas
from recmtl.search import selection
from recmtl.search.refine import FOLDS
from recmtl.search.search import SearchResult, search
from recmtl.search.selection import final_losses, full_sharing, surely_better
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
