"""One request by what the network hears: a history read against the candidate, trees, or both.

The networks are those of the latency benchmark and differ in these alone; all run in one process
and take turns. Without trees and history, the user's items are pooled by their mean.
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from benchmarks.processes import on_one_core, processor
from benchmarks.serving.latency import quantiles
from benchmarks.serving.shop import (
    BY,
    EXPERTS,
    FOLDER,
    REQUESTS,
    ROOT,
    ROWS,
    SIZES,
    TOWER,
    USER,
    read,
    write_requests,
)
from benchmarks.worker import nanoseconds
from recmtl.data.prepare import prepare
from recmtl.forest.grown import grow_forests
from recmtl.forest.settings import Trees
from recmtl.grid import catalog
from recmtl.model import ModelSizes
from recmtl.schema import ListOf, Schema, load_schema
from recmtl.serve import Ranker, save_bundle
from recmtl.simulate import simulate
from recmtl.train.tabular_problem import TabularProblem

HEARD = {"plain": "neither", "history": "a history", "trees": "trees", "both": "both"}
ENGINES = {"onnx": "ONNX Runtime", "torch": "torch"}
SIZE = "64-32"
TOP = {"by": BY, "k": 20, "keep": ["item_id"]}


def measure(*, quick: bool) -> dict[str, Any]:
    """Times of every arm, `history_onnx` and so on, and what networks and trees cost."""
    rounds, each = (2, 5) if quick else (20, 50)
    trees = Trees(enabled=True, rounds=20, folds=2, tune=False) if quick else Trees(enabled=True)
    folder = FOLDER / "heard"
    costs = make(folder, trees)
    torch.set_num_threads(1)
    requests = read(folder)
    times: dict[str, list[list[int]]] = {}
    with on_one_core():
        arms = {
            f"{heard}_{engine}": _arm(folder / heard, engine, requests)
            for heard in HEARD
            for engine in ENGINES
        }
        for turn in range(-1, rounds):  # the first turn warms up
            for name, arm in arms.items():
                taken = arm(turn * each % (REQUESTS - each), each)
                if turn >= 0:
                    times.setdefault(name, []).append(taken)
    return {
        "candidates": ROWS, "rounds": rounds, "requests": rounds * each, "costs": costs,
        "processor": processor(), "arms": {name: quantiles(t) for name, t in times.items()},
        "ratios": {name: _ratio(t, times[f"plain_{name.split('_')[1]}"])
                   for name, t in times.items()},
    }  # fmt: skip


def make(folder: Path, trees: Trees) -> dict[str, dict[str, float]]:
    """Write log, requests and a bundle each; returns what its network and its trees cost."""
    folder.mkdir(parents=True, exist_ok=True)
    simulate(folder / "log.parquet", 60_000, seed=1)
    schema = load_schema(ROOT / "datasets" / "simulated" / "schema.yaml")
    write_requests(folder, pq.read_table(folder / "log.parquet"), schema)
    costs: dict[str, dict[str, float]] = {}
    for names, read_schema in (
        (("plain", "trees"), schema),
        (("history", "both"), with_history(schema)),
    ):
        log = prepare(str(folder / "log.parquet"), read_schema, folder / f"log_{names[0]}")
        grown = grow_forests(log, folder / f"forest_{names[1]}", trees, threads=1, seed=0)
        for name, forests in zip(names, (None, grown), strict=True):
            problem = TabularProblem.of(log, trees=forests)
            torch.manual_seed(0)
            layout = catalog.mmoe(len(problem.tasks), experts=EXPERTS, widths=SIZES[SIZE].widths)
            sizes = ModelSizes(embedding=SIZES[SIZE].embedding, tower=(TOWER,))
            model = problem.network(layout, sizes).eval()
            rows = pq.read_table(folder / "log.parquet").slice(0, 64)
            options: dict[str, Any] = {"metrics": {}, "user": USER, "onnx": True}
            options |= {"forests": forests.forests} if forests else {}
            save_bundle(folder / name, model=model, encoder=log.encoder(), rows=rows, **options)
            of_trees = dict(forests.cost) if forests else {}
            costs[name] = {"network": model.cost().multiply_adds, **of_trees}
    return costs


def with_history(schema: Schema) -> Schema:
    """The schema with the list of items read against the candidate."""
    features = [
        replace(f, pooling="attention", target=f.table)
        if isinstance(f, ListOf) and f.name == "history"
        else f
        for f in schema.features
    ]
    return replace(schema, features=tuple(features))


def _arm(folder: Path, engine: str, requests: list[Any]) -> Callable[[int, int], list[int]]:
    ranker = Ranker.load(folder, engine=engine)
    timed: Any = nanoseconds(lambda number: ranker.rank_request(*requests[number], **TOP))
    return timed  # type: ignore[no-any-return]


def _ratio(times: list[list[int]], plain: list[list[int]]) -> Mapping[str, float]:
    ratios = sorted(
        statistics.median(ours) / statistics.median(theirs)
        for ours, theirs in zip(times, plain, strict=True)
    )
    return {"median": statistics.median(ratios), "low": ratios[0], "high": ratios[-1]}
