"""Search a route: train weights and policy in turn, each on its own train rows, then choose.

Our reading of MTNAS, "Boosting Share Routing for Multi-task Learning" (arXiv 2009.00387): local
routes are drawn from multinomials, weights and architecture parameters are updated in turn on
disjoint rows, and frozen candidates (the most probable route, and draws) are compared on validation
rows. The estimators, the schedule, the weight of cost and the choice among candidates are our own.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from recmtl.data.batches import Batch
from recmtl.grid import Layout, Routes, prune
from recmtl.memory import keep_freed_memory
from recmtl.model.rank_steps import mean_gradients
from recmtl.ranks import ranks
from recmtl.search.budget import BudgetReport, BudgetTarget, CostMultiplier
from recmtl.search.entrants import FOUND, Entrant, field_of
from recmtl.search.policy_factory import make_policy
from recmtl.search.race import EntrantRecord, Race, race_files
from recmtl.search.schedule import ReinforceBaseline, SearchSchedule, bilevel_split
from recmtl.search.selection import RouteObjective, choose_route, sample_route, sample_rows
from recmtl.search.supernet import Supernet
from recmtl.search.task_merging import agreeing_branches, merge_agreeing_tasks, task_agreement
from recmtl.train.checkpoint import read_state, save_due, sibling_checkpoint, write_state
from recmtl.train.config import Config
from recmtl.train.loop import OnProgress, silent
from recmtl.train.optimizer import Optimizer
from recmtl.train.problem import Problem

__all__ = ["EpochRecord", "SearchResult", "search"]


class EpochRecord(TypedDict):
    """Where a search stands at the end of an epoch.

    Attributes:
        epoch: passes over the weight rows so far.
        temperature: of the draws.
        price: the cost multiplier.
        entropy: of the policy, as a share of the largest.
        multiply_adds: of the grid under the most probable route, for one example.
        validation: each task's metric under the most probable route.
    """

    epoch: float
    temperature: float
    price: float
    entropy: float
    multiply_adds: float
    validation: dict[str, float]


@dataclass
class SearchResult:
    """The network that a search ends with, and how it came to it.

    Attributes:
        routes: its kept edges: a route through the search space or, where another network won the
            race, all edges of that network's layout.
        layout: JSON of the network to train. That of a route is the search space pruned to it;
            with a budget, widths are scaled to it.
        history: one record an epoch.
        candidates: (objective on validation rows, multiply-adds) of every route compared.
        seconds: duration of the whole search.
        budget: whether the network of `layout` meets the budget; None without one.
        race: the table of the race's entrants, the winner first; empty if there was no race.
        winner: name of the entrant that `routes` and `layout` are of.
    """

    routes: Routes
    layout: dict[str, Any] = field(default_factory=dict)
    history: list[EpochRecord] = field(default_factory=list)
    candidates: list[tuple[float, float]] = field(default_factory=list)
    seconds: float = 0.0
    budget: BudgetReport | None = None
    race: list[EntrantRecord] = field(default_factory=list)
    winner: str = FOUND

    def to_json(self) -> dict[str, Any]:
        """The result as JSON data; `from_json` is its inverse."""
        return {**asdict(self), "routes": self.routes.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "SearchResult":
        """Rebuild a result from `to_json` data; fields that old files lack have their defaults."""
        candidates = [(value, cost) for value, cost in data.get("candidates", ())]
        race = data.get("race", [])
        if race and isinstance(race[0], float):
            # Release 0.1 kept two losses, of the found route and of full sharing, and no winner.
            race = [
                EntrantRecord(name=name, standing="trained", loss=loss)
                for name, loss in zip((FOUND, "shared_bottom"), race, strict=True)
            ]
        routes = Routes.from_json(data["routes"])
        return cls(**{**data, "routes": routes, "candidates": candidates, "race": race})


def search(
    layout: Layout,
    problem: Problem,
    config: Config,
    *,
    seed: int,
    on_progress: OnProgress = silent,
    checkpoint: Path | None = None,
) -> SearchResult:
    """Search a route through `layout` on train rows; choose among candidates on validation rows.

    While the search is under way, its state lies beside `checkpoint`, saved at the end of each
    epoch and every `training.save_every` steps. A later call with the same arguments resumes from
    it and ends with the same bits. After a race the training of the winner leaves its state in
    `checkpoint`; training it with the same seed resumes there.

    Args:
        layout: the search space.
        problem: what to train on.
        config: how.
        seed: of weights, rows, batches and draws.
        on_progress: called with progress.
        checkpoint: of the network that will be trained on the found route.

    Raises:
        ConfigError: the layout leaves nothing to decide, or none of its routes fits the budget.
        DataError: the state beside `checkpoint` is damaged, or of another search.
    """
    keep_freed_memory()
    torch.manual_seed(seed)
    run = _RouteSearch(layout, problem, config=config, seed=seed, checkpoint=checkpoint)
    run.resume()
    schedule, size = run.schedule, config.training.batch_size
    for step, (batch, policy_batch) in enumerate(run.batch_pairs(), run.done):
        run.take_step(step, batch, policy_batch)
        on_progress(f"search-{seed}", run.done * size, schedule.total * size, None)
        if run.done % schedule.steps_an_epoch == 0:
            run.history.append(run.record(step))
        if save_due(run.done, epoch=schedule.saved_every, settings=config.training):
            run.save()
    result = run.result(on_progress)
    if run.state_file is not None and ranks().is_first:
        run.state_file.unlink(missing_ok=True)
    return result


class _RouteSearch:
    """A search under way: the supernet, the policy, their optimizers, and where they stand.

    Attributes:
        done: steps of the weights so far.
        history: the records so far.
    """

    def __init__(
        self,
        layout: Layout,
        problem: Problem,
        *,
        config: Config,
        seed: int,
        checkpoint: Path | None,
    ) -> None:
        self.began, self.done, self.history = time.perf_counter(), 0, list[EpochRecord]()
        self.layout, self.problem, self.config, self.seed = layout, problem, config, seed
        self.checkpoint = checkpoint
        self.state_file = None if checkpoint is None else sibling_checkpoint(checkpoint, "search")
        settings, training = config.search, config.training
        self.target = None
        if settings.budget is not None:
            self.target = BudgetTarget(settings.budget, layout, problem=problem, config=config)
        self.supernet = Supernet(layout, problem=problem, config=config)
        self.policy = make_policy(layout, config)
        self.rows = bilevel_split(
            len(problem.train), settings.policy_rows, seed=seed, units=problem.train.units
        )
        self.schedule = SearchSchedule(layout, self.rows, config=config)
        self.optimizer = Optimizer(self.supernet.model, training, total_steps=self.schedule.total)
        self.weight_scale = self.supernet.model.heads.loss_scale(training.balance)
        self.architecture = list(self.policy.parameters())
        rate = settings.learning_rate
        self.policy_optimizer = torch.optim.Adam(self.architecture, lr=rate, betas=(0.5, 0.999))
        self.multiplier = CostMultiplier(settings.cost_weight, steps=self.schedule.policy_steps)
        self.baseline = ReinforceBaseline(settings.baseline_decay)

    def resume(self) -> None:
        """Restore the state of a search that was stopped; start from the beginning without one."""
        if self.state_file is None:
            return
        with read_state(self.state_file) as state:
            if state is None:
                # Networks trained after a search whose state is lost belong to another route.
                for path in race_files(self.checkpoint) if ranks().is_first else ():
                    path.unlink(missing_ok=True)
                return
            self.done, self.history = state["done"], state["history"]
            self.began = time.perf_counter() - state["seconds"]
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            self.multiplier.value, self.baseline.mean = state["price"], state["baseline"]

    def save(self) -> None:
        """Write the state between two steps."""
        if self.state_file is None:
            return
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"price": self.multiplier.value, "baseline": self.baseline.mean}
        state |= {"done": self.done, "history": self.history}
        write_state(self.state_file, {**state, "seconds": time.perf_counter() - self.began})

    def _parts(self) -> dict[str, Any]:
        return {
            "model": self.supernet.model,
            "policy": self.policy,
            "optimizer": self.optimizer,
            "policy_optimizer": self.policy_optimizer,
        }

    def batch_pairs(self) -> Iterator[tuple[Batch, Batch | None]]:
        """The remaining weight batches of all epochs, with policy batches evenly among them."""
        first, start = divmod(self.done, self.schedule.steps_an_epoch)
        ratio = self.schedule.ratio
        for epoch in range(first, self.schedule.epochs):
            policy = self._batches(self.rows.policy, 2 * epoch + 1, -(-start // ratio))
            weights = self._batches(self.rows.weights, 2 * epoch, start)
            for step, batch in enumerate(weights, start):
                yield batch, next(policy, None) if step % ratio == 0 else None
            start = 0

    def _batches(self, rows: np.ndarray, number: int, start: int) -> Iterator[Batch]:
        size, seed = self.config.training.batch_size, self.seed * 1009 + 500 + number
        train, share = self.problem.train, ranks().share
        return train.batches(batch_size=size, seed=seed, rows=rows, start=start, share=share)

    def take_step(self, step: int, batch: Batch, policy_batch: Batch | None) -> None:
        """One step of the weights and, after warm-up, one of the policy if it has a batch."""
        warming_up = step < self.schedule.warm_up
        self.policy.open_layers(self.schedule.open_layers(step))
        self.supernet.model.grid.hold_open(warming_up)
        self.step_weights(batch, step)
        if policy_batch is not None and not warming_up:
            self.step_policy(policy_batch, step)
        self.done = step + 1

    def step_weights(self, batch: Batch, step: int) -> None:
        """One step of the weights on a freshly drawn route."""
        with torch.no_grad():
            decisions = self.policy(self.schedule.temperature(step))
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
        advantage = self.baseline.advantage(ranks().mean(values.detach()))
        loss = (values + advantage * log_probabilities).mean() + self.policy.penalty()
        gradients = torch.autograd.grad(loss, self.architecture, allow_unused=True)
        for parameter, gradient in zip(self.architecture, gradients, strict=True):
            parameter.grad = gradient
        mean_gradients(self.architecture)
        self.policy_optimizer.step()
        if self.target is not None:
            self.multiplier.observe(self.target.excess(sample_route(self.policy)))

    def _draw(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Normalised loss plus weighted cost of a draw, and the draw's log-probability."""
        decisions = self.policy(self.schedule.temperature(step))
        loss = self.supernet.normalised(self.supernet.losses(batch, decisions)).cpu()
        value = loss + self.multiplier.value * self.supernet.cost_share(decisions)
        return value, self.policy.log_probability()

    def record(self, step: int) -> EpochRecord:
        """Where the search stands after a step."""
        with torch.no_grad():
            decisions = self.policy(None)
            cost = float(self.supernet.multiply_adds(decisions))
            entropy = float(self.policy.entropy())
        metrics = self.problem.evaluate(self.supernet.model, "validation", decisions)
        return {
            "epoch": (step + 1) / self.schedule.steps_an_epoch,
            "temperature": self.schedule.temperature(step),
            "price": self.multiplier.value,
            "entropy": entropy,
            "multiply_adds": cost,
            "validation": self.problem.primary(metrics),
        }

    def result(self, on_progress: OnProgress) -> SearchResult:
        """Choose the route, and race its network against others unless that is turned off."""
        routes, candidates = self._chosen_route()
        if self.config.search.race is False:
            winner, table = self._sized(routes), list[EntrantRecord]()
        else:
            winner, table = self._race(routes, on_progress)
        return SearchResult(
            winner.routes,
            winner.layout.to_json(),
            self.history,
            candidates,
            time.perf_counter() - self.began,
            winner.budget,
            table,
            winner.name,
        )

    def _race(self, routes: Routes, on_progress: OnProgress) -> tuple[Entrant, list[EntrantRecord]]:
        """The network that is best on validation rows, and the table of all that competed."""
        rows = sample_rows(self.problem.validation, self.config.search.judged_rows, self.seed)
        depths = len(self.problem.levels(self.config.grid))
        agreement = ranks().first(lambda: task_agreement(routes, self.supernet, rows))
        entrants, left_out = field_of(
            routes,
            self.layout,
            partitions=agreeing_branches(agreement, depths),
            problem=self.problem,
            grid=self.config.grid,
            target=self.target,
        )
        excluded = [
            EntrantRecord(name=name, standing="left out", why=why) for name, why in left_out.items()
        ]
        if len(entrants) < 2:
            return entrants[0], excluded
        race = Race(
            entrants,
            self.target,
            problem=self.problem,
            config=self.config,
            seed=self.seed,
            checkpoint=self.checkpoint,
            on_progress=on_progress,
        )
        winner, table = race.run()
        return winner, [*table, *excluded]

    def _chosen_route(self) -> tuple[Routes, list[tuple[float, float]]]:
        """The frozen route, its agreeing tasks merged, and the figures of all candidates."""
        objective = RouteObjective(self.supernet, multiplier=self.multiplier, target=self.target)
        validation, settings = self.problem.validation, self.config.search
        routes, candidates = choose_route(
            objective, self.policy, validation, settings=settings, seed=self.seed
        )
        if settings.agree:
            rows = sample_rows(validation, settings.judged_rows, self.seed)
            merge = partial(merge_agreeing_tasks, routes, self.supernet, rows)
            routes = ranks().first(partial(merge, least=settings.agree))
        return routes, candidates

    def _sized(self, routes: Routes) -> Entrant:
        """A route's network, with the widths of the budget if there is one."""
        layout = prune(self.layout, routes).layout
        if self.target is None:
            return Entrant(FOUND, layout, routes)
        layout, budget = self.target.at_budget(layout)
        return Entrant(FOUND, layout, routes, budget)
