"""What sources of knowledge are worth on validation rows: rare ids, lists, exact values.

python -m benchmarks.sources DATASET [--arms NAME ...] [--seeds 2] [--epochs 6]
    [--models shared_bottom searched] --out FOLDER

An arm changes the schema or the training and nothing else. Test rows are not looked at.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from recmtl.atomic import write_json
from recmtl.data.prepare import prepare
from recmtl.errors import ConfigError
from recmtl.grid import Layout
from recmtl.schema import Categorical, ExactValues, Feature, ListOf, Numeric, Schema, load_schema
from recmtl.schema.reading import load
from recmtl.search.search import search
from recmtl.train.config import Config
from recmtl.train.loop import train
from recmtl.train.tabular_problem import TabularProblem

ROOT = Path(__file__).parents[1]
FILES = {
    "incident_updates": "updates.parquet",
    "kuairand_pure": "log_0425_0430.parquet",
    "census_income": "train.parquet",
}
LEFT_OUT = {"reopened", "comment", "follow"}
"""Tasks with too few positives for the mean."""


@dataclass(frozen=True)
class Arm:
    """A change of the schema, and k of the rare ids."""

    change: Callable[[Schema], Schema]
    rare_ids: float = 0.0


def with_min_count(least: int) -> Callable[[Schema], Schema]:
    """The schema with another least count wherever it has one."""

    def change(schema: Schema) -> Schema:
        features = [
            replace(f, min_count=least) if isinstance(f, Categorical) and f.min_count > 1 else f
            for f in schema.features
        ]
        return replace(schema, features=tuple(features))

    return change


def with_counts(count: bool) -> Callable[[Schema], Schema]:
    """The schema with or without counts of its lists."""

    def change(schema: Schema) -> Schema:
        features = [
            replace(f, count=count) if isinstance(f, ListOf) else f for f in schema.features
        ]
        return replace(schema, features=tuple(features))

    return change


def with_values(values: ExactValues | None) -> Callable[[Schema], Schema]:
    """The schema with or without ids of the exact values of its numbers."""

    def change(schema: Schema) -> Schema:
        features = [
            replace(f, values=values) if isinstance(f, Numeric) else f for f in schema.features
        ]
        return replace(schema, features=tuple(features))

    return change


def with_attention(*, beside_mean: bool) -> Callable[[Schema], Schema]:
    """The schema with lists that share rows with a feature read against it, too or instead."""

    def change(schema: Schema) -> Schema:
        features: list[Feature] = []
        for feature in schema.features:
            if not isinstance(feature, ListOf) or feature.table is None:
                features.append(feature)
                continue
            history = replace(feature, pooling="attention", target=feature.table)
            if beside_mean:
                features.append(feature)
                history = replace(history, name=f"{feature.name}_history", count=False)
            features.append(history)
        return replace(schema, features=tuple(features))

    return change


ARMS: dict[str, dict[str, Arm]] = {
    "incident_updates": {
        f"min_count {least}, k {k}": Arm(with_min_count(least), k)
        for least in (5, 50)
        for k in (0, 100, 300, 1000)
    }
    | {"min_count 20, k 0": Arm(with_min_count(20))},
    "kuairand_pure": {
        "counts off": Arm(with_counts(False)),
        "counts on": Arm(with_counts(True)),
        "counts on, k 100": Arm(with_counts(True), 100),
        "counts on, attention": Arm(with_attention(beside_mean=False)),
        "counts on, mean and attention": Arm(with_attention(beside_mean=True)),
    }
    | {f"counts on, min_count {n}": Arm(with_min_count(n)) for n in (2, 10, 20, 50)},
    "census_income": {
        "values off": Arm(with_values(None)),
        "values on": Arm(with_values(ExactValues(20))),
        "values on, k 100": Arm(with_values(ExactValues(20)), 100),
    },
}


def measure(dataset: str, arm: Arm, config: Config, models: Sequence[str], log: Path) -> dict:
    """AUC of each task on validation rows, by model: a list over the seeds."""
    schema = arm.change(load_schema(ROOT / "datasets" / dataset / "schema.yaml"))
    folder = Path(os.environ.get("RECMTL_DATA", "../shared/data")) / dataset
    encoded = prepare(str(folder / FILES[dataset]), schema, log)
    config = replace(config, training=replace(config.training, rare_ids=arm.rare_ids))
    problem = TabularProblem.of(encoded, rare_ids=arm.rare_ids)
    figures: dict[str, list[dict[str, float]]] = {}
    for model_name in models:
        for seed in range(config.evidence.seeds):
            layout = problem.layout("shared_bottom", config.grid)
            if model_name == "searched":
                space = problem.layout("recmtl_grid", config.grid)
                layout = Layout.from_json(search(space, problem, config, seed=seed).layout)
            torch.manual_seed(seed)
            model = problem.network(layout, config.sizes)
            train(model, problem, config.training, seed=seed)
            scores = problem.evaluate(model)
            aucs = {name: metrics["auc"] for name, metrics in scores.items()}
            kept = [auc for name, auc in aucs.items() if name not in LEFT_OUT]
            figures.setdefault(model_name, []).append({"mean": sum(kept) / len(kept), **aucs})
    return figures


def main() -> None:
    """Measure the arms one by one; what is in the file already is not measured again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", choices=ARMS)
    parser.add_argument("--arms", nargs="+")
    parser.add_argument("--models", nargs="+", default=["shared_bottom"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = ROOT / "pipelines" / "configs" / options.dataset / "recmtl.yaml"
    config = load(Config, path.read_text(encoding="utf-8"), source=str(path), error=ConfigError)
    evidence = replace(config.evidence, seeds=options.seeds)
    epochs = options.epochs or config.training.epochs
    training = replace(config.training, epochs=epochs)
    config = replace(config, evidence=evidence, training=training)
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / f"{options.dataset}.json"
    done = json.loads(results.read_text()) if results.exists() else {}
    for name in options.arms or ARMS[options.dataset]:
        arm, log = ARMS[options.dataset][name], options.out / f"log_{options.dataset}_{name}"
        for model in options.models:
            key = f"{name} | {model}"
            if key not in done:
                done[key] = measure(options.dataset, arm, config, [model], log)[model]
                write_json(results, done)
            means = [f"{figures['mean']:.4f}" for figures in done[key]]
            sys.stdout.write(f"{options.dataset} | {key} | {' '.join(means)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
