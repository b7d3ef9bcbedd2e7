"""The peers' own training as arms: which there are, their processes, and their results as ours."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.board.exchange import columns_of, write_rows
from benchmarks.processes import ROOT, peer_environment
from recmtl.atomic import new_folder
from recmtl.data.encoded_log import EncodedLog, LogSplit
from recmtl.evaluate.task_metrics import evaluate
from recmtl.job.fit import ModelResult
from recmtl.schema import TaskSpec

__all__ = ["PEERS", "Peer", "PeerArm", "left_out", "peer_arm"]


class Peer(NamedTuple):
    """The module that runs an arm, the arm's name in it, and the packages of its environment."""

    module: str
    arm: str
    requirements: tuple[str, ...] = ()
    reads_a_funnel: bool = False


_RECHUB = ("torch-rechub==0.9.0", "pyarrow")
_DEEPCTR = ("deepctr-torch==0.3.0", "pyarrow")
PEERS = {
    **{
        f"rechub_{arm}": Peer("benchmarks.board.rechub", arm, _RECHUB, arm in ("esmm", "aitm"))
        for arm in ("shared_bottom", "mmoe", "ple", "esmm", "aitm")
    },
    **{
        f"deepctr_{arm}": Peer("benchmarks.board.deepctr", arm, _DEEPCTR) for arm in ("mmoe", "ple")
    },
}


class PeerArm(NamedTuple):
    """What a peer scored and cost: seed -> result, its tasks, and what its process noted."""

    results: dict[int, ModelResult]
    tasks: tuple[str, ...]
    facts: Mapping[str, Any]


def left_out(peer: Peer, tasks: Sequence[TaskSpec]) -> str:
    """Why a peer cannot learn a log's tasks; empty if it can."""
    if any(task.kind == "multiclass" for task in tasks):
        return "it has no task of several classes"
    if peer.reads_a_funnel and not any(task.parent for task in tasks):
        return "it is for a funnel, and no task of the log follows from another"
    if len(tasks) < 2:
        return "it needs two tasks"
    return ""


def peer_arm(name: str, peer: Peer, log: EncodedLog, *, folder: Path, seeds: int) -> PeerArm:
    """Tune, train and score a peer in a process of its own, unless the folder holds that.

    Raises:
        SystemExit: the process failed; its log says why.
    """
    base = folder / log.fingerprint[:16]
    rows, target = base / "rows", base / f"{name}-{seeds}"
    if not target.is_dir():
        write_rows(log, rows)
        _run(name, peer, rows, target, seeds)
    facts = json.loads((target / "facts.json").read_text())
    with np.load(target / "scores.npz", allow_pickle=False) as arrays:
        scores = dict(arrays)
    names = tuple(facts["tasks"])
    results = {int(seed): _result(log, facts, scores, seed) for seed in facts["seeds"]}
    return PeerArm(results, names, facts)


def _run(name: str, peer: Peer, rows: Path, target: Path, seeds: int) -> None:
    python = str(peer_environment(*peer.requirements)) if peer.requirements else sys.executable
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    told = target.with_name(f"{name}.log")
    with new_folder(target) as partial, told.open("w") as output:
        command = [python, "-m", peer.module, str(rows), peer.arm, str(seeds), str(partial)]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **threads}, stdout=output, stderr=output
        )
        if done.returncode:
            raise SystemExit(f"{name}: its process failed; see {told}")


def _result(
    log: EncodedLog, facts: Mapping[str, Any], scores: Mapping[str, np.ndarray], seed: str
) -> ModelResult:
    names, cost = facts["tasks"], facts["seeds"][seed]
    columns = {p: columns_of(log, names, scores[f"{p}-{seed}"]) for p in ("validation", "test")}
    validation = metrics_of(log, log.split("validation"), columns["validation"], names)
    return ModelResult(
        columns["test"],
        {
            "parameters": cost["parameters"],
            "multiply_adds": None,
            "train_s": None,
            "cpu_s": cost["cpu_s"],
            "score_rows_per_s": cost["score_rows_per_s"],
        },
        validation=validation,
        on_validation=columns["validation"],
    )


def metrics_of(
    log: EncodedLog, split: LogSplit, columns: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Metrics of scored columns on the rows of a part, of these tasks."""
    tasks = [task for task in log.schema.tasks if task.name in names]
    places = [i for i, task in enumerate(log.schema.tasks) if task.name in names]
    labels = np.asarray(split.labels)[:, places]
    return evaluate(columns, labels, tasks, weight=split.varying_weight)
