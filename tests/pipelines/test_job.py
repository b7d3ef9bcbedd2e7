"""The whole job on a small log: what it leaves, what it says, and that it does nothing twice."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest
from mlflow.tracking import MlflowClient

from recmtl import Ranker, Scorer
from recmtl.command.main import main
from recmtl.data.encoded_log import EncodedLog
from recmtl.errors import BundleError, DataError
from recmtl.grid.catalog import CATALOG
from recmtl.job.analysis.raw_scores import scores_of_part
from recmtl.job.champion import judge_champion
from recmtl.job.fit import ModelResult
from recmtl.model import load_model, predict
from recmtl.serve import load_bundle
from recmtl.simulate import simulate
from recmtl.train.config import Config
from tests.pipelines.conftest import CONFIG, SCHEMA, Done
from tests.unit.serve.shop import make_bundle

ROOT = Path(__file__).resolve().parents[2]
TASKS = ["click", "purchase", "watch_time", "dislike"]
MODELS = {
    "searched",
    "single_task",
    "lightgbm",
    "logistic",
    "shared_bottom",
    "mmoe",
    "ple",
    "full_grid",
    "random_route",
}
FORMULA = "p_click_and_purchase"


@pytest.fixture(scope="module")
def results(done: Done) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((done.out / "results.json").read_text())
    return found


def test_every_output_is_there_and_nothing_is_half_written(done: Done) -> None:
    files = ["report.html", "results.json", "routes.json", "routes.svg", "ranking.parquet"]
    files += ["log/manifest.json", "bundle/manifest.json", "scored/part-00000.parquet"]
    assert [name for name in files if not (done.out / name).is_file()] == []
    assert list(done.out.rglob("*.partial*")) == []
    assert list((done.out / "checkpoints").iterdir()) == [], "finished models need none"


def test_the_verdict_and_the_places_are_printed_last(done: Done) -> None:
    last = done.printed.rstrip().splitlines()[-5:]
    assert [line.split()[0] for line in last] == ["report", "bundle", "scores", "model", "tracking"]
    assert str(done.out / "report.html") in last[0]
    verdicts = done.printed.rstrip().split("\n\n")[-2]
    assert all(task in verdicts for task in ("click", "purchase", "watch", "dislike"))


def test_results_have_the_structure_that_is_promised(results: dict[str, Any], done: Done) -> None:
    assert results["fingerprint"] == EncodedLog.open(done.out / "log").fingerprint
    assert list(results["tasks"]) == TASKS
    for task, entry in results["tasks"].items():
        assert set(entry) - {"verdict", "constant"} == MODELS
        assert entry["verdict"] in ("helped", "hurt", "not proven")
        metric = "rmse" if task == "watch_time" else "auc"
        for model in MODELS:
            assert set(entry[model][metric]) == {"mean", "std", "seeds"}
            assert np.isfinite(entry[model][metric]["mean"])
    facts = {"parameters", "multiply_adds", "train_s", "cpu_s", "score_rows_per_s"}
    assert all(set(results["cost"][model]) == facts for model in MODELS)
    assert all(results["cost"]["searched"][fact] > 0 for fact in facts)
    assert set(results["score"]) == MODELS | {"constant"}
    audited = {"constant", *MODELS} - {"searched"}
    for gains in (*results["verdicts"].values(), results["mean"]):
        assert audited <= set(gains)
        assert {"gain", "low", "high", "verdict"} <= set(gains["mmoe"])
    fixed = {"single_task", "shared_bottom", "mmoe", "ple"}
    best = [*results["best_fixed"]["tasks"].values(), results["best_fixed"]["mean"]]
    assert {gain["model"] for gain in best} <= fixed and len(best) == len(TASKS) + 1


def test_the_search_can_be_judged_by_what_was_planted(done: Done) -> None:
    sharing = json.loads((done.out / "results.json").read_text())["sharing"]
    assert sharing["tasks"] == TASKS
    # The truth lies beside the log that was given.
    assert set(sharing["planted"]) >= {"related", "unrelated", "gap_by_seed"}


def test_scores_of_folder_scorer_ranker_and_mlflow_agree_bit_for_bit(
    done: Done, tracking: str
) -> None:
    table = pq.read_table(done.arguments[1])
    scorer = Scorer.load(done.out / "bundle")
    scores = scorer.score(table)
    written = pq.read_table(done.out / "scored")
    assert written["impression_id"].equals(table["impression_id"]), "in the order of the input"
    ranked = Ranker.load(done.out / "bundle").rank(table, by=FORMULA, group="request_id")
    ranked = ranked.sort_by("impression_id")
    mlflow.set_tracking_uri(tracking)
    served = mlflow.pyfunc.load_model("models:/simulated/1").predict(table.to_pandas())
    order = np.argsort(table["impression_id"].to_numpy())
    for name in scorer.columns:
        column = scores[name].to_numpy()
        assert column.dtype == np.float32
        np.testing.assert_array_equal(written[name].to_numpy(), column)
        np.testing.assert_array_equal(ranked[name].to_numpy(), column[order])
        np.testing.assert_array_equal(np.asarray(served[name]), column)


def test_the_bundle_is_the_searched_network_that_was_judged(done: Done) -> None:
    folder = done.out / "models" / "searched" / "0"
    log = EncodedLog.open(done.out / "log")
    judged = predict(load_model(folder), log.split("test"))
    scored = pq.read_table(done.out / "scored")
    rows = log.split("test").row
    for name, column in judged.items():
        np.testing.assert_allclose(scored[name].to_numpy()[rows], column, rtol=1e-4, atol=1e-6)


def test_a_champion_is_compared_by_what_the_bundles_score_on_the_raw_test_rows(
    done: Done, tmp_path: Path
) -> None:
    data, log = done.arguments[1], EncodedLog.open(done.out / "log")
    alive: list[float] = []
    first = judge_champion(None, alive.append, out=done.out, data=data)
    assert first.figures.keys() == {
        "multiply_adds.candidate",
        *(f"over_constant.{task}" for task in (*TASKS, "mean")),
    }
    assert len(alive) >= 1
    bundle = load_bundle(done.out / "bundle")
    scores = scores_of_part({"a": bundle, "b": bundle}, log, data, alive=alive.append)
    written, rows = pq.read_table(done.out / "scored"), log.split("test").row
    for name, column in scores["a"].items():
        np.testing.assert_array_equal(column.astype(np.float32), written[name].to_numpy()[rows])
        np.testing.assert_array_equal(column, scores["b"][name])
    same = judge_champion(done.out / "bundle", alive.append, out=done.out, data=data)
    assert not same.promote and same.reason == "left: the champion is this very bundle"
    other = make_bundle(tmp_path / "bundle")
    with pytest.raises(BundleError, match="the champion has other tasks: "):
        judge_champion(other, alive.append, out=done.out, data=data)
    simulate(tmp_path / "other.parquet", 500)
    with pytest.raises(DataError, match="is not the log that was prepared"):
        judge_champion(None, alive.append, out=done.out, data=str(tmp_path / "other.parquet"))


def test_the_jobs_run_can_be_sorted_by_verdict_and_test_metrics(
    done: Done, results: dict[str, Any], tracking: str
) -> None:
    client = MlflowClient(tracking)
    experiment = client.get_experiment_by_name("recmtl")
    assert experiment is not None
    order = ["metrics.`test.click.auc` DESC", "tags.`verdict.click` ASC"]
    is_main = "attributes.run_name = 'main'"
    main = client.search_runs([experiment.experiment_id], is_main, order_by=order)[0]
    auc = results["tasks"]["click"]["searched"]["auc"]["mean"]
    assert main.data.metrics["test.click.auc"] == pytest.approx(auc)
    assert main.data.tags["verdict.click"] == results["tasks"]["click"]["verdict"]
    version = client.get_model_version("simulated", "1")
    assert "| click | AUC |" in version.description and "layer 1" in version.description
    assert version.tags["data.fingerprint"] == results["fingerprint"]
    assert version.tags["champion"].split(":")[0] in ("promoted", "left")
    assert client.search_runs(["0"]) == [], "no run lies in the default experiment"


def test_the_ranking_is_best_first_within_requests(done: Done) -> None:
    ranking = pq.read_table(done.out / "ranking.parquet").to_pandas()
    for _, group in ranking.groupby("request_id"):
        assert group["rank"].tolist() == list(range(1, len(group) + 1))
        assert group[FORMULA].is_monotonic_decreasing


def test_a_second_run_reuses_everything(done: Done) -> None:
    def state() -> dict[str, tuple[int, bytes]]:
        kept = [*done.out.glob("models/**/*"), *done.out.glob("search/*"), *done.out.glob("log/*")]
        files = [path for path in kept if path.is_file()]
        return {str(path): (os.stat(path).st_mtime_ns, path.read_bytes()) for path in files}

    before, report = state(), (done.out / "results.json").read_bytes()
    assert len(before) > 10
    printed = done.again()
    assert state() == before
    assert (done.out / "results.json").read_bytes() == report
    tables = [text.split("report  ")[0] for text in (printed, done.printed)]
    assert tables[0] == tables[1]


def test_a_step_goes_on_with_what_the_folder_was_given(done: Done) -> None:
    before = (done.out / "log" / "manifest.json").stat().st_mtime_ns
    assert main(["search", "--out", str(done.out)]) == 0
    assert (done.out / "log" / "manifest.json").stat().st_mtime_ns == before
    assert not (done.out / "simulated.parquet").exists()


def test_every_model_is_a_nested_run_with_its_curve(done: Done, tracking: str) -> None:
    client = MlflowClient(tracking)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    names = {run.info.run_id: run.info.run_name for run in runs}
    main_runs = {i for i, name in names.items() if name == "main"}
    below = {r.info.run_name for r in runs if r.data.tags.get("mlflow.parentRunId") in main_runs}
    assert {f"{model}-0" for model in MODELS} | {"searched-search-0"} <= below
    searched = next(run for run in runs if run.info.run_name == "searched-0")
    assert len(client.get_metric_history(searched.info.run_id, "searched.score")) >= 1
    assert "seed" in searched.data.params


@pytest.mark.slow
def test_settings_are_chosen_without_a_test_figure(
    done: Done, tracking: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--validation-only` shows, writes and tracks validation figures and no others."""
    (tmp_path / "config.yaml").write_text(
        CONFIG.replace("{seeds: 1,", "{controls: [mmoe], baselines: [logistic], seeds: 1,")
    )
    arguments = ["--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "out")]
    arguments += done.arguments[:4]
    assert main(["benchmark", *arguments, "--validation-only"]) == 0
    printed = capsys.readouterr().out
    assert "MMoE" in printed and "test" not in printed.replace(str(tmp_path), "")
    found = json.loads((tmp_path / "out" / "validation.json").read_text())
    for name in ("searched", "single_task", "mmoe", "logistic", "constant"):
        trained = ModelResult.load(tmp_path / "out" / "models" / name / "0")
        assert trained is not None
        for task in TASKS:
            told = {metric: cell["mean"] for metric, cell in found["tasks"][task][name].items()}
            known = {metric: value for metric, value in told.items() if value is not None}
            assert known.items() <= trained.validation[task].items() and len(known) >= 3
    assert not (tmp_path / "out" / "results.json").exists()
    client = MlflowClient(tracking)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    blind = {run.info.run_id for run in runs if run.info.run_name == "benchmark"}
    below = [run for run in runs if run.data.tags.get("mlflow.parentRunId") in blind]
    assert len(below) == 6
    logged = {metric for run in below for metric in run.data.metrics}
    assert "validation.click.auc" in logged
    assert [metric for metric in logged if metric.startswith("test.")] == []


@pytest.mark.slow
def test_calibration_joins_a_finished_job(done: Done, tmp_path: Path) -> None:
    """Models are reused; results, report and bundle tell of it, and the bundle's scores change."""
    out, config = tmp_path / "out", tmp_path / "config.yaml"
    shutil.copytree(done.out, out)
    config.write_text(CONFIG + "calibration: {method: platt, min_rows: 200}\n")
    assert main(["evaluate", "--out", str(out), "--config", str(config)]) == 0
    found = json.loads((out / "results.json").read_text())["calibration"]
    assert found["method"] == "platt"
    assert {"p_click", "p_dislike", "p_click_and_purchase"} <= set(found["columns"])
    assert "Brier score after" in (out / "report.html").read_text()
    assert "| `p_click` |" in (out / "bundle" / "README.md").read_text()
    table = pq.read_table(done.arguments[1])
    raw, calibrated = (Scorer.load(folder / "bundle").scores(table) for folder in (done.out, out))
    columns = Scorer.load(out / "bundle").columns
    changed = {name for i, name in enumerate(columns) if (raw[:, i] != calibrated[:, i]).any()}
    assert changed >= {"p_click", "p_click_and_purchase"} and "value_watch_time" not in changed


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The one line that a refused job writes."""
    assert main(["run", *arguments]) == 2
    told = capsys.readouterr()
    lines = told.err.strip().splitlines()
    assert told.out == "" and len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


def test_an_unknown_key_of_the_configuration_is_one_line(
    tracking: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.replace("epochs", "epoch", 1))
    arguments = ["--config", str(config), "--out", str(tmp_path / "out")]
    line = refused(capsys, arguments)
    assert "config.yaml" in line and "epoch" in line and "did you mean 'epochs'" in line
    assert not (tmp_path / "out").exists()


def test_a_schema_without_data_is_refused(
    tracking: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, ["--schema", str(SCHEMA), "--out", str(tmp_path / "out")])
    assert "give data and schema together" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("evidence: {controls: [mmo]}", "mmo"),
        ("seed: x", "seed"),
        ("training: {epochs: 0}", "epochs: must be at least 1"),
        ("training: {learning_rate: -1.0}", "learning_rate: must be above 0"),
        ("search: {policy_rows: 1.0}", "policy_rows: must be below 1"),
        ("search: {temperature: [1.0, 0.0]}", "temperature"),
        ("grid: {widths: []}", "widths"),
        ("evidence: {bootstrap: 1}", "bootstrap: must be at least 2"),
    ],
)
def test_a_wrong_configuration_is_refused_before_any_work(
    config: str, text: str, tracking: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(config)
    arguments = ["--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "out")]
    assert text in refused(capsys, arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ("widths: [8]", "widths: [9]", "grid.widths was [8] and is [9]"),
        ("rank_by: p_click_and_purchase", "rank_by: p_clik", "did you mean 'p_click'"),
        ("threads: 1", "threads: 1\ncalibration: {segment: price}", "'price', which is no categor"),
    ],
)
def test_a_finished_folder_refuses_what_does_not_fit_it(
    done: Done,
    before: str,
    after: str,
    text: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.replace(before, after))
    assert main(["run", "--out", str(done.out), "--config", str(config)]) == 2
    assert text in capsys.readouterr().err


def test_a_missing_file_is_one_line(
    tracking: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, schema = str(tmp_path / "none.parquet"), str(SCHEMA)
    line = refused(capsys, ["--data", data, "--schema", schema, "--out", str(tmp_path / "out")])
    assert "none.parquet" in line


def test_every_shipped_configuration_loads() -> None:
    every = sorted((ROOT / "pipelines" / "configs").rglob("*.yaml"))
    shipped = [path for path in every if "reader:" not in path.read_text()]  # of tables
    real = {
        "census_income",
        "kuairand_pure",
        "brfss_heart2020",
        "incident_updates",
        "physionet2012",
    }
    assert {path.parent.name for path in shipped} == {"simulated", *real}
    for path in shipped:
        Config.load(path)
        assert path.read_text().startswith("# "), "begins with its command"
        assert (
            f"--config {path.relative_to(ROOT)}" in path.read_text() or path.parent.name not in real
        )


def test_the_catalog_of_each_real_data_set_has_every_model_at_one_cost() -> None:
    listed = sorted((ROOT / "pipelines" / "configs").glob("*/catalog.yaml"))
    assert len(listed) == 3
    for path in listed:
        evidence = Config.load(path).evidence
        every = {*CATALOG, "full_grid", "random_route"} - {"recmtl_grid"}  # that one is searched
        assert set(evidence.controls) == every and len(evidence.controls) == len(every)
        assert (evidence.seeds, evidence.control_seeds, evidence.budget) == (5, 5, 0.5)
