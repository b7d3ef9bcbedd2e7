"""The optimiser: only the table rows of a batch move, learning rates fall as they should."""

import pytest
import torch

from recmtl.model import TabularModel
from recmtl.train.config import Training
from recmtl.train.optimizer import Optimizer
from tests.tabular_problems import make_model

IDS = torch.tensor([[1, 31, 40, 0, 0], [2, 31, 0, 0, 0]])
NUMERIC = torch.tensor([[0.1, 2.0], [torch.nan, 1.0]])


def step(model: TabularModel, optimizer: Optimizer) -> None:
    optimizer.step(sum(logit.square().sum() for logit in model(IDS, NUMERIC)))


def test_only_the_table_rows_of_the_batch_move() -> None:
    model = make_model()
    optimizer = Optimizer(model, Training(), total_steps=5)
    before = model.encoder.table.weight.detach().clone()
    for _ in range(3):
        step(model, optimizer)
    moved = (model.encoder.table.weight.detach() != before).any(1).nonzero().flatten()
    assert moved.tolist() == [1, 2, 31, 40], "neither padding nor a row outside of the batch"


@pytest.mark.parametrize(("decay", "shares"), [(True, [1.0, 0.75, 0.5, 0.25]), (False, [1.0] * 4)])
def test_learning_rates_fall_linearly_if_asked(decay: bool, shares: list[float]) -> None:
    model = make_model()
    settings = Training(decay=decay, learning_rate=0.4, table_learning_rate=0.2)
    optimizer = Optimizer(model, settings, total_steps=4)
    seen = []
    for _ in range(4):
        step(model, optimizer)
        rates = [part.param_groups[0]["lr"] for part in (optimizer.dense, optimizer.sparse)]
        seen.append(rates)
    assert seen == [pytest.approx([0.4 * share, 0.2 * share]) for share in shares]


def test_weight_decay_spares_the_table() -> None:
    model = make_model()
    optimizer = Optimizer(model, Training(weight_decay=0.5), total_steps=1)
    assert optimizer.sparse.param_groups[0].get("weight_decay", 0.0) == 0.0
    assert optimizer.dense.param_groups[0]["weight_decay"] == 0.5
    held = [len(part.param_groups[0]["params"]) for part in (optimizer.sparse, optimizer.dense)]
    assert held == [1, len(list(model.parameters())) - 1]
