"""Find a route: weights on one part of the train rows, the policy on the other, in turn.

Our reading of MTNAS (arXiv 2009.00387): local routes are drawn from multinomials, weights and
architecture parameters are updated in turn on rows that never overlap, and frozen candidates
(the most probable route, and draws) are compared on validation rows. Estimator, schedule, price
of cost and candidate choice are our own.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from recmtl.data.feed import Batch, batches
from recmtl.data.log import Split
from recmtl.evaluate.score import PRIMARY, evaluate
from recmtl.grid import (
    Decision,
    Layout,
    Routes,
    conjunction,
    expected_multiply_adds,
    full_multiply_adds,
)
from recmtl.model import Model
from recmtl.policies import RoutePolicy, SkipPolicy
from recmtl.train.config import Config
from recmtl.train.loop import Watch, predict, silent
from recmtl.train.material import Material
from recmtl.train.optimizer import Optimizer
from recmtl.train.two_split import two_split

__all__ = ["Found", "search"]


@dataclass
class Found:
    """A searched route and how it was found.

    Attributes:
        routes: the chosen candidate.
        history: one record a check: epoch, temperature, entropy, multiply_adds, validation.
        candidates: (validation objective, expected multiply-adds) of every frozen candidate.
        seconds: the whole search.
    """

    routes: Routes
    history: list[dict[str, object]] = field(default_factory=list)
    candidates: list[tuple[float, float]] = field(default_factory=list)
    seconds: float = 0.0


class Policies(nn.Module):
    """The policies of a search space, composed."""

    def __init__(
        self, layout: Layout, *, max_edges: int, anchor: float = 0.0, run_odds: float = 0.0
    ) -> None:
        super().__init__()
        self.route = RoutePolicy(layout, max_edges=max_edges, anchor=anchor)
        self.parts = nn.ModuleList([self.route, SkipPolicy(layout, start=run_odds)])

    def forward(self, temperature: float | None) -> list[Decision]:
        """One decision a layer, all policies multiplied."""
        return conjunction([part(temperature) for part in self.parts])


def search(
    layout: Layout,
    material: Material,
    config: Config,
    *,
    seed: int,
    watch: Watch = silent,
) -> Found:
    """Search a route through `layout` on the train rows; choose among candidates on validation."""
    began = time.perf_counter()
    torch.manual_seed(seed)
    run = _Run(layout, material, config=config, seed=seed)
    history = []
    for step, (batch, policy_batch) in enumerate(run.pairs()):
        run.step_weights(batch)
        if policy_batch is not None and step >= run.warm_up:
            run.step_policy(policy_batch, step)
        size = config.training.batch_size
        watch(f"search-{seed}", (step + 1) * size, run.total_steps * size, None)
        if (step + 1) % run.check_every == 0:
            history.append(run.record(step))
    routes, candidates = run.choose()
    return Found(routes, history, candidates, time.perf_counter() - began)


class _Run:
    """One search under way: the supernet, the policies and where they stand."""

    def __init__(self, layout: Layout, material: Material, *, config: Config, seed: int) -> None:
        self.layout, self.material, self.config, self.seed = layout, material, config, seed
        self.model = Model(material.encoding, material.heads, layout=layout, sizes=config.sizes)
        self.policies = Policies(
            layout,
            max_edges=config.grid.max_edges,
            anchor=config.search.anchor,
            run_odds=config.search.run_odds,
        )
        self.rows = two_split(len(material.train), config.search.policy_rows, seed=seed)
        size = config.training.batch_size
        self.steps_an_epoch = -(-len(self.rows.weights) // size)
        self.total_steps = self.steps_an_epoch * config.search.epochs
        self.warm_up = int(self.total_steps * config.search.warm_up)
        self.check_every = max(1, self.steps_an_epoch // 2)
        self.optimizer = Optimizer(self.model, config.training, total_steps=self.total_steps)
        rate = config.search.learning_rate
        self.architecture = list(self.policies.parameters())
        self.policy_optimizer = torch.optim.Adam(self.architecture, lr=rate, betas=(0.5, 0.999))
        self.scale = self.model.heads.loss_scale(1.0)
        self.weight_scale = self.model.heads.loss_scale(config.training.balance)
        self.input_width = self.model.grid.input_width
        self.full_cost = full_multiply_adds(layout, input_width=self.input_width)

    def pairs(self) -> Iterator[tuple[Batch, Batch | None]]:
        """Weight batches of all epochs, and policy batches spread evenly among them."""
        train, search = self.material.train, self.config.search
        ratio = max(1, round(len(self.rows.weights) / max(1, len(self.rows.policy))))
        for epoch in range(search.epochs):
            policy = self._batches(train, self.rows.policy, 2 * epoch + 1)
            for step, batch in enumerate(self._batches(train, self.rows.weights, 2 * epoch)):
                yield batch, next(policy, None) if step % ratio == 0 else None

    def step_weights(self, batch: Batch) -> None:
        """One step of the weights on a freshly drawn route."""
        with torch.no_grad():
            decisions = self.policies(1.0)
        self.model.train()
        losses = self._losses(batch, decisions)
        self.optimizer.step((losses * self.weight_scale).sum())

    def step_policy(self, batch: Batch, step: int) -> None:
        """One step of the architecture parameters; the weights stay."""
        decisions = self.policies(self.temperature(step))
        value = self.objective(self._losses(batch, decisions), decisions)
        gradients = torch.autograd.grad(value, self.architecture, allow_unused=True)
        for parameter, gradient in zip(self.architecture, gradients, strict=True):
            parameter.grad = gradient
        self.policy_optimizer.step()

    def objective(self, losses: Tensor, decisions: list[Decision]) -> Tensor:
        """Mean normalised loss (1 = the constant prediction) plus the price of the cost."""
        cost = expected_multiply_adds(self.layout, decisions, input_width=self.input_width)
        return (losses * self.scale).mean() + self.config.search.cost_weight * cost / self.full_cost

    def temperature(self, step: int) -> float:
        """Geometric from the first to the last temperature over the steps after warm-up."""
        first, last = self.config.search.temperature
        share = (step - self.warm_up) / max(1, self.total_steps - self.warm_up)
        return float(first * (last / first) ** min(max(share, 0.0), 1.0))

    def record(self, step: int) -> dict[str, object]:
        """Where the search stands: the most probable route's cost and validation metrics."""
        with torch.no_grad():
            decisions = self.policies(None)
            cost = expected_multiply_adds(self.layout, decisions, input_width=self.input_width)
            entropy = float(self.policies.route.entropy())
        validation, tasks = self.material.validation, self.material.tasks
        scores = predict(self.model, validation, decisions=decisions)
        metrics = evaluate(scores, np.asarray(validation.labels), tasks)
        return {
            "epoch": (step + 1) / self.steps_an_epoch,
            "temperature": self.temperature(step),
            "entropy": entropy,
            "multiply_adds": float(cost),
            "validation": {t.name: metrics[t.name][PRIMARY[t.kind].name] for t in tasks},
        }

    @torch.no_grad()
    def choose(self) -> tuple[Routes, list[tuple[float, float]]]:
        """The candidate with the lowest objective on the validation rows."""
        drawn = [self.policies(None)]
        drawn += [self.policies(1.0) for _ in range(self.config.search.candidates - 1)]
        self.model.eval()
        values = []
        for decisions in drawn:
            cost = expected_multiply_adds(self.layout, decisions, input_width=self.input_width)
            losses = self._mean_losses(self.material.validation, decisions)
            values.append((float(self.objective(losses, decisions)), float(cost)))
        return Routes.of(self.layout, drawn[int(np.argmin([v for v, _ in values]))]), values

    def _losses(self, batch: Batch, decisions: list[Decision]) -> Tensor:
        logits = self.model(batch.ids, batch.numeric, decisions)
        return self.model.heads.losses(logits, batch.labels, batch.weight)

    def _mean_losses(self, split: Split, decisions: list[Decision]) -> Tensor:
        parts = [
            self._losses(batch, decisions) for batch in batches(split, batch_size=8192, seed=None)
        ]
        return torch.stack(parts).mean(0)

    def _batches(self, train: Split, rows: np.ndarray, number: int) -> Iterator[Batch]:
        return batches(
            train,
            batch_size=self.config.training.batch_size,
            seed=self.seed * 1009 + 500 + number,
            rows=rows,
        )
