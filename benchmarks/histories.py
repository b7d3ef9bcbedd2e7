"""What reading a history against the candidate costs: a training step, a request, scored rows.

python -m benchmarks.histories [--lengths 20 50 200] [--engine torch] [--rounds 15]

One network twice: the history is pooled by its mean, or read against the candidate. Rounds of both
alternate; the figures are ratios of medians, attention to mean.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from recmtl.data.passes.encoder_fit import EncoderFit
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import SourceLocation
from recmtl.grid import catalog
from recmtl.model import ModelSizes, TabularModel
from recmtl.model.heads import HeadSpec
from recmtl.schema import ListOf, Schema, parse_schema
from recmtl.serve import Ranker, save_bundle
from recmtl.train.config import Training
from recmtl.train.optimizer import Optimizer

SCHEMA = """
version: 1
name: histories
features:
  user: {kind: categorical}
  item: {kind: categorical}
  author: {kind: categorical}
  price: {kind: numeric}
  seen: {kind: list, pooling: attention, target: item, max_length: 10}
  seen_authors: {kind: list, pooling: attention, target: author, align: seen, max_length: 10}
tasks: {click: {kind: binary, label: click}}
split: {by: random}
"""
USER = ["user", "seen", "seen_authors"]
ITEMS, AUTHORS, BATCH, CANDIDATES = 20_000, 2_000, 1024, 300
TASKS = tuple(HeadSpec(name, "binary", mean=0.2) for name in ("click", "like", "follow"))


def schemas(length: int) -> dict[str, Schema]:
    """The schema with lists of at most so many values, read against the candidate, or by mean."""
    attention = parse_schema(SCHEMA.replace("10", str(length)), source="histories.yaml")
    features = [
        replace(f, pooling="mean", target=None, align=None) if isinstance(f, ListOf) else f
        for f in attention.features
    ]
    return {"attention": attention, "mean": replace(attention, features=tuple(features))}


def rows_of(length: int, rows: int, seed: int = 0) -> pa.Table:
    """Random rows whose lists are all of this length."""
    dice = np.random.default_rng(seed)
    items = dice.integers(0, ITEMS, (rows, length))
    item = dice.integers(0, ITEMS, rows)
    offsets = pa.array(np.arange(0, rows * length + 1, length, dtype=np.int32))
    return pa.table(
        {
            "user": dice.integers(0, 5000, rows),
            "item": item,
            "author": item % AUTHORS,
            "price": dice.random(rows),
            "seen": pa.ListArray.from_arrays(offsets, pa.array(items.ravel())),
            "seen_authors": pa.ListArray.from_arrays(offsets, pa.array(items.ravel() % AUTHORS)),
        }
    )


def built(schema: Schema, rows: pa.Table) -> tuple[TabularModel, RowEncoder]:
    """An untrained network of usual size, and what encodes its rows."""
    fit = EncoderFit(schema)
    for batch in rows.to_batches():
        fit.add(batch, np.ones(batch.num_rows, bool), SourceLocation())
    encoder = fit.finish()
    torch.manual_seed(0)
    layout = catalog.mmoe(len(TASKS), experts=8, widths=(64, 32))
    sizes = ModelSizes(embedding=8)
    return TabularModel(encoder.encoding, TASKS, layout=layout, sizes=sizes), encoder


def training_step(model: TabularModel, encoder: RowEncoder, rows: pa.Table) -> Callable[[], Any]:
    """One step of a batch."""
    encoded = encoder.encode(rows.slice(0, BATCH))
    ids, numeric = torch.from_numpy(encoded.ids), torch.from_numpy(encoded.numeric)
    labels = torch.randint(0, 2, (BATCH, len(TASKS))).float()
    weight = torch.ones(BATCH)
    optimizer = Optimizer(model, Training(), total_steps=10_000)

    def step() -> None:
        outputs = model(ids, numeric)
        optimizer.step(model.heads.losses(outputs, labels, weight).sum())

    return step


def request(
    model: TabularModel, encoder: RowEncoder, rows: pa.Table, *, folder: Path, engine: str
) -> Callable[[], Any]:
    """One request of 300 candidates, from raw columns to a ranking."""
    save_bundle(folder, model=model.eval(), encoder=encoder, rows=rows, metrics={}, user=USER)
    ranker = Ranker.load(folder, engine=engine)
    user = {name: rows[name][0].as_py() for name in USER}
    candidates = rows.drop_columns(USER).slice(0, CANDIDATES)
    return lambda: ranker.rank_request(user, candidates, "p_click")


def ratio(runs: dict[str, Callable[[], Any]], rounds: int) -> tuple[float, float]:
    """Median time of attention to that of the mean, and milliseconds of attention."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 2):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if number >= 2:
                times[name].append(time.perf_counter() - start)
    attention = median(times["attention"])
    return attention / median(times["mean"]), 1000 * attention


def main() -> None:
    """Print one line a length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[20, 50, 200])
    parser.add_argument("--engine", choices=["torch", "onnx"], default="torch")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for length in options.lengths:
        rows = rows_of(length, BATCH)
        networks = {name: built(schema, rows) for name, schema in schemas(length).items()}
        adds = {name: model.cost().multiply_adds for name, (model, _) in networks.items()}
        steps = {name: training_step(*network, rows) for name, network in networks.items()}
        step, _ = ratio(steps, options.rounds)
        with tempfile.TemporaryDirectory() as folder:
            requests = {
                name: request(*network, rows, folder=Path(folder) / name, engine=options.engine)
                for name, network in networks.items()
            }
            ranked, milliseconds = ratio(requests, options.rounds)
        figures = (
            f"multiply-adds {adds['attention'] / adds['mean']:.1f}x, training step {step:.2f}x"
        )
        figures += f", request {ranked:.2f}x ({milliseconds:.1f} ms, {options.engine})"
        sys.stdout.write(f"{length} events: {figures}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
