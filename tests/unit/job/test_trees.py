"""A job grows its forests before its networks, and its bundle holds them."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow.parquet as pq
import pytest

from recmtl.atomic import write_json
from recmtl.errors import ConfigError
from recmtl.forest.settings import Trees
from recmtl.job import steps
from recmtl.job.handed_on import JobContext, TrainedModels
from recmtl.job.problem_kind import TABULAR_PROBLEMS
from recmtl.job.study import Study
from recmtl.model import predict
from recmtl.serve import Scorer
from recmtl.tracking import TrackedRun
from recmtl.train.config import Config
from recmtl.vision.config import VisionConfig
from tests.unit.job.test_steps import CONFIG, FileRun, simulated_job

TREES = Trees(enabled=True, rounds=5, leaves=4, folds=2, tune=False)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> JobContext:
    """A job on 2,000 simulated rows whose networks hear trees."""
    evidence = replace(CONFIG.evidence, seeds=1)
    search = replace(CONFIG.search, source_seeds=0)  # all sources are heard
    config = replace(CONFIG, trees=TREES, evidence=evidence, search=search)
    return simulated_job(tmp_path_factory.mktemp("trees"), 2000, config)


def test_a_bundle_scores_raw_rows_as_its_network_was_tested(job: JobContext) -> None:
    run = cast(TrackedRun, FileRun())
    prepared = steps.prepare(job, run)
    assert prepared.trees is not None
    fields = [field.name for field in prepared.trees.forests.fields]
    trained = steps.train(job, prepared, run)
    evaluation = steps.evaluate(job, trained, run)
    assert evaluation.results["trees"]["multiply_adds"] > 0
    bundled = steps.bundle(job, evaluation)
    scorer = Scorer.load(bundled.folder)
    assert set(fields) <= set(scorer.bundle.model.encoder.encoding.fields)
    rows = prepared.problem.test
    raw = pq.read_table(job.data).take(np.asarray(rows.row).tolist())
    expected = predict(trained.chosen.network, rows)
    for column, scores in zip(scorer.columns, scorer.scores(raw).T, strict=True):
        np.testing.assert_allclose(scores, expected[column], rtol=1e-5)


def test_what_the_networks_do_not_hear_is_not_bundled(job: JobContext, tmp_path: Path) -> None:
    prepared = steps.prepare(job, cast(TrackedRun, FileRun()))
    study = Study(tmp_path, TABULAR_PROBLEMS, prepared.problem, job.config)
    trained = TrainedModels(prepared, study, {})
    assert trained.forests is not None and trained.encoder is prepared.encoder
    write_json(tmp_path / "sources.json", {"hears": ["ids", "trees"], "steps": []})
    study = Study(tmp_path, TABULAR_PROBLEMS, prepared.problem, job.config)
    trained = TrainedModels(prepared, study, {})
    assert trained.encoder is prepared.encoder, "trees read numbers"
    assert trained.encoded("test").numeric.shape == prepared.log.split("test").numeric.shape
    write_json(tmp_path / "sources.json", {"hears": ["ids"], "steps": []})
    study = Study(tmp_path, TABULAR_PROBLEMS, prepared.problem, job.config)
    trained = TrainedModels(prepared, study, {})
    assert trained.forests is None and not trained.encoder.encoding.numeric
    assert trained.encoded("test").numeric.shape[1] == 0


def test_a_worker_opens_the_forests_that_the_job_has_grown(job: JobContext) -> None:
    prepared = steps.prepare(job, cast(TrackedRun, FileRun()))
    written = (job.out / "forest" / "grown.json").stat().st_mtime_ns
    opened = TABULAR_PROBLEMS.open(job.out, job.config)
    assert (job.out / "forest" / "grown.json").stat().st_mtime_ns == written
    assert opened.encoding == prepared.problem.encoding
    np.testing.assert_array_equal(opened.train.numeric, prepared.problem.train.numeric)


def test_a_folder_goes_on_with_the_trees_that_it_was_begun_with(job: JobContext) -> None:
    steps.prepare(job, cast(TrackedRun, FileRun()))
    grown = (job.out / "forest" / "grown.json").read_text()
    other = replace(job, config=replace(job.config, trees=replace(TREES, leaves=5)))
    with pytest.raises(ConfigError, match=r"trees.leaves was 4 and is 5"):
        steps.prepare(other, cast(TrackedRun, FileRun()))
    assert (job.out / "forest" / "grown.json").read_text() == grown
    without = replace(job, config=replace(job.config, trees=Trees()))
    with pytest.raises(ConfigError, match=r"trees was .* and is none"):
        steps.prepare(without, cast(TrackedRun, FileRun()))


def test_baselines_hear_no_trees(job: JobContext, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = steps.prepare(job, cast(TrackedRun, FileRun())).problem
    with_trees = TABULAR_PROBLEMS.baselines["logistic"](problem, Config(), 0)
    plain = problem.hearing([source for source in problem.sources if source != "trees"])
    without = TABULAR_PROBLEMS.baselines["logistic"](plain, Config(), 0)
    for column, scores in with_trees.predictions.items():
        np.testing.assert_array_equal(scores, without.predictions[column])


def test_images_have_no_trees() -> None:
    with pytest.raises(ValueError, match=r"trees.enabled is for tables"):
        VisionConfig(trees=Trees(enabled=True))


def test_a_job_without_trees_leaves_no_folder(job: JobContext, tmp_path: Path) -> None:
    plain = replace(job, out=tmp_path / "out", config=replace(job.config, trees=Trees()))
    assert steps.prepare(plain, cast(TrackedRun, FileRun())).trees is None
    assert sorted(path.name for path in plain.out.iterdir()) == ["log", "study.json"]
