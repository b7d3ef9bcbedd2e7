"""Every weighting under masks, accumulation and interruption, and where it has nothing to weigh."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from recmtl.data.batches import Batch, TableBatch
from recmtl.errors import DataError
from recmtl.grid.catalog.shared import all_apart
from recmtl.model import TabularModel
from recmtl.train.checkpoint import read_state, write_state
from recmtl.train.config import Training
from recmtl.train.loop import take_step, train
from recmtl.train.optimizer import Optimizer
from recmtl.train.recipe.gramian_weights import COMBINING
from recmtl.train.recipe.training import Method, Weighting
from recmtl.train.recipe.weight_record import weight_curves, weight_record
from recmtl.train.tabular_problem import TabularProblem
from tests.tabular_problems import TASKS, make_heads, make_model, make_problem

METHODS = [
    pytest.param(
        method,
        marks=pytest.mark.skipif(
            method in COMBINING
            and method != "nash_mtl"
            and importlib.util.find_spec("torchjd") is None,
            reason="the extra torchjd is not installed",
        ),
    )
    for method in get_args(Method)
    if method != "fixed"
]
LEARNED = ("uncertainty", "famo", "gradnorm")


def doubled(problem: TabularProblem) -> TabularProblem:
    """In double precision; each task's loss is a plain mean: labels defined, weights equal."""
    labels = np.nan_to_num(problem.train.labels).astype(np.float64)
    train_rows = replace(
        problem.train,
        numeric=problem.train.numeric.astype(np.float64),
        labels=labels,
        weight=np.ones(len(labels)),
    )
    numeric = problem.validation.numeric.astype(np.float64)
    validation = replace(problem.validation, numeric=numeric)
    return replace(problem, train=train_rows, validation=validation, heads=make_heads(labels))


KNOWN = doubled(make_problem())


def settings_of(method: Method, **more: object) -> Training:
    base = Training(batch_size=24, epochs=2, health_rows=0, patience=10)
    return replace(base, weighting=Weighting(method=method, period=3), **more)


def batch_of(size: int, skip: int = 0) -> TableBatch:
    feed = KNOWN.train.batches(batch_size=size, seed=skip)
    batch = next(feed)
    assert isinstance(batch, TableBatch)
    return batch


def stepped(method: Method, group: list[Batch], steps: int = 3) -> tuple[TabularModel, Optimizer]:
    torch.manual_seed(1)
    model = make_model(problem=KNOWN).double().train()
    optimizer = Optimizer(model, settings_of(method), total_steps=10)
    for _ in range(steps):
        take_step(model, optimizer, *group)
    return model, optimizer


@pytest.mark.parametrize("method", METHODS)
def test_unlabelled_rows_change_no_weight(method: Method) -> None:
    """Twice as many rows, the second half without any label."""
    batch = batch_of(32)
    nothing = torch.full_like(batch.labels, math.nan)
    inputs = tuple(torch.cat([column, column.flip(0)]) for column in batch.inputs)
    labels, weight = torch.cat([batch.labels, nothing]), torch.cat([batch.weight, batch.weight])
    with_unlabelled = TableBatch(*inputs, labels, weight)
    one, two = stepped(method, [batch]), stepped(method, [with_unlabelled])
    torch.testing.assert_close(
        one[1].weighting.weights, two[1].weighting.weights, rtol=1e-4, atol=1e-5
    )
    for name, tensor in one[0].state_dict().items():
        torch.testing.assert_close(tensor, two[0].state_dict()[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", LEARNED)
def test_a_task_without_labels_keeps_what_was_learned_of_it(method: Method) -> None:
    """Adam's momentum would move it on, and scaling the weights would, too."""
    batch = batch_of(32)
    model, optimizer = stepped(method, [batch])
    before = optimizer.weighting.values()
    masked = batch.labels.clone()
    masked[:, 3] = math.nan  # stars
    for _ in range(2):
        take_step(model, optimizer, replace(batch, labels=masked))
    after = optimizer.weighting.values()
    assert float(after[3]) == float(before[3]), "stars"
    assert (after[:3] != before[:3]).all()
    if method == "gradnorm":
        assert float(after.sum()) == pytest.approx(4.0, rel=1e-6)


def test_a_task_without_labels_keeps_its_rate() -> None:
    batch = batch_of(32)
    masked = batch.labels.clone()
    masked[:, 0] = math.nan
    model, optimizer = stepped("dwa", [batch], steps=6)
    rates = optimizer.weighting.rates.clone()
    for _ in range(3):
        take_step(model, optimizer, replace(batch, labels=masked))
    assert float(optimizer.weighting.rates[0]) == float(rates[0])
    assert float(optimizer.weighting.rates[3]) != float(rates[3])


@pytest.mark.parametrize("method", METHODS)
def test_batches_make_one_step_as_if_they_were_one(method: Method) -> None:
    """The pass of 257 rows ends with a group of 24 and 17."""
    ends = []
    for size, accumulate in ((24, 3), (72, 1)):
        torch.manual_seed(1)
        model = make_model(problem=KNOWN).double()
        settings = settings_of(method, batch_size=size, accumulate=accumulate)
        state = train(model, KNOWN, settings, seed=2)
        ends.append((model.state_dict(), state))
    (several, states), (whole, state) = ends
    tolerance = 0.02 if method == "cagrad" else 1e-3  # of its solver
    np.testing.assert_allclose(states.weights, state.weights, rtol=tolerance, atol=tolerance)
    for name, tensor in several.items():
        torch.testing.assert_close(tensor, whole[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_training_ends_with_the_bits_of_a_whole_one(
    method: Method, tmp_path: Path
) -> None:
    problem, settings, path = make_problem(), settings_of(method), tmp_path / "state.safetensors"

    def trained(checkpoint: Path | None, until: float) -> tuple[dict[str, Tensor], list[object]]:
        torch.manual_seed(1)
        model = make_model(dropout=0.2)
        options = {"seed": 5, "checkpoint": checkpoint, "until": until}
        state = train(model, problem, settings, **options)
        return model.state_dict(), [state.weights, state.weighting, state.loss]

    whole = trained(None, 1.0)
    trained(path, 0.4)
    resumed = trained(path, 1.0)
    assert [n for n in whole[0] if not torch.equal(whole[0][n], resumed[0][n])] == []
    assert whole[1] == resumed[1]
    assert len(whole[1][0]) == 2 * math.ceil(257 / 24), "the weights of every step of so few"


@pytest.mark.parametrize("method", METHODS)
def test_gradients_of_tables_stay_sparse(method: Method) -> None:
    torch.manual_seed(1)
    model = make_model(problem=KNOWN).double().train()
    optimizer, layouts = Optimizer(model, settings_of(method), total_steps=3), []
    assert optimizer.sparse is not None
    optimizer.sparse.register_step_pre_hook(
        lambda *_: layouts.append(model.encoder.table.weight.grad.layout)
    )
    take_step(model, optimizer, batch_of(16), batch_of(16, 1))
    assert layouts == [torch.sparse_coo]


@pytest.mark.parametrize("method", METHODS)
def test_one_task_has_nothing_to_weigh(method: Method) -> None:
    alone = make_problem().only(TASKS[0])
    ends = []
    for settings in (settings_of(method, epochs=1), settings_of("fixed", epochs=1)):
        torch.manual_seed(0)
        model = make_model(all_apart(1, levels=((4,),)), problem=alone)
        state = train(model, alone, settings, seed=1)
        ends.append(model.state_dict())
    assert [name for name in ends[0] if not torch.equal(ends[0][name], ends[1][name])] == []
    assert state.weights == []


@pytest.mark.parametrize("method", ["gradnorm", "nash_mtl"])
def test_tasks_that_share_no_weights_of_the_grid_are_not_weighed(method: Method) -> None:
    """No funnel, whose losses read two towers."""
    problem = replace(
        KNOWN,
        tasks=tuple(replace(task, parent=None) for task in KNOWN.tasks),
        heads=tuple(replace(head, parent=None) for head in KNOWN.heads),
    )
    torch.manual_seed(1)
    model = make_model(all_apart(4, levels=((5,), (4,))), problem=problem).double().train()
    optimizer = Optimizer(model, settings_of(method), total_steps=9)
    for seed in range(3):
        take_step(model, optimizer, batch_of(32, seed))
    assert optimizer.weighting.weights.tolist() == [1.0] * 4


def test_the_loss_that_is_told_is_that_of_fixed_weights() -> None:
    told = []
    for method in ("fixed", "uncertainty", "nash_mtl"):
        torch.manual_seed(1)
        model = make_model(problem=KNOWN).double().train()
        optimizer = Optimizer(model, settings_of(method), total_steps=9)
        told.append(float(take_step(model, optimizer, batch_of(32))))
    assert told[1:] == pytest.approx([told[0]] * 2, rel=1e-12)


def test_a_checkpoint_of_another_weighting_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    train(make_model(), make_problem(), settings_of("dwa"), seed=0, checkpoint=path, until=0.3)
    with pytest.raises(DataError, match="not a checkpoint of this network"):
        train(make_model(), make_problem(), settings_of("famo"), seed=0, checkpoint=path)


def test_a_checkpoint_that_knows_no_weighting_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    train(make_model(), make_problem(), settings_of("fixed"), seed=0, checkpoint=path, until=0.3)
    with read_state(path) as state:
        assert state is not None
        assert state["optimizer"].pop("weighting") == {}
        assert state["history"].pop("weights") == []
        state["history"].pop("stretch")
    write_state(path, {name: part for name, part in state.items() if name != "generators"})
    train(make_model(), make_problem(), settings_of("fixed"), seed=0, checkpoint=path)


def test_weights_are_kept_as_means_of_equal_stretches() -> None:
    problem = make_problem(rows=700)
    settings = settings_of("uncertainty", batch_size=4, epochs=2)
    state = train(make_model(problem=problem), problem, settings, seed=0)
    record = weight_record(state, settings, rows=700, tasks=[task.name for task in TASKS])
    assert len(record["weights"]) == 175 and record["epochs"][-1] == 2.0, "350 steps in twos"
    assert record["tasks"] == ["click", "buy", "watch", "stars"]
    assert record["method"] == "uncertainty"
    epoch, numbers = list(weight_curves(record))[-1]
    assert epoch == 2.0 and list(numbers) == [f"weight.{t}" for t in record["tasks"]]
    fixed = train(make_model(problem=problem), problem, replace(settings_of("fixed")), seed=0)
    nothing = weight_record(fixed, settings_of("fixed"), rows=700, tasks=["click"])
    assert nothing == {} and list(weight_curves(nothing)) == []
