"""One trained model of a study on disk: its scores of the test rows and what it cost.

Fit one model of a study: a network, one network a task, or a model of another kind.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from recmtl.atomic import new_folder, write_json
from recmtl.grid import Layout
from recmtl.model import Network, save_model
from recmtl.train.config import Config
from recmtl.train.expert_monitor import health_record
from recmtl.train.loop import OnProgress, train
from recmtl.train.problem import Problem
from recmtl.train.training_state import Metrics, TrainingState, ValidationCheck

__all__ = ["Fit", "ModelResult", "curve"]


@dataclass(frozen=True)
class ModelResult:
    """What a study keeps of one model and seed.

    Attributes:
        predictions: scored columns `[R]` of the test rows.
        cost: parameters, multiply_adds, train_s, score_rows_per_s; None where not counted.
        validation_score: of the restored weights; None for models that have none.
        validation: task -> metric -> value on the validation rows, of the restored weights.
        curves: for each network that was trained, epoch, score and loss of every check.
        health: of the experts at every check (`health_record`), if all tasks share a network.
        test: task -> metric -> value on the test rows, where no predictions are kept.
    """

    predictions: dict[str, np.ndarray]
    cost: dict[str, float | None]
    validation_score: float | None = None
    validation: Metrics = field(default_factory=dict)
    curves: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    health: Mapping[str, Any] = field(default_factory=dict)
    test: Metrics = field(default_factory=dict)

    def save(self, folder: Path, model: Network | None = None) -> None:
        """Write a folder atomically; with a model, the folder holds its weights too."""
        columns = {name: np.ascontiguousarray(v) for name, v in self.predictions.items()}
        facts = {name: value for name, value in asdict(self).items() if name != "predictions"}
        with new_folder(folder) as partial:
            save_file(columns, str(partial / "test.safetensors"))
            write_json(partial / "trained.json", facts, allow_nan=True)
            if model is not None:
                save_model(model, partial)

    @classmethod
    def load(cls, folder: Path) -> "ModelResult | None":
        """The model that was saved there, or None if there is none."""
        if not (folder / "trained.json").is_file():
            return None
        facts = json.loads((folder / "trained.json").read_text())
        return cls(load_file(str(folder / "test.safetensors")), **facts)


def curve(checks: Sequence[ValidationCheck]) -> list[dict[str, float]]:
    """What is kept of a training's checks."""
    return [{"epoch": c.epoch, "score": c.score, "loss": c.loss} for c in checks]


@dataclass(frozen=True)
class Fit:
    """How a model of a study is fitted with one seed; `on_progress` is told of progress.

    `checkpoint` maps the name of a network to the file that its training goes on from.
    """

    problem: Problem
    config: Config
    seed: int
    on_progress: OnProgress
    checkpoint: Callable[[str], Path]

    def network(self, name: str, layout: Layout) -> tuple[Network, ModelResult]:
        """One network for all tasks."""
        return self._network(name, layout, self.problem)

    def single_tasks(self, layout: Callable[[Problem], Layout]) -> ModelResult:
        """One network a task with its own embeddings, rows and early stop."""
        parts: dict[str, ModelResult] = {}
        for task in self.problem.tasks:
            alone = self.problem.only(task)
            parts[task.name] = self._network(f"single_task-{task.name}", layout(alone), alone)[1]
        speeds = [1.0 / float(part.cost["score_rows_per_s"] or 1.0) for part in parts.values()]
        cost: dict[str, float | None] = {
            name: sum(float(part.cost[name] or 0.0) for part in parts.values())
            for name in ("parameters", "multiply_adds", "train_s")
        }
        scores = [float(part.validation_score or 0.0) for part in parts.values()]
        predictions = {name: part.predictions for name, part in parts.items()}
        return ModelResult(
            self.problem.together(predictions),
            {**cost, "score_rows_per_s": 1.0 / sum(speeds)},
            float(np.mean(scores)),
            {name: part.validation[name] for name, part in parts.items()},
            {name: list(rows) for part in parts.values() for name, rows in part.curves.items()},
            test={name: found for part in parts.values() for name, found in part.test.items()},
        )

    def _network(self, name: str, layout: Layout, problem: Problem) -> tuple[Network, ModelResult]:
        torch.manual_seed(self.seed)
        model = problem.network(layout, self.config.sizes)
        fitted = train(
            model,
            problem,
            self.config.training,
            seed=self.seed,
            name=name,
            on_progress=self.on_progress,
            checkpoint=self.checkpoint(name),
        )
        if fitted.rows < len(problem.train) * self.config.training.epochs:
            self.on_progress(name, fitted.rows, fitted.rows, None)  # stopped early, and over
        return model, _scored(name, model, problem, fitted)


def _scored(name: str, model: Network, problem: Problem, fitted: TrainingState) -> ModelResult:
    began = time.perf_counter()
    predictions, test = problem.scored(model)
    seconds = time.perf_counter() - began
    cost, best = model.cost(), fitted.checks[fitted.best]
    facts: dict[str, float | None] = {
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "train_s": fitted.seconds,
        "score_rows_per_s": len(problem.test) / max(seconds, 1e-9),
    }
    curves = {name: curve(fitted.checks)}
    health = health_record(fitted, model.grid.layout, [task.name for task in problem.tasks])
    return ModelResult(predictions, facts, best.score, best.metrics, curves, health, test)
