"""Weightings written out a second time: rows are gradients of tasks, results what a step follows.

Each function maps the rows `[T, P]` of the shared numbers to the direction `[P]` of the step, or
the losses to the objective that is followed.
"""

import math

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor


def pcgrad(rows: Tensor) -> Tensor:
    """Yu et al. 2020, algorithm 1: every gradient without its parts against others, added up."""
    total = torch.zeros_like(rows[0])
    for number, row in enumerate(rows):
        projected = row.clone()
        for other in torch.randperm(len(rows)).tolist():
            product = projected @ rows[other]
            if other != number and product < 0:
                projected = projected - product / (rows[other] @ rows[other]) * rows[other]
        total = total + projected
    return total


def on_simplex(objective: object, tasks: int) -> np.ndarray:
    """The shares that minimise a function, by sequential quadratic programming."""
    start = np.full(tasks, 1.0 / tasks)
    constraint = {"type": "eq", "fun": lambda shares: shares.sum() - 1.0}
    found = minimize(
        objective,
        start,
        bounds=[(0.0, 1.0)] * tasks,
        constraints=constraint,
        tol=1e-14,
        options={"maxiter": 500},
    )
    return found.x


def mgda(rows: Tensor) -> Tensor:
    """Desideri 2012: T times the shortest vector between the gradients."""
    unit = rows / rows.norm(dim=1).mean()
    shares = on_simplex(lambda s: float((torch.from_numpy(s) @ unit).square().sum()), len(rows))
    return len(rows) * torch.from_numpy(shares) @ rows


def imtl_g(rows: Tensor) -> Tensor:
    """Liu et al. 2021, section 3.1: equal projections on all directions, closed form with g1."""
    units = rows / rows.norm(dim=1, keepdim=True)
    differences, turns = rows[0] - rows[1:], units[0] - units[1:]
    others = rows[0] @ turns.T @ torch.linalg.inv(differences @ turns.T)
    shares = torch.cat([1.0 - others.sum()[None], others])
    return len(rows) * shares @ rows


def aligned_mtl(rows: Tensor) -> Tensor:
    """Senushkin et al. 2023, algorithm 1: all singular values become the smallest one."""
    u, s, v = torch.linalg.svd(rows, full_matrices=False)
    return (u * s.min() @ v).sum(0)


def upgrad(rows: Tensor) -> Tensor:
    """Quinton and Rey 2024: each gradient's nearest vector that hurts no task, added up."""
    total = torch.zeros_like(rows[0])
    gramian = (rows @ rows.T).numpy()
    for number in range(len(rows)):
        best, length = None, math.inf
        for active in range(2 ** len(rows)):  # every set of tasks of which more is taken
            free = [t for t in range(len(rows)) if active >> t & 1]
            weights = np.eye(len(rows))[number]
            if free:
                inner = gramian[np.ix_(free, free)]
                weights[free] -= np.linalg.solve(inner, gramian[free] @ weights)
            products = gramian @ weights
            is_feasible = (products > -1e-9 * gramian.max()).all()
            moved = np.eye(len(rows))[number] - weights
            if is_feasible and moved @ gramian @ moved < length:
                best, length = weights, moved @ gramian @ moved
        total = total + torch.from_numpy(best) @ rows
    return total


def cagrad(rows: Tensor, c: float = 0.5) -> Tensor:
    """Liu et al. 2021, algorithm 1, T times: the mean gradient, and a radius towards the worst."""
    unit = rows / rows.norm(dim=1).mean()
    mean = unit.mean(0)
    radius = c * float(mean.norm())

    def objective(shares: np.ndarray) -> float:
        mixed = torch.from_numpy(shares) @ unit
        return float(mixed @ mean + radius * mixed.norm())

    mixed = torch.from_numpy(on_simplex(objective, len(rows))) @ rows
    scale = rows.norm(dim=1).mean()
    return len(rows) * (rows.mean(0) + radius * scale / mixed.norm() * mixed)


def nash_mtl(rows: Tensor) -> Tensor:
    """Navon et al. 2022: `G w = 1 / w` by fixed points of one weight after another, sum T."""
    gramian = (rows @ rows.T).numpy()
    weights = 1.0 / np.sqrt(gramian.diagonal())
    for _ in range(2000):
        for task in range(len(rows)):  # the positive root of G_tt w^2 + rest w = 1
            rest = gramian[task] @ weights - gramian[task, task] * weights[task]
            root = math.sqrt(rest**2 + 4 * gramian[task, task])
            weights[task] = (root - rest) / (2 * gramian[task, task])
    return len(rows) * torch.from_numpy(weights / weights.sum()) @ rows


COMBINED = {
    function.__name__: function
    for function in (pcgrad, mgda, imtl_g, aligned_mtl, upgrad, cagrad, nash_mtl)
}


class PlainUncertainty:
    """Kendall et al. 2018: network and log variances follow one objective."""

    def __init__(self, tasks: int) -> None:
        self.s = torch.zeros(tasks, requires_grad=True)
        self.optimizer = torch.optim.Adam([self.s], lr=0.025)

    def step(self, losses: Tensor) -> Tensor:
        objective = (torch.exp(-self.s.double()) * losses + self.s.double() / 2).sum()
        self.s.grad = torch.autograd.grad(objective, self.s, retain_graph=True)[0]
        used = torch.exp(-self.s.detach().double())
        self.optimizer.step()
        return used


class PlainAverage:
    """DWA, Liu et al. 2019, with the history of all losses kept."""

    def __init__(self, tasks: int, period: int) -> None:
        self.history: list[Tensor] = []
        self.tasks, self.period = tasks, period

    def step(self, losses: Tensor) -> Tensor:
        whole = len(self.history) // self.period
        self.history.append(losses.detach().clone())
        if whole < 2:
            return torch.ones(self.tasks).double()
        means = [
            torch.stack(self.history[p * self.period : (p + 1) * self.period]).mean(0)
            for p in (whole - 1, whole - 2)
        ]
        return self.tasks * torch.softmax(means[0] / means[1] / 2.0, 0)


class PlainGradNorm:
    """Chen et al. 2018, algorithm 1, the gradient of w by automatic differentiation."""

    def __init__(self, tasks: int, first: Tensor) -> None:
        self.w = torch.ones(tasks, requires_grad=True)
        self.first, self.optimizer = first, torch.optim.Adam([self.w], lr=0.025)

    def step(self, losses: Tensor, rows: Tensor) -> Tensor:
        used = self.w.detach().double().clone()
        norms = self.w.double() * rows.norm(dim=1)
        rates = losses.detach() / self.first
        target = (norms.mean() * (rates / rates.mean()) ** 1.5).detach()
        self.optimizer.zero_grad()
        (norms - target).abs().sum().backward()
        self.optimizer.step()
        with torch.no_grad():
            self.w.mul_(len(self.w) / self.w.sum())
        return used


class PlainFamo:
    """FAMO, algorithm 1, its gradients by automatic differentiation."""

    def __init__(self, tasks: int) -> None:
        self.xi = torch.zeros(tasks, requires_grad=True)
        self.optimizer = torch.optim.Adam([self.xi], lr=0.025, weight_decay=1e-3)

    def objective(self, losses: Tensor) -> Tensor:
        z = torch.softmax(self.xi.detach().double(), 0)
        c = 1.0 / (z / losses.detach()).sum()
        return len(z) * c * (z * losses.log()).sum()

    def learn(self, before: Tensor, after: Tensor) -> None:
        self.optimizer.zero_grad()
        z = torch.softmax(self.xi, 0)
        z.backward((before.log() - after.log()).detach().float())
        self.optimizer.step()
