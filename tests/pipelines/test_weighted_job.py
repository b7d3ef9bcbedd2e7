"""Weights through a whole small job: search, trainings, single tasks, baselines and verdict."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.job.outcome import Results, judged_results, trained_models
from recmtl.job.problem_kind import LOG, TABULAR_PROBLEMS
from recmtl.job.study import Study
from recmtl.job.work.items import all_items
from recmtl.job.work.workers import complete
from recmtl.schema import Schema, parse_schema
from recmtl.train.config import Config, Evidence, Grid, Search, Training
from recmtl.train.loop import silent
from recmtl.train.tabular_problem import TabularProblem

SCHEMA = parse_schema(
    """
version: 1
name: weighted
features:
  user: {kind: categorical}
  item: {kind: categorical}
  price: {kind: numeric}
  age: {kind: numeric, encoding: standard}
tasks:
  click: {kind: binary, label: click}
  buy: {kind: binary, label: buy, parent: click}
  watch: {kind: regression, label: watch, transform: log1p}
roles: {group: request, time: ts, sample_weight: w}
split: {by: time, validation: 0.2, test: 0.2}
""",
    source="weighted.yaml",
)
CONFIG = Config(
    grid=Grid(cells=3, depth=1, widths=(8,), max_edges=2),
    training=Training(batch_size=128, epochs=2, health_rows=0),
    search=Search(epochs=1, candidates=3, refine=1, race=False),
    evidence=Evidence(seeds=1, control_seeds=1, controls=(), bootstrap=20),
    workers=1,
)
MODELS = ("searched", "single_task", "lightgbm", "logistic", "constant")
Facts = dict[str, Any]


def make_rows(rows: int = 900) -> pd.DataFrame:
    random = np.random.default_rng(0)
    user, item = random.integers(0, 20, rows), random.integers(0, 15, rows)
    price = random.lognormal(1, 1, rows)
    taste = np.sin(user) + np.cos(item) - 0.3 * np.log(price)
    click = random.random(rows) < 1 / (1 + np.exp(-2 * taste))
    return pd.DataFrame(
        {
            "user": user, "item": item, "price": price, "age": random.normal(40, 9, rows),
            "click": click.astype(int),
            "buy": (click & (random.random(rows) < 0.3 + 0.4 * (item < 7))).astype(int),
            "watch": np.exp(1 + taste + 0.3 * random.normal(size=rows)),
            "request": np.arange(rows) // 5, "ts": np.arange(rows),
            "w": random.exponential(size=rows) + 0.05,
        }
    )  # fmt: skip


def run(
    folder: Path, rows: pd.DataFrame, schema: Schema = SCHEMA
) -> tuple[Results, Facts, EncodedLog]:
    """The results, and by model what training and search decided."""
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), folder / "log.parquet")
    log = prepare(str(folder / "log.parquet"), schema, folder / LOG)
    study = Study(folder, TABULAR_PROBLEMS, TabularProblem.of(log), CONFIG, silent)
    items = all_items(CONFIG)
    complete(study, items, lambda item: None)
    models = trained_models(study, items)
    results = judged_results(study, models, fingerprint="", truth=folder / "none")
    search = study.search_result("searched", 0)
    facts = {"route": search.routes.to_json(), "layout": search.layout}
    for name in ("searched", "single_task"):
        result = models[name][0]
        facts[name] = {
            network: (len(checks), int(np.argmax([check["score"] for check in checks])))
            for network, checks in result.curves.items()
        }
    return results, facts, log


def figures(results: Results) -> dict[str, float]:
    return {
        f"{task}.{model}.{metric}": value["mean"]
        for task, models in results["tasks"].items()
        for model, metrics in models.items()
        if model in MODELS
        for metric, value in metrics.items()
        if value["mean"] is not None
    }


def verdicts(results: Results) -> dict[str, str]:
    return {
        f"{task}.{model}": entry[model]["verdict"]
        for task, entry in {**results["verdicts"], "mean": results["mean"]}.items()
        for model in MODELS[1:]
    }


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Results, Facts, Any]]:
    return lambda rows, *schema: run(tmp_path_factory.mktemp("job"), rows, *schema)


@pytest.fixture(scope="module")
def weighted(job: Callable[..., Any]) -> tuple[Results, Facts, EncodedLog]:
    return job(make_rows())  # type: ignore[no-any-return]


@pytest.mark.parametrize("factor", [1e-7, 1e7])
def test_a_common_factor_changes_neither_route_nor_epoch_nor_verdict(
    weighted: tuple[Results, Facts, EncodedLog], job: Callable[..., Any], factor: float
) -> None:
    results, facts, _ = weighted
    rows = make_rows()
    other, its, _ = job(rows.assign(w=rows["w"] * factor))
    assert its == facts
    assert verdicts(other) == verdicts(results)
    assert len(figures(results)) > 60
    assert figures(other) == pytest.approx(figures(results), rel=1e-6, nan_ok=True)


def test_rows_of_weight_zero_are_absent_to_the_bit(job: Callable[..., Any]) -> None:
    """Even with labels of a million, a price that is no number and no time."""
    zero = np.random.default_rng(5).random(900) < 0.25
    rows = make_rows()
    absent, facts, _ = job(rows[~zero])
    ruined = {"w": 0.0, "watch": 1e6, "price": np.inf, "click": 7}
    there, its, log = job(rows.assign(**{n: rows[n].mask(zero, v) for n, v in ruined.items()}))
    assert log.manifest["weights"]["rows_of_weight_0"] == zero.sum()
    assert its == facts
    assert verdicts(there) == verdicts(absent)
    assert figures(there) == figures(absent)


def test_a_weight_of_two_is_the_row_twice(job: Callable[..., Any]) -> None:
    """Statistics and constants are equal; what is trained on other batches is alike."""
    times = np.random.default_rng(6).integers(1, 3, 900)
    rows = make_rows().assign(w=times)
    rows["ts"] = np.digitize(np.arange(900), [540, 720])
    schema = replace(SCHEMA, split=replace(SCHEMA.split, validation_from=1, test_from=2))
    one, _, log = job(rows, schema)
    other, _, twice = job(rows.loc[np.repeat(rows.index, times)].assign(w=1), schema)
    for task, label in log.label_statistics.items():
        repeated = twice.label_statistics[task]
        assert (label.mean, label.std) == pytest.approx((repeated.mean, repeated.std), rel=1e-9)
    its, like = figures(one), figures(other)
    for name, value in its.items():
        if ".constant." in name and "_at_" not in name:
            assert value == pytest.approx(like[name], rel=1e-5, nan_ok=True), name
        if name.startswith("click.") and name.endswith(".auc"):
            assert value == pytest.approx(like[name], abs=0.08), name
    for task in ("click", "buy", "watch"):
        pair = {run["verdicts"][task]["lightgbm"]["verdict"] for run in (one, other)}
        assert pair != {"helped", "hurt"}
