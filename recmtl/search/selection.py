"""Choose the route of a finished search, and compare its network with full sharing.

`choose_route` freezes the policy: it refines the most probable route or compares draws, with the
shared weights, on validation rows. Shared weights judge all routes at the same widths, and hardly
train the edges that a task only listens to; so they cannot tell whether sharing everything in one
wide expert is better. `compare_full_sharing` finds out by training both networks.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recmtl.data.batches import Rows, total_weight
from recmtl.grid import Decision, Layout, Routes
from recmtl.model import Network
from recmtl.policies import Policy, RoutePolicy
from recmtl.search.budget import BudgetTarget, CostMultiplier
from recmtl.search.refine import FOLDS, refine, surely_positive
from recmtl.search.supernet import Supernet, mean_by_weight
from recmtl.train.checkpoint import sibling_checkpoint
from recmtl.train.config import Config, Search
from recmtl.train.loop import OnProgress, silent, train
from recmtl.train.problem import Problem

__all__ = [
    "RouteObjective",
    "choose_route",
    "compare_full_sharing",
    "contest_files",
    "final_losses",
    "full_sharing",
    "sample_route",
    "sample_rows",
    "surely_better",
]

COLD = 1e-3
"""A temperature at which draws that mix softly are hard."""
OVERRUN = 0.1
"""Normalised loss that a route must save for doubling the budget."""


class RouteObjective:
    """What a frozen route is judged by: normalised loss, weighted cost, and overrun of a budget.

    Less is better. Costs are cached by route, because refining asks for the same ones on many parts
    of the rows.

    Args:
        supernet: the trained weights.
        multiplier: weight of the cost.
        target: the budget; a route within it has no overrun.
    """

    def __init__(
        self, supernet: Supernet, *, multiplier: CostMultiplier, target: BudgetTarget | None
    ) -> None:
        self.supernet, self.multiplier, self.target = supernet, multiplier, target

    def __call__(self, losses: Tensor, decisions: Sequence[Decision]) -> float:
        """The value of hard decisions that lead to losses `[T]`.

        Lanes that coincide count apart: that is quick enough for the many alternatives of `refine`.
        """
        routes = Routes.of(self.supernet.layout, decisions)
        return self._value(losses, routes, self._unpruned_share(routes))

    def values(self, split: Rows, candidates: Sequence[Routes]) -> list[tuple[float, float]]:
        """(value, multiply-adds of the pruned grid) of each route on a whole split.

        Lanes that coincide count once.
        """
        decided = [routes.decisions(self.supernet.layout) for routes in candidates]
        losses = self.supernet.compare(split, decided)
        shares = [self.cost_share(routes) for routes in candidates]
        return [
            (self._value(row, routes, share), share * self.supernet.full)
            for row, routes, share in zip(losses, candidates, shares, strict=True)
        ]

    @cached_property
    def cost_share(self) -> Callable[[Routes], float]:
        """Multiply-adds of a route's pruned grid as a share of the full grid's."""
        return cache(lambda routes: self.supernet.pruned_multiply_adds(routes) / self.supernet.full)

    @cached_property
    def _unpruned_share(self) -> Callable[[Routes], float]:
        """The same share if lanes that coincide count apart."""
        supernet = self.supernet
        return cache(lambda routes: float(supernet.cost_share(routes.decisions(supernet.layout))))

    @cached_property
    def _overrun(self) -> Callable[[Routes], float]:
        """Normalised loss that a route must save for going over the budget."""
        if self.target is None:
            return lambda _: 0.0
        excess = self.target.excess
        return cache(lambda routes: OVERRUN * max(0.0, excess(routes)))

    def _value(self, losses: Tensor, routes: Routes, share: float) -> float:
        value = float(self.supernet.normalised(losses)) + self.multiplier.value * share
        return value + self._overrun(routes)


@torch.no_grad()
def sample_route(policy: Policy) -> Routes:
    """One hard draw of the policy."""
    return Routes.of(policy.layout, policy(COLD))


def sample_rows(split: Rows, count: int, seed: int) -> Rows:
    """At most `count` random rows of a split."""
    if len(split) <= count:
        return split
    return split.take(np.sort(np.random.default_rng(seed).permutation(len(split))[:count]))


@torch.no_grad()
def choose_route(
    objective: RouteObjective, policy: Policy, split: Rows, *, settings: Search, seed: int
) -> tuple[Routes, list[tuple[float, float]]]:
    """A frozen route, and (value, multiply-adds) of every route compared on a sample of `split`.

    With `settings.refine` it is the most probable route after as many rounds of refinement, because
    the best of a few draws is more a matter of luck. Without, or where no route is searched, it is
    the best of the most probable route and `settings.candidates - 1` draws. Of these, only routes
    that cost at most `settings.skips.most` compete, or the cheapest alone if none does.
    """
    probable = Routes.of(policy.layout, policy(None))
    sample = sample_rows(split, settings.judged_rows, seed)
    route = next((part for part in policy.modules() if isinstance(part, RoutePolicy)), None)
    if settings.refine and route is not None:
        rows = next(sample.batches(batch_size=len(sample), seed=None))
        refined = refine(
            objective.supernet, route, probable, rows=rows, value=objective, rounds=settings.refine
        )
        return refined, objective.values(sample, [probable, refined])
    drawn = [sample_route(policy) for _ in range(settings.candidates - 1)]
    candidates = _affordable(objective, [probable, *drawn], most=settings.skips.most)
    values = objective.values(sample, candidates)
    return candidates[int(np.argmin([value for value, _ in values]))], values


def _affordable(
    objective: RouteObjective, candidates: Sequence[Routes], *, most: float
) -> list[Routes]:
    """The different routes of at most this cost share, cheapest first; at least the cheapest."""
    shares = {routes: objective.cost_share(routes) for routes in dict.fromkeys(candidates)}
    ascending = sorted(shares, key=shares.__getitem__)
    return [routes for routes in ascending if shares[routes] <= most] or ascending[:1]


def full_sharing(routes: Routes, space: Layout) -> Routes:
    """The route with the same one edge on all lanes of a searched layer: the first common one.

    An edge is common if no lane cuts its gradient, so that all tasks train its expert. A layer
    without a common edge, or with nothing but common ones, stays as it is in `routes`.
    """
    layers = list(routes.layers)
    for depth, layer in enumerate(space.layers):
        private = {a for detached in layer.detached_edges for a in detached}
        common = [a for a in range(len(layer.applications)) if a not in private]
        if layer.searched and private and common:
            layers[depth] = replace(layers[depth], edges=((common[0],),) * layer.num_lanes)
    return Routes(tuple(layers))


def compare_full_sharing(
    found: Layout,
    shared: Layout,
    *,
    saved: float,
    problem: Problem,
    config: Config,
    seed: int,
    checkpoint: Path | None = None,
    on_progress: OnProgress = silent,
) -> tuple[bool, list[float]]:
    """Train two networks; whether full sharing wins, and the mean normalised losses of both.

    Args:
        found: the network of the route that was found, as large as it will be.
        shared: the network of full sharing, likewise.
        saved: what full sharing costs less, in units of loss.
        problem: what both are trained on.
        config: how.
        seed: of weights and batches.
        checkpoint: where the winner's training leaves its state, so that it need not be repeated.
        on_progress: called with progress.
    """
    losses, files = list[Tensor](), contest_files(checkpoint)
    for number, layout in enumerate((found, shared)):
        state = files[number] if files else None
        losses.append(
            final_losses(
                layout,
                problem=problem,
                config=config,
                seed=seed,
                checkpoint=state,
                on_progress=on_progress,
            )
        )
    shared_wins = surely_better(losses[1], losses[0], saved=saved)
    if checkpoint is not None and files[shared_wins].exists():
        files[shared_wins].replace(checkpoint)
    for path in files:
        path.unlink(missing_ok=True)
    return shared_wins, [float(loss.mean()) for loss in losses]


def contest_files(checkpoint: Path | None) -> list[Path]:
    """Where `compare_full_sharing` keeps the states of its two trainings; none without a path."""
    return (
        []
        if checkpoint is None
        else [sibling_checkpoint(checkpoint, str(number)) for number in range(2)]
    )


def final_losses(
    layout: Layout,
    *,
    problem: Problem,
    config: Config,
    seed: int,
    checkpoint: Path | None = None,
    on_progress: OnProgress = silent,
) -> Tensor:
    """Normalised losses `[FOLDS, T]` of a trained network on parts of the validation rows.

    The network is trained as the winner will be, so its checkpoint saves that training.

    Args:
        layout: the network, as large as it will be.
        problem: what it is trained on.
        config: how.
        seed: of weights and batches.
        checkpoint: where the training leaves its state.
        on_progress: called with progress.
    """
    torch.manual_seed(seed)
    model = problem.network(layout, config.sizes)
    train(
        model,
        problem,
        config.training,
        seed=seed,
        name=f"race-{seed}",
        on_progress=on_progress,
        checkpoint=checkpoint,
    )
    rows = range(len(problem.validation))
    parts = [_losses(model.eval(), problem.validation, rows[n::FOLDS]) for n in range(FOLDS)]
    return torch.stack(parts) * model.heads.loss_scale(1.0).cpu()


@torch.no_grad()
def _losses(model: Network, split: Rows, rows: range) -> Tensor:
    """Mean losses `[T]` over some rows of a split."""
    by_batch = []
    for batch in split.batches(batch_size=split.largest_batch, seed=None, rows=np.array(rows)):
        losses = model.heads.losses(model(*batch.inputs), batch.labels, batch.weight)
        by_batch.append((losses.cpu(), total_weight(batch)))
    return mean_by_weight(by_batch)


def surely_better(challenger: Tensor, champion: Tensor, *, saved: float) -> bool:
    """Whether the challenger's losses surely gain on the mean, and surely hurt no task.

    Args:
        challenger: losses `[FOLDS, T]` of one network.
        champion: losses of the other.
        saved: what the challenger costs less, in units of loss.
    """
    gains = champion - challenger
    gains_on_mean = bool(surely_positive(gains.mean(1) + saved))
    return gains_on_mean and not bool(surely_positive(-gains).any())
