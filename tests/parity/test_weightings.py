"""The gradient of a step under every weighting against a plain second implementation of it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from recmtl.data.batches import Batch
from recmtl.grid import Layout, mmoe, ple
from recmtl.model import TabularModel
from recmtl.train.config import Training
from recmtl.train.loop import take_step
from recmtl.train.optimizer import Optimizer
from recmtl.train.recipe.gramian_weights import COMBINING
from recmtl.train.recipe.training import Method, Weighting
from recmtl.train.tabular_problem import TabularProblem
from tests.parity.plain_weightings import (
    COMBINED,
    PlainAverage,
    PlainFamo,
    PlainGradNorm,
    PlainUncertainty,
)
from tests.tabular_problems import make_model, make_problem

LAYOUTS = {
    "mmoe": lambda: mmoe(4, experts=3, widths=(8, 4)),
    "ple": lambda: ple(4, own=1, shared=1, levels=((6,), (5,))),
}
STEPS = 6


def double_problem() -> TabularProblem:
    problem = make_problem()
    numeric = problem.train.numeric.astype(np.float64)
    weight = problem.train.weight.astype(np.float64)
    return replace(problem, train=replace(problem.train, numeric=numeric, weight=weight))


PROBLEM = double_problem()


def network(layout: Layout) -> TabularModel:
    torch.manual_seed(3)
    return make_model(layout, problem=PROBLEM).double().train()


def batches(count: int) -> list[Batch]:
    feed = PROBLEM.train.batches(batch_size=40, seed=0)
    return [next(feed) for _ in range(count)]


def losses_of(model: TabularModel, batch: Batch) -> Tensor:
    losses = model.heads.losses(model(*batch.inputs), batch.labels, batch.weight)
    return losses * model.heads.loss_scale(0.5)


def gradients_of(model: TabularModel, loss: Tensor, keep: bool = True) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, retain_graph=keep, allow_unused=True)
    return {
        name: (torch.zeros_like(p) if g is None else g.to_dense())
        for name, p, g in zip(names, parameters, found, strict=True)
    }


class Spied:
    """A network in training whose gradients at each step are kept."""

    def __init__(self, layout: Layout, method: Method, **more: float) -> None:
        self.model = network(layout)
        settings = Training(weighting=Weighting(method=method, **more), decay=False)
        self.optimizer = Optimizer(self.model, settings, total_steps=10)
        self.seen: list[dict[str, Tensor]] = []
        assert self.optimizer.sparse is not None
        self.optimizer.sparse.register_step_pre_hook(lambda *_: self.seen.append(self.now()))

    def now(self) -> dict[str, Tensor]:
        return {
            name: (torch.zeros_like(p) if p.grad is None else p.grad.to_dense().clone())
            for name, p in self.model.named_parameters()
        }


def assert_close(got: dict[str, Tensor], want: dict[str, Tensor], tolerance: float) -> None:
    """Up to a share of the largest entry of a grid's gradients."""
    scale = max(float(g.abs().max()) for name, g in want.items() if name.startswith("grid."))
    for name, gradient in want.items():
        torch.testing.assert_close(
            got[name] / scale, gradient / scale, rtol=0.0, atol=tolerance, msg=name
        )


def combined(
    model: TabularModel, losses: Tensor, direction: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """The plain sum everywhere; on what two tasks reach of the grid, the direction."""
    by_task = [gradients_of(model, loss) for loss in losses]
    want = {name: sum(part[name] for part in by_task) for name in by_task[0]}
    names = [name for name in want if name.startswith("grid.")]
    rows = torch.stack([torch.cat([part[n].flatten() for n in names]) for part in by_task])
    shared = (rows != 0).sum(0) > 1
    flat = rows.sum(0)
    flat[shared] = direction(rows[:, shared])
    ends = np.cumsum([want[name].numel() for name in names])[:-1]
    for name, values in zip(names, torch.tensor_split(flat, ends.tolist()), strict=True):
        want[name] = values.view_as(want[name])
    return want


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("method", COMBINING)
def test_what_tasks_share_follows_the_combined_gradient(method: Method, layout: str) -> None:
    """All else, tables and heads among it, follows the plain sum."""
    if method != "nash_mtl":
        pytest.importorskip("torchjd", reason="the extra torchjd is not installed")
    tolerance = {"mgda": 0.15, "cagrad": 2e-3}.get(method, 1e-6)  # theirs stop early
    spied, furthest = Spied(LAYOUTS[layout](), method), 0.0
    for batch in batches(STEPS):
        start = torch.get_rng_state()
        want = combined(spied.model, losses_of(spied.model, batch), COMBINED[method])
        torch.set_rng_state(start)
        take_step(spied.model, spied.optimizer, batch)
        assert_close(spied.seen[-1], want, tolerance)
        weights = spied.optimizer.weighting.weights
        furthest = max(furthest, float((weights - 1.0).abs().max()))
    assert furthest > 1e-3, "it is not as if weights were fixed"


def test_what_belongs_to_a_task_alone_is_not_weighed() -> None:
    """PLE has an expert of each task's own; that of the funnel's parent serves its child, too."""
    spied, batch = Spied(LAYOUTS["ple"](), "nash_mtl"), batches(1)[0]
    plain = gradients_of(spied.model, losses_of(spied.model, batch).sum())
    take_step(spied.model, spied.optimizer, batch)
    got = spied.seen[0]
    for name in (name for name in plain if not name.startswith("grid.")):
        torch.testing.assert_close(got[name], plain[name], rtol=1e-12, atol=1e-15)
    changed = {
        name: (got[name] - plain[name]).flatten(1).abs().amax(1) > 1e-9
        for name in plain
        if ".experts.weights." in name
    }
    last = changed["grid.layers.1.experts.weights.0"]
    assert last.tolist() == [True, False, False, False, True]


def weighted(model: TabularModel, losses: Tensor, weights: Tensor) -> dict[str, Tensor]:
    return gradients_of(model, (losses * weights).sum())


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_uncertainty_is_one_objective_of_network_and_variances(layout: str) -> None:
    spied, plain = Spied(LAYOUTS[layout](), "uncertainty"), PlainUncertainty(4)
    for batch in batches(STEPS):
        losses = losses_of(spied.model, batch)
        want = weighted(spied.model, losses, plain.step(losses))
        take_step(spied.model, spied.optimizer, batch)
        assert_close(spied.seen[-1], want, 1e-5)


def test_dwa_compares_the_means_of_the_last_two_periods() -> None:
    spied, plain = Spied(LAYOUTS["mmoe"](), "dwa", period=2), PlainAverage(4, 2)
    for batch in batches(STEPS):
        losses = losses_of(spied.model, batch)
        weights = plain.step(losses)
        want = weighted(spied.model, losses, weights)
        take_step(spied.model, spied.optimizer, batch)
        assert_close(spied.seen[-1], want, 1e-6)
    assert (weights - 1.0).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("layout", "layer"),
    [("mmoe", "grid.layers.0.experts.weights.1"), ("ple", "grid.layers.1.experts.weights.0")],
)
def test_gradnorm_evens_the_gradients_of_the_last_shared_weights(layout: str, layer: str) -> None:
    spied = Spied(LAYOUTS[layout](), "gradnorm")
    constants = torch.tensor([spec.constant_loss for spec in spied.model.heads.specs]).double()
    plain = PlainGradNorm(4, constants * spied.model.heads.loss_scale(0.5))
    for batch in batches(STEPS):
        losses = losses_of(spied.model, batch)
        rows = torch.stack([gradients_of(spied.model, loss)[layer].flatten() for loss in losses])
        used = plain.step(losses, rows * ((rows != 0).sum(0) > 1))
        want = weighted(spied.model, losses, used)
        take_step(spied.model, spied.optimizer, batch)
        assert_close(spied.seen[-1], want, 1e-4)
    assert spied.optimizer.weighting.facts() == {"layer": layer}
    assert (used - 1.0).abs().max() > 1e-2


def test_famo_weighs_by_log_losses_before_and_after_a_step() -> None:
    spied, plain = Spied(LAYOUTS["mmoe"](), "famo"), PlainFamo(4)
    for batch in batches(STEPS):
        losses = losses_of(spied.model, batch)
        want = gradients_of(spied.model, plain.objective(losses))
        take_step(spied.model, spied.optimizer, batch)
        assert_close(spied.seen[-1], want, 1e-5)
        plain.learn(losses.detach(), losses_of(spied.model, batch).detach())
    assert (spied.optimizer.weighting.values() != 0).all()
