"""Train every model of a study once, keep what it scored, and never train it again.

Each model and seed has a folder under `models/`. A study that was killed goes on: finished models
are read back, an unfinished one continues from its checkpoint.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from recmtl.baselines import constant, lightgbm, logistic
from recmtl.evaluate.population import joint_column, own_column
from recmtl.evaluate.score import evaluate
from recmtl.grid import Layout, Routes, expected_multiply_adds, prune
from recmtl.job.networks import fixed_layout, search_space
from recmtl.job.trained import Trained
from recmtl.model import Model
from recmtl.policies import random_routes
from recmtl.schema import Task
from recmtl.tracking import Run, Tracker
from recmtl.train.config import Config
from recmtl.train.loop import Check, Fitted, Watch, predict, train
from recmtl.train.material import Material
from recmtl.train.search import Found, search

__all__ = ["Study"]

PLAIN = {"logistic": logistic, "constant": constant}


@dataclass(frozen=True)
class Study:
    """Where a study lives, what it is trained on and how; `watch` is told of progress."""

    folder: Path
    material: Material
    config: Config
    tracker: Tracker
    watch: Watch

    def found(self, seed: int) -> Found:
        """The route of one search; searched if it is not there yet."""
        path = self.folder / "search" / f"{seed}.json"
        if path.is_file():
            saved = json.loads(path.read_text())
            return Found(**{**saved, "routes": Routes.from_json(saved["routes"])})
        space = search_space(self.config, len(self.material.tasks))
        with self._run(f"search-{seed}", seed) as run:
            found = search(space, self.material, self.config, seed=seed, watch=self.watch)
            for step, record in enumerate(found.history):
                numbers = {n: v for n, v in record.items() if isinstance(v, float)}
                run.log_metrics(numbers, step=step)
            run.log_json(found.routes.to_json(), "routes.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({**asdict(found), "routes": found.routes.to_json()}))
        partial.replace(path)
        return found

    def searched_layout(self, seed: int) -> Layout:
        """The pruned layout of one search."""
        space = search_space(self.config, len(self.material.tasks))
        return prune(space, self.found(seed).routes).layout

    def trained(self, name: str, seed: int) -> Trained:
        """One model: `searched`, `single_task`, `random_route`, a fixed network or a baseline."""
        folder = self.folder / "models" / name / str(seed)
        saved = Trained.load(folder)
        if saved is not None:
            return saved
        folder.parent.mkdir(parents=True, exist_ok=True)
        with self._run(f"{name}-{seed}", seed) as run:
            if name in PLAIN or name == "lightgbm":
                trained = self._baseline(name, seed)
                trained.save(folder)
            elif name == "single_task":
                trained = self._single_tasks(seed, run)
                trained.save(folder)
            else:
                model, trained = self._network(name, self._layout(name, seed), seed, run)
                trained.save(folder, model)
            run.log_metrics({k: v for k, v in trained.cost.items() if v is not None})
            run.log_metrics(self._test_metrics(trained))
        parts = [f"{name}-{task.name}" for task in self.material.tasks]
        for part in (name, *parts):
            self._checkpoint(part, seed).unlink(missing_ok=True)
        return trained

    def _layout(self, name: str, seed: int) -> Layout:
        tasks = len(self.material.tasks)
        if name == "searched":
            return self.searched_layout(seed)
        if name != "random_route":
            return fixed_layout(name, self.config, tasks)
        space, width = search_space(self.config, tasks), self._input_width()
        decisions = self.found(seed).routes.decisions(space)
        cost = float(expected_multiply_adds(space, decisions, input_width=width))
        edges = self.config.grid.max_edges
        drawn = random_routes(
            space, max_edges=edges, multiply_adds=cost, input_width=width, seed=seed + 7919
        )
        return prune(space, drawn).layout

    def _network(self, name: str, layout: Layout, seed: int, run: Run) -> tuple[Model, Trained]:
        material = self.material
        torch.manual_seed(seed)
        model = Model(material.encoding, material.heads, layout=layout, sizes=self.config.sizes)
        fitted = self._train(model, material, name, seed, run)
        return model, self._trained(model, material, fitted)

    def _single_tasks(self, seed: int, run: Run) -> Trained:
        """One network a task with its own embeddings, rows and early stop."""
        parts: dict[str, Trained] = {}
        for task in self.material.tasks:
            alone = self.material.only(task)
            layout = fixed_layout("shared_bottom", self.config, 1)
            torch.manual_seed(seed)
            model = Model(alone.encoding, alone.heads, layout=layout, sizes=self.config.sizes)
            fitted = self._train(model, alone, f"single_task-{task.name}", seed, run)
            parts[task.name] = self._trained(model, alone, fitted)
        speeds = [1.0 / float(part.cost["score_rows_per_s"] or 1.0) for part in parts.values()]
        cost: dict[str, float | None] = {
            name: sum(float(part.cost[name] or 0.0) for part in parts.values())
            for name in ("parameters", "multiply_adds", "train_s")
        }
        scores = [float(part.validation_score or 0.0) for part in parts.values()]
        predictions = {name: part.predictions for name, part in parts.items()}
        return Trained(
            _funnel_columns(predictions, self.material.tasks),
            {**cost, "score_rows_per_s": 1.0 / sum(speeds)},
            float(np.mean(scores)),
        )

    def _train(self, model: Model, material: Material, name: str, seed: int, run: Run) -> Fitted:
        def watch(what: str, done: int, total: int, check: Check | None) -> None:
            if check is not None:
                step = round(1000 * check.epoch)
                curves = {f"{name}.score": check.score, f"{name}.loss": check.loss}
                run.log_metrics(curves, step=step)
            self.watch(what, done, total, check)

        settings, checkpoint = self.config.training, self._checkpoint(name, seed)
        return train(
            model, material, settings, seed=seed, name=name, watch=watch, checkpoint=checkpoint
        )

    def _trained(self, model: Model, material: Material, fitted: Fitted) -> Trained:
        began = time.perf_counter()
        predictions = predict(model, material.test)
        seconds = time.perf_counter() - began
        cost = model.cost()
        facts: dict[str, float | None] = {
            "parameters": cost.parameters,
            "multiply_adds": cost.multiply_adds,
            "train_s": fitted.seconds,
            "score_rows_per_s": len(material.test) / max(seconds, 1e-9),
        }
        return Trained(predictions, facts, fitted.checks[fitted.best].score)

    def _baseline(self, name: str, seed: int) -> Trained:
        material = self.material
        classes = {head.name: head.classes for head in material.heads if head.classes}
        arguments = (material.train, material.validation, material.test, material.tasks)
        self.watch(name, 0, 1, None)
        if name == "lightgbm":
            result = lightgbm.fit_predict(*arguments, material.encoding, classes=classes, seed=seed)
        else:
            result = PLAIN[name].fit_predict(*arguments, material.encoding, classes=classes)
        self.watch(name, 1, 1, None)
        return Trained(result.predictions, result.cost)

    def _test_metrics(self, trained: Trained) -> dict[str, float]:
        rows = self.material.test
        found = evaluate(trained.predictions, np.asarray(rows.labels), self.material.tasks)
        return {
            f"test.{task}.{metric}": value
            for task, metrics in found.items()
            for metric, value in metrics.items()
            if np.isfinite(value)
        }

    def _input_width(self) -> int:
        return self.material.encoding.num_fields * self.config.sizes.embedding

    def _checkpoint(self, name: str, seed: int) -> Path:
        folder = self.folder / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}-{seed}.safetensors"

    @contextmanager
    def _run(self, name: str, seed: int) -> Iterator[Run]:
        with self.tracker.run(name) as run:
            run.log_params({"seed": seed, "config": asdict(self.config)})
            yield run


def _funnel_columns(
    predictions: dict[str, dict[str, np.ndarray]], tasks: tuple[Task, ...]
) -> dict[str, np.ndarray]:
    """Scores of tasks trained alone, under the columns that a funnel has."""
    columns: dict[str, np.ndarray] = {}
    happened: dict[str, np.ndarray] = {}
    for task in tasks:
        own = predictions[task.name]
        if task.kind != "binary":
            columns |= own
            continue
        probability = own[f"p_{task.name}"]
        columns[own_column(task)] = probability
        happened[task.name] = probability
        if task.parent is not None:
            happened[task.name] = probability * happened[task.parent]
            columns[joint_column(task)] = happened[task.name]
    return columns
