"""What a study keeps of a model, and how its networks are trained.

A fit trains one network for all tasks, or one network a task; models of other kinds are fitted by
the baselines of a `ProblemKind`. Each ends as a `ModelResult`, which a folder holds.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from recmtl.atomic import new_folder, reading, write_json
from recmtl.evaluate.task_metrics import Metrics
from recmtl.grid import Layout
from recmtl.job.work.items import network_and_sources
from recmtl.model import BlendedModel, Network, save_model
from recmtl.train.config import Config
from recmtl.train.expert_monitor import health_record
from recmtl.train.loop import OnProgress, train
from recmtl.train.problem import Predictions, Problem
from recmtl.train.recipe.weight_record import weight_record
from recmtl.train.tabular_problem import TabularProblem
from recmtl.train.training_state import TrainingState

__all__ = ["TRAIN_AGAIN", "Fit", "ModelResult", "blended_result", "trained_once"]

TRAIN_AGAIN = "delete the model's folder, so that it is trained again"
COLUMNS = {"test": "predictions", "validation": "on_validation"}
"""File of scored columns -> the attribute that holds them."""


@dataclass(frozen=True)
class ModelResult:
    """What a study keeps of one model and seed.

    Attributes:
        predictions: scored columns `[R]` of the test rows.
        cost: parameters, multiply_adds an example, train_s and cpu_s in seconds,
            score_rows_per_s; None where not counted.
        validation_score: of the restored weights; None for models that have none.
        validation: task -> metric -> value on the validation rows, of the restored weights.
        curves: for each network that was trained, without the sources in its name, epoch, score and
            loss of every check.
        health: of the experts at every check (`health_record`), if all tasks share a network.
        test: task -> metric -> value on the test rows, where no predictions are kept.
        on_validation: scored columns `[R]` of the validation rows; none of single-task networks,
            whose rows differ, and none in studies of 0.1.
        started: validation score of the weights that the training started from; None from scratch.
            If no check was better, the network has them still, and this is `validation_score`.
        weights: of the tasks over the training (`weight_record`), unless they were fixed.
    """

    predictions: dict[str, np.ndarray]
    cost: dict[str, float | None]
    validation_score: float | None = None
    validation: Metrics = field(default_factory=dict)
    curves: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    health: Mapping[str, Any] = field(default_factory=dict)
    test: Metrics = field(default_factory=dict)
    on_validation: dict[str, np.ndarray] = field(default_factory=dict)
    started: float | None = None
    weights: Mapping[str, Any] = field(default_factory=dict)

    def save(self, folder: Path, network: Network | None = None) -> None:
        """Write a folder atomically; with a network, the folder holds its weights too."""
        facts = asdict(self)
        columns = {part: facts.pop(name) for part, name in COLUMNS.items()}
        with new_folder(folder) as partial:
            for part, scores in columns.items():
                whole = {name: np.ascontiguousarray(column) for name, column in scores.items()}
                save_file(whole, str(partial / f"{part}.safetensors"))
            write_json(partial / "trained.json", facts, allow_nan=True)
            if network is not None:
                save_model(network, partial)

    @classmethod
    def load(cls, folder: Path) -> "ModelResult | None":
        """The result that was saved there, or None if there is none.

        Raises:
            DataError: what is there is damaged.
        """
        if not (folder / "trained.json").is_file():
            return None
        with reading(folder, remedy=TRAIN_AGAIN):
            facts = json.loads((folder / "trained.json").read_text())
            paths = {name: folder / f"{part}.safetensors" for part, name in COLUMNS.items()}
            # Studies of 0.1 kept nothing of the validation rows.
            columns = {name: load_file(str(file)) for name, file in paths.items() if file.is_file()}
            return cls(**{**facts, **columns})


def trained_once(
    folder: Path, train: Callable[[], tuple[Network | None, ModelResult]]
) -> ModelResult:
    """The result that a folder holds; trained now, and saved there, if it holds none."""
    result = ModelResult.load(folder)
    if result is None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        network, result = train()
        result.save(folder, network)
    return result


@dataclass(frozen=True)
class Fit:
    """How the networks of one model are trained with one seed.

    Attributes:
        problem: what they are trained on.
        config: how.
        seed: of initial weights and of the order of rows.
        on_progress: called with the progress of each network, by name.
        checkpoint: name of a network and seed -> file from which its training goes on.
        start: gives a new network the weights that its training starts from; None leaves it as it
            was drawn.
    """

    problem: Problem
    config: Config
    seed: int
    on_progress: OnProgress
    checkpoint: Callable[[str, int], Path]
    start: Callable[[Network], None] | None = None

    def network(self, name: str, layout: Layout) -> tuple[Network, ModelResult]:
        """Train one network for all tasks."""
        return self._train(name, layout, self.problem)

    def single_tasks(self, layout_of: Callable[[Problem], Layout]) -> ModelResult:
        """Train one network a task, each with its own embeddings, rows and early stop."""
        parts: dict[str, ModelResult] = {}
        for task in self.problem.tasks:
            alone = self.problem.only(task)
            parts[task.name] = self._train(f"single_task-{task.name}", layout_of(alone), alone)[1]
        return _combined(self.problem, parts)

    def _train(self, name: str, layout: Layout, problem: Problem) -> tuple[Network, ModelResult]:
        torch.manual_seed(self.seed)
        network = problem.network(layout, self.config.sizes)
        started = self._started(network, problem)
        state = train(
            network,
            problem,
            self.config.training,
            seed=self.seed,
            name=name,
            on_progress=self.on_progress,
            checkpoint=self.checkpoint(name, self.seed),
        )
        rows = len(problem.train)
        if state.rows < rows * self.config.training.passes(rows):
            # It stopped early: all rows that it was going to see are seen.
            self.on_progress(name, state.rows, state.rows, None)
        tasks = [task.name for task in problem.tasks]
        weights = weight_record(state, self.config.training, rows=rows, tasks=tasks)
        result = replace(_scored(name, network, problem, state), weights=weights)
        if started is None:
            return network, result
        if float(result.validation_score or 0.0) > started:
            return network, replace(result, started=started)
        self._started(network, problem)
        return network, _left(result, network, problem, started)

    def _started(self, network: Network, problem: Problem) -> float | None:
        """Give a network the weights that it starts from; their validation score."""
        if self.start is None:
            return None
        self.start(network)
        return problem.score(problem.evaluate(network))


def _combined(problem: Problem, parts: Mapping[str, ModelResult]) -> ModelResult:
    """One result of the networks of single tasks: costs add up, scores are averaged."""
    seconds_a_row = [1.0 / float(p.cost["score_rows_per_s"] or 1.0) for p in parts.values()]
    cost: dict[str, float | None] = {
        name: sum(float(part.cost.get(name) or 0.0) for part in parts.values())
        for name in ("parameters", "multiply_adds", "train_s", "cpu_s")
    }
    scores = [float(part.validation_score or 0.0) for part in parts.values()]
    return ModelResult(
        problem.together({name: part.predictions for name, part in parts.items()}),
        {**cost, "score_rows_per_s": 1.0 / sum(seconds_a_row)},
        float(np.mean(scores)),
        {name: part.validation[name] for name, part in parts.items()},
        {name: list(rows) for part in parts.values() for name, rows in part.curves.items()},
        test={name: metrics for part in parts.values() for name, metrics in part.test.items()},
    )


def blended_result(
    blend: BlendedModel, problem: TabularProblem, members: Sequence[ModelResult]
) -> ModelResult:
    """What a blend scores on the rows as it reads them; its members were trained before.

    Trainings add up; as elsewhere, the cost of forests is told apart.
    """
    clocks = {name: sum(m.cost.get(name) or 0.0 for m in members) for name in ("train_s", "cpu_s")}
    predictions, test, facts = _timed(blend, problem, clocks)
    metrics = problem.evaluate(blend)
    score, on_validation = problem.score(metrics), problem.scored_validation(blend)
    return ModelResult(predictions, facts, score, metrics, test=test, on_validation=on_validation)


def _scored(name: str, network: Network, problem: Problem, state: TrainingState) -> ModelResult:
    clocks = {"train_s": state.seconds, "cpu_s": state.cpu_seconds}
    predictions, test, facts = _timed(network, problem, clocks)
    best = state.checks[state.best]
    # Without the sources: a network that hears what is then chosen becomes the study's own.
    shown, _ = network_and_sources(name)
    curves = {shown: [{"epoch": c.epoch, "score": c.score, "loss": c.loss} for c in state.checks]}
    health = health_record(state, network.grid.layout, [task.name for task in problem.tasks])
    return ModelResult(
        predictions,
        facts,
        best.score,
        best.metrics,
        curves,
        health,
        test,
        problem.scored_validation(network),
    )


def _left(trained: ModelResult, network: Network, problem: Problem, started: float) -> ModelResult:
    """What a network scores that was left as it started, since no check was better."""
    return replace(
        trained,
        predictions=problem.scored(network)[0],
        validation_score=started,
        validation=problem.evaluate(network),
        on_validation=problem.scored_validation(network),
        started=started,
    )


def _timed(
    network: Network, problem: Problem, clocks: Mapping[str, float]
) -> tuple[Predictions, Metrics, dict[str, float | None]]:
    """Scores on the test rows, their metrics, and the cost; `clocks` are those of the training."""
    began = time.perf_counter()
    predictions, test = problem.scored(network)
    seconds, cost = time.perf_counter() - began, network.cost()
    return (
        predictions,
        test,
        {
            "parameters": cost.parameters,
            "multiply_adds": cost.multiply_adds,
            **clocks,
            "score_rows_per_s": len(problem.test) / max(seconds, 1e-9),
        },
    )
