"""What holds for every network: gradients everywhere, no twins, rows that stand alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recmtl.data.batches import Batch, TableBatch
from recmtl.grid import (
    Layout,
    Routes,
    mmoe,
    ple,
    prune_grid,
    recmtl_grid,
    shared_bottom,
    single_task,
)
from recmtl.job.work.items import FIXED, fixed_layout
from recmtl.model import TabularModel, predict, prune_model
from recmtl.model.heads import TabularHeads
from recmtl.train.config import Config, Grid, Training
from recmtl.train.loop import train
from tests.grids import random_lanes, random_routes, scrambled
from tests.tabular_problems import TASKS, make_model, make_problem

T = len(TASKS)
CONFIG = Config(grid=Grid(cells=4, depth=2, widths=(8, 4)))
PROBLEM = make_problem()
NETWORKS = {name: fixed_layout(name, CONFIG, PROBLEM) for name in FIXED}
NETWORKS["single_task"] = single_task(T, widths=(8, 4))


def batch_of(rows: int) -> Batch:
    return next(PROBLEM.train.batches(batch_size=rows, seed=None))


def loss_of(model: TabularModel, batch: Batch) -> torch.Tensor:
    logits = model(batch.ids, batch.numeric)
    return model.heads.losses(logits, batch.labels, batch.weight).sum()


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_reach_every_parameter(name: str) -> None:
    model = make_model(NETWORKS[name], problem=PROBLEM)
    with torch.no_grad():
        for parameter in model.parameters():  # gates on features start as if they were absent
            if not parameter.any():
                parameter.normal_(0.0, 0.1)
    loss_of(model, batch_of(200)).backward()
    for parameter_name, parameter in model.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, parameter_name
        gradient = gradient.to_dense() if gradient.is_sparse else gradient
        assert gradient.isfinite().all() and gradient.abs().max() > 0, parameter_name


@pytest.mark.parametrize("name", NETWORKS)
def test_cost_counts_every_parameter(name: str) -> None:
    model = make_model(NETWORKS[name], problem=PROBLEM)
    assert model.cost().parameters == sum(parameter.numel() for parameter in model.parameters())


def assert_no_twins(model: TabularModel) -> None:
    """No two experts, and no two units of one expert, have the same weights."""
    for name, parameter in model.named_parameters():
        if "weights" in name and parameter.shape[0] * parameter.shape[2] > 1:
            units = parameter.detach().transpose(1, 2).reshape(-1, parameter.shape[1])
            assert (torch.pdist(units) > 1e-4).all(), name


@pytest.mark.parametrize("name", NETWORKS)
def test_no_two_experts_or_units_are_ever_equal(name: str) -> None:
    model = make_model(NETWORKS[name], problem=PROBLEM)
    assert_no_twins(model)
    train(model, PROBLEM, Training(batch_size=32, epochs=2), seed=0)
    assert_no_twins(model)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_row_scores_the_same_alone_and_in_a_batch(name: str) -> None:
    """Evaluation draws nothing: twice the same bits, whatever the dropout."""
    model = make_model(NETWORKS[name], problem=PROBLEM, dropout=0.5).double()
    batch = batch_of(30)
    ids, numeric = batch.ids, batch.numeric.double()
    scores = model.predict(ids, numeric)
    assert torch.equal(scores, model.predict(ids, numeric))
    alone = [model.predict(ids[row : row + 1], numeric[row : row + 1]) for row in range(30)]
    torch.testing.assert_close(torch.cat(alone), scores, rtol=0, atol=1e-12)
    assert not torch.equal(model(ids, numeric)[0], model(ids, numeric)[0]), "dropout trains"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_last_batch_of_one_row_trains(name: str) -> None:
    problem = make_problem(rows=2 * 16 + 1)
    model = make_model(NETWORKS[name], problem=problem)
    fitted = train(model, problem, Training(batch_size=16, epochs=1), seed=0)
    assert fitted.rows == 33
    scores = predict(model, problem.test)
    assert all(np.isfinite(column).all() for column in scores.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_without_any_label_changes_nothing(name: str) -> None:
    model, batch = make_model(NETWORKS[name], problem=PROBLEM), batch_of(20)
    loss = loss_of(model, replace(batch, labels=torch.full_like(batch.labels, torch.nan)))
    loss.backward()
    assert loss.item() == 0.0
    for parameter in model.parameters():
        assert parameter.grad is not None
        dense = parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad
        assert (dense == 0.0).all()


def test_a_weight_counts_a_row_as_often_as_it_says() -> None:
    """Weight 2 is the row twice; weight 0 is no row."""
    model, batch = make_model(problem=PROBLEM), batch_of(12)
    weight = torch.tensor([2.0] * 4 + [1.0] * 4 + [0.0] * 4)
    rows = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7])
    copied = TableBatch(batch.ids[rows], batch.numeric[rows], batch.labels[rows], torch.ones(12))
    one = loss_of(model, replace(batch, weight=weight))
    torch.testing.assert_close(one, loss_of(model, copied), rtol=1e-6, atol=0)


def relabelled(heads: TabularHeads, order: list[int]) -> TabularHeads:
    """The same heads with the tasks in another order, weights moved along."""
    moved = TabularHeads([heads.specs[t] for t in order], width=heads.width, tower=heads.hidden)
    moved.double()
    place = {heads.specs[t].name: n for group in heads.groups for n, t in enumerate(group)}
    with torch.no_grad():
        for new, old in zip(moved.parameters(), heads.parameters(), strict=True):
            if new.shape[0] == len(order):
                new.copy_(old[order])
        for group, new_group, old_group in zip(
            moved.groups, moved.logits, heads.logits, strict=True
        ):
            rows = [place[moved.specs[t].name] for t in group]
            for new, old in zip(new_group.parameters(), old_group.parameters(), strict=True):
                new.copy_(old[rows])
    return moved


def test_relabelling_the_tasks_permutes_the_scores() -> None:
    model, order = make_model(problem=PROBLEM), [3, 1, 0, 2]
    heads = model.heads.double()
    moved = relabelled(heads, order)
    lanes = torch.randn(9, T, heads.width, dtype=torch.float64)
    before = dict(zip(heads.columns, heads.scores(heads(lanes)).unbind(1), strict=True))
    after = dict(zip(moved.columns, moved.scores(moved(lanes[:, order])).unbind(1), strict=True))
    assert set(before) == set(after)
    torch.testing.assert_close(after, before)
    labels = torch.from_numpy(PROBLEM.train.labels[:9]).double()
    weight = torch.ones(9, dtype=torch.float64)
    losses = moved.losses(moved(lanes[:, order]), labels[:, order], weight)
    torch.testing.assert_close(losses, heads.losses(heads(lanes), labels, weight)[order])


LAYOUTS = [
    mmoe(3, experts=3, widths=(4,)),
    ple(3, own=1, shared=2, levels=[(4,), (4,)]),
    shared_bottom(3, widths=(4,)),
    recmtl_grid(3, cells=3, widths=(4,), depth=2),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("order", [[1, 2, 0], [2, 2, 1]], ids=str)
def test_reading_out_in_another_order_permutes_the_task_lanes(
    layout: Layout, order: list[int]
) -> None:
    grid, lanes = scrambled(layout), random_lanes(layout)
    moved = replace(layout, readout=tuple(layout.readout[t] for t in order))
    again = scrambled(moved)
    again.load_state_dict(grid.state_dict())
    torch.testing.assert_close(again(lanes), grid(lanes)[:, order], rtol=0, atol=0)
    routes = random_routes(layout, 3)
    small, turned = prune_grid(grid, routes), prune_grid(again, routes)
    torch.testing.assert_close(turned(lanes), small(lanes)[:, order], rtol=0, atol=1e-12)


def test_the_full_route_changes_nothing() -> None:
    for name, layout in NETWORKS.items():
        model = make_model(layout, problem=PROBLEM)
        small, batch = prune_model(model, Routes.full(layout)), batch_of(10)
        before, after = (m.predict(batch.ids, batch.numeric) for m in (model, small))
        torch.testing.assert_close(after, before, rtol=0, atol=1e-6, msg=name)


def test_a_pruned_model_keeps_scores_and_mode() -> None:
    space = recmtl_grid(T, cells=3, widths=(8, 4), depth=2)
    model = make_model(space, problem=PROBLEM)
    with torch.no_grad():
        for parameter in model.grid.parameters():
            parameter.normal_()
    routes, batch = random_routes(space, 1), batch_of(50)
    small = prune_model(model, routes)
    masked = model.predict(batch.ids, batch.numeric, routes.decisions(space))
    torch.testing.assert_close(small.predict(batch.ids, batch.numeric), masked)
    assert small.cost().multiply_adds < model.cost().multiply_adds
    assert small.training and not prune_model(model.eval(), routes).training
