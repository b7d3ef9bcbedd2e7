"""The same events with 0 and with nothing below a failed one: the same job, to the bit."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from recmtl.data.encoded_log import EncodedLog, LogSplit
from recmtl.job import steps
from recmtl.job.handed_on import JobContext
from recmtl.model import ModelSizes
from recmtl.tracking import TrackedRun, Tracker
from recmtl.train.config import Calibration, Config, Evidence, Grid, Search, Training
from recmtl.train.loop import silent

ROWS = 3000
SCHEMA = """
version: 1
name: funnel
features:
  user: {kind: categorical}
  item: {kind: categorical}
  price: {kind: numeric, bins: 8}
tasks:
  pay: {kind: binary, label: pay, parent: cart, missing: ignore}
  click: {kind: binary, label: click}
  cart: {kind: binary, label: cart, parent: click, missing: ignore}
  share: {kind: binary, label: share, parent: click, missing: ignore}
roles: {group: user}
split: {by: random, validation: 0.2, test: 0.25}
"""
CONFIG = Config(
    sizes=ModelSizes(embedding=4, tower=(8,)),
    grid=Grid(cells=3, depth=2, widths=(8,), max_edges=2),
    training=Training(batch_size=256, epochs=1, checks=1),
    search=Search(epochs=1, candidates=2, race=False),
    evidence=Evidence(seeds=1, controls=(), baselines=("lightgbm", "logistic"), bootstrap=20),
    calibration=Calibration("platt", min_rows=20),
    workers=1,
)


class DeafTracker:
    """A tracker, and its only run, that log nothing."""

    @contextmanager
    def run(self, name: str) -> Iterator["DeafTracker"]:
        yield self

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def events() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    user, item = random.integers(0, 60, ROWS), random.integers(0, 30, ROWS)
    chance = 1 / (1 + np.exp(-np.sin(user) - np.cos(item)))
    click = random.random(ROWS) < 0.3 + 0.5 * chance
    cart = click & (random.random(ROWS) < 0.2 + 0.6 * chance)
    columns = {"user": user, "item": item, "price": random.lognormal(2, 1, ROWS), "click": click}
    columns |= {"cart": cart, "share": click & (random.random(ROWS) < chance)}
    return columns | {"pay": cart & (random.random(ROWS) < 0.2 + 0.6 * chance)}


def write(path: Path, writing: str) -> None:
    """Labels below a failed event are 0, nothing, or one of the two at random."""
    columns, blank = events(), np.zeros((3, ROWS), bool)
    if writing != "zero":
        blank[:] = True
    if writing == "mixed":
        blank = np.random.default_rng(1).random((3, ROWS)) < 0.5
    table = {name: pa.array(column) for name, column in columns.items()}
    for name, parent, of_task in zip(
        ("cart", "share", "pay"), ("click", "click", "cart"), blank, strict=True
    ):
        table[name] = pa.array(columns[name], mask=of_task & ~columns[parent])
    for name in ("click", "cart", "share", "pay"):
        table[name] = table[name].cast(pa.int8())
    pq.write_table(pa.table(table), path)


def job(folder: Path, writing: str) -> JobContext:
    folder.mkdir()
    write(folder / "log.parquet", writing)
    (folder / "schema.yaml").write_text(SCHEMA)
    console, tracker = Console(file=io.StringIO()), cast(Tracker, DeafTracker())
    data, schema = str(folder / "log.parquet"), folder / "schema.yaml"
    return JobContext(data, schema, folder / "out", CONFIG, tracker, silent, console)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, JobContext]:
    """Jobs on three writings, evaluated; of the mixed one only the log."""
    folder = tmp_path_factory.mktemp("writings")
    made = {name: job(folder / name, name) for name in ("zero", "nothing", "mixed")}
    for name, context in made.items():
        prepared = steps.prepare(context, cast(TrackedRun, context.tracker))
        if name != "mixed":
            trained = steps.train_all(context, prepared, cast(TrackedRun, context.tracker))
            steps.evaluate(context, trained, cast(TrackedRun, context.tracker))
    return made


@pytest.mark.parametrize("writing", ["nothing", "mixed"])
def test_the_encoded_logs_are_equal(jobs: dict[str, JobContext], writing: str) -> None:
    zero, other = (EncodedLog.open(jobs[name].out / "log") for name in ("zero", writing))
    for part in ("train", "validation", "test"):
        for name in LogSplit.__annotations__:
            ours, theirs = (getattr(log.split(part), name) for log in (zero, other))
            np.testing.assert_array_equal(ours, theirs)
    for name in ("tasks", "counts", "labelled", "positives", "warnings"):
        assert other.manifest[name] == zero.manifest[name]


def test_the_results_of_all_models_are_equal(jobs: dict[str, JobContext]) -> None:
    zero, nothing = (
        json.loads((jobs[name].out / "results.json").read_text()) for name in ("zero", "nothing")
    )
    models = {"searched", "single_task", "constant", "lightgbm", "logistic"}
    assert models <= set(zero["tasks"]["pay"])
    assert zero["tasks"]["pay"]["searched"]["joint_auc"]["mean"] is not None
    for entry in ("tasks", "verdicts", "score", "mean", "sharing", "calibration"):
        assert nothing[entry] == zero[entry]
