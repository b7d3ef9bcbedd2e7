"""Fit one model of a study: a network, one network a task, or a model of another kind."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from recmtl.data.log import Split
from recmtl.errors import ConfigError
from recmtl.evaluate.score import evaluate
from recmtl.grid import Layout
from recmtl.job.trained import Trained, curve
from recmtl.model import Network
from recmtl.train.config import Config
from recmtl.train.fitted import Fitted
from recmtl.train.loop import Watch, train
from recmtl.train.material import Material
from recmtl.train.probe import health_record
from recmtl.train.problem import Problem

__all__ = ["BASELINES", "Fit"]

BASELINES = ("lightgbm", "logistic", "constant")


@dataclass(frozen=True)
class Fit:
    """How a model of a study is fitted with one seed; `watch` is told of progress.

    `checkpoint` maps the name of a network to the file that its training goes on from.
    """

    material: Problem
    config: Config
    seed: int
    watch: Watch
    checkpoint: Callable[[str], Path]

    def network(self, name: str, layout: Layout) -> tuple[Network, Trained]:
        """One network for all tasks."""
        return self._network(name, layout, self.material)

    def single_tasks(self, layout: Callable[[Problem], Layout]) -> Trained:
        """One network a task with its own embeddings, rows and early stop."""
        parts: dict[str, Trained] = {}
        for task in self.material.tasks:
            alone = self.material.only(task)
            parts[task.name] = self._network(f"single_task-{task.name}", layout(alone), alone)[1]
        speeds = [1.0 / float(part.cost["score_rows_per_s"] or 1.0) for part in parts.values()]
        cost: dict[str, float | None] = {
            name: sum(float(part.cost[name] or 0.0) for part in parts.values())
            for name in ("parameters", "multiply_adds", "train_s")
        }
        scores = [float(part.validation_score or 0.0) for part in parts.values()]
        predictions = {name: part.predictions for name, part in parts.items()}
        return Trained(
            self.material.together(predictions),
            {**cost, "score_rows_per_s": 1.0 / sum(speeds)},
            float(np.mean(scores)),
            {name: part.validation[name] for name, part in parts.items()},
            {name: list(rows) for part in parts.values() for name, rows in part.curves.items()},
            test={name: found for part in parts.values() for name, found in part.test.items()},
        )

    def baseline(self, name: str) -> Trained:
        """A model of another kind for each task."""
        # Here, since they take as long to load as PyTorch does, and most processes fit none.
        from recmtl.baselines import constant, lightgbm, logistic

        material = self.material
        if not isinstance(material, Material):
            raise ConfigError(f"{name}: is fitted to tables only; leave it out")
        rows = material.validation
        classes = {head.name: head.classes for head in material.heads if head.classes}
        # Both parts are scored at once: what a baseline is worth on validation rows is kept too.
        scored = _joined(rows, material.test)
        arguments = (material.train, rows, scored, material.tasks, material.encoding)
        self.watch(name, 0, 1, None)
        if name == "lightgbm":
            threads = self.config.threads or None
            result = lightgbm.fit_predict(
                *arguments, classes=classes, threads=threads, seed=self.seed
            )
        else:
            fit_predict = {"logistic": logistic, "constant": constant}[name].fit_predict
            result = fit_predict(*arguments, classes=classes)
        self.watch(name, 1, 1, None)
        columns = result.predictions.items()
        known = {column: values[: len(rows)] for column, values in columns}
        return Trained(
            {column: values[len(rows) :] for column, values in columns},
            result.cost,
            validation=evaluate(known, np.asarray(rows.labels), material.tasks),
        )

    def _network(self, name: str, layout: Layout, material: Problem) -> tuple[Network, Trained]:
        torch.manual_seed(self.seed)
        model = material.network(layout, self.config.sizes)
        fitted = train(
            model,
            material,
            self.config.training,
            seed=self.seed,
            name=name,
            watch=self.watch,
            checkpoint=self.checkpoint(name),
        )
        if fitted.rows < len(material.train) * self.config.training.epochs:
            self.watch(name, fitted.rows, fitted.rows, None)  # stopped early, and over
        return model, _scored(name, model, material, fitted)


def _scored(name: str, model: Network, material: Problem, fitted: Fitted) -> Trained:
    began = time.perf_counter()
    predictions, test = material.scored(model)
    seconds = time.perf_counter() - began
    cost, best = model.cost(), fitted.checks[fitted.best]
    facts: dict[str, float | None] = {
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "train_s": fitted.seconds,
        "score_rows_per_s": len(material.test) / max(seconds, 1e-9),
    }
    curves = {name: curve(fitted.checks)}
    health = health_record(fitted, model.grid.layout, [task.name for task in material.tasks])
    return Trained(predictions, facts, best.score, best.metrics, curves, health, test)


def _joined(first: Split, second: Split) -> Split:
    both = {n: (getattr(first, n), getattr(second, n)) for n in Split.__annotations__}
    return Split(**{name: np.concatenate(parts) for name, parts in both.items()})
