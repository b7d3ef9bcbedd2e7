"""Steps hand on what they have loaded, and go on from what an output folder holds."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from recmtl.errors import RecmtlError
from recmtl.job import steps
from recmtl.job.fit import ModelResult
from recmtl.job.handed_on import JobContext, PreparedLog, TrainedModels
from recmtl.model import ModelSizes
from recmtl.serve import Scorer
from recmtl.simulate import simulate
from recmtl.tracking import TrackedRun, Tracker
from recmtl.train.config import Calibration, Config, Evidence, Grid, Search, Serving, Training
from recmtl.train.loop import silent

SCHEMA = Path(__file__).resolve().parents[3] / "datasets" / "simulated" / "schema.yaml"
CONFIG = Config(
    sizes=ModelSizes(embedding=4, tower=(8,), dropout=0.1),
    grid=Grid(cells=3, depth=2, widths=(8,), max_edges=2),
    training=Training(batch_size=256, epochs=1, checks=1),
    search=Search(epochs=1, candidates=2, race=False),
    evidence=Evidence(seeds=2, controls=(), baselines=(), bootstrap=20, ablation_seeds=0),
    workers=1,
)


class FileRun:
    """A tracker, and its only run, that remember the names of files and runs."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.runs: list[str] = []
        self.metrics: set[str] = set()

    @contextmanager
    def run(self, name: str) -> Iterator["FileRun"]:
        self.runs.append(name)
        yield self

    def log_file(self, file: Path) -> None:
        self.files.append(file.name)

    def log_data(self, *, fingerprint: str, schema: Path) -> None:
        self.fingerprint = fingerprint

    def log_metrics(self, metrics: dict[str, float], *, step: int = 0) -> None:
        self.metrics |= set(metrics)

    def log_params(self, params: object) -> None:
        pass

    def set_tags(self, tags: dict[str, str]) -> None:
        self.tags = tags

    def log_model(self, bundle: Path, **facts: Any) -> None:
        self.model = {"bundle": bundle, **facts}

    log_text = log_json = lambda self, content, path: None


def simulated_job(
    folder: Path, rows: int, config: Config = CONFIG, *, users: int = 100, items: int = 50
) -> JobContext:
    """A job on simulated rows in a folder."""
    simulate(folder / "log.parquet", rows, users=users, items=items)
    console = Console(file=io.StringIO())
    data, tracker = str(folder / "log.parquet"), cast(Tracker, FileRun())
    return JobContext(data, SCHEMA, folder / "out", config, tracker, silent, console)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> JobContext:
    """A job on 2,500 simulated rows."""
    return simulated_job(tmp_path_factory.mktemp("steps"), 2500)


@pytest.fixture(scope="module")
def prepared(job: JobContext) -> PreparedLog:
    return steps.prepare(job, as_run(job))


@pytest.fixture(scope="module")
def trained(job: JobContext, prepared: PreparedLog) -> TrainedModels:
    return steps.train_all(job, prepared, as_run(job))


def as_run(job: JobContext) -> TrackedRun:
    return cast(TrackedRun, job.tracker)


def fresh(job: JobContext, **changes: Any) -> JobContext:
    """The same job with a tracker that has heard nothing yet."""
    return replace(job, tracker=cast(Tracker, FileRun()), **changes)


def test_what_is_read_of_a_log_is_read_once(
    prepared: PreparedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = PreparedLog(prepared.log, prepared.schema)
    encoder, problem = again.encoder, again.problem
    monkeypatch.setattr(type(prepared.log), "encoder", None)
    monkeypatch.setattr(type(prepared.log), "split", None)
    assert again.encoder is encoder and again.problem is problem


def test_preparing_twice_encodes_once_and_names_the_data_both_times(
    job: JobContext, prepared: PreparedLog
) -> None:
    later = fresh(job)
    before = (job.out / "log" / "manifest.json").stat().st_mtime_ns
    again = steps.prepare(later, as_run(later))
    assert again.log.fingerprint == prepared.log.fingerprint
    assert cast(FileRun, later.tracker).fingerprint == prepared.log.fingerprint
    assert (job.out / "log" / "manifest.json").stat().st_mtime_ns == before


def test_a_step_started_alone_obtains_what_the_earlier_one_handed_on(
    job: JobContext, trained: TrainedModels
) -> None:
    later = fresh(job)
    again = steps.train_all(later, steps.prepare(later, as_run(later)), as_run(later))
    assert cast(FileRun, later.tracker).runs == [], "nothing is trained or tracked twice"
    assert list(again.models) == list(trained.models) == ["searched", "single_task", "constant"]
    assert again.chosen.seed == trained.chosen.seed
    assert again.chosen.search == trained.chosen.search
    ours, theirs = (t.chosen.network.state_dict() for t in (trained, again))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for name, seeds in trained.models.items():
        for seed, result in seeds.items():
            assert again.models[name][seed].cost == result.cost
            for column, scores in result.predictions.items():
                np.testing.assert_array_equal(again.models[name][seed].predictions[column], scores)


def test_searching_and_training_alone_do_no_more_than_that(job: JobContext, tmp_path: Path) -> None:
    later = fresh(job, out=tmp_path / "out")
    prepared = steps.prepare(later, as_run(later))
    study = steps.search(later, prepared)
    assert cast(FileRun, later.tracker).runs == ["searched-search-0", "searched-search-1"]
    assert not (later.out / "models").exists()
    assert study.search_result("searched", 1).history
    few = steps.train(later, prepared, as_run(later))
    assert cast(FileRun, later.tracker).runs[2:] == ["searched-0", "searched-1"]
    assert list(few.models) == ["searched"] and not (later.out / "results.json").exists()
    assert {"routes.json", "routes.svg"} == set(cast(FileRun, later.tracker).files)


@pytest.mark.parametrize(
    ("scores", "seed"),
    [([0.6, 0.7], 1), ([0.7, 0.7], 0), ([None, 0.1], 1), ([None, None], 0), ([-0.2, -0.1], 1)],
)
def test_the_best_validation_score_chooses_the_network_and_the_first_of_equals(
    trained: TrainedModels, scores: list[float | None], seed: int
) -> None:
    models = {"searched": {i: ModelResult({}, {}, score) for i, score in enumerate(scores)}}
    assert replace(trained, models=models).chosen.seed == seed


def test_the_chosen_network_is_loaded_once_and_in_evaluation_mode(trained: TrainedModels) -> None:
    assert trained.chosen is trained.chosen
    assert not trained.chosen.network.training


def test_an_evaluation_is_reported_bundled_and_scored(
    job: JobContext, prepared: PreparedLog, trained: TrainedModels
) -> None:
    calibrated = replace(CONFIG, calibration=Calibration("platt", min_rows=20))
    later = fresh(job, config=calibrated)
    before = {
        name: weights.clone() for name, weights in trained.chosen.network.state_dict().items()
    }
    evaluation = steps.evaluate(later, trained, as_run(later))
    assert json.loads((job.out / "results.json").read_text()) == json.loads(
        json.dumps(evaluation.results)
    )
    assert set(evaluation.results["calibration"]["columns"]) >= {"p_click", "p_dislike"}
    steps.report(later, evaluation, as_run(later))
    bundled = steps.bundle(later, evaluation)
    assert cast(FileRun, later.tracker).files == ["results.json", "report.html"]
    assert cast(FileRun, later.tracker).tags.keys() == {
        f"verdict.{task}" for task in ("click", "purchase", "watch_time", "dislike")
    }
    assert {"test.click.auc", "gain.dislike", "score.searched"} <= cast(
        FileRun, later.tracker
    ).metrics
    steps.train(later, prepared, as_run(later))  # leaves the routes that a description shows
    steps.register(later, evaluation, bundled, as_run(later))
    model = cast(FileRun, later.tracker).model
    assert (model["bundle"], model["name"]) == (bundled.folder, "simulated")
    assert model["tags"]["data.fingerprint"] == prepared.log.fingerprint
    assert "| click | AUC |" in model["description"] and "layer 1" in model["description"]
    steps.score(later, bundled)
    scored, ranking = (pq.read_table(job.out / name) for name in ("scored", "ranking.parquet"))
    assert scored.num_rows == 2500
    table = pq.read_table(job.data)
    expected = Scorer.load(bundled.folder).score(table)["p_click"]
    np.testing.assert_array_equal(scored["p_click"].to_numpy(), expected.to_numpy())
    assert max(ranking["rank"].to_pylist()) <= 20
    after = trained.chosen.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "handed on unchanged"
    assert not trained.chosen.network.training


def test_validating_makes_no_test_figure(job: JobContext, trained: TrainedModels) -> None:
    later = fresh(
        job, config=replace(CONFIG, evidence=replace(CONFIG.evidence, controls=("mmoe",)))
    )
    results = steps.validate(later, trained.prepared, as_run(later))
    heard = cast(FileRun, later.tracker)
    assert heard.runs == ["mmoe-0", "mmoe-1"] and heard.files == ["validation.json"]
    assert any(name.startswith("validation.click") for name in heard.metrics)
    assert not any(name.startswith("test.") for name in heard.metrics)
    assert set(results["tasks"]["click"]) == {"searched", "single_task", "mmoe", "constant"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank_by": "p_clik * 2"}, "did you mean 'p_click'"),
        ({"calibration": Calibration(kept_negatives={"clik": 0.5})}, "'clik', which is no binary"),
        ({"serving": Serving(user=("user",))}, "column 'user'"),
        ({"seed": 5}, "seed was 0 and is "),
        (
            {"search": Search(epochs=2)},
            r"search\.epochs was 1 and is 2.*; put back .*, or give another --out",
        ),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_before_any_search(
    job: JobContext, trained: TrainedModels, changes: dict[str, Any], message: str
) -> None:
    later = fresh(job, config=replace(CONFIG, **changes))
    with pytest.raises(RecmtlError, match=message):
        steps.search(later, trained.prepared)
    assert cast(FileRun, later.tracker).runs == []


def test_warnings_of_the_log_are_shown(job: JobContext, prepared: PreparedLog) -> None:
    manifest = {**prepared.log.manifest, "warnings": ["column 'x' looks like the label [y]"]}
    shown = io.StringIO()
    later = fresh(job, console=Console(file=shown))
    with pytest.MonkeyPatch.context() as patch:
        log = type(prepared.log)(prepared.log.folder, manifest)
        patch.setattr(steps, "prepare_log", lambda *_, **__: log)
        steps.prepare(later, as_run(later))
    assert shown.getvalue() == "warning: column 'x' looks like the label [y]\n"


@pytest.mark.slow
def test_a_job_whose_networks_hear_less_bundles_and_scores_with_less(
    job: JobContext, prepared: PreparedLog, tmp_path: Path
) -> None:
    """Nothing of lists' lengths is planted: whatever is chosen, here they are not heard."""
    evidence = Evidence(seeds=1, controls=(), baselines=(), bootstrap=20, ablation_seeds=1)
    config = replace(CONFIG, evidence=evidence, calibration=Calibration("platt", min_rows=20))
    later = fresh(job, out=tmp_path / "out", config=config)
    prepared = steps.prepare(later, as_run(later))
    choice = {"hears": ["ids", "numbers"], "steps": []}
    (later.out / "sources.json").write_text(json.dumps(choice))
    trained = steps.train_all(later, prepared, as_run(later))
    fields = trained.chosen.network.encoder.encoding.fields
    assert "history" in fields and not any(name.endswith(".count") for name in fields)
    evaluation = steps.evaluate(later, trained, as_run(later))
    kinds = [entry["kind"] for entry in evaluation.results["what_mattered"]]
    assert kinds == ["plain", "source", "wiring", "wiring", "wiring", "without", "without"]
    page = steps.report(later, evaluation, as_run(later)).read_text()
    assert page.index("What moved the metric") < page.index("Does sharing help?")
    assert "+ lengths of lists" in page
    bundled = steps.bundle(later, evaluation)
    scorer = Scorer.load(bundled.folder)
    assert scorer.bundle.encoder.encoding == trained.chosen.network.encoder.encoding
    table = pq.read_table(job.data)
    heard = trained.study.heard.test
    rows = table.take(np.asarray(heard.row))
    searched = trained.models["searched"][trained.chosen.seed].predictions["p_dislike"]
    raw = scorer.bundle.model.predict(
        *next(heard.batches(batch_size=len(heard), seed=None)).inputs
    )[:, trained.chosen.network.columns.index("p_dislike")]
    np.testing.assert_allclose(raw.numpy(), searched, rtol=1e-5)
    assert scorer.score(rows).num_rows == len(heard)
