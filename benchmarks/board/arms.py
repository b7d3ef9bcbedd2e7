"""The arms of a log: models of a run folder, the average of LightGBM and ours, and the peers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.board.peers import PeerArm, metrics_of
from recmtl.atomic import read_json
from recmtl.data.encoded_log import EncodedLog
from recmtl.errors import ConfigError, RecmtlError
from recmtl.job.fit import ModelResult
from recmtl.job.handed_on import PreparedLog, TrainedModels
from recmtl.job.outcome import Models
from recmtl.job.problem_kind import LOG, TABULAR_PROBLEMS, trees_of
from recmtl.job.study import Study
from recmtl.schema.names import task_column
from recmtl.train.config import Config
from recmtl.train.tabular_problem import TabularProblem

__all__ = ["Arm", "Run", "arms_of", "average", "open_run", "peer_arms"]

REMEDY = "run the study to its end"
UNSEEDED = ("logistic", "constant", "blend")


@dataclass(frozen=True)
class Arm:
    """A model of the board.

    Attributes:
        name: of the arm.
        kind: `searched`, `blend`, `average`, `fixed`, `random`, `trees`, `linear`, `constant` or
            `peer`.
        results: seed -> what it scored and cost.
        tasks: those that it scores.
        cpu_s: processor seconds of all seeds, with what was searched or tuned for them.
        preset: of a searched arm.
        has_luck: whether a training seed changes it.
        parts: the arms of which it is made.
        facts: what else is shown of it.
    """

    name: str
    kind: str
    results: Mapping[int, ModelResult]
    tasks: tuple[str, ...]
    cpu_s: float
    preset: str = ""
    has_luck: bool = True
    parts: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A finished run folder.

    Attributes:
        folder: of the run.
        log: its encoded log.
        models: name -> seed -> result, of every model that was compared.
        results: content of `results.json`.
        preset: with which it was made.
        search_s: of all searches of each searched model, the seconds by the clock.
        trees_s: processor seconds in which the forests grew that networks hear.
        missing: what could not be read back, and why.
    """

    folder: Path
    log: EncodedLog
    models: Models
    results: Mapping[str, Any]
    preset: str
    search_s: Mapping[str, float]
    trees_s: float
    missing: Mapping[str, str]


def open_run(folder: Path) -> Run:
    """Read a finished run folder; nothing is trained, nothing in it is written.

    Raises:
        RecmtlError: it is not finished, or damaged.
    """
    if not (folder / "results.json").is_file():
        raise ConfigError(f"{folder}: holds no finished study; {REMEDY}")
    results = read_json(folder / "results.json", remedy=REMEDY)
    job = read_json(folder / "job.json", remedy=REMEDY)
    log, models = EncodedLog.open(folder / LOG), dict[str, dict[int, ModelResult]]()
    compared = results["cost"]
    for path in sorted((folder / "models").glob("*/*/trained.json")):
        name, seed = path.parts[-3], int(path.parts[-2])
        model = ModelResult.load(path.parent)
        if name in compared and model is not None:
            models.setdefault(name, {})[seed] = model
    missing = {}
    if "blend" in compared:
        try:
            models["blend"] = _blend(folder, log, models, job)
        except (RecmtlError, KeyError) as error:
            missing["blend"] = f"it could not be read back: {error}"
    search_s: dict[str, float] = {}
    for path in (folder / "search").glob("*.json"):
        name = path.stem.rpartition("-")[0]
        seconds = float(read_json(path, remedy=REMEDY).get("seconds") or 0.0)
        search_s[name] = search_s.get(name, 0.0) + seconds
    trees_s = float(results.get("trees", {}).get("grow_cpu_s") or 0.0)
    return Run(folder, log, models, results, job["preset"], search_s, trees_s, missing)


def _blend(
    folder: Path, log: EncodedLog, models: Models, job: Mapping[str, str]
) -> dict[int, ModelResult]:
    """The served blend, fitted again on validation rows from its trained members."""
    config = Config.load(job["config"] or None, preset=job["preset"])
    trees = trees_of(folder, log, config)
    training = config.training
    problem = TabularProblem.of(
        log, training.stop_metric, training.rare_ids, trees, training.stop_tasks
    )
    study = Study(folder, TABULAR_PROBLEMS, problem, config)
    prepared = PreparedLog(log, log.schema, training, trees)
    return TrainedModels(prepared, study, models).compared["blend"]


def arms_of(run: Run, *, only_searched: bool = False) -> list[Arm]:
    """The arms of a run's models; the searched network of a second run is named by its preset."""
    tasks = tuple(task.name for task in run.log.schema.tasks)
    arms = []
    for name, results in run.models.items():
        kind = _kind(name)
        if only_searched and kind != "searched":
            continue
        preset = (run.preset or "default") if kind in ("searched", "blend") else ""
        called = f"{name}_{preset}" if only_searched else name
        spent = _cpu_s(results) + run.search_s.get(name, 0.0)
        spent += run.trees_s if kind == "searched" else 0.0
        parts: tuple[str, ...] = ()
        if name == "blend":
            spent, parts = _cpu_s(run.models["searched"]) + run.search_s["searched"], ("searched",)
            spent += run.trees_s
        has_luck = name not in UNSEEDED
        arms.append(Arm(called, kind, results, tasks, spent, preset, has_luck, parts))
    return arms


def average(first: Arm, second: Arm, log: EncodedLog) -> Arm:
    """The mean of the logits of two arms, seed by seed, and of the values of regressions.

    No weight is chosen. Both must keep their scores of validation rows.
    """
    results = {}
    for seed in [s for s in first.results if s in second.results]:
        pair = (first.results[seed], second.results[seed])
        columns = [
            _mean(log, getattr(pair[0], part), getattr(pair[1], part))
            for part in ("on_validation", "predictions")
        ]
        names = [task.name for task in log.schema.tasks]
        validation = metrics_of(log, log.split("validation"), columns[0], names)
        cost = {name: _sum(pair, name) for name in ("parameters", "multiply_adds", "cpu_s")}
        rates = [float(result.cost["score_rows_per_s"] or 1.0) for result in pair]
        cost["score_rows_per_s"] = 1.0 / sum(1.0 / rate for rate in rates)
        results[seed] = ModelResult(columns[1], cost, validation=validation)
    parts, spent = (first.name, second.name), first.cpu_s + second.cpu_s
    return Arm("average", "average", results, first.tasks, spent, parts=parts)


def peer_arms(trained: Mapping[str, PeerArm]) -> list[Arm]:
    """The arms of the peers; the processor seconds of all seeds include their tuning."""
    arms = []
    for name, peer in trained.items():
        spent = _cpu_s(peer.results) + sum(trial["cpu_s"] for trial in peer.facts["tuning"])
        facts = {key: peer.facts[key] for key in ("package", "tuning", "chosen")}
        arms.append(Arm(name, "peer", peer.results, peer.tasks, spent, facts=facts))
    return arms


def _kind(name: str) -> str:
    kinds = {"random_route": "random", "lightgbm": "trees", "logistic": "linear"}
    names = {"searched", "blend", "constant"}
    return name if name in names else kinds.get(name, "fixed")


def _cpu_s(results: Mapping[int, ModelResult]) -> float:
    return sum(float(result.cost.get("cpu_s") or 0.0) for result in results.values())


def _sum(results: Iterable[ModelResult], name: str) -> float | None:
    values = [result.cost.get(name) for result in results]
    return None if None in values else float(sum(value or 0.0 for value in values))


def _mean(
    log: EncodedLog, first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    columns = {}
    for task in _scored(log):
        name = task_column(task)
        if task.kind == "regression":
            columns[name] = (np.float64(first[name]) + second[name]) / 2
        else:
            columns[name] = 1 / (1 + np.exp(-(_logit(first[name]) + _logit(second[name])) / 2))
    return columns


def _scored(log: EncodedLog) -> Sequence[Any]:
    if any(task.kind == "multiclass" for task in log.schema.tasks):
        raise RecmtlError("tasks of several classes are not averaged")
    return log.schema.tasks


def _logit(probabilities: np.ndarray) -> np.ndarray:
    clipped = np.clip(np.asarray(probabilities, np.float64), 1e-7, 1 - 1e-7)
    return np.log(clipped) - np.log1p(-clipped)
