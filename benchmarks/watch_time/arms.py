"""The arms: one network of one task each, trained on the play time of KuaiRand-Pure.

All arms are tasks of one prepared log with the same label, so that they have the same rows, the
same encoded features, the same layout and the same settings; they differ in the head alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.evaluate.task_metrics import evaluate
from recmtl.job.fit import Fit
from recmtl.schema import (
    ComputedColumn,
    Condition,
    Head,
    Label,
    Numeric,
    Schema,
    TaskSpec,
    load_schema,
)
from recmtl.train.config import Config
from recmtl.train.tabular_problem import TabularProblem

__all__ = ["ARMS", "LABEL", "MEASURES", "REFERENCE", "Arm", "encoded", "schema_of", "trained"]

REFERENCE, LAYOUT = "log1p", "shared_bottom"
LABEL, SECONDS = "play_time_ms", "play_s"
DURATION = "duration_ms"
ARMS: Mapping[str, Mapping[str, Any]] = {
    REFERENCE: {"transform": "log1p"},
    "plain": {},
    "ziln": {"head": Head("ziln")},
    "cread": {"head": Head("cread")},
    "d2q": {"head": Head("d2q", duration=DURATION)},
}
MEASURES = ("xauc", "mae", "rmse")


@dataclass(frozen=True)
class Arm:
    """What one training scored on test rows.

    Attributes:
        metrics: `xauc`, `mae`, `rmse`, and `sum`: predicted over actual seconds of all rows.
        cpu_s: of the training.
        rows: test rows.
    """

    metrics: dict[str, float]
    cpu_s: float
    rows: int


def schema_of(path: Path) -> Schema:
    """The schema of the log with the play time in seconds as the label of every arm."""
    schema = load_schema(path)
    duration = next(f for f in schema.features if f.name == DURATION)
    if not isinstance(duration, Numeric):
        raise TypeError(f"{path}: {DURATION} is no number")
    tasks = tuple(
        TaskSpec(name, "regression", Label(SECONDS), **options) for name, options in ARMS.items()
    )
    outcomes = {column for task in schema.tasks for column in _columns_of(task)}
    kept = [column for column in schema.ignore if column != LABEL]
    return replace(
        schema,
        tasks=tasks,
        formulas=(ComputedColumn(SECONDS, f"{LABEL} / 1000"),),
        ignore=(*kept, *sorted(outcomes)),
    )


def _columns_of(task: TaskSpec) -> list[str]:
    rules: list[Condition | None] = [task.label, task.rows]
    return [rule.column for rule in rules if rule is not None]


def encoded(data: Path, schema: Schema, folder: Path, *, rows: int | None = None) -> EncodedLog:
    """The prepared log; of more than `rows` rows, evenly spaced ones."""
    if rows is not None:
        data = _fewer(data, schema, folder / "few", rows)
    return prepare(str(data), schema, folder / "log")


def _fewer(data: Path, schema: Schema, folder: Path, rows: int) -> Path:
    """A log of evenly spaced rows beside the same side tables."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = pq.read_table(data)
    at = np.linspace(0, len(whole) - 1, min(rows, len(whole))).astype(np.int64)
    pq.write_table(whole.take(at), folder / data.name)
    for table in schema.tables:
        link = folder / table.path
        if not link.exists():
            link.symlink_to((data.parent / table.path).resolve())
    return folder / data.name


def trained(log: EncodedLog, name: str, config: Config, seed: int, folder: Path) -> Arm:
    """Train the network of an arm with a seed and measure it on the test rows."""
    problem = TabularProblem.of(log, rare_ids=config.training.rare_ids).only(log.schema.task(name))
    folder.mkdir(parents=True, exist_ok=True)

    def checkpoint(network: str, number: int) -> Path:
        return folder / f"{name}-{network}-{number}.safetensors"

    fit = Fit(problem, config, seed, lambda *_: None, checkpoint)
    _, result = fit.network(LAYOUT, problem.layout(LAYOUT, config.grid))
    checkpoint(LAYOUT, seed).unlink(missing_ok=True)
    labels = np.asarray(problem.test.labels)
    metrics = evaluate(result.predictions, labels, problem.tasks)[name]
    counted = ~np.isnan(labels[:, 0])
    value = result.predictions[f"value_{name}"][counted].astype(np.float64)
    total = float(value.sum() / labels[counted, 0].astype(np.float64).sum())
    measured = {measure: metrics[measure] for measure in MEASURES} | {"sum": total}
    return Arm(measured, float(result.cost["cpu_s"] or 0.0), int(counted.sum()))
