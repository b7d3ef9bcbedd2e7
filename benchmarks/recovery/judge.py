"""A trial, and when a plant counts as found; the thresholds were fixed before the final run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from recmtl.data.encoded_log import LogSplit
from recmtl.grid import Layout
from recmtl.model import TabularModel
from recmtl.train.config import Config
from recmtl.train.loop import train
from recmtl.train.tabular_problem import TabularProblem

__all__ = ["LEAST_FOUND", "MARGIN", "Fit", "Trial", "Verdict", "fit", "normalised_loss"]

LEAST_FOUND = 0.9
"""Share of the seeds in which the plant must be found."""
MARGIN = 0.02
"""The most by which the found network's test loss may exceed the oracle's, where a constant's loss
is 1: the mean difference over the seeds plus one standard error."""


@dataclass(frozen=True)
class Fit:
    """A trained network: normalised losses (1 is that of a constant), multiply-adds an example."""

    validation: float
    test: float
    multiply_adds: float


@dataclass(frozen=True)
class Trial:
    """One seed of one plant.

    Attributes:
        found: whether the search found what was planted.
        what: details of the answer, for the page.
        fits: networks by name: `found`, `oracle`, `wrong`.
        seconds: of the search alone.
    """

    found: bool
    what: dict[str, Any]
    fits: dict[str, Fit]
    seconds: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """All seeds of one plant, judged.

    Attributes:
        found: seeds in which the plant was found.
        seeds: number of seeds.
        excess: mean over seeds of the found network's test loss minus the oracle's.
        error: standard error of that mean.
        worse: mean over seeds of the wrong layout's validation loss minus the oracle's.
        worse_error: its standard error.
        worse_seeds: seeds in which the wrong layout is worse than the oracle.
        failures: reasons why the plant does not count as recovered; empty if it does.
    """

    found: int
    seeds: int
    excess: float
    error: float
    worse: float
    worse_error: float
    worse_seeds: int
    failures: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, trials: Sequence[Trial]) -> "Verdict":
        """Judge the trials of a plant, at least two."""
        excess = [trial.fits["found"].test - trial.fits["oracle"].test for trial in trials]
        worse = [
            trial.fits["wrong"].validation - trial.fits["oracle"].validation for trial in trials
        ]
        times_found, seeds = sum(trial.found for trial in trials), len(trials)
        mean, error = _mean_and_error(excess)
        gap, gap_error = _mean_and_error(worse)
        failures = []
        if times_found < math.ceil(LEAST_FOUND * seeds):
            failures.append("not found often enough")
        if mean + error > MARGIN:
            failures.append("worse than the oracle")
        if gap - gap_error <= 0.0:
            failures.append("not identifiable: the wrong layout is no worse")
        worse_seeds = sum(value > 0.0 for value in worse)
        return cls(times_found, seeds, mean, error, gap, gap_error, worse_seeds, failures)


def fit(
    layout: Layout,
    problem: TabularProblem,
    config: Config,
    *,
    seed: int,
    kind: type[TabularModel] = TabularModel,
) -> tuple[TabularModel, Fit]:
    """Train a network of a layout from scratch; it keeps the weights of its best check."""
    torch.manual_seed(seed)
    model = kind(problem.encoding, problem.heads, layout=layout, sizes=config.sizes)
    train(model, problem, config.training, seed=seed)
    validation, test = (normalised_loss(model, s) for s in (problem.validation, problem.test))
    return model, Fit(validation, test, float(model.cost().multiply_adds))


@torch.no_grad()
def normalised_loss(model: TabularModel, split: LogSplit) -> float:
    """Mean over tasks of the loss on a split, in units of the best constant's loss."""
    model.eval()
    batch = next(split.batches(batch_size=len(split), seed=None))
    losses = model.heads.losses(model(*batch.inputs), batch.labels, batch.weight)
    return float((losses * model.heads.loss_scale(1.0)).mean())


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    column = np.asarray(values)
    error = column.std(ddof=1) / math.sqrt(len(column)) if len(column) > 1 else 0.0
    return float(column.mean()), float(error)
