"""Tasks that say the same hear the same, whatever the heads make of one another's lanes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recmtl.data.batches import Rows
from recmtl.grid import Routes, recmtl_grid
from recmtl.grid.catalog import adashare
from recmtl.search import search as search_module
from recmtl.search import task_merging
from recmtl.search.search import SearchResult, search
from recmtl.search.supernet import Supernet
from recmtl.search.task_merging import merge_agreeing_tasks, task_agreement
from recmtl.train.config import Config, Search, Training
from tests.grids import random_routes
from tests.tabular_problems import make_problem

SPACE = recmtl_grid(4, cells=6, widths=(6, 4), depth=2)
PROBLEM = make_problem(rows=200)
CONFIG = Config(
    training=Training(batch_size=64, epochs=1),
    search=Search(epochs=1, refine=0, candidates=2, race=False),
)


class Linear(nn.Module):
    """Heads that are linear in their lane."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, lanes: Tensor) -> list[Tensor]:
        return [lanes[:, t] @ own.unsqueeze(1) - 5.0 for t, own in enumerate(self.weights)]


@pytest.fixture
def supernet() -> Supernet:
    torch.manual_seed(0)
    return Supernet(SPACE, problem=PROBLEM, config=CONFIG)


def apart() -> Routes:
    """Each task hears its own column alone."""
    found = random_routes(SPACE, 3)
    top = replace(found.layers[-1], edges=((0,), (1,), (2,), (3,)), queries=(0, 1, -1, -1))
    return Routes((*found.layers[:-1], top))


def test_agreement_is_that_of_least_squares(
    supernet: Supernet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lanes that are linear maps of one another agree, independent ones hardly do."""
    random = np.random.default_rng(0)
    lanes = torch.tensor(random.normal(size=(len(PROBLEM.validation), 4, 4)))
    lanes[:, 1] = lanes[:, 0] @ torch.tensor(random.normal(size=(4, 4))) + 3.0
    lanes[:, 3] = 2.0
    says = torch.tensor(random.normal(size=(4, 4)))
    monkeypatch.setattr(supernet, "apply_layers", lambda *_: lanes)
    monkeypatch.setattr(supernet.model, "heads", Linear(says))
    equal = replace(PROBLEM.validation, weight=np.ones(len(lanes), np.float32))
    found = task_agreement(apart(), supernet, equal)
    ones, table = np.ones((len(lanes), 1)), lanes.numpy()
    for i in range(4):
        for j in range(4):
            lesser = 1.0
            for one, other in ((i, j), (j, i)):
                wanted = table[:, one] @ says[one].numpy()
                known = np.hstack([table[:, other], ones])
                rest = wanted - known @ np.linalg.pinv(known) @ wanted
                total = ((wanted - wanted.mean()) ** 2).sum()
                lesser = min(lesser, 1.0 - (rest**2).sum() / total if total > 1e-9 else 0.0)
            assert float(found[i, j]) == pytest.approx(lesser, abs=1e-9)
    assert float(found[0, 1]) == pytest.approx(1.0) and float(found[0, 2]) < 0.3
    assert float(found[3, 3]) == 0.0


@pytest.mark.parametrize(
    ("pairs", "first"),
    [
        ({}, (0, 1, 2, 3)),
        ({(0, 2): 0.8}, (0, 1, 0, 3)),
        ({(0, 2): 0.7}, (0, 1, 2, 3)),
        ({(1, 2): 0.8, (2, 3): 0.9}, (0, 1, 2, 2)),
        ({(1, 2): 0.9, (2, 3): 0.8}, (0, 1, 1, 3)),
        ({(1, 2): 0.9, (2, 3): 0.8, (1, 3): 0.76}, (0, 1, 1, 1)),
    ],
    ids=["nobody", "a pair", "too little", "a chain", "the other end", "three"],
)
def test_who_agrees_hears_the_same(
    supernet: Supernet,
    monkeypatch: pytest.MonkeyPatch,
    pairs: dict[tuple[int, int], float],
    first: tuple[int, ...],
) -> None:
    table = torch.eye(4).double()
    for (one, other), value in pairs.items():
        table[one, other] = table[other, one] = value
    monkeypatch.setattr(task_merging, "task_agreement", lambda *_: table)
    start = apart()
    found = merge_agreeing_tasks(start, supernet, PROBLEM.validation, least=0.75)
    assert found.layers[:-1] == start.layers[:-1]
    old, new = start.layers[-1], found.layers[-1]
    assert new == replace(old, edges=tuple(old.edges[lane] for lane in first))
    found.decisions(SPACE)


def test_tasks_that_hear_the_same_column_tell_all_of_each_other(supernet: Supernet) -> None:
    found = apart()
    top = replace(found.layers[-1], edges=((5,), (5,), (2,), (3,)))
    table = task_agreement(Routes((*found.layers[:-1], top)), supernet, PROBLEM.validation)
    assert float(table[0, 1]) == pytest.approx(1.0)
    torch.testing.assert_close(table, table.t())


def test_what_is_not_searched_stays_as_it_was_found() -> None:
    space = adashare(4, widths=(4,), blocks=1)
    supernet, found = Supernet(space, problem=PROBLEM, config=CONFIG), Routes.full(space)
    assert merge_agreeing_tasks(found, supernet, PROBLEM.validation, least=0.0) == found


def test_a_search_merges_what_agrees_and_else_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def searched(least: float) -> SearchResult:
        config = replace(CONFIG, search=replace(CONFIG.search, agree=least))
        return search(SPACE, PROBLEM, config, seed=2)

    seen: list[Rows] = []

    def merged(found: Routes, supernet: Supernet, rows: Rows, *, least: float) -> Routes:
        seen.append(rows)
        assert least == 0.5
        top = replace(found.layers[-1], edges=((1,),) * 4)
        return Routes((*found.layers[:-1], top))

    monkeypatch.setattr(search_module, "merge_agreeing_tasks", merged)
    as_found = searched(0.0)
    assert not seen
    assert searched(0.5).routes.layers[-1].edges == ((1,),) * 4
    assert seen == [PROBLEM.validation] and as_found.routes.layers[-1].edges != ((1,),) * 4


def test_a_share_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="agree: must be at most 1"):
        Search(agree=1.5)
