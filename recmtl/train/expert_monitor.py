"""The health of a network's experts by epoch: measured at every check, kept, told as curves."""

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
    """The health of a model's experts on `rows` rows spread over a split; None without rows.

    The model's mode and the state of the random numbers stay as they were.
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


def health_record(fitted: TrainingState, layout: Layout, tasks: Sequence[str]) -> dict[str, Any]:
    """What is kept of a training's experts, ready for JSON; empty if they were not watched.

    `tasks` and `experts` name the axes of each of `checks` (an epoch and an `ExpertHealth`);
    `warnings` are those of the best check, whose weights the model has, beyond the `limits`.
    """
    watched = [(check.epoch, check.health) for check in fitted.checks if check.health is not None]
    best = fitted.checks[fitted.best].health if fitted.checks else None
    if best is None:
        return {}
    return {
        "tasks": list(tasks),
        "experts": expert_names(layout),
        "checks": [{"epoch": epoch, **asdict(health)} for epoch, health in watched],
        "warnings": expert_warnings(best, layout, tasks),
        "limits": LIMITS,
    }


def health_curves(record: Mapping[str, Any]) -> Iterator[tuple[float, dict[str, float]]]:
    """Epoch and named numbers of each check of a `health_record`, for a tracker.

    `use.<task>.<expert>`, `entropy.<task>`, `drift.<task>`, `dead.<expert>`, and
    `similarity.layer_<n>`: that of the two experts of the layer that are most alike.
    """
    if not record:
        return
    tasks, experts = record["tasks"], record["experts"]
    layers = list(dict.fromkeys(name.partition(".")[0] for name in experts))
    for check in record["checks"]:
        found = {
            f"dead.{expert}": dead for expert, dead in zip(experts, check["dead"], strict=True)
        }
        for task, shares in zip(tasks, check["use"], strict=True):
            found |= {f"use.{task}.{e}": share for e, share in zip(experts, shares, strict=True)}
        for name in ("entropy", "drift"):
            values = zip(tasks, check[name] or (), strict=False)
            found |= {f"{name}.{task}": value for task, value in values if value is not None}
        for layer, matrix in zip(layers, check["similarity"], strict=True):
            others = [value for i, row in enumerate(matrix) for value in row[:i]]
            found |= {f"similarity.layer_{layer}": max(others)} if others else {}
        yield check["epoch"], found
