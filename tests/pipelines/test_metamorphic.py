"""The same events, written another way, give the same job: routes, metrics and verdicts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from recmtl.command.main import main
from recmtl.simulate import simulate
from tests.pipelines.conftest import SCHEMA

CONFIG = """
sizes: {embedding: 4, tower: [8], dropout: 0.0}
grid: {cells: 3, depth: 2, widths: [8], max_edges: 2}
training: {batch_size: 4096, epochs: 3}
search: {epochs: 1, candidates: 2, race: false}
evidence: {seeds: 1, control_seeds: 1, bootstrap: 20, controls: [mmoe], ablation_seeds: 0,
           lightgbm: {tune: false, bag: 1}}  # a bag draws rows by their numbers
threads: 1
workers: 1
"""
ROWS = 1200


def schema_text() -> str:
    """The simulated schema without thresholds of counts, which a log this small would feel."""
    return SCHEMA.read_text().replace("min_count: 5", "min_count: 1")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    simulate(path, ROWS, users=60, items=40)
    return pq.read_table(path)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, tracking: str) -> Callable[..., dict[str, Any]]:
    """Run the study of a folder of files; returns its results without times and fingerprints."""

    def run(files: dict[str, pa.Table], schema: str, **write: Any) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("job")
        (folder / "data").mkdir()
        for name, table in files.items():
            pq.write_table(table, folder / "data" / name, **write)
        (folder / "schema.yaml").write_text(schema)
        (folder / "config.yaml").write_text(CONFIG)
        out = folder / "out"
        arguments = ["--data", str(folder / "data"), "--schema", str(folder / "schema.yaml")]
        arguments += ["--config", str(folder / "config.yaml"), "--out", str(out)]
        assert main(["benchmark", *arguments]) == 0
        return result_of(out)

    return run


def result_of(out: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((out / "results.json").read_text())
    results["search"] = json.loads((out / "search" / "searched-0.json").read_text())
    return {name: without_times(value) for name, value in results.items() if name != "fingerprint"}


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        times = ("train_s", "score_rows_per_s", "cpu_s", "seconds")
        return {name: without_times(part) for name, part in value.items() if name not in times}
    return [without_times(part) for part in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def results(job: Callable[..., dict[str, Any]], log: pa.Table) -> dict[str, Any]:
    return job({"log.parquet": log}, schema_text())


def test_a_log_in_several_files_and_row_groups_gives_the_same_job(
    job: Callable[..., dict[str, Any]], log: pa.Table, results: dict[str, Any]
) -> None:
    parts = {"a.parquet": log[:7], "b.parquet": log[7:700], "c.parquet": log[700:]}
    assert job(parts, schema_text(), row_group_size=100) == results


@pytest.mark.slow
def test_columns_in_another_order_and_form_give_the_same_job(
    job: Callable[..., dict[str, Any]], log: pa.Table, results: dict[str, Any]
) -> None:
    turned = log.select(log.column_names[::-1])
    for position, field in enumerate(turned.schema):
        column = turned.column(position)
        if pa.types.is_integer(field.type):
            turned = turned.set_column(position, field.name, column.cast(pa.int64()))
        elif pa.types.is_string(field.type):
            turned = turned.set_column(position, field.name, column.dictionary_encode())
    assert not turned.schema.equals(log.select(turned.column_names).schema)
    assert job({"log.parquet": turned}, schema_text()) == results


@pytest.mark.slow
@pytest.mark.parametrize("form", [pa.timestamp("us"), pa.timestamp("ns", "Asia/Tokyo")])
def test_times_in_another_unit_give_the_same_job(
    form: Any, job: Callable[..., dict[str, Any]], log: pa.Table, results: dict[str, Any]
) -> None:
    times = log["time_ms"].cast(pa.timestamp("ms", form.tz)).cast(form)
    position = log.column_names.index("time_ms")
    assert (
        job({"log.parquet": log.set_column(position, "time_ms", times)}, schema_text()) == results
    )


@pytest.mark.slow
def test_other_names_of_columns_tasks_and_files_give_the_same_job(
    job: Callable[..., dict[str, Any]], log: pa.Table, results: dict[str, Any]
) -> None:
    """Names are chosen so that their order is another one, too."""
    names = {name: f"{chr(122 - i)}_{name}" for i, name in enumerate(log.column_names)}
    tasks = {"click": "zz", "purchase": "b", "watch_time": "k", "dislike": "a"}
    schema = yaml.safe_load(schema_text())
    schema["name"] = "other"
    schema["features"] = {
        f"{chr(122 - i)}": spec | {"column": names[name]}
        for i, (name, spec) in enumerate(schema["features"].items())
    }
    item = list(yaml.safe_load(schema_text())["features"]).index("item_id")
    history = next(spec for spec in schema["features"].values() if spec.get("table") == "item_id")
    history["table"] = chr(122 - item)
    schema["tasks"] = {tasks[name]: spec for name, spec in schema["tasks"].items()}
    for spec in schema["tasks"].values():
        spec["label"] = names[spec["label"]]
        spec |= {"parent": tasks[spec["parent"]]} if "parent" in spec else {}
        if "rows" in spec:
            spec["rows"]["column"] = names[spec["rows"]["column"]]
    schema["roles"] = {role: names[column] for role, column in schema["roles"].items()}
    renamed = log.rename_columns(list(names.values()))
    other = job({"another name.parquet": renamed}, yaml.safe_dump(schema, sort_keys=False))
    for name, task in tasks.items():
        assert other["tasks"][task] == results["tasks"][name]
    assert other["search"]["routes"] == results["search"]["routes"]
    assert list(other["verdicts"].values()) == list(results["verdicts"].values())
    mean = results["mean"] | {"tasks": [tasks[name] for name in results["mean"]["tasks"]]}
    assert (other["mean"], other["cost"]) == (mean, results["cost"])


@pytest.mark.slow
def test_rows_in_another_order_give_the_same_networks_but_for_rounding(
    job: Callable[..., dict[str, Any]], log: pa.Table, results: dict[str, Any]
) -> None:
    """Each batch holds all rows here. A search divides them by their numbers, so it may differ."""
    shuffled = log.take(np.random.default_rng(0).permutation(len(log)))
    other = job({"log.parquet": shuffled}, schema_text())
    for task, models in results["tasks"].items():
        for model in ("single_task", "mmoe", "lightgbm", "logistic", "constant"):
            for metric, value in models[model].items():
                mean = other["tasks"][task][model][metric]["mean"]
                undefined = value["mean"] is None
                # A score that rounding moves over the edge of a bin moves the ECE by its row.
                least = 2e-3 if metric.endswith("ece") else 1e-4
                close = pytest.approx(0 if undefined else value["mean"], rel=1e-3, abs=least)
                assert mean is None if undefined else mean == close, (task, model, metric)
