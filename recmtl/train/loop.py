"""Train one network: epochs of sparse steps, early stop, the true best weights restored."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from recmtl.data.feed import Batch, Rows, batches
from recmtl.memory import keep_freed_memory
from recmtl.model import Network
from recmtl.train.checkpoint import Checkpoint
from recmtl.train.config import Training
from recmtl.train.fitted import Check, Fitted
from recmtl.train.optimizer import Optimizer
from recmtl.train.probe import probe
from recmtl.train.problem import Problem
from recmtl.train.score import predict, validation_score

__all__ = ["Check", "Fitted", "Watch", "predict", "train", "validation_score"]

Watch = Callable[[str, int, int, Check | None], None]
"""Told of progress: (what, rows done, rows in all, the newest check if there is a new one)."""


def silent(what: str, done: int, total: int, check: Check | None) -> None:
    """Watch nothing."""


def train(
    model: Network,
    material: Problem,
    settings: Training,
    *,
    seed: int,
    name: str = "train",
    watch: Watch = silent,
    checkpoint: Path | None = None,
) -> Fitted:
    """Train a model in place on the train rows; it ends with the weights of its best check.

    A check is a pass over the validation rows; the best has the highest `validation_score`.
    With a checkpoint path, the state is written there at the end of each epoch, atomically, and
    a later call with the same arguments goes on from it to the same bits.
    """
    keep_freed_memory()
    steps = -(-len(material.train) // settings.batch_size)
    optimizer = Optimizer(model, settings, total_steps=steps * settings.epochs)
    fitted, saved = Fitted(), Checkpoint(model, optimizer, path=checkpoint)
    torch.manual_seed(seed)
    start = saved.load(fitted)
    began = time.perf_counter() - fitted.seconds
    total = len(material.train) * settings.epochs
    for epoch in range(start, settings.epochs):
        feed = _feed(material.train, settings, seed, epoch)
        for check in _epoch(model, material, optimizer, feed, fitted):
            if check is not None:
                saved.keep_if_best(fitted)
            watch(name, fitted.rows, total, check)
            if fitted.stale >= settings.patience:
                break
        fitted.seconds = time.perf_counter() - began
        if fitted.stale >= settings.patience:
            break
        saved.save(fitted, epoch + 1)
    saved.restore_best()
    return fitted


def _epoch(
    model: Network, material: Problem, optimizer: Optimizer, feed: Iterator[Batch], fitted: Fitted
) -> Iterator[Check | None]:
    """One pass of steps; after each the check that was made, or None."""
    settings, rows = optimizer.settings, len(material.train)
    at = _check_steps(-(-rows // settings.batch_size), settings.checks)
    # A running sum: small tensors kept between large ones would leave holes in the memory.
    total: torch.Tensor | float = 0.0
    steps = 0
    model.train()
    for step, batch in enumerate(feed):
        held = model.grid.hold_open(optimizer.progress < settings.gate_warm_up)
        total = total + take_step(model, optimizer, batch).double()
        steps += 1
        fitted.rows += len(batch)
        if step not in at:
            yield None
            continue
        check = _check(model, material, fitted.rows / rows, float(total) / steps)
        before = fitted.checks[-1].health if fitted.checks else None
        health = probe(model, material.validation, rows=settings.health_rows, before=before)
        fitted.checks.append(replace(check, health=health, held=held))
        total, steps = 0.0, 0
        yield fitted.checks[-1]


def _feed(split: Rows, settings: Training, seed: int, epoch: int) -> Iterator[Batch]:
    return batches(split, batch_size=settings.batch_size, seed=seed * 1009 + epoch)


def take_step(model: Network, optimizer: Optimizer, batch: Batch) -> torch.Tensor:
    """One step on a batch, of a model in training mode; its loss before the step."""
    losses = model.heads.losses(model(*batch.inputs), batch.labels, batch.weight)
    loss = (losses * model.heads.loss_scale(optimizer.settings.balance)).sum()
    off_rate = model.grid.rate_penalty()
    if off_rate is not None:
        loss = loss + optimizer.settings.rate_weight * off_rate
    optimizer.step(loss)
    return loss.detach()


def _check(model: Network, material: Problem, epoch: float, loss: float) -> Check:
    metrics = material.evaluate(model, material.validation)
    return Check(epoch, material.score(metrics), loss, metrics)


def _check_steps(steps: int, checks: int) -> set[int]:
    return {max(0, round(steps * (number + 1) / checks) - 1) for number in range(checks)}
