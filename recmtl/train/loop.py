"""Train one network: epochs of sparse steps, early stop, the true best weights restored."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import torch

from recmtl.data.batches import Batch, Rows
from recmtl.memory import keep_freed_memory
from recmtl.model import Network
from recmtl.train.checkpoint import Checkpoint, save_due
from recmtl.train.config import Training
from recmtl.train.expert_monitor import monitor_experts
from recmtl.train.optimizer import Optimizer
from recmtl.train.problem import Problem
from recmtl.train.training_state import TrainingState, ValidationCheck

__all__ = ["OnProgress", "silent", "take_step", "train"]

OnProgress = Callable[[str, int, int, ValidationCheck | None], None]
"""Told of progress: (what, rows done, rows in all, the newest check if there is a new one)."""


def silent(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
    """Watch nothing."""


def train(
    model: Network,
    problem: Problem,
    settings: Training,
    *,
    seed: int,
    name: str = "train",
    on_progress: OnProgress = silent,
    checkpoint: Path | None = None,
) -> TrainingState:
    """Train a model in place on the train rows; it ends with the weights of its best check.

    A check is a pass over the validation rows; the best has the highest `validation_score`.
    With a checkpoint path, the state is written there at the end of each epoch, and after every
    `settings.save_every` steps, atomically; a later call with the same arguments goes on from it to
    the same bits.
    """
    keep_freed_memory()
    steps = _steps(problem, settings)
    optimizer = Optimizer(model, settings, total_steps=steps * settings.epochs)
    fitted, saved = TrainingState(), Checkpoint(model, optimizer, path=checkpoint)
    torch.manual_seed(seed)
    saved.load(fitted)
    began = time.perf_counter() - fitted.seconds
    total = len(problem.train) * settings.epochs
    epochs = range(optimizer.steps // steps, settings.epochs)
    passes = (_epoch(model, problem, optimizer, fitted, seed * 1009 + epoch) for epoch in epochs)
    for check in chain.from_iterable(passes):
        if check is not None:
            saved.keep_if_best(fitted)
        on_progress(name, fitted.rows, total, check)
        fitted.seconds = time.perf_counter() - began
        if fitted.stale >= settings.patience:
            break
        if save_due(optimizer.steps, epoch=steps, settings=settings):
            saved.save(fitted)
    saved.restore_best()
    return fitted


def _epoch(
    model: Network, problem: Problem, optimizer: Optimizer, fitted: TrainingState, seed: int
) -> Iterator[ValidationCheck | None]:
    """The steps that are left of a pass; after each the check that was made, or None."""
    settings, rows = optimizer.settings, len(problem.train)
    steps = _steps(problem, settings)
    start, at = optimizer.steps % steps, _check_steps(steps, settings.checks)
    model.train()
    for step, group in enumerate(_groups(problem.train, settings, seed, start), start):
        held = model.grid.hold_open(optimizer.progress < settings.gate_warm_up)
        # A running sum: small tensors kept between large ones would leave holes in the memory.
        fitted.loss = fitted.loss + take_step(model, optimizer, *group).double()
        fitted.steps += 1
        fitted.rows += sum(map(len, group))
        if step not in at:
            yield None
            continue
        check = _check(model, problem, fitted.rows / rows, float(fitted.loss) / fitted.steps)
        before = fitted.checks[-1].health if fitted.checks else None
        health = monitor_experts(
            model, problem.validation, rows=settings.health_rows, before=before
        )
        fitted.checks.append(replace(check, health=health, held=held))
        fitted.loss, fitted.steps = 0.0, 0
        yield fitted.checks[-1]


def _steps(problem: Problem, settings: Training) -> int:
    """Of one pass over the train rows."""
    return max(1, -(-len(problem.train) // (settings.batch_size * settings.accumulate)))


def _groups(split: Rows, settings: Training, seed: int, start: int) -> Iterator[list[Batch]]:
    """The batches of each step of a pass, from a step on."""
    size, count = settings.batch_size, settings.accumulate
    feed = split.batches(batch_size=size, seed=seed, start=start * count)
    while group := list(islice(feed, count)):
        yield group


def take_step(model: Network, optimizer: Optimizer, *group: Batch) -> torch.Tensor:
    """One step on one or more batches, of a model in training mode; their loss before the step.

    A batch counts by its share of the rows, so that the step is that of one batch of all of them
    wherever a task's loss is a plain mean over rows: its label is defined on all of them, their
    weights are equal, and nothing is normalised over a batch. Where not, every batch has the mean
    over its own defined rows.
    """
    rows, losses = sum(map(len, group)), []
    for batch in group:
        loss = _loss(model, batch, optimizer.settings) * (len(batch) / rows)
        optimizer.add(loss)
        losses.append(loss.detach())
    optimizer.step()
    return torch.stack(losses).sum()


def _loss(model: Network, batch: Batch, settings: Training) -> torch.Tensor:
    losses = model.heads.losses(model(*batch.inputs), batch.labels, batch.weight)
    loss = (losses * model.heads.loss_scale(settings.balance)).sum()
    off_rate = model.grid.rate_penalty()
    return loss if off_rate is None else loss + settings.rate_weight * off_rate


def _check(model: Network, problem: Problem, epoch: float, loss: float) -> ValidationCheck:
    metrics = problem.evaluate(model)
    return ValidationCheck(epoch, problem.score(metrics), loss, metrics)


def _check_steps(steps: int, checks: int) -> set[int]:
    return {max(0, round(steps * (number + 1) / checks) - 1) for number in range(checks)}
