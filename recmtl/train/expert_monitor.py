"""Health of a network's experts during training: measured at each check, stored, and traced.

`recmtl.grid.expert_health` defines the measures and their limits; this module chooses the rows on
which they are taken and turns a training's history into JSON and into curves.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from recmtl.data.batches import Rows
from recmtl.grid.expert_health import (
    COLLAPSED,
    DEAD,
    IDENTICAL,
    STARVED,
    ExpertHealth,
    expert_warnings,
    measure_health,
)
from recmtl.grid.expert_usage import expert_names
from recmtl.grid.layout import Layout
from recmtl.model import Network
from recmtl.train.training_state import TrainingState

__all__ = ["health_curves", "health_record", "monitor_experts"]

LIMITS = {"collapsed": COLLAPSED, "dead": DEAD, "identical": IDENTICAL, "starved": STARVED}


@torch.no_grad()
def monitor_experts(
    model: Network, split: Rows, *, rows: int, before: ExpertHealth | None
) -> ExpertHealth | None:
    """Measure the experts on `rows` rows spread evenly over a split.

    Neither the model's mode nor the state of the random generators changes.

    Args:
        model: the network.
        split: the rows to draw from.
        rows: how many of them; fewer than two measure nothing.
        before: the previous measurement, from which drift is counted.

    Returns:
        The health, or None if fewer than two rows are available.
    """
    count = min(rows, len(split))
    if count < 2:
        return None
    spread = np.linspace(0, len(split) - 1, count).round().astype(np.int64)
    batch = next(split.batches(batch_size=count, seed=None, rows=spread))
    training = model.training
    model.eval()
    lanes = model.encoder(*batch.inputs)
    health = measure_health(model.grid, lanes, before)
    model.train(training)
    return health


def health_record(state: TrainingState, layout: Layout, tasks: Sequence[str]) -> dict[str, Any]:
    """The experts' history of a training as JSON data; empty if they were not measured.

    `tasks` and `experts` name the axes of each entry of `checks` (an epoch and an `ExpertHealth`).
    `warnings` say which `limits` the best check exceeds: the model has the weights of that check.
    """
    measured = [(check.epoch, check.health) for check in state.checks if check.health is not None]
    best = state.checks[state.best].health if state.checks else None
    if best is None:
        return {}
    return {
        "tasks": list(tasks),
        "experts": expert_names(layout),
        "checks": [{"epoch": epoch, **asdict(health)} for epoch, health in measured],
        "warnings": expert_warnings(best, layout, tasks),
        "limits": LIMITS,
    }


def health_curves(record: Mapping[str, Any]) -> Iterator[tuple[float, dict[str, float]]]:
    """Epoch and named numbers of each check of a `health_record`, for a tracker.

    The names are `use.<task>.<expert>`, `entropy.<task>`, `drift.<task>`, `dead.<expert>` and
    `similarity.layer_<n>`, the similarity of the two most similar experts of the layer.
    """
    if not record:
        return
    tasks, experts = record["tasks"], record["experts"]
    layers = list(dict.fromkeys(name.partition(".")[0] for name in experts))
    for check in record["checks"]:
        numbers = {
            f"dead.{expert}": dead for expert, dead in zip(experts, check["dead"], strict=True)
        }
        for task, shares in zip(tasks, check["use"], strict=True):
            numbers |= {f"use.{task}.{e}": share for e, share in zip(experts, shares, strict=True)}
        for name in ("entropy", "drift"):
            values = zip(tasks, check[name] or (), strict=False)
            numbers |= {f"{name}.{task}": value for task, value in values if value is not None}
        for layer, matrix in zip(layers, check["similarity"], strict=True):
            others = [value for i, row in enumerate(matrix) for value in row[:i]]
            numbers |= {f"similarity.layer_{layer}": max(others)} if others else {}
        yield check["epoch"], numbers
