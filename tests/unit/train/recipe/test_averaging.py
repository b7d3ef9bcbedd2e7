"""The moving average of the weights: equal to the plain one, at every check and at the end."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from recmtl.data.batches import Batch
from recmtl.errors import ConfigError
from recmtl.train.config import Training
from recmtl.train.loop import take_step, train
from recmtl.train.optimizer import Optimizer
from recmtl.train.recipe.averaging import AveragedWeights
from tests.tabular_problems import make_model, make_problem

PROBLEM = make_problem()
SETTINGS = Training(batch_size=16, epochs=2, health_rows=0, patience=10, average=0.9)


def batches() -> list[Batch]:
    return list(PROBLEM.train.batches(batch_size=4, seed=0))[:30]


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def test_it_is_the_plain_average_of_the_weights_after_every_step() -> None:
    """Rows of the table that no batch holds, that one holds, and that all hold."""
    torch.manual_seed(0)
    model = make_model(dropout=0.2).train()
    optimizer = Optimizer(model, SETTINGS, total_steps=30)
    sums, moved = {name: torch.zeros_like(t).double() for name, t in state_of(model).items()}, 0
    for step, batch in enumerate(batches(), 1):
        take_step(model, optimizer, batch)
        own = state_of(model)
        for name, tensor in own.items():
            sums[name] = 0.9 * sums[name] + 0.1 * tensor.double()
        if step % 7:
            continue
        with optimizer.averaged():
            for name, tensor in state_of(model).items():
                want = sums[name] / (1.0 - 0.9**step)
                torch.testing.assert_close(tensor.double(), want, rtol=1e-5, atol=1e-6)
                moved += not torch.equal(tensor, own[name])
        assert all(torch.equal(tensor, own[name]) for name, tensor in state_of(model).items())
    assert moved > 0


def test_before_the_first_step_it_is_the_weights_themselves() -> None:
    table = nn.Parameter(torch.randn(3, 2))
    average = AveragedWeights([nn.Parameter(torch.ones(2))], [table], decay=0.5)
    before = table.detach().clone()
    with average.in_place():
        assert torch.equal(table, before)


def test_an_error_inside_leaves_the_own_weights() -> None:
    weight = nn.Parameter(torch.zeros(2))
    average = AveragedWeights([weight], [], decay=0.5)
    average.after_step([])
    with torch.no_grad():
        weight.fill_(3.0)
    with pytest.raises(KeyError), average.in_place():
        raise KeyError
    assert weight.tolist() == [3.0, 3.0]


def test_a_training_ends_with_the_averaged_weights_of_its_best_check() -> None:
    torch.manual_seed(0)
    model = make_model()
    state = train(model, PROBLEM, SETTINGS, seed=1)
    metrics = PROBLEM.evaluate(model)
    assert PROBLEM.score(metrics) == pytest.approx(state.checks[state.best].score, abs=1e-12)
    torch.manual_seed(0)
    plain = make_model()
    train(plain, PROBLEM, replace(SETTINGS, average=0.0), seed=1)
    assert not torch.equal(plain.encoder.table.weight, model.encoder.table.weight)


def test_it_changes_no_step() -> None:
    ends = []
    for average in (0.0, 0.9):
        torch.manual_seed(0)
        model = make_model().train()
        optimizer = Optimizer(model, replace(SETTINGS, average=average), total_steps=30)
        for batch in batches():
            take_step(model, optimizer, batch)
        ends.append(state_of(model))
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())


def test_a_resumed_training_ends_with_the_bits_of_a_whole_one(tmp_path: Path) -> None:
    path, ends = tmp_path / "state.safetensors", []
    for checkpoint, parts in ((None, (1.0,)), (path, (0.3, 0.55, 1.0))):
        for until in parts:
            torch.manual_seed(0)
            model = make_model(dropout=0.2)
            state = train(model, PROBLEM, SETTINGS, seed=1, checkpoint=checkpoint, until=until)
        ends.append((state_of(model), [check.score for check in state.checks]))
    assert all(torch.equal(tensor, ends[1][0][name]) for name, tensor in ends[0][0].items())
    assert ends[0][1] == ends[1][1]


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_a_decay_that_averages_nothing_or_for_ever_is_refused(decay: float) -> None:
    with pytest.raises(ConfigError, match="average"):
        Training(average=decay)
