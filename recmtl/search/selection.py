"""Which frozen route: draws of the policy, compared on validation rows with a price on cost.

The found route against all tasks together: each has its final training.

Shared weights judge all routes at the same widths, and hardly train what a task only listens to.
Whether it pays to share everything in wide experts, training must tell.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recmtl.data.batches import Rows
from recmtl.grid import Decision, Layout, Routes
from recmtl.model import Network
from recmtl.policies import Policy, RoutePolicy
from recmtl.search.budget import BudgetTarget, CostMultiplier
from recmtl.search.refine import FOLDS, refine, surely
from recmtl.search.supernet import Supernet
from recmtl.train.config import Config, Search
from recmtl.train.loop import OnProgress, silent, train
from recmtl.train.problem import Problem

__all__ = [
    "RouteObjective",
    "choose_route",
    "final_losses",
    "full_sharing",
    "sample_route",
    "sample_rows",
    "surely_better",
]

COLD = 1e-3
"""A temperature at which draws that mix softly are hard."""
OVERRUN = 0.1
"""Normalised loss that doubling the budget must save."""


class RouteObjective:
    """The value of a frozen route: normalised loss, price of the cost, and of a budget overrun.

    Less is better; routes below the budget are only judged by loss and price. Costs are counted
    once for a route: refining meets the same ones on many parts of the rows.
    """

    def __init__(
        self, supernet: Supernet, *, price: CostMultiplier, target: BudgetTarget | None
    ) -> None:
        self.supernet, self.price, self.target = supernet, price, target

    def __call__(self, losses: Tensor, decisions: Sequence[Decision]) -> float:
        """The value of hard decisions that lead to losses `[T]`; lanes that coincide count apart.

        That is what is quick enough for the many alternatives of `refine`.
        """
        routes = Routes.of(self.supernet.layout, decisions)
        return self._value(losses, routes, self._share_apart(routes))

    @cached_property
    def share(self) -> Callable[[Routes], float]:
        """Multiply-adds of a route's pruned grid as a share of the full grid's."""
        return cache(lambda routes: self.supernet.pruned_multiply_adds(routes) / self.supernet.full)

    @cached_property
    def _share_apart(self) -> Callable[[Routes], float]:
        """The same if lanes that coincide count apart."""
        supernet = self.supernet
        return cache(lambda routes: float(supernet.share(routes.decisions(supernet.layout))))

    @cached_property
    def _overrun(self) -> Callable[[Routes], float]:
        """Normalised loss that going over the budget must save."""
        if self.target is None:
            return lambda _: 0.0
        excess = self.target.excess
        return cache(lambda routes: OVERRUN * max(0.0, excess(routes)))

    def values(self, split: Rows, candidates: Sequence[Routes]) -> list[tuple[float, float]]:
        """(value, multiply-adds of the pruned grid) of each route on a whole split."""
        decided = [routes.decisions(self.supernet.layout) for routes in candidates]
        losses = self.supernet.compare(split, decided)
        shares = [self.share(routes) for routes in candidates]
        found = zip(losses, candidates, shares, strict=True)
        return [
            (self._value(row, routes, share), share * self.supernet.full)
            for row, routes, share in found
        ]

    def _value(self, losses: Tensor, routes: Routes, share: float) -> float:
        value = float(self.supernet.normalised(losses)) + self.price.value * share
        return value + self._overrun(routes)


@torch.no_grad()
def sample_route(policy: Policy) -> Routes:
    """One hard draw of the policy."""
    return Routes.of(policy.layout, policy(COLD))


@torch.no_grad()
def choose_route(
    judge: RouteObjective, policy: Policy, split: Rows, *, settings: Search, seed: int
) -> tuple[Routes, list[tuple[float, float]]]:
    """A frozen route, and the figures of all that were compared on a sample of `split`.

    With `settings.refine` it is the most probable route after as many rounds of improvement: the
    best of some draws is more a matter of luck. Without, or where no route is searched, it is the
    best of the most probable one and the different ones among `settings.candidates - 1` draws that
    cost at most `settings.skips.most`, or the cheapest if none does.
    """
    candidates = [Routes.of(policy.layout, policy(None))]
    sample = sample_rows(split, settings.judged_rows, seed)
    route = next((part for part in policy.modules() if isinstance(part, RoutePolicy)), None)
    if settings.refine and route is not None:
        rows, rounds = next(sample.batches(batch_size=len(sample), seed=None)), settings.refine
        start = candidates[0]
        refined = refine(judge.supernet, route, start, rows=rows, value=judge, rounds=rounds)
        return refined, judge.values(sample, [start, refined])
    candidates += [sample_route(policy) for _ in range(settings.candidates - 1)]
    shares = {routes: judge.share(routes) for routes in dict.fromkeys(candidates)}
    candidates = sorted(shares, key=shares.__getitem__)
    cheap = [routes for routes in candidates if shares[routes] <= settings.skips.most]
    candidates = cheap or candidates[:1]
    values = judge.values(sample, candidates)
    return candidates[_least(values)], values


def sample_rows(split: Rows, count: int, seed: int) -> Rows:
    """So many random rows of a split, or all of them if there are fewer."""
    if len(split) <= count:
        return split
    return split.take(np.sort(np.random.default_rng(seed).permutation(len(split))[:count]))


def _least(values: list[tuple[float, float]]) -> int:
    return int(np.argmin([value for value, _ in values]))


def full_sharing(found: Routes, space: Layout) -> Routes:
    """The route on which all lanes of a searched layer hear one edge: the first that nobody owns.

    What nobody owns stops no lane's gradient. Layers in which every edge is somebody's, or in which
    nothing is owned, stay as they were found.
    """
    layers = list(found.layers)
    for depth, layer in enumerate(space.layers):
        owned = {a for stopped in layer.detached_edges for a in stopped}
        common = [a for a in range(len(layer.applications)) if a not in owned]
        if layer.searched and owned and common:
            layers[depth] = replace(layers[depth], edges=((common[0],),) * layer.num_lanes)
    return Routes(tuple(layers))


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

    It is the training that the network will have if it wins, so that whoever has the checkpoint
    need not repeat it.

    Args:
        layout: the network, as large as it will be.
        problem: what it is trained on.
        config: how.
        seed: of weights and batches.
        checkpoint: where the training's state is left.
        on_progress: told of progress.
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


def surely_better(challenger: Tensor, champion: Tensor, *, saved: float) -> bool:
    """Whether losses `[FOLDS, T]` surely gain on the mean, and surely hurt no task.

    Args:
        challenger: losses of the one.
        champion: losses of the other.
        saved: what the challenger costs less, in units of loss.
    """
    gains = champion - challenger
    return bool(surely(gains.mean(1) + saved)) and not bool(surely(-gains).any())


@torch.no_grad()
def _losses(model: Network, split: Rows, rows: range) -> Tensor:
    total = torch.zeros(())
    for batch in split.batches(batch_size=split.largest_batch, seed=None, rows=np.array(rows)):
        losses = model.heads.losses(model(*batch.inputs), batch.labels, batch.weight)
        total = total + losses.cpu() * (len(batch) / len(rows))
    return total
