"""What a search hands on.

Find a route: weights on one part of the train rows, the policy on the other, in turn.

Our reading of MTNAS (arXiv 2009.00387): local routes are drawn from multinomials, weights and
architecture parameters are updated in turn on rows that never overlap, and frozen candidates
(the most probable route, and draws) are compared on validation rows. Estimator, schedule, price
of cost and candidate choice are our own.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recmtl.data.batches import Batch
from recmtl.grid import Layout, Routes, prune
from recmtl.memory import keep_freed_memory
from recmtl.search.budget import BudgetTarget, CostMultiplier
from recmtl.search.policy_factory import make_policy
from recmtl.search.schedule import ReinforceBaseline, SearchSchedule, bilevel_split
from recmtl.search.selection import (
    RouteObjective,
    choose_route,
    final_losses,
    full_sharing,
    sample_route,
    sample_rows,
    surely_better,
)
from recmtl.search.supernet import Supernet
from recmtl.search.task_merging import merge_agreeing_tasks
from recmtl.train.checkpoint import read_state, save_due, sibling_checkpoint, write_state
from recmtl.train.config import Config
from recmtl.train.loop import OnProgress, silent
from recmtl.train.optimizer import Optimizer
from recmtl.train.problem import Problem

__all__ = ["SearchResult", "search"]


@dataclass
class SearchResult:
    """A searched route and how it was found.

    Attributes:
        routes: the chosen candidate.
        layout: JSON of the network to train: the search space pruned to the route and, with a
            budget, all its widths brought to the budget's size.
        history: one record a check: epoch, temperature, entropy, multiply_adds, validation.
        candidates: (validation objective, expected multiply-adds) of every frozen candidate.
        seconds: the whole search.
        race: normalised validation loss of the found route and of all tasks together.
        budget: None without one, else `unit`, `amount` (what was asked for), `cost` (what the
            network of `layout` costs), `met` (within 5 percent) and, where not met, `remedy`.
    """

    routes: Routes
    layout: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, object]] = field(default_factory=list)
    candidates: list[tuple[float, float]] = field(default_factory=list)
    seconds: float = 0.0
    budget: dict[str, Any] | None = None
    race: list[float] = field(default_factory=list)


Sized = tuple[Layout, dict[str, Any] | None]
"""A network's layout at its final size, and what is to be said of the budget."""


def search(
    layout: Layout,
    problem: Problem,
    config: Config,
    *,
    seed: int,
    on_progress: OnProgress = silent,
    checkpoint: Path | None = None,
) -> SearchResult:
    """Search a route through `layout` on the train rows; choose among candidates on validation.

    The winner of a race leaves its state in `checkpoint`: its training with the same seed goes on
    from there. Beside it lies the state of the search while it is under way, of the end of each
    epoch and of every `training.save_every` steps; a later call with the same arguments goes on
    from it to the same bits.

    Raises:
        ConfigError: the layout leaves nothing to decide, or no route of it fits the budget.
        DataError: what lies beside `checkpoint` is damaged, or of another search.
    """
    keep_freed_memory()
    torch.manual_seed(seed)
    run = _Run(layout, problem, config=config, seed=seed, checkpoint=checkpoint)
    run.resume()
    plan, size = run.plan, config.training.batch_size
    for step, (batch, policy_batch) in enumerate(run.pairs(), run.done):
        run.policy.open_layers(plan.opened(step))
        run.supernet.model.grid.hold_open(step < plan.warm_up)
        run.step_weights(batch, step)
        if policy_batch is not None and step >= plan.warm_up:
            run.step_policy(policy_batch, step)
        run.done = step + 1
        on_progress(f"search-{seed}", run.done * size, plan.total * size, None)
        if run.done % plan.steps_an_epoch == 0:
            run.history.append(run.record(step))
        if save_due(run.done, epoch=plan.steps_an_epoch, settings=config.training):
            run.save()
    found = run.found(on_progress)
    if run.state_file is not None:
        run.state_file.unlink(missing_ok=True)
    return found


class _Run:
    """One search under way: the supernet, the policies and where they stand."""

    def __init__(
        self,
        layout: Layout,
        problem: Problem,
        *,
        config: Config,
        seed: int,
        checkpoint: Path | None,
    ) -> None:
        self.began, self.done, self.history = time.perf_counter(), 0, list[dict[str, object]]()
        self.layout, self.problem, self.config, self.seed = layout, problem, config, seed
        self.checkpoint = checkpoint
        self.state_file = None if checkpoint is None else sibling_checkpoint(checkpoint, "search")
        settings, training = config.search, config.training
        self.target = None
        if settings.budget is not None:
            self.target = BudgetTarget(settings.budget, layout, problem=problem, config=config)
        self.supernet = Supernet(layout, problem=problem, config=config)
        self.policy = make_policy(layout, config)
        self.rows = bilevel_split(len(problem.train), settings.policy_rows, seed=seed)
        self.plan = SearchSchedule(layout, self.rows, config=config)
        self.optimizer = Optimizer(self.supernet.model, training, total_steps=self.plan.total)
        self.weight_scale = self.supernet.model.heads.loss_scale(training.balance)
        self.architecture = list(self.policy.parameters())
        rate = settings.learning_rate
        self.policy_optimizer = torch.optim.Adam(self.architecture, lr=rate, betas=(0.5, 0.999))
        self.price = CostMultiplier(settings.cost_weight, steps=self.plan.policy_steps)
        self.baseline = ReinforceBaseline(settings.baseline_decay)

    def resume(self) -> None:
        """Go on from the state of a search that was stopped; without one, from the beginning."""
        if self.checkpoint is None or self.state_file is None:
            return
        with read_state(self.state_file) as state:
            if state is None:
                for number in range(2):  # races of a search that is lost
                    sibling_checkpoint(self.checkpoint, str(number)).unlink(missing_ok=True)
                return
            self.done, self.history = state["done"], state["history"]
            self.began = time.perf_counter() - state["seconds"]
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            self.price.value, self.baseline.mean = state["price"], state["baseline"]

    def save(self) -> None:
        """Write the state as it is between two steps."""
        if self.state_file is None:
            return
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"price": self.price.value, "baseline": self.baseline.mean}
        state |= {"done": self.done, "history": self.history}
        write_state(self.state_file, {**state, "seconds": time.perf_counter() - self.began})

    def _parts(self) -> dict[str, Any]:
        return {
            "model": self.supernet.model,
            "policy": self.policy,
            "optimizer": self.optimizer,
            "policy_optimizer": self.policy_optimizer,
        }

    def pairs(self) -> Iterator[tuple[Batch, Batch | None]]:
        """Weight batches, and policy batches evenly among them: what is left of all epochs."""
        first, start = divmod(self.done, self.plan.steps_an_epoch)
        for epoch in range(first, self.config.search.epochs):
            policy = self._batches(self.rows.policy, 2 * epoch + 1, -(-start // self.plan.ratio))
            weights = self._batches(self.rows.weights, 2 * epoch, start)
            for step, batch in enumerate(weights, start):
                yield batch, next(policy, None) if step % self.plan.ratio == 0 else None
            start = 0

    def step_weights(self, batch: Batch, step: int) -> None:
        """One step of the weights on a freshly drawn route."""
        with torch.no_grad():
            decisions = self.policy(self.plan.temperature(step))
        self.supernet.model.train()
        loss = (self.supernet.losses(batch, decisions) * self.weight_scale).sum()
        off_rate = self.supernet.model.grid.rate_penalty()
        if off_rate is not None:
            loss = loss + self.config.training.rate_weight * off_rate
        self.optimizer.step(loss)

    def step_policy(self, batch: Batch, step: int) -> None:
        """One step of the architecture parameters; the weights stay."""
        drawn = [self._draw(batch, step) for _ in range(self.config.search.samples)]
        values, log_probabilities = (torch.stack(column) for column in zip(*drawn, strict=True))
        advantage = self.baseline.advantage(values.detach())
        loss = (values + advantage * log_probabilities).mean() + self.policy.penalty()
        gradients = torch.autograd.grad(loss, self.architecture, allow_unused=True)
        for parameter, gradient in zip(self.architecture, gradients, strict=True):
            parameter.grad = gradient
        self.policy_optimizer.step()
        if self.target is not None:
            self.price.observe(self.target.excess(sample_route(self.policy)))

    def record(self, step: int) -> dict[str, object]:
        """Where the search stands: the most probable route's cost and validation metrics."""
        with torch.no_grad():
            decisions = self.policy(None)
            cost = float(self.supernet.multiply_adds(decisions))
            entropy = float(self.policy.entropy())
        metrics = self.problem.evaluate(self.supernet.model, decisions=decisions)
        return {
            "epoch": (step + 1) / self.plan.steps_an_epoch,
            "temperature": self.plan.temperature(step),
            "price": self.price.value,
            "entropy": entropy,
            "multiply_adds": cost,
            "validation": self.problem.primary(metrics),
        }

    def found(self, on_progress: OnProgress) -> SearchResult:
        """The chosen route and its network, at the size of the budget if there is one."""
        judge = RouteObjective(self.supernet, price=self.price, target=self.target)
        routes, candidates = choose_route(
            judge,
            self.policy,
            self.problem.validation,
            settings=self.config.search,
            seed=self.seed,
        )
        if self.config.search.agree:
            split, count = self.problem.validation, self.config.search.judged_rows
            rows, least = sample_rows(split, count, self.seed), self.config.search.agree
            routes = merge_agreeing_tasks(routes, self.supernet, rows, least=least)
        rivals = [full_sharing(routes, self.layout)] if self.config.search.race else []
        networks = {entrant: self._network(entrant) for entrant in (routes, *rivals)}
        race = list[float]()
        if len(networks) > 1:
            routes, race = self._raced(networks, on_progress)
        layout, budget = networks[routes]
        seconds = time.perf_counter() - self.began
        return SearchResult(
            routes, layout.to_json(), self.history, candidates, seconds, budget, race
        )

    def _raced(
        self, networks: Mapping[Routes, Sized], on_progress: OnProgress
    ) -> tuple[Routes, list[float]]:
        """The first route, which was found, unless its rival beats it; the mean losses of both."""
        losses, left = dict[Routes, Tensor](), dict[Routes, Path]()
        for number, (routes, (layout, _)) in enumerate(networks.items()):
            if self.checkpoint is not None:
                left[routes] = sibling_checkpoint(self.checkpoint, str(number))
            losses[routes] = final_losses(
                layout,
                problem=self.problem,
                config=self.config,
                seed=self.seed,
                checkpoint=left.get(routes),
                on_progress=on_progress,
            )
        found, rival = networks
        saved = self._price(found) - self._price(rival) if self.target is None else 0.0
        winner = rival if surely_better(losses[rival], losses[found], saved=saved) else found
        for routes, path in left.items():
            if routes == winner and self.checkpoint is not None and path.exists():
                path.replace(self.checkpoint)
            path.unlink(missing_ok=True)
        return winner, [float(one.mean()) for one in losses.values()]

    def _price(self, routes: Routes) -> float:
        """What a route costs, in units of loss."""
        return self.price.value * float(self.supernet.share(routes.decisions(self.layout)))

    def _network(self, routes: Routes) -> Sized:
        """A route's layout at its final size, and what is to be said of the budget."""
        if self.target is None:
            return prune(self.layout, routes).layout, None
        return self.target.fitted(routes)

    def _draw(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Value of a draw (1 is the loss of constants, price of cost added), log-probability."""
        decisions = self.policy(self.plan.temperature(step))
        loss = self.supernet.normalised(self.supernet.losses(batch, decisions)).cpu()
        value = loss + self.price.value * self.supernet.share(decisions)
        return value, self.policy.log_probability()

    def _batches(self, rows: np.ndarray, number: int, start: int) -> Iterator[Batch]:
        size, seed = self.config.training.batch_size, self.seed * 1009 + 500 + number
        return self.problem.train.batches(batch_size=size, seed=seed, rows=rows, start=start)
