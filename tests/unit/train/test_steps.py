"""Steps: several batches are as one of all their rows, and a gradient's norm has a bound."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recmtl.data.batches import Batch, TableBatch
from recmtl.model import TabularModel
from recmtl.train.config import Training
from recmtl.train.loop import take_step, train
from recmtl.train.optimizer import Optimizer, clip_gradients
from recmtl.train.tabular_problem import TabularProblem
from recmtl.train.training_state import TrainingState
from tests.tabular_problems import make_heads, make_model, make_problem


def known_problem() -> TabularProblem:
    """In double precision; each task's loss is a plain mean: labels defined, weights equal."""
    log = make_problem()
    train, validation = (
        replace(split, numeric=split.numeric.astype(np.float64))
        for split in (log.train, log.validation)
    )
    labels = np.nan_to_num(train.labels).astype(np.float64)
    train = replace(train, labels=labels, weight=np.ones_like(train.weight))
    return replace(log, train=train, validation=validation, heads=make_heads(labels))


KNOWN = known_problem()
SETTINGS = Training(batch_size=24, accumulate=3, epochs=3, health_rows=0, patience=10)


def trained(settings: Training) -> tuple[TabularModel, TrainingState, int]:
    """In double precision; and the number of steps."""
    torch.manual_seed(1)
    model, seen = make_model(problem=KNOWN).double(), []
    fitted = train(model, KNOWN, settings, seed=2, on_progress=lambda *told: seen.append(told))
    return model, fitted, len(seen)


def first_batches(count: int, size: int = 16) -> list[Batch]:
    feed = KNOWN.train.batches(batch_size=size, seed=0)
    return [next(feed) for _ in range(count)]


def gradient(model: nn.Module) -> Tensor:
    """All of it as one vector `[P]`."""
    found = [p.grad for p in model.parameters() if p.grad is not None]
    return torch.cat([g.to_dense().flatten() for g in found]).clone()


def add_gradients(model: TabularModel, found: list[Batch]) -> None:
    for batch in found:
        model.heads.losses(model(*batch.inputs), batch.labels, batch.weight).sum().backward()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_batches_make_one_step_as_if_they_were_one(optimizer: str) -> None:
    """The pass of 257 rows ends with a group of 24 and 17."""
    settings = replace(SETTINGS, optimizer=optimizer, learning_rate=0.01)
    several, one = trained(settings), trained(replace(settings, batch_size=72, accumulate=1))
    assert several[2] == one[2] == 3 * math.ceil(257 / 72)
    assert several[1].rows == one[1].rows == 3 * 257
    pairs = zip(several[1].checks, one[1].checks, strict=True)
    assert all(a.epoch == b.epoch and a.loss == pytest.approx(b.loss, 1e-12) for a, b in pairs)
    for name, tensor in several[0].state_dict().items():
        torch.testing.assert_close(tensor, one[0].state_dict()[name], rtol=1e-10, atol=1e-10)


def test_the_loss_of_a_step_is_the_mean_over_the_rows_of_its_batches() -> None:
    def loss(*group: Batch) -> Tensor:
        torch.manual_seed(1)
        model = make_model(problem=KNOWN).double()
        return take_step(model, Optimizer(model, SETTINGS, total_steps=1), *group)

    parts = first_batches(1, size=9)[0], *first_batches(2, size=30)
    whole = TableBatch(
        *(torch.cat(column) for column in zip(*(part.inputs for part in parts), strict=True)),
        torch.cat([part.labels for part in parts]),
        torch.cat([part.weight for part in parts]),
    )
    torch.testing.assert_close(loss(*parts), loss(whole), rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_clipped_gradient_has_the_norm_of_the_bound_and_its_direction(share: float) -> None:
    model = make_model(problem=KNOWN).double()
    add_gradients(model, first_batches(2))
    assert not model.encoder.table.weight.grad.is_coalesced(), "rows come several times"
    before = gradient(model)
    bound = share * float(before.norm())
    clip_gradients(model.parameters(), bound)
    torch.testing.assert_close(gradient(model), before * share, rtol=1e-12, atol=0.0)
    assert float(gradient(model).norm()) == pytest.approx(bound, rel=1e-13)


def test_a_gradient_below_the_bound_stays_as_it_is() -> None:
    plain, held = (trained(replace(SETTINGS, clip=bound))[0] for bound in (0.0, 1e9))
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, held.state_dict()[name]), name


@pytest.mark.parametrize("count", [1, 3])
def test_no_step_follows_a_gradient_above_the_bound(count: int) -> None:
    model = make_model(problem=KNOWN).double()
    optimizer = Optimizer(model, replace(SETTINGS, clip=0.01), total_steps=5)
    norms: list[float] = []
    optimizer.sparse.register_step_pre_hook(lambda *_: norms.append(float(gradient(model).norm())))
    for _ in range(3):
        take_step(model, optimizer, *first_batches(count))
    assert norms == [pytest.approx(0.01, rel=1e-13)] * 3


@pytest.mark.parametrize("rows", [0, 1])
def test_a_clipped_table_may_have_no_gradient(rows: int) -> None:
    ids = torch.zeros(rows, dtype=torch.long)
    table, other = nn.Embedding(4, 2, sparse=True), nn.Parameter(torch.zeros(3))
    clip_gradients([table.weight, other], 1.0)
    table(ids).sum().backward()
    clip_gradients([table.weight, other], 1.0)
    assert float(gradient(table).norm()) == pytest.approx(min(1.0, rows * 2**0.5))


@pytest.mark.parametrize("setting", [{"accumulate": 0}, {"clip": -1.0}, {"clip": math.nan}])
def test_settings_without_a_step_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        Training(**setting)
