"""What runs in a peer's process: it tunes on validation rows, trains, and gives back scores.

Only the standard library, NumPy and scikit-learn are imported here, so that a peer's environment
needs no part of recmtl. The process reads arrays (`exchange.py` writes them), never labels of test
rows, and may not open a connection.
"""

import importlib.metadata
import json
import os
import socket
import sys
import time
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from sklearn.metrics import roc_auc_score

__all__ = ["Build", "Log", "Part", "Trained", "bucketed", "chain", "offline", "serve", "tuned"]

PATIENCE, MOST_EPOCHS, BATCH = 2, 12, 1024
"""Epochs without a better validation score that end a training, and its most; rows of a batch."""

Part = Mapping[str, np.ndarray]
"""`ids` [R, I], `lists` [R, L], `numbers` [R, N]; of train and validation rows also `labels` and
`joint` [R, T], NaN where a task is not defined."""
Setting = Mapping[str, Any]
"""A setting of the tuning list, by name."""


@dataclass(frozen=True)
class Log:
    """What a peer must know of the rows.

    Attributes:
        tasks: of each its name, kind (`binary` or `regression`) and parent, None or a task.
        single: of each categorical column the number of its embedding table.
        lists: of each list the number of its table and its length; they follow each other.
        tables: rows of each table; row 0 is padding, row 1 what train rows do not hold.
        numbers: how many numeric columns there are.
    """

    tasks: Sequence[Mapping[str, Any]]
    single: Sequence[int]
    lists: Sequence[tuple[int, int]]
    tables: Sequence[int]
    numbers: int

    def only(self, names: Sequence[str]) -> "Log":
        """The same columns with these tasks alone."""
        tasks = [task for name in names for task in self.tasks if task["name"] == name]
        return Log(tasks, self.single, self.lists, self.tables, self.numbers)

    def labels(self, part: Part, kind: str = "labels", names: Sequence[str] = ()) -> np.ndarray:
        """Labels `[R, T]` of these tasks, in their order; `kind` may be `joint`."""
        every = [task["name"] for task in self.tasks]
        return np.ascontiguousarray(part[kind][:, [every.index(name) for name in names or every]])


class Trained(Protocol):
    """A network of a peer, as it is trained and scored."""

    parameters: int

    def epoch(self) -> None:
        """Train once on all train rows."""

    def scores(self, part: Part) -> np.ndarray:
        """Probabilities, or values of a regression, `[R, T]`."""

    def state(self) -> object:
        """A copy of the weights."""

    def restore(self, state: Any) -> None:
        """Put weights back that `state` gave."""


Build = Callable[[Log, Part, Setting, int], Trained]
"""(log, train rows, setting, seed) -> a new network."""


@dataclass(frozen=True)
class Fitted:
    """A network with the weights of its best epoch, and what it took."""

    network: Trained
    score: float
    epochs: int
    cpu_s: float


def chain(log: Log) -> list[str]:
    """The names of the longest funnel of a log, from its root; empty if it has none."""
    parents = {task["name"]: task["parent"] for task in log.tasks}
    longest: list[str] = []
    for name in parents:
        path = [name]
        while parents[path[0]] is not None:
            path.insert(0, parents[path[0]])
        if len(path) > max(1, len(longest)):
            longest = path
    return longest


def bucketed(numbers: np.ndarray, buckets: int = 32) -> np.ndarray:
    """Numbers `[R, N]` between 0 and 1 as rows of tables of `buckets + 2` rows."""
    return 2 + np.clip((numbers * buckets).astype(np.int64), 0, buckets - 1)


def validation_score(scores: np.ndarray, labels: np.ndarray, tasks: Sequence[Any]) -> float:
    """Mean over the tasks of AUC, or R² of a regression; NaN where scores are not finite."""
    if not np.isfinite(scores).all():
        return float("nan")
    values = []
    for t, task in enumerate(tasks):
        rows = ~np.isnan(labels[:, t])
        label, score = labels[rows, t], scores[rows, t]
        if task["kind"] == "regression":
            values.append(1 - np.mean((label - score) ** 2) / np.var(label))
        elif 0 < label.sum() < len(label):
            values.append(roc_auc_score(label, score))
    return float(np.mean(values))


def fit(
    build: Build, log: Log, parts: Mapping[str, Part], *, setting: Setting, seed: int
) -> Fitted:
    """Train until validation rows have not been better for `PATIENCE` epochs; keep the best."""
    began, labels = time.process_time(), log.labels(parts["validation"])
    network = build(log, parts["train"], setting, seed)
    best, kept, since, epoch = -np.inf, network.state(), 0, 0
    while since < PATIENCE and epoch < MOST_EPOCHS:
        network.epoch()
        epoch += 1
        score = validation_score(network.scores(parts["validation"]), labels, log.tasks)
        since += 1
        if score > best:
            best, kept, since = score, network.state(), 0
    network.restore(kept)
    return Fitted(network, float(best), epoch, time.process_time() - began)


def tuned(
    build: Build, log: Log, parts: Mapping[str, Part], *, settings: Sequence[Setting], seeds: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Choose a setting on validation rows with one seed, then train and score with every seed.

    Returns:
        The facts of the arm, ready for JSON, and scores `[R, T]` by `<part>-<seed>`.
    """
    tuning = []
    for setting in settings:
        fitted = fit(build, log, parts, setting=setting, seed=0)
        tuning.append({"setting": dict(setting), **_facts(fitted)})
    # The first of equals, so that a tie goes to the setting of the examples.
    chosen = int(np.argmax([trial["score"] for trial in tuning]))
    facts: dict[str, Any] = {
        "tasks": [task["name"] for task in log.tasks],
        "tuning": tuning,
        "chosen": chosen,
        "seeds": {},
    }
    scores = {}
    for seed in range(seeds):
        fitted = fit(build, log, parts, setting=settings[chosen], seed=seed)
        for part in ("validation", "test"):
            began = time.process_time()
            scores[f"{part}-{seed}"] = np.asarray(fitted.network.scores(parts[part]), np.float32)
            spent = time.process_time() - began
        rate = len(parts["test"]["ids"]) / max(spent, 1e-9)
        facts["seeds"][str(seed)] = {**_facts(fitted), "score_rows_per_s": rate}
    return facts, scores


def _facts(fitted: Fitted) -> dict[str, Any]:
    return {
        "score": fitted.score,
        "epochs": fitted.epochs,
        "cpu_s": fitted.cpu_s,
        "parameters": fitted.network.parameters,
    }


def offline() -> None:
    """Refuse every connection, and stand in for `requests`, which asks a server for versions."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("a peer of the board opens no connection")

    socket.socket.connect = refuse  # type: ignore[method-assign,assignment]
    socket.socket.connect_ex = refuse  # type: ignore[method-assign,assignment]
    socket.create_connection = refuse  # type: ignore[assignment]
    socket.getaddrinfo = refuse  # type: ignore[assignment]
    requests = types.ModuleType("requests")
    requests.get = refuse  # type: ignore[attr-defined]
    sys.modules["requests"] = requests


def read(folder: Path) -> tuple[Log, dict[str, Part]]:
    """What `exchange.py` wrote."""
    log = Log(**json.loads((folder / "log.json").read_text()))
    parts: dict[str, Part] = {}
    for part in ("train", "validation", "test"):
        with np.load(folder / f"{part}.npz", allow_pickle=False) as arrays:
            parts[part] = dict(arrays)
    return log, parts


def serve(
    arms: Mapping[str, tuple[Build, Sequence[Setting]]],
    *,
    tasks_of: Callable[[str, Log], Sequence[str]],
    package: str,
) -> None:
    """Tune, train and score the arm of the command line: `... ROWS ARM SEEDS TARGET`.

    Args:
        arms: of each how its network is built, and its tuning list, the examples' setting first.
        tasks_of: the tasks of a log that an arm can learn.
        package: whose version is noted.
    """
    rows, arm, seeds, target = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    log, parts = read(rows)
    names = tasks_of(arm, log)
    of_arm = log.only(names)
    chosen = {
        part: {**arrays, **{k: log.labels(arrays, k, names) for k in ("labels", "joint")}}
        if "labels" in arrays
        else arrays
        for part, arrays in parts.items()
    }
    build, settings = arms[arm]
    facts, scores = tuned(build, of_arm, chosen, settings=settings, seeds=seeds)
    facts["package"] = f"{package} {importlib.metadata.version(package)}"
    np.savez(target / "scores.npz", **scores)
    (target / "facts.json").write_text(json.dumps(facts, indent=1))


def threads() -> int:
    """Threads that the process was given."""
    return int(os.environ.get("OMP_NUM_THREADS", "1"))
