"""Train one network: epochs of sparse steps, early stopping, and the best weights restored.

The loop knows a `Problem` and a `Network` and nothing about tables or images. Checkpoints, the
optimizer and the measurement of experts live in modules of their own.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from math import ceil
from pathlib import Path

import torch

from recmtl.data.batches import Batch, Rows, whole_rows
from recmtl.memory import keep_freed_memory
from recmtl.model import Network
from recmtl.model.rank_steps import Measure, measure
from recmtl.ranks import computing, ranks
from recmtl.train.checkpoint import Checkpoint, save_due
from recmtl.train.config import Training
from recmtl.train.expert_monitor import monitor_experts
from recmtl.train.optimizer import Optimizer
from recmtl.train.problem import Problem
from recmtl.train.recipe.weight_record import stretch_length
from recmtl.train.recipe.weighting import Measure as Measured
from recmtl.train.training_state import TrainingState, ValidationCheck

__all__ = ["OnProgress", "silent", "take_step", "train"]

OnProgress = Callable[[str, int, int, ValidationCheck | None], None]
"""Called with progress: (name of the work, rows done, rows in all, the newest check or None)."""


def silent(name: str, done: int, total: int, check: ValidationCheck | None) -> None:
    """An `OnProgress` that does nothing."""


def train(
    model: Network,
    problem: Problem,
    settings: Training,
    *,
    seed: int,
    name: str = "train",
    on_progress: OnProgress = silent,
    checkpoint: Path | None = None,
    until: float = 1.0,
) -> TrainingState:
    """Train a model in place on the train rows; it ends with the weights of its best check.

    A check is a pass over the validation rows; the best one has the highest `Problem.score`.
    Training stops after `settings.patience` checks in a row without a better one.

    A training can be done in parts: with `until` below 1 it pauses there, its state in
    `checkpoint`. The model has the weights of the best check so far, or the newest before a check.

    Args:
        model: the network; its weights change.
        problem: the rows and the metrics.
        settings: how to train.
        seed: of the order of the rows and of dropout.
        name: of the work, passed on to `on_progress`.
        on_progress: called after every step.
        checkpoint: file for the state of the training, written atomically at the end of each epoch
            (of a table with few rows, of several) and after every `settings.save_every` steps. If
            it exists, training resumes from it, and with equal arguments ends with the same bits as
            an uninterrupted training.
        until: share of the steps of all epochs after which to pause.

    Raises:
        DataError: the checkpoint is damaged or belongs to another network, or the disk is full.
    """
    keep_freed_memory()
    rows = len(problem.train)
    steps, passes = settings.steps_a_pass(rows), settings.passes(rows)
    plan = _Plan.of(steps, passes, checks=settings.checks, apart=settings.least_apart(rows))
    optimizer = Optimizer(model, settings, total_steps=steps * passes)
    state, saved = TrainingState(), Checkpoint(model, optimizer, path=checkpoint)
    torch.manual_seed(seed)
    saved.load(state)
    began, cpu = time.perf_counter() - state.seconds, time.process_time() - state.cpu_seconds
    pause = ceil(until * steps * passes)
    epochs = (
        _epoch(saved, problem, state, plan.checked, seed=seed * 1009 + epoch)
        for epoch in range(optimizer.steps // steps, passes)
    )
    for check in chain.from_iterable(epochs) if optimizer.steps < pause else ():
        on_progress(name, state.rows, rows * passes, check)
        state.seconds, state.cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
        if state.stale >= settings.patience:
            break
        paused = optimizer.steps >= pause
        if paused or save_due(optimizer.steps, epoch=plan.saved_every, settings=settings):
            saved.save(state)
        if paused:
            break
    saved.restore_best()
    state.weighting = optimizer.weighting.facts()
    return state


@dataclass(frozen=True)
class _Plan:
    """When a training is checked and saved.

    Attributes:
        checked: numbers of the steps, over all passes, after which a check is made.
        saved_every: number of steps after which the state is saved, as it is at the end of a pass.
    """

    checked: frozenset[int]
    saved_every: int

    @classmethod
    def of(cls, steps: int, passes: int, *, checks: int, apart: int) -> "_Plan":
        """The plan of passes of so many steps: checks are evenly spread in each, the end included.

        Where they would be less than `apart` steps from one another, passes do not count: checks
        and saves are `apart` steps from one another, and the last check is at the end.
        """
        total = steps * passes
        if apart > 1 and steps < apart * checks:
            return cls(frozenset([*range(apart - 1, total, apart), total - 1]), max(steps, apart))
        in_a_pass = {max(0, round(steps * (number + 1) / checks) - 1) for number in range(checks)}
        return cls(frozenset(p * steps + step for p in range(passes) for step in in_a_pass), steps)


def _epoch(
    saved: Checkpoint,
    problem: Problem,
    state: TrainingState,
    checked: Collection[int],
    *,
    seed: int,
) -> Iterator[ValidationCheck | None]:
    """Take the remaining steps of an epoch; yield after each step its check, or None."""
    model, optimizer, rows = saved.model, saved.optimizer, len(problem.train)
    settings = optimizer.settings
    start = optimizer.steps % settings.steps_a_pass(rows)
    model.train()
    for group in _groups(problem.train, settings, seed, start):
        held = model.grid.hold_open(optimizer.progress < settings.gate_warm_up)
        # A running sum: small tensors kept between large ones would leave holes in the memory.
        state.loss = state.loss + take_step(model, optimizer, *group).double()
        if settings.weighting.method != "fixed":
            state.note_weights(optimizer.weighting.weights, stretch_length(optimizer.total_steps))
        state.steps += 1
        state.rows += sum(map(whole_rows, group))
        if optimizer.steps - 1 not in checked:
            yield None
            continue
        with optimizer.averaged():
            check = _check(model, problem, state, settings)
            state.checks.append(replace(check, held=held))
            saved.keep_if_best(state)
        state.loss, state.steps = 0.0, 0
        yield state.checks[-1]


def take_step(model: Network, optimizer: Optimizer, *group: Batch) -> torch.Tensor:
    """Take one step on one or more batches with a model in training mode.

    Each batch counts by its share of the group's weight. The step therefore equals that of one
    large batch whenever labels are defined on all rows, and no layer normalises over the batch.
    Otherwise each batch contributes the mean over its own defined rows.

    Returns:
        The loss of the group before the step, with fixed weights of the tasks: a scalar; of several
        ranks the mean is that loss.
    """
    measures = measure(model.heads, group)
    whole = sum(of_batch.weight for of_batch in measures)
    weighting, settings = optimizer.weighting, optimizer.settings
    parts = [(b, of, of.weight / whole) for b, of in zip(group, measures, strict=True)]
    losses, penalties = list[torch.Tensor](), list[torch.Tensor]()
    again = _measurement(model, settings, parts) if weighting.measures else None
    if again is not None and len(group) > 1:
        weighting.look(again)
    for batch, of_batch, share in parts:
        scaled = _losses(model, batch, of_batch, settings)
        penalty = _penalty(model, settings)
        weighting.differentiate(scaled, float(share))
        loss = weighting.loss(scaled)
        optimizer.add((loss if penalty is None else loss + penalty) * share)
        losses.append(scaled.detach() * share)
        penalties += [] if penalty is None else [penalty.detach() * share]
    weighting.combine()
    optimizer.step()
    by_task = torch.stack(losses).sum(0)
    weighting.observe(by_task, again)
    return torch.stack([by_task.sum(), *penalties]).sum() if penalties else by_task.sum()


def _losses(model: Network, batch: Batch, of_batch: Measure, settings: Training) -> torch.Tensor:
    """The scaled loss of each task `[T]`, a mean over its rows of the whole batch."""
    with computing(batch.part):
        losses = model.heads.losses(model(*batch.inputs), batch.labels, batch.weight)
    return of_batch.of_whole(losses) * model.heads.loss_scale(settings.balance)


def _penalty(model: Network, settings: Training) -> torch.Tensor | None:
    """What gates cost that miss their rates, or do not decide; None without such gates."""
    off_rate, undecided = model.grid.rate_penalty(), model.grid.selection_penalty()
    if undecided is None:
        return None if off_rate is None else settings.rate_weight * off_rate
    entropy = settings.selection_weight * undecided
    return entropy if off_rate is None else entropy + settings.rate_weight * off_rate


def _measurement(
    model: Network, settings: Training, parts: Sequence[tuple[Batch, Measure, float]]
) -> Measured:
    """Measures the scaled losses of a step's batches from the random state of now on."""
    start = torch.get_rng_state()

    def measure() -> torch.Tensor:
        with torch.no_grad(), torch.random.fork_rng():
            torch.set_rng_state(start)
            losses = [_losses(model, b, of_batch, settings) * share for b, of_batch, share in parts]
            return torch.stack(losses).sum(0)

    return measure


def _check(
    model: Network, problem: Problem, state: TrainingState, settings: Training
) -> ValidationCheck:
    """Metrics on validation rows, and the health of the experts."""
    metrics, before = problem.evaluate(model), None
    if state.checks:
        before = state.checks[-1].health
    monitor = partial(monitor_experts, model, problem.validation, before=before)
    health = ranks().first(partial(monitor, rows=settings.health_rows))
    epoch = state.rows / len(problem.train)
    loss = float(ranks().mean(torch.as_tensor(state.loss))) / state.steps
    return ValidationCheck(epoch, problem.score(metrics), loss, metrics, health)


def _groups(rows: Rows, settings: Training, seed: int, start: int) -> Iterator[list[Batch]]:
    """The batches of each step of an epoch, from step `start` on."""
    size, count = settings.batch_size, settings.accumulate
    begin, share = start * count, ranks().share
    batches = rows.batches(batch_size=size, seed=seed, start=begin, share=share)
    while group := list(islice(batches, count)):
        yield group
